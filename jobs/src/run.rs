//! Batch runs as the command makes and shows them.

use std::collections::HashMap;
use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tokio_util::sync::CancellationToken;
use watershed_batch::{BatchError, Job, Options, Outcome, Progress, Quiet, Report, Stage};
use watershed_schemas::log::Log;
use watershed_schemas::manifest::{Accuracy, Manifest, Version};
use watershed_schemas::project::Project;
use watershed_store::Store;

use crate::clock::clock;
use crate::config::Settings;
use crate::outcome::Refusal;
use crate::process;
use crate::project::Workspace;
use crate::say;

/// What the operator asks of a run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wishes {
    pub full: bool,
    pub accept_gap: bool,
    pub accept_topic: bool,
}

/// Everything that runs over a project's streams share.
pub struct Runner {
    project: Project,
    settings: Settings,
    store: Store,
    log: Arc<dyn Log>,
    stop: CancellationToken,
}

/// How long a run that is told to stop may take to say so where it is heard of.
const GRACE: Duration = Duration::from_secs(5);

impl Runner {
    pub fn new(workspace: &Workspace, store: Store, log: Arc<dyn Log>) -> Self {
        let (project, settings) = (workspace.project.clone(), workspace.settings.clone());
        Runner { project, settings, store, log, stop: CancellationToken::new() }
    }

    pub fn store(&self) -> &Store {
        &self.store
    }

    /// True when the topic holds anything at all.
    pub async fn has_records(&self, topic: &str) -> bool {
        let (log, topic) = (self.log.clone(), topic.to_string());
        let bounds = tokio::task::spawn_blocking(move || log.bounds(&topic)).await;
        matches!(bounds, Ok(Ok(bounds)) if bounds.iter().any(|(_, held)| !held.is_empty()))
    }

    /// Ends the runs that are under way: each withdraws its intent, so that the next need not wait for its lease.
    /// No further run begins.
    pub fn stop(&self) {
        self.stop.cancel();
    }

    pub fn is_stopped(&self) -> bool {
        self.stop.is_cancelled()
    }

    pub async fn stopped(&self) {
        self.stop.cancelled().await;
    }

    /// [`stop`](Self::stop)s when this process is told to.
    pub fn stop_when_told(&self) {
        let stop = self.stop.clone();
        tokio::spawn(async move {
            match process::told_to_stop().await {
                Ok(()) => stop.cancel(),
                Err(error) => tracing::warn!(%error, "a signal will end this process at once"),
            }
        });
    }

    /// One run over one stream; shows nothing.
    pub async fn run(&self, stream: &str, wishes: Wishes) -> anyhow::Result<Outcome> {
        self.run_with(stream, wishes, Arc::new(Quiet)).await
    }

    /// One run that tells how far it is, on a terminal, and then what came of it.
    pub async fn run_shown(&self, stream: &str, wishes: Wishes) -> anyhow::Result<Outcome> {
        let bar: Arc<dyn Progress> =
            if std::io::stderr().is_terminal() { Arc::new(Bar::new(stream)) } else { Arc::new(Quiet) };
        let outcome = self.run_with(stream, wishes, bar).await?;
        for line in lines(&outcome) {
            say::line(line);
        }
        Ok(outcome)
    }

    /// Publishes an older version's result again.
    pub async fn rollback(&self, stream: &str, to: Version) -> anyhow::Result<Outcome> {
        let job = self.job(stream, Wishes::default(), Arc::new(Quiet))?;
        self.unless_stuck(watershed_batch::rollback(&job, to)).await
    }

    async fn run_with(
        &self,
        stream: &str,
        wishes: Wishes,
        progress: Arc<dyn Progress>,
    ) -> anyhow::Result<Outcome> {
        self.unless_stuck(watershed_batch::run(&self.job(stream, wishes, progress)?)).await
    }

    /// A store that does not answer keeps nobody from stopping: then an intent may stay, and ends with its lease.
    async fn unless_stuck(
        &self,
        run: impl Future<Output = Result<Outcome, BatchError>>,
    ) -> anyhow::Result<Outcome> {
        let stuck = async {
            self.stop.cancelled().await;
            tokio::time::sleep(GRACE).await;
        };
        tokio::select! {
            outcome = run => Ok(outcome?),
            () = stuck => Err(BatchError::Stopped.into()),
        }
    }

