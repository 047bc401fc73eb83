//! Follows a stream's partitions: what is to be done at whatever happens.
//!
//! Guarantee: a partition is followed from exactly where its folds end. When the log does not hold that
//! offset, or delivers another, nothing is folded: the partition waits, says why, and is tried again
//! (invariants `COVER`, `NOTHING_VANISHES`). When the log holds more and delivers nothing of it, for a
//! delivery may be lost with none behind it to show that, it is asked again too.
//!
//! Plain code over values: [`Event`]s in, [`Command`]s out. Whoever carries commands out (a node's
//! thread, or a simulator) does so in their order, and hands back the events that answer them before any
//! other. `now` is the time since some moment that stays the same, on a clock that never goes back.

mod command;
mod event;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use watershed_schemas::log::{LogError, Records};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};
use watershed_schemas::view::View;

pub use self::command::Command;
pub use self::event::Event;
use crate::opening::{self, Found};
use crate::stretch::Refused;
use crate::trouble::Source;
use crate::wanted::Wanted;

/// The pause after a first failure of the log; it doubles up to the retry interval.
pub const FIRST_PAUSE: Duration = Duration::from_millis(20);

/// A log that holds more than was folded and delivers nothing for so many retry intervals is asked again. A
/// connection may take its time.
const PATIENCE: u32 = 10;

/// What is known of a node's partitions.
pub struct Following {
    views: BTreeMap<String, Arc<View>>,
    retry_interval: Duration,
    partitions: BTreeMap<Partition, State>,
    /// Numbers looks, so that an answer to an earlier one is told from the present one's.
    looks: u64,
    wanted: Option<Arc<Wanted>>,
    pause: Duration,
    /// When the log last failed, if nothing has shown since that it answers again.
    failed_at: Option<Duration>,
    commands: Vec<Command>,
}

/// An assigned partition.
enum State {
    /// Being looked up.
    Opening { look: u64 },
    /// Looked up, but it is not known yet what is wanted.
    Found(Found),
    /// To be looked up again at this time.
    Stuck { retry_at: Duration },
    /// Its folds are ready; the log is being asked for what comes next.
    Starting { live: Offset },
    /// Folded up to `live`.
    Open {
        live: Offset,
        /// The log is to be asked for `live` again at this time.
        restart_at: Option<Duration>,
        /// Since when the log is known to hold more, with nothing delivered.
        behind_since: Option<Duration>,
    },
}

impl State {
    fn open(live: Offset) -> State {
        State::Open { live, restart_at: None, behind_since: None }
    }
}

impl Following {
    /// Begins with nothing assigned.
    pub fn new(views: BTreeMap<String, Arc<View>>, retry_interval: Duration) -> Self {
        Following {
            views,
            retry_interval,
            partitions: BTreeMap::new(),
            looks: 0,
            wanted: None,
            pause: FIRST_PAUSE,
            failed_at: None,
            commands: Vec::new(),
        }
    }

    /// Takes in what happened; gives what is to be done, in order.
    #[must_use]
    pub fn on(&mut self, event: Event, now: Duration) -> Vec<Command> {
        match event {
            Event::Subscribed => self.recovered(),
            Event::Assigned(partitions) => self.assigned(partitions),
            Event::Revoked(partitions) => self.revoked(partitions),
            Event::Looked { partition, look, found } => self.looked(partition, look, found, now),
            Event::Wanted(wanted) => self.heed(wanted, now),
            Event::Started { partition, result } => self.started(partition, result, now),
            Event::Delivered(runs) => self.delivered(runs, now),
            Event::Folded { partition, live } => self.folded(partition, live),
            Event::Refused { partition, refused } => self.refused(partition, &refused, now),
            Event::Broken { partition, reason } => self.stick(partition, reason, now),
            Event::OutOfRange { partition, needed, held } => self.out_of_range(partition, needed, held, now),
            Event::Ends(ends) => self.ends(&ends, now),
            // Silence alone does not show that the log is there.
            Event::Idle { answered_at } => {
                if self.failed_at.is_some_and(|failed_at| failed_at < answered_at) {
                    self.recovered();
                }
            }
            Event::Failed(error) => self.failed(&error, now),
            Event::Tick => {}
        }
        for partition in self.partitions.keys().copied().collect::<Vec<_>>() {
            self.tend(partition, now);
        }
        std::mem::take(&mut self.commands)
    }

