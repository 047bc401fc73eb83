//! One partition's folds, of all epochs, in step.
//!
//! Guarantee: whatever sequence of openings, folds, replays and forgettings was accepted, every
//! fold's span says exactly which records its states hold (invariant `COVER`). What would break that is
//! refused and changes nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use watershed_schemas::identity::{Fingerprint, LogIdentity, TopicId};
use watershed_schemas::invariants;
use watershed_schemas::log::NotNext;
use watershed_schemas::offsets::{Offset, OffsetRange, Partition};
use watershed_schemas::view::View;

use crate::budgets::Budgets;
use crate::checkpoint::{Chain, Checkpoint};
use crate::epoch::{Epoch, Fold, FoldKey, Span};
use crate::stretch::{Refused, Stretch};

/// All epochs' folds of one partition and the offset up to which the log was followed.
#[derive(Debug)]
pub struct PartitionEpochs {
    partition: Partition,
    /// The log's start as this partition's origin epochs have it.
    origin: Offset,
    live: Offset,
    /// The log that is followed: its topic's id, and the last record below `live`, as far as they are known.
    log: LogIdentity,
    folds: BTreeMap<FoldKey, Fold>,
    budgets: Budgets,
    /// Grows with every change; 0 is what a checkpoint gave.
    revision: u64,
    /// What is written down of it.
    chain: Chain,
}

impl PartitionEpochs {
    /// A partition that will be followed from `live` on.
    pub fn new(partition: Partition, origin: Offset, live: Offset) -> Self {
        PartitionEpochs {
            partition,
            origin,
            live,
            log: LogIdentity::default(),
            folds: BTreeMap::new(),
            budgets: Budgets::new(),
            revision: 1,
            chain: Chain::default(),
        }
    }

    /// A partition as a checkpoint has it.
    pub(crate) fn restored(partition: Partition, checkpoint: Checkpoint) -> Self {
        let Checkpoint { origin, live, log, folds, chain } = checkpoint;
        for fold in folds.values() {
            assert!(
                fold.span().is_sound(live),
                "invariant {}: {:?} at {live}",
                invariants::COVER,
                fold.span()
            );
        }
        let budgets = Budgets::new();
        PartitionEpochs { partition, origin, live, log, folds, budgets, revision: 0, chain }
    }

    /// The partition under budgets. What its folds hold too much is told apart no more.
    pub fn within(mut self, budgets: &Budgets) -> Self {
        self.budgets = budgets.clone();
        for (key, fold) in &mut self.folds {
            if let Some(budget) = budgets.get(&key.view) {
                self.revision += u64::from(fold.limit(&budget.of(&key.epoch)));
            }
        }
        self
    }

    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// The next offset to be folded.
    pub fn live(&self) -> Offset {
        self.live
    }

    pub fn origin(&self) -> Offset {
        self.origin
    }

    /// What the log that is folded here can be recognised by.
    pub fn log(&self) -> &LogIdentity {
        &self.log
    }

    /// The topic that is followed from now on has this id.
    pub fn follow(&mut self, topic_id: Option<TopicId>) {
        self.log.topic_id = topic_id;
    }

    /// What was folded last ended with this record.
    pub fn remember(&mut self, last: Option<Fingerprint>) {
        self.log.last_records.extend(last.map(|last| (self.partition, last)));
    }

    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// True when a fold holds more than it would had it just been opened here: a checkpoint was gone on with.
    pub fn is_resumed(&self) -> bool {
        self.folds.values().any(|fold| fold.span() != Span::opening(fold.span().from, self.live))
    }

    pub fn folds(&self) -> &BTreeMap<FoldKey, Fold> {
        &self.folds
    }

    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    pub fn chain_mut(&mut self) -> &mut Chain {
        &mut self.chain
    }

    /// Gathers what has changed, for a [`Snapshot`](crate::checkpoint::Snapshot) that is taken before anything else
    /// happens.
    pub fn cut(&mut self) {
        self.chain.note(self.folds.iter_mut().map(|(key, fold)| (key.clone(), fold.take_changes())));
    }

