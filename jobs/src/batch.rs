//! `watershed batch`: one run, the scheduler as a service, or lines for a system's cron.

use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use watershed_batch::Outcome;

use crate::kafka::Kafka;
use crate::outcome::Refusal;
use crate::project::Place;
use crate::run::{Runner, Wishes};
use crate::say;
use crate::{crontab, process, scheduler};

#[derive(Subcommand)]
pub enum Verb {
    /// One run, then exit (75 when another run of the stream is live)
    Run(Arguments),
    /// Runs by the views' schedules until stopped
    Schedule,
    /// Crontab lines of the project's schedules
    Crontab,
}

#[derive(Args)]
pub struct Arguments {
    /// Only this stream [default: all, one after the other]
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// Make every view anew from the whole master dataset
    #[arg(long)]
    full: bool,
    /// Go on over records that the log has lost; every answer will say so
    #[arg(long)]
    accept_gap: bool,
}

pub async fn batch(place: &Place, verb: Verb) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Run(arguments) => run(place, arguments).await,
        Verb::Schedule => schedule(place).await,
        Verb::Crontab => crontab::crontab(place),
    }
}

async fn run(place: &Place, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let workspace = place.open()?;
    let streams = workspace.streams(arguments.stream.as_deref())?;
    let store = workspace.store()?;
    let kafka = Kafka::reach(&workspace, &store).await?;
    let wishes = Wishes { full: arguments.full, accept_gap: arguments.accept_gap };
    let runner = Runner::new(&workspace, store, kafka.log());
    let ended = tokio::select! {
        ended = run_all(&runner, &streams, wishes) => ended,
        stop = process::told_to_stop() => {
            runner.withdraw().await;
            stop.and_then(|()| bail!("stopped by a signal: what was published stands, nothing else of this run is visible"))
        }
    };
    kafka.stop().await;
    ended
}

/// One stream after the other: that one of them fails or is busy keeps none of the others from running.
async fn run_all(runner: &Runner, streams: &[String], wishes: Wishes) -> anyhow::Result<ExitCode> {
    let (mut failure, mut busy) = (None, None);
    for stream in streams {
        match runner.run_shown(stream, wishes).await.with_context(|| format!("stream {stream}")) {
            Ok(Outcome::Busy { holder, lease_until_ms, .. }) => {
                let until = crate::run::time(lease_until_ms);
                let message =
                    format!("stream {stream}: a run by {holder} is under way, its lease lasts until {until}");
                busy = Some(Refusal::Busy(message));
            }
            Ok(_) => {}
            Err(error) => {
                if let Some(earlier) = failure.replace(error) {
                    eprintln!("error: {earlier:#}");
                }
            }
        }
    }
    match (failure, busy) {
        (Some(error), _) => Err(error),
        (None, Some(busy)) => Err(busy.into()),
        (None, None) => Ok(ExitCode::SUCCESS),
    }
}

async fn schedule(place: &Place) -> anyhow::Result<ExitCode> {
    let workspace = place.open()?;
    let store = workspace.store()?;
    let kafka = Kafka::connect(&workspace, &store).await?;
    let runner = std::sync::Arc::new(Runner::new(&workspace, store, kafka.log()));
    let scheduler = scheduler::start(&workspace, runner)?;
    say::line(format!("ready: {} schedules", scheduler.streams()));
    process::told_to_stop().await?;
    scheduler.stop().await;
    kafka.stop().await;
    Ok(ExitCode::SUCCESS)
}
