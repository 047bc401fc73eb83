//! The loop that finds, loads and swaps in newer versions.
//!
//! What is looked for is the newest version that is sound. One that cannot be read or loaded is passed over, told of,
//! and tried again at every full look.

use std::collections::BTreeMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use watershed_schemas::live::{LiveError, LiveSource, LiveStatus};
use watershed_schemas::log::Log;
use watershed_schemas::manifest::{Manifest, Version};
use watershed_schemas::offsets::Offsets;
use watershed_schemas::project::Project;
use watershed_schemas::stream::Stream;
use watershed_schemas::view::View;
use watershed_store::{Store, StoreError};

use super::{LoadError, Loaded, ReadRows};
use crate::cells;
use crate::time_to_loss::{LogSeen, TimeToLoss};

mod bounds;

/// How often a newer version is looked for.
const EVERY: Duration = Duration::from_millis(200);
/// How often the newest version is asked for in full, so that retention cannot outrun the probing; and how long a
/// version that could not be loaded is left alone.
const FULL_EVERY: Duration = Duration::from_secs(5);

/// Every stream's state, kept fresh by [`Streams::run`].
pub struct Streams {
    pub project: Arc<Project>,
    pub store: Store,
    live: Arc<dyn LiveSource>,
    log: Option<Arc<dyn Log>>,
    read_rows: ReadRows,
    streams: BTreeMap<String, StreamState>,
    wake: Notify,
}

/// What is known of one stream.
pub struct StreamState {
    pub stream: Arc<Stream>,
    pub views: Vec<Arc<View>>,
    seen: RwLock<Seen>,
    log: RwLock<LogSeen>,
    /// The last retained version that was asked for by number.
    retained: tokio::sync::Mutex<Option<Arc<Loaded>>>,
}

#[derive(Clone, Default)]
struct Seen {
    /// What questions are answered from.
    current: Option<Arc<Loaded>>,
    /// A newer version, loaded, whose epoch is not ready.
    next: Option<Arc<Loaded>>,
    readiness: Readiness,
    nodes: Vec<LiveStatus>,
    end: Offsets,
    /// When speed nodes last held every partition.
    covered_at: Option<Duration>,
    /// By the store's clock, as all times here.
    fully_probed: Option<Duration>,
    /// Versions that could not be read or loaded when they were last tried, and why.
    failures: BTreeMap<Version, String>,
    trouble: Option<String>,
    live_trouble: Option<String>,
}

/// What came of a search for the newest sound version.
#[derive(Default)]
struct Search {
    loaded: Option<Arc<Loaded>>,
    failures: BTreeMap<Version, String>,
}

/// Whether a stream's answers are worth asking for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Readiness {
    /// The store has not been read yet.
    #[default]
    Unknown,
    /// The newest version is loaded, the speed layer still opens its epoch.
    Opening,
    /// The speed layer folds.
    Live,
    /// There is no speed layer: answers come from batch alone.
    BatchOnly,
}

impl Readiness {
    pub const ALL: [Readiness; 4] =
        [Readiness::Unknown, Readiness::Opening, Readiness::Live, Readiness::BatchOnly];

    pub fn name(self) -> &'static str {
        match self {
            Readiness::Unknown => "unknown",
            Readiness::Opening => "opening",
            Readiness::Live => "live",
            Readiness::BatchOnly => "batch_only",
        }
    }

    /// True once there is nothing to wait for.
    pub fn is_ready(self) -> bool {
        matches!(self, Readiness::Live | Readiness::BatchOnly)
    }
}

/// How the speed layer stands to a watershed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Epoch {
    Ready,
    Opening,
    Away,
}

impl Epoch {
    /// Ready when every node that holds partitions has the epoch; `None` asks for any epoch.
    pub fn of(nodes: &Result<Vec<LiveStatus>, LiveError>, watershed: Option<&Offsets>) -> Epoch {
        match nodes {
            Ok(nodes) => Epoch::of_nodes(nodes, watershed),
            Err(LiveError::NotReady { .. }) => Epoch::Opening,
            Err(LiveError::Unavailable { .. } | LiveError::UnknownView { .. }) => Epoch::Away,
        }
    }

