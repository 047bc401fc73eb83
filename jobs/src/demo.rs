//! `watershed demo`: the whole path on real flights, with nothing else installed.
//!
//! The store is a new temporary folder that goes when the demo ends, unless `--store` names one.

mod once;
mod replay;
mod sample;
mod truth;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use watershed_batch::Outcome;
use watershed_store::Store;

use crate::config::{Security, Settings};
use crate::human::{Names, Span, Text};
use crate::process;
use crate::project::{Place, Workspace};
use crate::run::Wishes;
use crate::say;
use crate::stack::Stack;
use replay::Replay;

const STREAM: &str = "flights";
const DAY_MS: f64 = 86_400_000.0;

#[derive(Args)]
pub struct Arguments {
    /// Replay fast, publish, verify every answer, exit
    #[arg(long)]
    once: bool,
    /// How long a day of January lasts
    #[arg(long, value_name = "DURATION", default_value = "4s")]
    day: Span,
    /// The time from one batch run to the next
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    every: Span,
    /// Keep the store in this folder [default: a temporary one that is removed]
    #[arg(long, value_name = "DIR")]
    store: Option<PathBuf>,
}

pub async fn demo(place: &Place, arguments: Arguments) -> anyhow::Result<ExitCode> {
    if arguments.every.0.is_zero() {
        bail!(crate::outcome::Refusal::Usage(
            "--every 0s: batch runs need some time between them".to_string()
        ));
    }
    let temporary =
        tempfile::Builder::new().prefix("watershed-demo-").tempdir().context("a temporary folder")?;
    let folder = match &arguments.store {
        Some(folder) => std::path::absolute(folder)?,
        None => temporary.path().join("data"),
    };
    let settings = settings(place.settings()?, &folder, arguments.once).await?;
    let project = sample::project()?;
    let workspace = Workspace { folder: temporary.path().to_owned(), settings, project };
    let store = workspace.store()?;
    if !store.versions(STREAM).await?.is_empty() {
        bail!("{} holds versions already: the demo begins with an empty store", folder.display());
    }
    let stack = Stack::start(&workspace, store.clone()).await?;
    let stream = workspace.project.stream(STREAM).context("the sample defines it")?.clone();
    let replay = Replay::new(sample::records(&stream)?, &stream.topic, stack.kafka.producer()?);
    let replay = Arc::new(replay);
    stack.ready().await;
    let ended = if arguments.once {
        tokio::select! {
            ended = once::once(&workspace, &stack, &store, &replay) => ended,
            stopped = process::told_to_stop() => stopped.and_then(|()| bail!("stopped by a signal")),
        }
    } else {
        watch(&stack, &store, &replay, &arguments).await
    };
    // The producer goes before the broker does.
    drop(replay);
    stack.stop().await;
    ended
}

/// The settings of the project that the demo is called in, but for Kafka and the store.
async fn settings(mut settings: Settings, store: &std::path::Path, once: bool) -> anyhow::Result<Settings> {
    settings.kafka.brokers = Names::default();
    settings.broker.dir = None;
    // Whoever looks at the demo has no key.
    settings.security = Security { insecure: settings.security.insecure, ..Security::default() };
    settings.store.url = Text(store.to_str().context("the store's path is not UTF-8")?.to_string());
    for listen in [&mut settings.broker.listen, &mut settings.serve.listen] {
        // A demo beside another program on the same port is as good on any other.
        if once || TcpListener::bind(&listen.0).await.is_err() {
            let host = listen.0.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host).to_string();
            *listen = Text(format!("{host}:0"));
        }
    }
    Ok(settings)
}

