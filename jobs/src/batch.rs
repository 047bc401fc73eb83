//! `watershed batch`: one run, the scheduler as a service, or lines for a system's cron.

use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};
use watershed_batch::Outcome;

use crate::kafka::Kafka;
use crate::outcome::Refusal;
use crate::project::Place;
use crate::run::{Runner, Wishes, busy};
use crate::say;
use crate::{crontab, outcome, process, scheduler};

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
    /// Go on with a topic that was created anew, if it holds the same records at the same offsets
    #[arg(long)]
    accept_topic: bool,
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
    let Arguments { full, accept_gap, accept_topic, .. } = arguments;
    let wishes = Wishes { full, accept_gap, accept_topic };
    let runner = Runner::new(&workspace, store, kafka.log());
    runner.stop_when_told();
    let ended = run_all(&runner, &streams, wishes).await;
    kafka.stop().await;
    ended
}

/// One stream after the other: that one of them fails or is busy keeps none of the others from running.
async fn run_all(runner: &Runner, streams: &[String], wishes: Wishes) -> anyhow::Result<ExitCode> {
    let mut failures: Vec<anyhow::Error> = Vec::new();
    for stream in streams {
        match runner.run_shown(stream, wishes).await.with_context(|| format!("stream {stream}")) {
            Ok(Outcome::Busy { holder, lease_until_ms, .. }) => {
                failures.push(busy(stream, &holder, lease_until_ms).into());
            }
            Ok(_) => {}
            Err(error) => failures.push(error),
        }
        if runner.is_stopped() {
            break;
        }
    }
    // The last one gives the exit code: that of a failure, unless others were at work and nothing failed.
    failures.sort_by_key(|error| !error.is::<Refusal>());
    let last = failures.pop();
    failures.iter().for_each(outcome::tell);
    last.map_or(Ok(ExitCode::SUCCESS), Err)
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
