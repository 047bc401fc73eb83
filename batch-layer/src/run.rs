//! A batch run: plan, then land and recompute, then publish.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{Either, select};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use watershed_schemas::log::Log;
use watershed_schemas::manifest::{Intent, Manifest, Version};
use watershed_schemas::offsets::{OffsetRange, Offsets, Partition};
use watershed_schemas::stream::Stream;
use watershed_schemas::view::View;
use watershed_store::{Publication, Store};

use crate::engine::{Engine, Polars};
use crate::files::Files;
use crate::identity::{self, Recognised};
use crate::land::{Landed, Landing, Limits};
use crate::lease::{self, Lease};
use crate::plan::{Plan, Wishes, plan};
use crate::progress::{Progress, Stage};
use crate::publish::{self, RunFacts};
use crate::recompute::Recomputing;
use crate::touched::{self, Touched};
use crate::{BatchError, Retention, catalog, retain};

/// Milliseconds since 1970-01-01. Decisions take their time from here.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// One stream with all its views, and where they come from and go to.
pub struct Job {
    pub stream: Arc<Stream>,
    pub views: Vec<Arc<View>>,
    pub store: Store,
    pub log: Arc<dyn Log>,
    pub options: Options,
    pub now: Clock,
    pub progress: Arc<dyn Progress>,
}

#[derive(Clone, Debug)]
pub struct Options {
    /// Make every view anew, from the whole master dataset.
    pub full: bool,
    /// Go on over records that the log has lost, and write down which.
    pub accept_gap: bool,
    /// Go on with a topic that has another id than the one that was folded, if its records are the same.
    pub accept_topic: bool,
    /// Unique among all runs that ever were; part of file names.
    pub run_id: String,
    /// Who runs, as another run's operator shall read it: host name and process id.
    pub holder: String,
    pub lease: Duration,
    /// Records and payload bytes that landing holds in memory at once.
    pub chunk_rows: usize,
    pub chunk_bytes: usize,
    /// Bytes of event files (compressed) that recomputation holds in memory at once.
    pub group_bytes: u64,
    /// How many groups of dates are made anew, and how many partitions are read, at once.
    pub at_once: usize,
    /// How long a partition may stand still before the run gives up.
    pub stall_timeout: Duration,
    pub retention: Retention,
    /// Cancelled when the run shall end early; see [`BatchError::Stopped`].
    pub stop: CancellationToken,
    /// What computes and encodes.
    pub engine: Arc<dyn Engine>,
}

impl Options {
    pub fn new(run_id: impl Into<String>, holder: impl Into<String>) -> Self {
        Options {
            full: false,
            accept_gap: false,
            accept_topic: false,
            run_id: run_id.into(),
            holder: holder.into(),
            lease: Duration::from_secs(60),
            chunk_rows: 1_000_000,
            chunk_bytes: 256 << 20,
            group_bytes: 256 << 20,
            at_once: std::thread::available_parallelism().map_or(1, usize::from),
            stall_timeout: Duration::from_secs(60),
            retention: Retention::default(),
            stop: CancellationToken::new(),
            engine: Arc::new(Polars),
        }
    }
}

/// How a run ended that did not fail.
#[must_use]
#[derive(Debug)]
pub enum Outcome {
    Published(Report),
    /// The newest version says everything already.
    Unchanged(Manifest),
    /// Another run's lease is live (until `lease_until_ms`, milliseconds since 1970-01-01).
    Busy {
        holder: String,
        run_id: String,
        lease_until_ms: i64,
    },
    /// Another run published this version first; nothing of ours is left.
    Lost {
        winner: String,
    },
}

/// What a run published.
#[derive(Debug)]
pub struct Report {
    pub manifest: Manifest,
    /// Rows that runs before a rollback had landed, below the new watershed again.
    pub rows_taken_over: u64,
    /// Dead letters that this run landed, by kind.
    pub dead_letters: BTreeMap<String, u64>,
    /// What went wrong after publication: the version stands, tidying is left to the next run.
    pub warnings: Vec<String>,
}

