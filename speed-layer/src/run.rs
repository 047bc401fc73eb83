//! Follows a stream's log: one thread that decodes and folds whatever the group gives it.
//!
//! Guarantee: a partition is followed from exactly where its folds end. When the log does not hold that
//! offset, or delivers another, nothing is folded: the partition waits, says why, and is tried again
//! (invariants `COVER`, `NOTHING_VANISHES`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use watershed_schemas::decode::Decoder;
use watershed_schemas::log::{Delivery, Log, LogError, Records, Subscription};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};

use crate::opening::{self, Found};
use crate::saving;
use crate::shared::{Broken, Held, Shared, Slot, Source, now_ms};
use crate::stretch::{Refused, Stretch};
use crate::wanted::Wanted;

/// The pause after a first failure of the log; it doubles up to the retry interval.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
/// How long one poll waits while partitions are being opened: what opens them arrives by another way.
const OPENING_POLL: Duration = Duration::from_millis(5);

pub(crate) struct Follower {
    shared: Arc<Shared>,
    log: Arc<dyn Log>,
    runtime: Handle,
    decoder: Decoder,
    followed: BTreeMap<Partition, Followed>,
    assignments: u64,
    wanted: Option<Arc<Wanted>>,
    found: Receiver<Looked>,
    looked: Sender<Looked>,
    /// Tells the replaying thread that there may be something for it.
    replays: Sender<()>,
    pause: Duration,
    /// When the log last failed, if nothing has shown since that it answers again.
    failed_at_ms: Option<i64>,
}

/// An assigned partition, as this thread knows it.
struct Followed {
    /// Tells this assignment from earlier ones of the same partition.
    assignment: u64,
    state: State,
}

enum State {
    /// Being looked up.
    Opening,
    /// Looked up, but it is not known yet what is wanted.
    Found(Found),
    /// To be looked up again at this time.
    Stuck(Instant),
    Open {
        held: Arc<Held>,
        live: Offset,
        /// The log is to be asked for `live` again at this time.
        restart: Option<Instant>,
    },
}

/// What a look at a partition brought.
struct Looked {
    assignment: u64,
    partition: Partition,
    found: Result<Found, String>,
}

impl Follower {
    /// Begins with nothing assigned, whatever a follower before it had.
    pub fn new(shared: Arc<Shared>, log: Arc<dyn Log>, runtime: Handle, replays: Sender<()>) -> Self {
        for partition in shared.partitions().into_keys() {
            shared.remove_partition(partition);
        }
        let fields: BTreeSet<&str> = shared.views.values().flat_map(|view| view.fields_read()).collect();
        let decoder = Decoder::new(&shared.stream, &fields.into_iter().collect::<Vec<_>>());
        let (looked, found) = channel();
        Follower {
            decoder,
            shared,
            log,
            runtime,
            followed: BTreeMap::new(),
            assignments: 0,
            wanted: None,
            found,
            looked,
            replays,
            pause: FIRST_PAUSE,
            failed_at_ms: None,
        }
    }

    /// Runs until the node stops.
    pub fn follow(&mut self) {
        let Some(mut subscription) = self.subscribe() else { return };
        while !self.shared.is_stopping() {
            self.attend(subscription.as_mut());
            let timeout = if self.is_opening() { OPENING_POLL } else { self.shared.settings.poll_timeout };
            match subscription.poll(self.shared.settings.poll_records, timeout) {
                Ok(delivery) => self.take(delivery),
                Err(LogError::OutOfRange { partition, needed, held }) => {
                    self.out_of_range(partition, needed, held)
                }
                Err(error) => self.failed(&error),
            }
        }
    }

    fn subscribe(&mut self) -> Option<Box<dyn Subscription>> {
        let group = format!("{}-{}", self.shared.settings.group, self.shared.stream.name);
        while !self.shared.is_stopping() {
            match self.log.subscribe(&self.shared.stream.topic, &group) {
                Ok(subscription) => {
                    self.recovered();
                    return Some(subscription);
                }
                Err(error) => self.failed(&error),
            }
        }
        None
    }

    fn take(&mut self, delivery: Delivery) {
        if self.shared.is_stopping() {
            // Whoever stops the node decides what is saved.
            return;
        }
        match delivery {
            Delivery::Records(records) => {
                self.recovered();
                self.fold(&records);
                self.note_current();
            }
            Delivery::Assigned(partitions) => {
                partitions.into_iter().for_each(|partition| self.assign(partition))
            }
            Delivery::Revoked(partitions) => self.revoke(partitions),
            Delivery::Idle => {
                // Silence alone does not show that the log is there.
                let end_at_ms = self.shared.progress().end_at_ms;
                if self.failed_at_ms.is_some_and(|failed_at_ms| failed_at_ms < end_at_ms) {
                    self.recovered();
                }
                self.note_current();
            }
        }
    }

