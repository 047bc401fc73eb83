//! What the threads and tasks of one stream share.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use watershed_schemas::decode::DeadLetter;
use watershed_schemas::offsets::{Offsets, Partition};
use watershed_schemas::stream::Stream;
use watershed_schemas::view::View;
use watershed_store::Store;

use crate::budgets::{Budgets, ViewBudget};
use crate::held::{Broken, Held, Moves};
use crate::settings::SpeedSettings;
use crate::trouble::Source;
use crate::wanted::Wanted;

/// One stream on this node.
pub(crate) struct Shared {
    pub settings: SpeedSettings,
    pub stream: Arc<Stream>,
    pub views: BTreeMap<String, Arc<View>>,
    pub budgets: Budgets,
    pub store: Store,
    pub moves: Moves,
    began: Instant,
    partitions: RwLock<BTreeMap<Partition, Slot>>,
    wanted: Mutex<Option<Arc<Wanted>>>,
    progress: Mutex<Progress>,
    troubles: Mutex<BTreeMap<Source, String>>,
    /// Partitions that are to be opened anew, and why.
    suspicions: Mutex<Vec<(Partition, String)>>,
    stopping: AtomicBool,
    /// It stops in peace: what is folded is saved, as it is not after a crash.
    leaving: AtomicBool,
    /// When all changes were last safe in the store; 0 before.
    saved_at_ms: AtomicI64,
    /// Taken while checkpoints are written, so that two writers do not prune each other's.
    pub saving: tokio::sync::Mutex<()>,
}

/// An assigned partition.
#[derive(Clone)]
pub(crate) enum Slot {
    Opening,
    /// Cannot be followed, for this reason; tried again and again.
    Stuck(String),
    Open(Arc<Held>),
}

/// Counters and positions that status and replies tell.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    pub end: Offsets,
    /// When `end` was asked for, on the wall clock and on the node's own.
    pub end_at_ms: i64,
    pub answered_at: Duration,
    pub current_at_ms: i64,
    pub records: u64,
    pub dead_letters: u64,
    pub reasons: BTreeMap<String, u64>,
}

impl Shared {
    pub fn new(settings: SpeedSettings, stream: Arc<Stream>, views: Vec<Arc<View>>, store: Store) -> Self {
        let budget = |view: &Arc<View>| ViewBudget::new(view.limits.or(settings.limits));
        let budgets = views.iter().map(|view| (view.name.clone(), budget(view))).collect();
        Shared {
            settings,
            budgets,
            stream,
            views: views.into_iter().map(|view| (view.name.clone(), view)).collect(),
            store,
            moves: Moves::default(),
            began: Instant::now(),
            partitions: RwLock::default(),
            wanted: Mutex::default(),
            progress: Mutex::default(),
            troubles: Mutex::default(),
            suspicions: Mutex::default(),
            stopping: AtomicBool::new(false),
            leaving: AtomicBool::new(false),
            saved_at_ms: AtomicI64::new(0),
            saving: tokio::sync::Mutex::new(()),
        }
    }