    fn of_nodes(nodes: &[LiveStatus], watershed: Option<&Offsets>) -> Epoch {
        if nodes.is_empty() {
            return Epoch::Away;
        }
        let has = |node: &LiveStatus| match watershed {
            Some(watershed) => node.epochs.contains(watershed),
            None => !node.epochs.is_empty(),
        };
        let mut holders = nodes.iter().filter(|node| !node.live.is_empty()).peekable();
        if holders.peek().is_some() && holders.all(has) { Epoch::Ready } else { Epoch::Opening }
    }
}

impl Streams {
    pub fn new(
        project: Arc<Project>,
        store: Store,
        live: Arc<dyn LiveSource>,
        log: Option<Arc<dyn Log>>,
    ) -> Self {
        let state = |stream: &Arc<Stream>| StreamState {
            stream: stream.clone(),
            views: project.views_of(&stream.name),
            seen: RwLock::default(),
            log: RwLock::default(),
            retained: tokio::sync::Mutex::default(),
        };
        let streams = project.streams.iter().map(|stream| (stream.name.clone(), state(stream))).collect();
        Streams { project, store, live, log, read_rows: Arc::new(cells::rows), streams, wake: Notify::new() }
    }

    /// The same, over view files that are read otherwise.
    pub fn reading(self, read_rows: ReadRows) -> Self {
        Streams { read_rows, ..self }
    }

    pub fn get(&self, stream: &str) -> Option<&StreamState> {
        self.streams.get(stream)
    }

    pub fn iter(&self) -> impl Iterator<Item = &StreamState> {
        self.streams.values()
    }

    pub fn live(&self) -> &Arc<dyn LiveSource> {
        &self.live
    }

    /// Looks for newer versions now instead of at the next turn.
    pub fn wake(&self) {
        self.wake.notify_one();
    }