    /// Opens a fold beside the others. What lies between its watershed and the live offset it lacks, until
    /// it is replayed. A fold that is open stays as it is.
    pub fn open(&mut self, key: FoldKey, view: &Arc<View>) {
        assert_eq!(key.view, view.name, "a fold is of the view that its key names");
        let span = Span::opening(key.epoch.from(self.partition, self.origin), self.live);
        let budget = self.budgets.get(&key.view).map(|budget| budget.of(&key.epoch));
        self.folds.entry(key).or_insert_with(|| {
            self.revision += 1;
            let mut fold = Fold::open(view.clone(), span);
            if let Some(budget) = budget {
                fold.limit(&budget);
            }
            fold
        });
    }

    /// Takes over another knowledge of where the log began. A fold from the old beginning is no fold from the new one:
    /// it goes, and what is wanted of it is opened anew.
    pub fn move_origin(&mut self, origin: Offset) {
        if self.origin != origin {
            self.forget(|key| key.epoch != Epoch::Origin);
            self.origin = origin;
            self.revision += 1;
        }
    }

    /// Forgets every fold that `keep` does not want.
    pub fn forget(&mut self, keep: impl Fn(&FoldKey) -> bool) {
        let before = self.folds.len();
        self.folds.retain(|key, _| keep(key));
        self.revision += u64::from(before != self.folds.len());
    }

    /// Folds what comes next in the log into every epoch: only records at or above its watershed are an
    /// epoch's own. The stretch must begin at the live offset.
    pub fn fold(&mut self, stretch: &Stretch) -> Result<(), Refused> {
        self.check(stretch)?;
        let range = stretch.range();
        if range.from != self.live {
            return Err(NotNext { partition: self.partition, expected: self.live, found: range }.into());
        }
        for fold in self.folds.values_mut() {
            fold.extend(stretch);
        }
        self.tell_overflow();
        self.live = range.until;
        self.revision += 1;
        Ok(())
    }

    /// What epochs lack, the shortest range first: the epoch that is nearest to being ready.
    pub fn missing(&self) -> Vec<OffsetRange> {
        let mut missing: Vec<OffsetRange> = self.folds.values().filter_map(Fold::missing).collect();
        missing.sort_by_key(|range| (range.until.0 - range.from.0, range.from));
        missing.dedup();
        missing
    }

    /// Folds a stretch read again into every epoch that lacks what it begins with or holds. Gives the
    /// number of folds that it served.
    pub fn replay(&mut self, stretch: &Stretch) -> Result<usize, Refused> {
        self.check(stretch)?;
        let served = self.folds.values_mut().map(|fold| usize::from(fold.replay(stretch))).sum();
        self.revision += u64::from(served > 0);
        self.tell_overflow();
        Ok(served)
    }

    /// Says once that a view begins to overflow, and once that it does so no more.
    fn tell_overflow(&self) {
        for (view, budget) in &self.budgets {
            let (held, limits) = (budget.all().held(), budget.limits());
            match budget.turned() {
                Some(true) => tracing::warn!(
                    view,
                    groups = held.groups,
                    bytes = held.bytes,
                    max_groups = limits.groups,
                    max_state_bytes = limits.bytes,
                    "live groups beyond the view's budget are folded into overflow groups until a batch run has them"
                ),
                Some(false) => tracing::info!(view, "live groups fit the view's budget again"),
                None => {}
            }
        }
    }

    /// Notes why what folds lack from `from` on could not be read.
    pub fn hinder(&mut self, from: Offset, reason: &str) {
        for fold in self.folds.values_mut() {
            if fold.missing().is_some_and(|missing| missing.from == from) {
                fold.hinder(reason);
            }
        }
    }

    fn check(&self, stretch: &Stretch) -> Result<(), Refused> {
        let (expected, found) = (self.partition, stretch.partition());
        if expected == found { Ok(()) } else { Err(Refused::OtherPartition { expected, found }) }
    }
}
