//! The built-in scheduler: batch runs when a stream's views are due.
//!
//! Guarantees: one run of a stream at a time; times that pass together, or during a run, are one run; a time
//! that passed while nobody was there, or while a run that has died held its lease, is made up for once.

use std::sync::Arc;
use std::time::Duration;

use anyhow::anyhow;
use tokio::task::JoinSet;
use watershed_batch::Outcome;
use watershed_schemas::schedule::{Calendar, Due};

use crate::clock::now_ms;
use crate::project::Workspace;
use crate::run::{Runner, Wishes};

/// The longest sleep: a machine's clock may be set while it lasts.
const LONGEST_SLEEP: Duration = Duration::from_secs(20);
/// The shortest: a lease that is about to end is not asked for in a tight loop.
const SHORTEST_SLEEP: Duration = Duration::from_millis(100);

pub struct Scheduler {
    runner: Arc<Runner>,
    streams: JoinSet<()>,
}

/// Starts a task for every stream that has a schedule.
pub fn start(workspace: &Workspace, runner: Arc<Runner>) -> anyhow::Result<Scheduler> {
    let mut streams = JoinSet::new();
    for stream in &workspace.project.streams {
        let views = workspace.project.views_of(&stream.name);
        let calendar = Calendar::of(views.iter().filter_map(|view| view.schedule.as_ref()))
            .map_err(|reason| anyhow!("a view of stream {}: {reason}", stream.name))?;
        if calendar.is_empty() {
            continue;
        }
        let (runner, name, topic) = (runner.clone(), stream.name.clone(), stream.topic.clone());
        streams.spawn(async move {
            let began_ms = last_began(&runner, &name, &topic).await;
            keep_running(&runner, &name, &calendar, began_ms).await;
        });
    }
    Ok(Scheduler { runner, streams })
}

impl Scheduler {
    /// How many streams have a schedule.
    pub fn streams(&self) -> usize {
        self.streams.len()
    }

    /// Starts no further run and ends the one under way: nothing of it is visible.
    pub async fn stop(mut self) {
        self.runner.stop();
        while self.streams.join_next().await.is_some() {}
    }
}

/// When the last run began as far as anybody can tell. A stream without a version has missed a run if it has records.
async fn last_began(runner: &Runner, stream: &str, topic: &str) -> i64 {
    match runner.store().newest(stream, None).await {
        Ok(Some(manifest)) => {
            let began = chrono::DateTime::parse_from_rfc3339(&manifest.created_at);
            began.map_or(0, |began| began.timestamp_millis())
        }
        Ok(None) if runner.has_records(topic).await => 0,
        Ok(None) => now_ms(),
        Err(error) => {
            tracing::warn!(stream, %error, "the newest version cannot be read, no run is made up for");
            now_ms()
        }
    }
}

async fn keep_running(runner: &Runner, stream: &str, calendar: &Calendar, mut began_ms: i64) {
    while !runner.is_stopped() {
        let now = now_ms();
        match calendar.due(began_ms, now) {
            Due::Never => return,
            Due::At(time) => sleep_until(runner, time).await,
            Due::Now => match run_once(runner, stream).await {
                None => began_ms = now,
                Some(time) => sleep_until(runner, time).await,
            },
        }
    }
}

/// Sleeps until a time by the clock, or a part of the way, or until the runner is stopped.
async fn sleep_until(runner: &Runner, time_ms: i64) {
    let left = Duration::from_millis(u64::try_from(time_ms - now_ms()).unwrap_or_default());
    tokio::select! {
        () = tokio::time::sleep(left.clamp(SHORTEST_SLEEP, LONGEST_SLEEP)) => {}
        () = runner.stopped() => {}
    }
}

/// One run. Where another one has the stream, gives the end of its lease: it may be dead, and then this run is still due.
async fn run_once(runner: &Runner, stream: &str) -> Option<i64> {
    match runner.run(stream, Wishes::default()).await {
        Ok(Outcome::Published(report)) => {
            let manifest = &report.manifest;
            tracing::info!(
                stream,
                version = manifest.version.0,
                watershed = %manifest.watershed,
                rows_landed = manifest.rows_landed,
                windows = manifest.windows_recomputed,
                dead_letters = report.dead_letters.values().sum::<u64>(),
                seconds = manifest.seconds,
                "version published"
            );
            for warning in &report.warnings {
                tracing::warn!(stream, warning, "the version stands, but");
            }
        }
        Ok(Outcome::Unchanged(_)) => tracing::debug!(stream, "nothing to do"),
        Ok(Outcome::Busy { holder, lease_until_ms, .. }) => {
            tracing::info!(stream, holder, "another run is under way");
            return Some(lease_until_ms);
        }
        Ok(Outcome::Lost { winner }) => tracing::info!(stream, winner, "another run published first"),
        Err(_) if runner.is_stopped() => tracing::info!(stream, "the batch run under way was ended"),
        Err(error) => tracing::error!(stream, error = format!("{error:#}"), "batch run failed"),
    }
    None
}