/// Replays January at a pace to watch, a version every few seconds, until told to stop.
async fn watch(
    stack: &Stack,
    store: &Store,
    replay: &Arc<Replay>,
    arguments: &Arguments,
) -> anyhow::Result<ExitCode> {
    introduce(stack.address(), stack.kafka.brokers(), store, replay);
    let stop = CancellationToken::new();
    let replaying = tokio::task::spawn_blocking({
        let (replay, stop, day) = (replay.clone(), stop.clone(), arguments.day.0);
        move || paced(&replay, day, &stop)
    });
    stack.runner.stop_when_told();
    let published = publish(stack, replay, arguments.every.0).await;
    stop.cancel();
    replaying.await??;
    published?;
    Ok(ExitCode::SUCCESS)
}

fn introduce(address: SocketAddr, brokers: &str, store: &Store, replay: &Replay) {
    let flights = replay.records.len() - sample::mistakes();
    say::line(format!(
        "{flights} real flights of January 2013 are replayed as they became known, late ones late."
    ));
    say::line(format!("store:  {store}\nbroker: {brokers}\nready:  http://{address}\n\nTry:"));
    let ask = |question: &str| say::line(format!("  curl -s http://{address}/v1/query -d '{question}'"));
    ask(r#"{"view": "flight_delays", "grain": "all", "group_by": ["carrier"], "order_by": ["-flights"]}"#);
    ask(
        r#"{"view": "flight_delays", "measures": ["flights", "late", "p95_delay"], "group_by": ["origin"], "grain": "1 day", "order_by": ["-day"], "limit": 6}"#,
    );
    ask(
        r#"{"view": "routes_daily", "grain": "all", "where": {"origin": ["JFK"]}, "order_by": ["-flights"], "limit": 5}"#,
    );
    say::line("");
}

/// Sends every record when its time has come.
fn paced(replay: &Replay, day: Duration, stop: &CancellationToken) -> anyhow::Result<()> {
    let started = Instant::now();
    let first = replay.records.first().map_or(0, |record| record.known_at);
    for (index, record) in replay.records.iter().enumerate() {
        let due = day.mul_f64((record.known_at - first) as f64 / DAY_MS);
        while started.elapsed() < due {
            if stop.is_cancelled() {
                return Ok(());
            }
            std::thread::sleep(due.saturating_sub(started.elapsed()).min(Duration::from_millis(100)));
        }
        replay.send(index)?;
    }
    replay.flush()?;
    say::line("January is over: the next version makes all of it exact. Answers go on until Ctrl-C.");
    Ok(())
}

/// A batch run now and then, and a line for each version, until the runner is stopped.
async fn publish(stack: &Stack, replay: &Replay, every: Duration) -> anyhow::Result<()> {
    let runner = &stack.runner;
    let mut due = tokio::time::interval(every);
    due.tick().await;
    loop {
        tokio::select! {
            _ = due.tick() => {}
            () = runner.stopped() => return Ok(()),
        }
        match runner.run(STREAM, Wishes::default()).await {
            Ok(Outcome::Published(report)) => say::line(line(&report, replay)),
            Err(_) if runner.is_stopped() => return Ok(()),
            outcome => drop(outcome?),
        }
    }
}

/// `version 3    4810 rows exact, 312 live, 2 dead letters · mean error p95_delay 0.49 % · 2.1 s · watershed {…}`
fn line(report: &watershed_batch::Report, replay: &Replay) -> String {
    let manifest = &report.manifest;
    let exact: u64 = manifest.events.iter().map(|file| file.file.rows).sum();
    let dead_letters: u64 = manifest.dead_letters.iter().map(|file| file.file.rows).sum();
    let live = replay.ledger.at_or_above(&manifest.watershed);
    let ledger = manifest.views.get("flight_delays").map(|view| view.accuracy.as_slice()).unwrap_or_default();
    let errors: Vec<String> = ledger
        .iter()
        .map(|accuracy| format!("{} {:.2} %", accuracy.measure, 100.0 * accuracy.mean_error))
        .collect();
    format!(
        "version {:<4} {exact} rows exact, {live} live, dead letters {dead_letters} · mean error of sketches: {} · {:.1} s · \
         watershed {}",
        manifest.version.0,
        errors.join(", "),
        manifest.seconds,
        manifest.watershed,
    )
}