    fn job(&self, stream: &str, wishes: Wishes, progress: Arc<dyn Progress>) -> anyhow::Result<Job> {
        let definition = self.project.stream(stream).with_context(|| format!("unknown stream {stream}"))?;
        let batch = &self.settings.batch;
        let run_id = uuid::Uuid::now_v7().simple().to_string();
        let options = Options {
            full: wishes.full,
            accept_gap: wishes.accept_gap,
            accept_topic: wishes.accept_topic,
            lease: batch.lease.0,
            chunk_rows: usize::try_from(batch.chunk_rows.0)?,
            chunk_bytes: usize::try_from(batch.chunk_bytes.0)?,
            group_bytes: batch.group_bytes.0,
            stall_timeout: batch.stall_timeout.0,
            retention: watershed_batch::Retention {
                versions: usize::try_from(batch.keep_versions.0)?,
                superseded: batch.keep_superseded.0,
                orphans: batch.keep_orphans.0,
            },
            stop: self.stop.clone(),
            ..Options::new(run_id, process::holder())
        };
        Ok(Job {
            stream: definition.clone(),
            views: self.project.views_of(stream),
            store: self.store.clone(),
            log: self.log.clone(),
            options,
            now: clock(),
            progress,
        })
    }
}

/// What a run says at its end.
pub fn lines(outcome: &Outcome) -> Vec<String> {
    match outcome {
        Outcome::Published(report) => published(report),
        Outcome::Unchanged(Manifest { stream, version, watershed, .. }) => {
            vec![format!("{stream}: version {version} is up to date, watershed {watershed}")]
        }
        Outcome::Busy { holder, .. } => vec![format!("a run by {holder} is under way")],
        Outcome::Lost { winner } => {
            vec![format!("run {winner} published this version first; nothing of this run is left")]
        }
    }
}

fn published(report: &Report) -> Vec<String> {
    let Manifest { stream, version, watershed, seconds, rows_landed, windows_recomputed, .. } =
        &report.manifest;
    let mut lines = vec![
        format!("{stream}: version {version} published in {seconds:.2} seconds"),
        format!("  watershed           {watershed}"),
        format!("  rows landed         {rows_landed}"),
        format!("  windows recomputed  {windows_recomputed}"),
        format!("  dead letters        {}", dead_letters(&report.dead_letters)),
    ];
    if report.rows_taken_over > 0 {
        lines
            .insert(3, format!("  rows taken over     {}, landed before a rollback", report.rows_taken_over));
    }
    for gap in &report.manifest.gaps {
        lines.push(format!("  gap                 {gap}"));
    }
    for (view, published) in &report.manifest.views {
        for accuracy in &published.accuracy {
            lines.push(format!("  accuracy            {view}.{}", shown(accuracy)));
        }
    }
    lines.extend(report.warnings.iter().map(|warning| format!("  warning             {warning}")));
    lines
}

fn dead_letters(by_kind: &std::collections::BTreeMap<String, u64>) -> String {
    let total: u64 = by_kind.values().sum();
    let kinds: Vec<String> = by_kind.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
    if kinds.is_empty() { total.to_string() } else { format!("{total} ({})", kinds.join(", ")) }
}

/// `p95_delay: mean error 0.31 %, largest 0.98 % of the value, stated bound 1.00 % (4210 cells)`
fn shown(accuracy: &Accuracy) -> String {
    let Accuracy { measure, kind, bound, cells, mean_error, max_error, beyond_bound, .. } = accuracy;
    let beyond = if *beyond_bound == 0 { String::new() } else { format!(", {beyond_bound} beyond it") };
    let whole = if kind == "count" { "all occurrences" } else { "the value" };
    let (mean, max, bound) = (100.0 * mean_error, 100.0 * max_error, 100.0 * bound);
    format!(
        "{measure}: mean error {mean:.3} %, largest {max:.3} % of {whole}, stated bound {bound:.2} %{beyond} ({cells} cells)"
    )
}

/// What is said where another run of the stream holds the lease.
pub fn busy(stream: &str, holder: &str, lease_until_ms: i64) -> Refusal {
    let until = time(lease_until_ms);
    Refusal::Busy(format!("stream {stream}: a run by {holder} is under way, its lease lasts until {until}"))
}

/// A time for people: seconds, in UTC.
fn time(ms: i64) -> String {
    let time = chrono::DateTime::from_timestamp_millis(ms).unwrap_or_default();
    time.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
}

/// A bar per stage on a terminal.
struct Bar {
    stream: String,
    bars: Mutex<HashMap<Stage, ProgressBar>>,
}

impl Bar {
    fn new(stream: &str) -> Self {
        Bar { stream: stream.to_string(), bars: Mutex::default() }
    }
}

impl Progress for Bar {
    fn report(&self, stage: Stage, done: u64, total: u64) {
        let mut bars = self.bars.lock().unwrap_or_else(PoisonError::into_inner);
        for (_, earlier) in bars.extract_if(|known, _| *known < stage) {
            earlier.finish_and_clear();
        }
        let bar = bars.entry(stage).or_insert_with(|| {
            let style = ProgressStyle::with_template("{msg:24} {wide_bar} {pos}/{len} {eta}");
            let bar = ProgressBar::new(total);
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(format!("{}: {}", self.stream, stage.name()));
            bar
        });
        bar.set_length(total);
        bar.set_position(done);
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        for bar in self.bars.lock().unwrap_or_else(PoisonError::into_inner).values() {
            bar.finish_and_clear();
        }
    }
}