/// Runs once. Nothing of a run is visible unless it ends with [`Outcome::Published`]
/// (or with an error that says that this is not known).
pub async fn run(job: &Job) -> Result<Outcome, BatchError> {
    let started_ms = (job.now)();
    let Prepared { base, recognised, plan } = match job.unless_stopped(prepare(job, started_ms)).await? {
        Ok(prepared) => prepared,
        Err(up_to_date) => return Ok(Outcome::Unchanged(up_to_date)),
    };
    job.progress.report(Stage::Intent, 0, 1);
    let intent = job.intent(plan.version, plan.target.clone(), started_ms);
    // What is being announced is never dropped half way: nobody could withdraw what appears afterwards.
    let intent = match lease::announce(&job.store, intent, started_ms).await? {
        Lease::Held(intent) => intent,
        Lease::Busy(Intent { holder, run_id, lease_until_ms, .. }) => {
            return Ok(Outcome::Busy { holder, run_id, lease_until_ms });
        }
    };
    let files = Files::new(&job.store);
    let done = Notify::new();
    let work = async {
        let fulfilled = job.fulfil(&plan, base.as_ref(), &recognised, started_ms, &files);
        let outcome = job.unless_stopped(fulfilled).await;
        done.notify_one();
        outcome
    };
    let renewal = lease::renew(&job.store, intent.clone(), job.options.lease, &job.now, &done);
    let (outcome, ()) = tokio::join!(work, renewal);
    let unpublished = match &outcome {
        Ok(Outcome::Published(_)) => false,
        Ok(_) => true,
        Err(error) => !error.may_have_published(),
    };
    if unpublished {
        files.discard().await;
    }
    lease::withdraw(&job.store, &intent).await;
    outcome
}

/// What a run knows before it announces itself.
struct Prepared {
    base: Option<Manifest>,
    recognised: Recognised,
    plan: Plan,
}

/// What is to be done, or else the version that says everything already.
async fn prepare(job: &Job, started_ms: i64) -> Result<Result<Prepared, Manifest>, BatchError> {
    job.progress.report(Stage::Bounds, 0, 1);
    let base = async {
        lease::sweep(&job.store, &job.stream.name, job.options.lease, started_ms).await?;
        let base = job.store.newest(&job.stream.name, None).await?;
        // Asked later, so that the log reaches as far as what was published of it.
        Ok::<_, BatchError>((base, job.bounds().await))
    };
    // Side by side: the store and the brokers are waited for most of the time. What is wrong is told in this order.
    let (base, topic_id, compacted) =
        tokio::join!(base, identity::topic_id(job), identity::refuse_compacted(job));
    let (base, bounds) = base?;
    let recognised = identity::recognise_topic(job, base.as_ref(), topic_id?)?;
    compacted?;
    let bounds = bounds?;
    identity::recognise_records(job, base.as_ref(), &bounds).await?;
    let Options { full, accept_gap, .. } = job.options;
    let wishes = Wishes { full, accept_gap, other_topic: recognised.accepted };
    if let Some(plan) = plan(&job.stream, &job.views, base.as_ref(), &bounds, wishes)? {
        return Ok(Ok(Prepared { base, recognised, plan }));
    }
    // The run that published it may have died before it told DuckDB.
    catalog::refresh(&job.store, base.as_ref()).await?;
    Ok(Err(base.expect("only a version that exists can be left as it is")))
}

impl Job {
    /// What each partition of the topic holds.
    pub(crate) async fn bounds(&self) -> Result<Vec<(Partition, OffsetRange)>, BatchError> {
        let (log, topic) = (self.log.clone(), self.stream.topic.clone());
        self.store.beside(move || log.bounds(&topic)).await?.map_err(BatchError::Log)
    }

    /// What `work` comes to, unless the run is stopped before.
    pub(crate) async fn unless_stopped<T>(
        &self,
        work: impl Future<Output = Result<T, BatchError>>,
    ) -> Result<T, BatchError> {
        match select(pin!(self.options.stop.cancelled()), pin!(work)).await {
            Either::Left(_) => Err(BatchError::Stopped),
            Either::Right((outcome, _)) => outcome,
        }
    }

    pub(crate) fn intent(&self, version: Version, target: Offsets, started_ms: i64) -> Intent {
        Intent {
            stream: self.stream.name.clone(),
            version,
            target,
            run_id: self.options.run_id.clone(),
            holder: self.options.holder.clone(),
            lease_until_ms: started_ms + self.options.lease.as_millis() as i64,
        }
    }