    /// What was last heeded.
    pub fn wanted(&self) -> Option<&Arc<Wanted>> {
        self.wanted.as_ref()
    }

    /// True while something is awaited that does not come from the log.
    pub fn is_opening(&self) -> bool {
        self.partitions.values().any(|state| match state {
            State::Opening { .. } | State::Found(_) | State::Starting { .. } => true,
            State::Stuck { .. } | State::Open { .. } => false,
        })
    }

    /// True when all partitions are folded up to these offsets.
    pub fn has_reached(&self, ends: &Offsets) -> bool {
        self.partitions.iter().all(|(partition, state)| match state {
            State::Open { live, .. } => *live >= ends.get(*partition),
            State::Opening { .. } | State::Found(_) | State::Stuck { .. } | State::Starting { .. } => false,
        })
    }

    fn assigned(&mut self, partitions: Vec<Partition>) {
        for partition in partitions {
            self.commands.push(Command::Await(partition));
            self.look(partition);
        }
    }

    fn revoked(&mut self, partitions: Vec<Partition>) {
        self.partitions.retain(|partition, _| !partitions.contains(partition));
        self.commands.push(Command::Release(partitions));
    }

    fn look(&mut self, partition: Partition) {
        self.looks += 1;
        let look = self.looks;
        self.partitions.insert(partition, State::Opening { look });
        self.commands.push(Command::Look { partition, look });
    }

    fn looked(&mut self, partition: Partition, look: u64, found: Result<Found, String>, now: Duration) {
        let state = self.partitions.get_mut(&partition);
        let Some(state) =
            state.filter(|state| matches!(state, State::Opening { look: last } if *last == look))
        else {
            // Of an assignment that is over.
            return;
        };
        match found {
            Ok(found) => *state = State::Found(found),
            Err(reason) => self.stick(partition, reason, now),
        }
    }

    fn heed(&mut self, wanted: Arc<Wanted>, now: Duration) {
        for state in self.partitions.values_mut() {
            if let State::Stuck { retry_at } = state {
                // Another watershed may be within the log's reach.
                *retry_at = now;
            }
        }
        self.wanted = Some(wanted.clone());
        self.commands.extend([Command::Heed(wanted), Command::Replay]);
    }

    fn open(&mut self, found: Found, wanted: &Wanted, now: Duration) {
        let partition = found.partition;
        match opening::open(found, wanted, &self.views) {
            Ok(epochs) => {
                self.partitions.insert(partition, State::Starting { live: epochs.live() });
                self.commands.push(Command::Open(Box::new(epochs)));
            }
            Err(unopened) => self.stick(partition, unopened.to_string(), now),
        }
    }

    fn started(&mut self, partition: Partition, result: Result<(), LogError>, now: Duration) {
        let Some(state) = self.partitions.get_mut(&partition) else { return };
        match (state, result) {
            (State::Starting { live }, Ok(())) => {
                let open = State::open(*live);
                self.partitions.insert(partition, open);
                self.commands.push(Command::Replay);
            }
            (State::Starting { .. }, Err(error)) => self.stick(partition, error.to_string(), now),
            // What is folded stays good, whether the log can be asked or not.
            (State::Open { restart_at, .. }, result) => {
                *restart_at = result.is_err().then(|| now + self.retry_interval);
                let trouble = result.err().map(|error| error.to_string());
                self.commands.push(Command::Tell(Source::Partition(partition), trouble));
            }
            (State::Opening { .. } | State::Found(_) | State::Stuck { .. }, _) => {}
        }
    }

    fn delivered(&mut self, runs: Vec<Records>, now: Duration) {
        if self.failed_at.is_some() {
            self.recovered();
        }
        let mut next = Vec::with_capacity(runs.len());
        for run in runs {
            let partition = Partition(run.partition);
            let Some(State::Open { live, restart_at: None, .. }) = self.partitions.get(&partition) else {
                // Of an assignment that is over, or asked for anew.
                continue;
            };
            match run.range_at(*live) {
                Ok(_) => next.push(run),
                Err(elsewhere) => self.refused(partition, &elsewhere.into(), now),
            }
        }
        if !next.is_empty() {
            self.commands.push(Command::Fold(next));
        }
    }

