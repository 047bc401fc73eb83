//! A speed node: all streams of a project, followed, kept safe and answered for.
//!
//! Per stream there is one thread that takes what the log delivers, which the node's threads fold, and one that replays
//! what epochs lack; tasks on the given runtime watch the store and the log's end and write checkpoints. The thread
//! that follows never waits for the store.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::{Notify, Semaphore};
use tokio::task::spawn_blocking;
use watershed_schemas::live::{Glance, LiveError, LiveSource, LiveStatus, Partials, PartialsRequest};
use watershed_schemas::log::Log;
use watershed_schemas::project::Project;
use watershed_store::Store;

use crate::epoch::panic_text;
use crate::folding::Threads;
use crate::partials::{Patience, partials};
use crate::replay::Replayer;
use crate::run::Follower;
use crate::settings::SpeedSettings;
use crate::shared::Shared;
use crate::trouble::Source;
use crate::{known, saving, status, watching};

/// A running node.
pub struct SpeedNode {
    streams: BTreeMap<String, StreamNode>,
    runtime: Handle,
}

/// One stream's threads and tasks.
struct StreamNode {
    shared: Arc<Shared>,
    look: Arc<Notify>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
    /// Held while a reply is made that takes its time.
    patient: Semaphore,
}

/// Replies of a stream that take their time are made so many at once: those who come meanwhile wait for the copies that
/// these make, rather than each in a thread of its own.
const PATIENT_AT_ONCE: usize = 2;

impl SpeedNode {
    /// Starts to follow every stream that has a view. Fails only if no thread can be had: whatever is wrong with
    /// the log or the store is tried again and told in [`LiveStatus::trouble`].
    pub fn start(
        settings: &SpeedSettings,
        project: &Project,
        store: &Store,
        log: &Arc<dyn Log>,
        runtime: Handle,
    ) -> io::Result<SpeedNode> {
        let mut node = SpeedNode { streams: BTreeMap::new(), runtime };
        let threads = Arc::new(Threads::start()?);
        for stream in &project.streams {
            let views = project.views_of(&stream.name);
            if views.is_empty() {
                continue;
            }
            let shared = Arc::new(Shared::new(settings.clone(), stream.clone(), views, store.clone()));
            node.streams
                .insert(stream.name.clone(), StreamNode::start(shared, log, &node.runtime, &threads)?);
        }
        Ok(node)
    }

    /// Looks for versions and intents of a stream at once: for a batch run in the same process.
    pub fn look(&self, stream: &str) {
        if let Some(stream) = self.streams.get(stream) {
            stream.look.notify_one();
        }
    }

    /// Writes last checkpoints, then leaves the groups; takes no longer than [`SpeedSettings::shutdown_limit`] for them.
    /// Without it a restart replays from the checkpoints before.
    pub async fn shutdown(&self) {
        for stream in self.streams.values() {
            stream.shared.leave();
        }
        futures::future::join_all(self.streams.values().map(StreamNode::finish)).await;
    }
}

/// Threads and tasks of a node that is dropped without a shutdown end as after a crash: nothing more is written.
impl Drop for SpeedNode {
    fn drop(&mut self) {
        for stream in self.streams.values() {
            stream.shared.stop();
            stream.tasks.iter().for_each(tokio::task::JoinHandle::abort);
        }
    }
}

impl StreamNode {
    async fn reply(
        &self,
        requests: &[PartialsRequest],
        runtime: &Handle,
    ) -> Result<Vec<Partials>, LiveError> {
        let at_once = || partials(&self.shared, requests, Patience::None);
        if let Some(replies) = at_once() {
            return replies;
        }
        let _turn = self.patient.acquire().await;
        if let Some(replies) = at_once() {
            return replies;
        }
        let (shared, requests) = (self.shared.clone(), requests.to_vec());
        let patient = move || partials(&shared, &requests, Patience::Full);
        let replied = runtime.spawn_blocking(patient).await;
        let replied = replied.map_err(|error| LiveError::Unavailable { reason: error.to_string() })?;
        replied.expect("with patience there is always a reply")
    }