    /// Lands, recomputes, publishes.
    async fn fulfil(
        &self,
        plan: &Plan,
        base: Option<&Manifest>,
        recognised: &Recognised,
        started_ms: i64,
        files: &Files,
    ) -> Result<Outcome, BatchError> {
        if let Some(winner) = self.store.manifest(&self.stream.name, plan.version).await? {
            return Ok(Outcome::Lost { winner: winner.run_id });
        }
        let landing = Landing {
            stream: &self.stream,
            views: Arc::new(plan.views.clone()),
            store: &self.store,
            files,
            log: &self.log,
            engine: &self.options.engine,
            run_id: &self.options.run_id,
            limits: Limits {
                chunk_rows: self.options.chunk_rows.max(1),
                chunk_bytes: self.options.chunk_bytes.max(1),
                stall_timeout: self.options.stall_timeout,
            },
            progress: &*self.progress,
        };
        let mut landed = landing.land(&plan.ranges).await?;
        let ahead = base.map_or(&[][..], |base| &base.ahead.events);
        for (view, starts) in
            touched::by_files(&self.store, &self.stream, &plan.views, ahead, &self.options.engine).await?
        {
            landed.touched.entry(view).or_default().extend(starts);
        }
        let mut manifest = publish::manifest(
            &self.stream,
            base,
            plan,
            &landed,
            RunFacts { run_id: &self.options.run_id, started_ms, log: recognised.remembered(base) },
        );
        tokio::try_join!(
            identity::recheck(self, plan.version, &recognised.topic_id),
            self.recompute(plan, base, &landed, &mut manifest, files),
        )?;
        manifest.seconds = ((self.now)() - started_ms) as f64 / 1000.0;

        self.progress.report(Stage::Publish, 0, 1);
        // A number past retention would look free: the run's base must still be the newest version.
        let other = self.store.other_than(&self.stream.name, base.map(|base| base.version)).await?;
        if let Some(other) = other {
            return Ok(Outcome::Lost { winner: other.run_id });
        }
        match self.store.publish(&manifest).await? {
            Publication::Lost { winner } => Ok(Outcome::Lost { winner }),
            Publication::Published => {
                let rows_taken_over = ahead.iter().map(|file| file.file.rows).sum();
                Ok(Outcome::Published(self.tidy(manifest, rows_taken_over, &landed).await))
            }
        }
    }

    /// Makes the touched windows of every view anew and enters them into the manifest.
    async fn recompute(
        &self,
        plan: &Plan,
        base: Option<&Manifest>,
        landed: &Landed,
        manifest: &mut Manifest,
        files: &Files,
    ) -> Result<(), BatchError> {
        let recomputing = Recomputing {
            store: &self.store,
            files,
            engine: &self.options.engine,
            version: plan.version,
            run_id: &self.options.run_id,
            group_bytes: self.options.group_bytes,
            groups_at_once: self.options.at_once.max(1),
            events: &manifest.events,
        };
        let mut work = Vec::new();
        for view in &plan.views {
            let touched = if view.whole {
                Touched::All
            } else {
                Touched::Windows(landed.touched.get(&view.view.name).cloned().unwrap_or_default())
            };
            work.push((view, recomputing.groups(&view.view, &touched)));
        }
        let total: usize = work.iter().map(|(_, groups)| groups.len()).sum();
        let mut done = 0;
        self.progress.report(Stage::Recompute, 0, total as u64);
        let (mut views, mut windows) = (BTreeMap::new(), 0);
        for (view, groups) in work {
            let known = base.and_then(|base| base.views.get(&view.view.name)).filter(|_| !view.whole);
            let each = || {
                done += 1;
                self.progress.report(Stage::Recompute, done, total as u64);
            };
            let recomputed = recomputing.recompute(&view.view, groups, known, each).await?;
            windows += recomputed.windows;
            views.insert(view.view.name.clone(), recomputed.view);
        }
        manifest.views = views;
        manifest.windows_recomputed = windows;
        Ok(())
    }

    /// What follows publication. The version stands whatever becomes of it.
    async fn tidy(&self, manifest: Manifest, rows_taken_over: u64, landed: &Landed) -> Report {
        let mut warnings = Vec::new();
        self.progress.report(Stage::Catalog, 0, 1);
        if let Err(error) = catalog::refresh(&self.store, Some(&manifest)).await {
            // The catalogue that stands there may name files which only old versions have: all of them stay.
            warnings.push(format!("the catalogue was not refreshed, so no version was removed: {error}"));
        } else {
            self.progress.report(Stage::Retain, 0, 1);
            let retained = retain::retain(&self.store, &manifest, self.options.retention, (self.now)()).await;
            if let Err(error) = retained {
                warnings.push(format!("old versions were not removed: {error}"));
            }
        }
        let mut dead_letters: BTreeMap<String, u64> = BTreeMap::new();
        for (kind, count) in landed.dead_letters.iter().flat_map(|file| &file.reasons) {
            *dead_letters.entry(kind.clone()).or_default() += count;
        }
        Report { manifest, rows_taken_over, dead_letters, warnings }
    }
}