    fn fold(&mut self, records: &Records) {
        let partition = Partition(records.partition);
        let Some(Followed { state: State::Open { held, live, restart: restart @ None }, .. }) =
            self.followed.get_mut(&partition)
        else {
            // Of an assignment that is over, or asked for anew.
            return;
        };
        let range = OffsetRange::new(*live, Offset(records.position));
        let decoded = self.decoder.decode(records);
        let stretch = Stretch::new(partition, range, &decoded.events);
        match stretch
            .and_then(|stretch| held.write().map(|mut epochs| epochs.fold(&stretch)).unwrap_or(Ok(())))
        {
            Ok(()) => {
                *live = range.until;
                self.shared.count(records.len(), &decoded.dead_letters);
            }
            Err(refused) => {
                *restart = Some(Instant::now() + self.shared.settings.retry_interval);
                self.refused(&refused);
            }
        }
    }

    /// The log delivered something else than what comes next. Nothing was folded; it is asked again.
    fn refused(&mut self, refused: &Refused) {
        tracing::error!(stream = self.shared.stream.name, %refused, "a delivery was not folded");
        self.shared.set_trouble(Source::Log, Some(refused.to_string()));
        self.failed_at_ms = Some(now_ms());
    }

    fn assign(&mut self, partition: Partition) {
        tracing::info!(stream = self.shared.stream.name, %partition, "partition assigned");
        self.shared.set_partition(partition, Slot::Opening);
        self.look(partition);
    }

    fn revoke(&mut self, partitions: Vec<Partition>) {
        let mut revoked = Vec::new();
        for partition in partitions {
            tracing::info!(stream = self.shared.stream.name, %partition, "partition revoked");
            self.followed.remove(&partition);
            revoked.extend(self.shared.remove_partition(partition).map(|held| (partition, held)));
        }
        let (shared, limit) = (self.shared.clone(), self.shared.settings.shutdown_limit);
        self.runtime.spawn(async move { saving::save_all(&shared, revoked, limit).await });
    }

    /// Asks the log and the store, beside this thread, what there is of a partition.
    fn look(&mut self, partition: Partition) {
        self.assignments += 1;
        let assignment = self.assignments;
        self.followed.insert(partition, Followed { assignment, state: State::Opening });
        let (shared, log, looked) = (self.shared.clone(), self.log.clone(), self.looked.clone());
        self.runtime.spawn(async move {
            let found = look(&shared, log, partition).await;
            // Nobody hears it if the node stops.
            let _ = looked.send(Looked { assignment, partition, found });
        });
    }

    /// Whatever came by other ways than the log.
    fn attend(&mut self, subscription: &mut dyn Subscription) {
        while let Ok(Looked { assignment, partition, found }) = self.found.try_recv() {
            let followed =
                self.followed.get_mut(&partition).filter(|followed| followed.assignment == assignment);
            match (followed, found) {
                (Some(followed), Ok(found)) => followed.state = State::Found(found),
                (Some(_), Err(reason)) => self.stick(partition, reason),
                (None, _) => {}
            }
        }
        self.heed_wanted();
        for partition in self.followed.keys().copied().collect::<Vec<_>>() {
            self.tend(partition, subscription);
        }
    }

    /// Opens and closes epochs as the store's news demand.
    fn heed_wanted(&mut self) {
        let wanted = self.shared.wanted();
        let same = match (&wanted, &self.wanted) {
            (Some(new), Some(old)) => Arc::ptr_eq(new, old),
            (new, _) => new.is_none(),
        };
        if same {
            return;
        }
        self.wanted = wanted;
        let Some(wanted) = &self.wanted else { return };
        for followed in self.followed.values_mut() {
            match &mut followed.state {
                State::Open { held, .. } => {
                    if let Ok(mut epochs) = held.write() {
                        opening::complete(&mut epochs, wanted, &self.shared.views);
                    }
                }
                // Another watershed may be within the log's reach.
                State::Stuck(retry_at) => *retry_at = Instant::now(),
                State::Opening | State::Found(_) => {}
            }
        }
        let _ = self.replays.send(());
    }

    /// Does what is due for one partition.
    fn tend(&mut self, partition: Partition, subscription: &mut dyn Subscription) {
        let Some(followed) = self.followed.get_mut(&partition) else { return };
        match &mut followed.state {
            State::Opening => {}
            State::Stuck(retry_at) => {
                if *retry_at <= Instant::now() {
                    self.look(partition);
                }
            }
            State::Found(_) => {
                let Some(wanted) = self.wanted.clone() else { return };
                if let State::Found(found) = std::mem::replace(&mut followed.state, State::Opening) {
                    self.open(found, &wanted, subscription);
                }
            }
            State::Open { held, live, restart } => {
                if held.is_broken() {
                    self.stick(partition, Broken.to_string());
                } else if restart.is_some_and(|at| at <= Instant::now()) {
                    // What is folded stays good, whether the log can be asked or not.
                    let started = subscription.start(&Offsets::from_iter([(partition, *live)]));
                    *restart = started.is_err().then(|| Instant::now() + self.shared.settings.retry_interval);
                    let trouble = started.err().map(|error| error.to_string());
                    self.shared.set_trouble(Source::Partition(partition), trouble);
                }
            }
        }
    }