    fn start(
        shared: Arc<Shared>,
        log: &Arc<dyn Log>,
        runtime: &Handle,
        threads: &Arc<Threads>,
    ) -> io::Result<StreamNode> {
        let look = Arc::new(Notify::new());
        let tasks = vec![
            runtime.spawn(known::watch(shared.clone(), look.clone())),
            runtime.spawn(saving::keep_saving(shared.clone())),
            runtime.spawn(watching::watch(shared.clone(), log.clone())),
        ];
        let patient = Semaphore::new(PATIENT_AT_ONCE);
        let node = StreamNode { shared: shared.clone(), look, threads: Mutex::default(), tasks, patient };
        let (announce, announced) = channel();
        let follow = {
            let (shared, log, runtime, threads) =
                (shared.clone(), log.clone(), runtime.clone(), threads.clone());
            move || {
                let (shared, log, runtime) = (shared.clone(), log.clone(), runtime.clone());
                Follower::new(shared, log, runtime, threads.clone(), announce.clone()).follow()
            }
        };
        let replay = {
            let (shared, log, runtime) = (shared.clone(), log.clone(), runtime.clone());
            move || Replayer::new(shared.clone(), log.clone(), runtime.clone()).run(&announced)
        };
        let name = &shared.stream.name;
        let threads = vec![
            spawn(format!("follow {name}"), shared.clone(), follow)?,
            spawn(format!("replay {name}"), shared.clone(), replay)?,
        ];
        *node.threads.lock().unwrap_or_else(PoisonError::into_inner) = threads;
        Ok(node)
    }

    async fn finish(&self) {
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        let joined = spawn_blocking(move || threads.into_iter().for_each(|thread| drop(thread.join()))).await;
        if let Err(error) = joined {
            tracing::error!(stream = self.shared.stream.name, %error, "threads could not be waited for");
        }
        self.tasks.iter().for_each(tokio::task::JoinHandle::abort);
    }
}

/// A thread that begins anew, with nothing in memory, after a panic: as a process would.
fn spawn(name: String, shared: Arc<Shared>, work: impl Fn() + Send + 'static) -> io::Result<JoinHandle<()>> {
    thread::Builder::new().name(name.clone()).spawn(move || {
        while let Err(panic) = catch_unwind(AssertUnwindSafe(&work)) {
            let reason = format!("thread {name} broke off and begins anew: {}", panic_text(panic.as_ref()));
            tracing::error!(stream = shared.stream.name, reason, "speed layer");
            shared.set_trouble(Source::Thread, Some(reason));
            thread::sleep(shared.settings.retry_interval);
        }
    })
}

#[async_trait]
impl LiveSource for SpeedNode {
    async fn partials(&self, request: &PartialsRequest) -> Result<Vec<Partials>, LiveError> {
        let mut replies = self.partials_together(std::slice::from_ref(request)).await?;
        Ok(replies.pop().unwrap_or_default())
    }

    async fn partials_together(&self, requests: &[PartialsRequest]) -> Result<Vec<Vec<Partials>>, LiveError> {
        let Some(first) = requests.first() else { return Ok(Vec::new()) };
        let stream = self.streams.get(&first.stream).filter(|_| {
            // Partitions of another stream are others.
            requests.iter().all(|request| request.stream == first.stream)
        });
        let stream = stream.ok_or_else(|| LiveError::UnknownView { view: first.view.clone() })?;
        let replies = stream.reply(requests, &self.runtime).await;
        Ok(replies?.into_iter().map(|reply| vec![reply]).collect())
    }

    async fn status(&self, stream: &str) -> Result<Vec<LiveStatus>, LiveError> {
        Ok(self.streams.get(stream).map(|stream| status::status(&stream.shared)).into_iter().collect())
    }

    fn glance(&self, stream: &str) -> Option<Glance> {
        let shared = &self.streams.get(stream)?.shared;
        // What was current has moved the states before.
        let (end, current_at_ms) = {
            let progress = shared.progress();
            (progress.end.clone(), progress.current_at_ms)
        };
        Some(Glance { moved: shared.moves.number(), end, current_at_ms })
    }

    fn own_streams(&self) -> Vec<String> {
        self.streams.keys().cloned().collect()
    }
}