    /// Keeps every stream fresh until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        tokio::join!(self.keep_fresh(&stop), self.watch_log(&stop));
    }

    async fn keep_fresh(&self, stop: &CancellationToken) {
        loop {
            self.refresh().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.wake.notified() => {}
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// One turn over all streams.
    pub async fn refresh(&self) {
        futures::future::join_all(self.streams.values().map(|state| self.refresh_stream(state))).await;
    }

    async fn refresh_stream(&self, state: &StreamState) {
        let name = state.stream.name.as_str();
        let trouble = match self.load_newer(state).await {
            Ok(()) => None,
            Err(error) => {
                if state.trouble().as_ref() != Some(&error) {
                    tracing::error!(
                        stream = name,
                        error,
                        "newer version not loaded, the older one stays in service"
                    );
                }
                Some(error)
            }
        };
        let nodes = self.live.status(name).await;
        state.write(|seen| seen.settle(name, nodes, trouble, self.store.now()));
    }

    /// Loads what is newer than what is held; what keeps it from that is told in a sentence.
    async fn load_newer(&self, state: &StreamState) -> Result<(), String> {
        let seen = state.snapshot();
        let full = seen.fully_probed.is_none_or(|probed| self.store.now() - probed >= FULL_EVERY);
        let stream = state.stream.name.as_str();
        if !full && !self.has_successor(stream, &seen).await.map_err(|error| error.to_string())? {
            return seen.told();
        }
        let Search { loaded, failures } =
            self.search(state, seen.held()).await.map_err(|error| error.to_string())?;
        state.write(|seen| {
            seen.fully_probed = Some(self.store.now());
            seen.failures = failures;
            seen.next = loaded.or(seen.next.take());
            seen.told()
        })
    }

    /// True if there is a version after those that are known, sound or not.
    async fn has_successor(&self, stream: &str, seen: &Seen) -> Result<bool, StoreError> {
        let failed = seen.failures.keys().next_back().copied();
        let known = seen.held().map(|held| held.version()).max(failed);
        match self.store.manifest(stream, known.unwrap_or_default().next()).await {
            Ok(manifest) => Ok(manifest.is_some()),
            Err(error) if error.is_damage() => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// Loads the newest version that can be loaded, if it is newer than what is held.
    async fn search(&self, state: &StreamState, held: Option<&Arc<Loaded>>) -> Result<Search, StoreError> {
        let stream = state.stream.name.as_str();
        let known = held.map(|held| held.version());
        let newest = self.store.newest_sound(stream, known).await?;
        let damaged = newest.damaged.into_iter().map(|(version, error)| (version, error.to_string()));
        let mut search = Search { loaded: None, failures: damaged.collect() };
        let mut candidate = newest.sound;
        while let Some(manifest) = candidate.take() {
            if held.is_some_and(|held| !held.is_older_than(&manifest)) {
                break;
            }
            let version = manifest.version;
            let error = match Loaded::read(
                &self.store,
                self.read_rows.clone(),
                manifest,
                &state.views,
                held.map(Arc::as_ref),
            )
            .await
            {
                Ok(loaded) => {
                    search.loaded = Some(Arc::new(loaded));
                    break;
                }
                Err(error) => error,
            };
            search.failures.insert(version, error.to_string());
            if error.is_damage() {
                candidate = self.before(stream, version, &mut search.failures).await?;
            }
        }
        Ok(search)
    }

    /// The newest version before `version` whose manifest can be read.
    async fn before(
        &self,
        stream: &str,
        version: Version,
        failures: &mut BTreeMap<Version, String>,
    ) -> Result<Option<Manifest>, StoreError> {
        let retained = self.store.versions(stream).await?;
        for before in retained.into_iter().rev().filter(|before| *before < version) {
            match self.store.manifest(stream, before).await {
                Ok(Some(manifest)) => return Ok(Some(manifest)),
                Ok(None) => {}
                Err(error) if error.is_damage() => _ = failures.insert(before, error.to_string()),
                Err(error) => return Err(error),
            }
        }
        Ok(None)
    }
}

impl Seen {
    /// The newest version that is loaded.
    fn held(&self) -> Option<&Arc<Loaded>> {
        self.next.as_ref().or(self.current.as_ref())
    }

    /// What keeps a version that is newer than the loaded one from being loaded.
    fn told(&self) -> Result<(), String> {
        let held = self.held().map(|held| held.version());
        match self.failures.iter().next_back().filter(|(version, _)| Some(**version) > held) {
            Some((version, reason)) => Err(format!("version {version} is not served: {reason}")),
            None => Ok(()),
        }
    }

    /// Decides which version is in service, from what the speed layer says.
    fn settle(
        &mut self,
        stream: &str,
        nodes: Result<Vec<LiveStatus>, LiveError>,
        trouble: Option<String>,
        now: Duration,
    ) {
        if let Some(next) = self.next.take() {
            let epoch = Epoch::of(&nodes, Some(&next.manifest.watershed));
            // Before the first version is in service there is nothing better to answer from.
            if epoch == Epoch::Opening && self.current.is_some() {
                self.next = Some(next);
            } else {
                tracing::info!(stream, version = next.version().0, watershed = %next.manifest.watershed, "version in service");
                self.current = Some(next);
            }
        }
        let read = trouble.is_none() || self.current.is_some();
        let watershed = self.current.as_ref().map(|current| &current.manifest.watershed);
        self.readiness = match Epoch::of(&nodes, watershed) {
            _ if !read => Readiness::Unknown,
            Epoch::Ready => Readiness::Live,
            Epoch::Opening => Readiness::Opening,
            Epoch::Away => Readiness::BatchOnly,
        };
        self.trouble = trouble;
        match nodes {
            Ok(nodes) => {
                // A partition that no node reports is still one: without it an answer would look complete.
                for (partition, end) in
                    nodes.iter().fold(Offsets::new(), |end, node| end.furthest(&node.end)).iter()
                {
                    self.end.set(partition, end);
                }
                let held = nodes.iter().fold(Offsets::new(), |held, node| held.furthest(&node.live));
                if !held.is_empty() && self.end.partitions().all(|partition| held.names(partition)) {
                    self.covered_at = Some(now);
                }
                self.live_trouble = nodes.iter().find_map(|node| node.trouble.clone());
                self.nodes = nodes;
            }
            Err(error) => {
                self.live_trouble = Some(error.to_string());
                self.nodes.clear();
            }
        }
    }
}

impl StreamState {
    /// What questions are answered from.
    pub fn current(&self) -> Option<Arc<Loaded>> {
        self.read(|seen| seen.current.clone())
    }

    /// The newest version that is loaded, in service or not.
    pub fn newest(&self) -> Option<Arc<Loaded>> {
        self.read(|seen| seen.next.clone().or_else(|| seen.current.clone()))
    }

    pub fn readiness(&self) -> Readiness {
        self.read(|seen| seen.readiness)
    }

    pub fn nodes(&self) -> Vec<LiveStatus> {
        self.read(|seen| seen.nodes.clone())
    }

    /// The log's end as last heard.
    pub fn end(&self) -> Offsets {
        self.read(|seen| seen.end.clone())
    }

    /// When speed nodes were last seen to hold every partition, by the store's clock.
    pub fn covered_at(&self) -> Option<Duration> {
        self.read(|seen| seen.covered_at)
    }

    /// How near the log's retention is to what the next batch run reads.
    pub fn time_to_loss(&self) -> TimeToLoss {
        let newest = self.newest();
        let needed = newest.map(|newest| newest.manifest.landed());
        let log = self.log.read().expect("no thread panics while it holds this lock");
        log.time_to_loss(needed.as_ref(), Instant::now())
    }

    /// What keeps a newer version from being loaded, if anything.
    pub fn trouble(&self) -> Option<String> {
        self.read(|seen| seen.trouble.clone())
    }

    pub fn live_trouble(&self) -> Option<String> {
        self.read(|seen| seen.live_trouble.clone())
    }

    /// A retained version by number; `None` if there is none.
    pub async fn retained(
        &self,
        streams: &Streams,
        version: Version,
    ) -> Result<Option<Arc<Loaded>>, LoadError> {
        let store = &streams.store;
        let current = self.current();
        if let Some(current) = current.as_ref().filter(|current| current.version() == version) {
            return Ok(Some(current.clone()));
        }
        let mut last = self.retained.lock().await;
        if let Some(last) = last.as_ref().filter(|last| last.version() == version) {
            return Ok(Some(last.clone()));
        }
        let Some(manifest) = store.manifest(&self.stream.name, version).await? else { return Ok(None) };
        let before = last.as_deref().or(current.as_deref());
        let read = Loaded::read(store, streams.read_rows.clone(), manifest, &self.views, before).await;
        match read {
            Ok(loaded) => {
                let loaded = Arc::new(loaded);
                *last = Some(loaded.clone());
                Ok(Some(loaded))
            }
            // Retention may have been faster: then the version is gone, not damaged.
            Err(error) => match store.manifest(&self.stream.name, version).await? {
                Some(_) => Err(error),
                None => Ok(None),
            },
        }
    }

    fn snapshot(&self) -> Seen {
        self.read(Seen::clone)
    }

    fn read<T>(&self, look: impl FnOnce(&Seen) -> T) -> T {
        look(&self.seen.read().expect("no thread panics while it holds this lock"))
    }

    fn write<T>(&self, change: impl FnOnce(&mut Seen) -> T) -> T {
        change(&mut self.seen.write().expect("no thread panics while it holds this lock"))
    }
}