    /// The time since this node began: `now` of all that is decided here, for it never goes back.
    pub fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub fn stop(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Stops once all that is folded is saved.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        self.stop();
    }

    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// A copy of the map; the partitions themselves are shared.
    pub fn partitions(&self) -> BTreeMap<Partition, Slot> {
        self.partitions.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn open_partitions(&self) -> Vec<(Partition, Arc<Held>)> {
        let partitions = self.partitions().into_iter();
        let open = partitions.filter_map(|(partition, slot)| match slot {
            Slot::Open(held) => Some((partition, held)),
            Slot::Opening | Slot::Stuck(_) => None,
        });
        open.collect()
    }

    /// The folds of an open partition. One that is not open is as good as broken.
    pub fn held(&self, partition: Partition) -> Result<Arc<Held>, Broken> {
        match self.partitions.read().unwrap_or_else(PoisonError::into_inner).get(&partition) {
            Some(Slot::Open(held)) => Ok(held.clone()),
            Some(Slot::Opening | Slot::Stuck(_)) | None => Err(Broken),
        }
    }

    pub fn set_partition(&self, partition: Partition, slot: Slot) {
        let trouble = match &slot {
            Slot::Stuck(reason) => Some(reason.clone()),
            Slot::Opening | Slot::Open(_) => None,
        };
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        self.moves.count();
        partitions.insert(partition, slot);
        drop(partitions);
        self.set_trouble(Source::Partition(partition), trouble);
    }

    pub fn remove_partition(&self, partition: Partition) -> Option<Arc<Held>> {
        let mut partitions = self.partitions.write().unwrap_or_else(PoisonError::into_inner);
        self.moves.count();
        let removed = partitions.remove(&partition);
        drop(partitions);
        self.set_trouble(Source::Partition(partition), None);
        self.set_trouble(Source::Replay(partition), None);
        match removed {
            Some(Slot::Open(held)) => Some(held),
            Some(Slot::Opening | Slot::Stuck(_)) | None => None,
        }
    }

    /// True while these are the folds that answer for the partition.
    pub fn holds(&self, partition: Partition, held: &Held) -> bool {
        let partitions = self.partitions.read().unwrap_or_else(PoisonError::into_inner);
        matches!(partitions.get(&partition), Some(Slot::Open(open)) if std::ptr::eq(&**open, held))
    }

    /// The view of this name: the project's, or a definition that is a view's no more.
    pub fn view(&self, name: &str) -> Option<Arc<View>> {
        match self.wanted() {
            Some(wanted) => wanted.view(&self.views, name).cloned(),
            None => self.views.get(name).cloned(),
        }
    }

    pub fn wanted(&self) -> Option<Arc<Wanted>> {
        lock(&self.wanted).clone()
    }

    pub fn set_wanted(&self, wanted: Wanted) {
        let mut current = lock(&self.wanted);
        if current.as_deref() != Some(&wanted) {
            self.moves.count();
            *current = Some(Arc::new(wanted));
        }
    }

    pub fn progress(&self) -> MutexGuard<'_, Progress> {
        lock(&self.progress)
    }

    pub fn count(&self, records: usize, dead_letters: &[DeadLetter]) {
        let mut progress = self.progress();
        progress.records += records as u64;
        progress.dead_letters += dead_letters.len() as u64;
        for letter in dead_letters {
            *progress.reasons.entry(letter.kind.name().to_string()).or_default() += 1;
        }
    }

    /// Notes or clears a trouble; says so in the log when it changes.
    pub fn set_trouble(&self, source: Source, trouble: Option<String>) {
        let mut troubles = lock(&self.troubles);
        if troubles.get(&source) == trouble.as_ref() {
            return;
        }
        let stream = &self.stream.name;
        match trouble {
            Some(trouble) => {
                tracing::warn!(stream, trouble, "speed layer in trouble");
                troubles.insert(source, trouble);
            }
            None => {
                tracing::info!(stream, ?source, "trouble is over");
                troubles.remove(&source);
            }
        }
    }

    /// What the log was found to be speaks against what is folded of it.
    pub fn suspect(&self, suspicions: Vec<(Partition, String)>) {
        lock(&self.suspicions).extend(suspicions);
    }

    /// Each suspicion once.
    pub fn take_suspicions(&self) -> Vec<(Partition, String)> {
        std::mem::take(&mut lock(&self.suspicions))
    }

    /// What is wrong by where it comes from.
    pub fn troubles(&self) -> BTreeMap<Source, String> {
        lock(&self.troubles).clone()
    }

    pub fn saved_at_ms(&self) -> Option<i64> {
        let saved_at = self.saved_at_ms.load(Ordering::Relaxed);
        (saved_at != 0).then_some(saved_at)
    }

    pub fn set_saved_at_ms(&self, now_ms: i64) {
        self.saved_at_ms.store(now_ms, Ordering::Relaxed);
    }
}

/// Values behind these locks are whole after every statement, so a panic elsewhere does not spoil them.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The wall clock: for leases, ages and freshness, never inside a fold (invariant `REPLAY`).
pub(crate) fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