    fn folded(&mut self, partition: Partition, until: Offset) {
        if let Some(State::Open { live, behind_since, .. }) = self.partitions.get_mut(&partition) {
            (*live, *behind_since) = (until, None);
        }
    }

    /// A partition that ends where it was folded to lacks nothing; patience with the others begins.
    fn ends(&mut self, ends: &Offsets, now: Duration) {
        for (partition, state) in &mut self.partitions {
            if let State::Open { live, behind_since, .. } = state {
                let behind = ends.get(*partition) > *live;
                *behind_since = behind.then(|| behind_since.unwrap_or(now));
            }
        }
    }

    /// The log delivered something else than what comes next. Nothing was folded; it is asked again.
    fn refused(&mut self, partition: Partition, refused: &Refused, now: Duration) {
        if let Some(State::Open { restart_at, .. }) = self.partitions.get_mut(&partition) {
            tracing::error!(%partition, %refused, "a delivery was not folded");
            *restart_at = Some(now + self.retry_interval);
            self.commands.push(Command::Tell(Source::Partition(partition), Some(refused.to_string())));
        }
    }

    /// The log does not hold what comes next. If it does after all, it is asked again; if not, the partition is
    /// opened anew as soon as that is possible without a hole.
    fn out_of_range(&mut self, partition: Partition, needed: Offset, held: OffsetRange, now: Duration) {
        match self.partitions.get_mut(&partition) {
            Some(State::Open { live, restart_at, .. }) if opening::reaches(held, *live) => {
                tracing::warn!(%partition, %live, %held, "the log is asked again");
                *restart_at = Some(now + self.retry_interval);
            }
            Some(State::Open { .. }) => {
                let reason = LogError::OutOfRange { partition, needed, held }.to_string();
                self.stick(partition, reason, now);
            }
            Some(State::Opening { .. } | State::Found(_) | State::Stuck { .. } | State::Starting { .. })
            | None => {}
        }
    }

    fn stick(&mut self, partition: Partition, reason: String, now: Duration) {
        if let Some(state) = self.partitions.get_mut(&partition) {
            *state = State::Stuck { retry_at: now + self.retry_interval };
            self.commands.push(Command::Stick { partition, reason });
        }
    }

    fn failed(&mut self, error: &LogError, now: Duration) {
        self.failed_at = Some(now);
        self.commands.push(Command::Tell(Source::Log, Some(error.to_string())));
        self.commands.push(Command::Pause(self.pause));
        self.pause = (self.pause * 2).min(self.retry_interval);
    }

    fn recovered(&mut self) {
        self.pause = FIRST_PAUSE;
        self.failed_at = None;
        self.commands.push(Command::Tell(Source::Log, None));
    }

    /// Does what is due for one partition.
    fn tend(&mut self, partition: Partition, now: Duration) {
        let patience = self.retry_interval * PATIENCE;
        let Some(state) = self.partitions.get_mut(&partition) else { return };
        match state {
            State::Stuck { retry_at } if *retry_at <= now => self.look(partition),
            State::Open { live, restart_at, behind_since } if restart_at.is_some_and(|at| at <= now) => {
                (*restart_at, *behind_since) = (None, None);
                self.commands.push(Command::Start { partition, live: *live });
            }
            State::Open { live, restart_at: None, behind_since }
                if behind_since.is_some_and(|since| now - since >= patience) =>
            {
                tracing::warn!(%partition, %live, "the log holds more and delivers nothing: it is asked again");
                *behind_since = None;
                self.commands.push(Command::Start { partition, live: *live });
            }
            State::Found(_) => {
                let Some(wanted) = self.wanted.clone() else { return };
                if let State::Found(found) = std::mem::replace(state, State::Stuck { retry_at: now }) {
                    self.open(found, &wanted, now);
                }
            }
            State::Opening { .. } | State::Stuck { .. } | State::Starting { .. } | State::Open { .. } => {}
        }
    }
}