    fn open(&mut self, found: Found, wanted: &Wanted, subscription: &mut dyn Subscription) {
        let partition = found.partition;
        let epochs = match opening::open(found, wanted, &self.shared.views) {
            Ok(epochs) => epochs,
            Err(unopened) => return self.stick(partition, unopened.to_string()),
        };
        let live = epochs.live();
        if let Err(error) = subscription.start(&Offsets::from_iter([(partition, live)])) {
            return self.stick(partition, error.to_string());
        }
        tracing::info!(stream = self.shared.stream.name, %partition, %live, missing = ?epochs.missing(), "partition opened");
        let held = Held::new(epochs);
        self.shared.set_partition(partition, Slot::Open(held.clone()));
        if let Some(followed) = self.followed.get_mut(&partition) {
            followed.state = State::Open { held, live, restart: None };
        }
        let _ = self.replays.send(());
    }

    /// The log does not hold what comes next. If it does after all, it is asked again; if not, the partition is
    /// opened anew as soon as that is possible without a hole.
    fn out_of_range(&mut self, partition: Partition, needed: Offset, log: OffsetRange) {
        let reason = LogError::OutOfRange { partition, needed, held: log }.to_string();
        let retry_at = Instant::now() + self.shared.settings.retry_interval;
        match self.followed.get_mut(&partition).map(|followed| &mut followed.state) {
            Some(State::Open { live, restart, .. }) if opening::reaches(log, *live) => {
                tracing::warn!(stream = self.shared.stream.name, reason, "the log is asked again");
                *restart = Some(retry_at);
            }
            Some(State::Open { .. }) => self.stick(partition, reason),
            Some(State::Opening | State::Found(_) | State::Stuck(_)) | None => {}
        }
    }

    fn stick(&mut self, partition: Partition, reason: String) {
        let retry_at = Instant::now() + self.shared.settings.retry_interval;
        if let Some(followed) = self.followed.get_mut(&partition) {
            followed.state = State::Stuck(retry_at);
            self.shared.set_partition(partition, Slot::Stuck(reason));
        }
    }

    fn is_opening(&self) -> bool {
        self.followed.values().any(|followed| matches!(followed.state, State::Opening | State::Found(_)))
    }

    /// Notes when this node has folded all that the log held at some moment. Only the log's end says what it
    /// held: silence may also mean that nothing comes through.
    fn note_current(&self) {
        let mut progress = self.shared.progress();
        let at_end = self.followed.iter().all(|(partition, followed)| match &followed.state {
            State::Open { live, .. } => *live >= progress.end.get(*partition),
            State::Opening | State::Found(_) | State::Stuck(_) => false,
        });
        if at_end {
            progress.current_at_ms = progress.current_at_ms.max(progress.end_at_ms);
        }
    }

    fn failed(&mut self, error: &LogError) {
        self.shared.set_trouble(Source::Log, Some(error.to_string()));
        self.failed_at_ms = Some(now_ms());
        let until = Instant::now() + self.pause;
        while !self.shared.is_stopping() && Instant::now() < until {
            thread::sleep(FIRST_PAUSE);
        }
        self.pause = (self.pause * 2).min(self.shared.settings.retry_interval);
    }

    fn recovered(&mut self) {
        self.pause = FIRST_PAUSE;
        self.failed_at_ms = None;
        self.shared.set_trouble(Source::Log, None);
    }
}

async fn look(shared: &Arc<Shared>, log: Arc<dyn Log>, partition: Partition) -> Result<Found, String> {
    let topic = shared.stream.topic.clone();
    let bounds = spawn_blocking(move || log.bounds(&topic)).await.map_err(|error| error.to_string())?;
    let bounds = bounds.map_err(|error| error.to_string())?;
    // An answer about the topic may leave a partition out for a moment: an error, never news.
    let held = bounds.iter().find(|(named, _)| *named == partition).map(|(_, held)| *held);
    let held =
        held.ok_or_else(|| format!("partition {partition} is assigned, but the log does not name it"))?;
    let checkpoints =
        saving::load(shared, partition).await.map_err(|error| format!("checkpoints: {error}"))?;
    Ok(Found { partition, held, checkpoints })
}
