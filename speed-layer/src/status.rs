//! How the speed layer is doing with a stream.

use std::collections::BTreeMap;

use watershed_schemas::live::{LiveStatus, LiveView};
use watershed_schemas::offsets::Offsets;

use crate::budgets::ViewBudget;
use crate::epoch::Epoch;
use crate::partition::PartitionEpochs;
use crate::shared::{Shared, Slot, now_ms};
use crate::wanted::Wanted;

pub(crate) fn status(shared: &Shared) -> LiveStatus {
    let progress = shared.progress().clone();
    let troubles = shared.troubles();
    let trouble = troubles.values().cloned().collect::<Vec<_>>().join("; ");
    let mut status = LiveStatus {
        node: shared.settings.node.clone(),
        end: progress.end.clone(),
        current_at_ms: progress.current_at_ms,
        records: progress.records,
        dead_letters: progress.dead_letters,
        dead_letter_reasons: progress.reasons.clone(),
        views: shared.budgets.iter().map(|(name, budget)| (name.clone(), view(budget))).collect(),
        checkpoint_age_ms: shared.saved_at_ms().map(|saved_at| (now_ms() - saved_at).max(0)),
        trouble: (!trouble.is_empty()).then_some(trouble),
        trouble_sources: troubles.keys().map(|source| source.kind()).collect(),
        ..LiveStatus::default()
    };
    let wanted = shared.wanted();
    let mut ready = ReadyEpochs::of(wanted.as_deref());
    for (partition, slot) in shared.partitions() {
        let Slot::Open(held) = slot else {
            ready.none();
            continue;
        };
        let Ok(epochs) = held.read() else {
            ready.none();
            continue;
        };
        status.live.set(partition, epochs.live());
        status.end.set(partition, progress.end.get(partition).max(epochs.live()));
        status.groups += epochs.folds().values().map(|fold| fold.table().cells() as u64).sum::<u64>();
        ready.see(&epochs);
    }
    status.epochs = ready.watersheds();
    status
}

/// Which epochs are ready in all partitions that were seen.
pub struct ReadyEpochs<'a> {
    wanted: Option<&'a Wanted>,
    /// By epoch, its watershed as far as it is known.
    ready: BTreeMap<Epoch, Offsets>,
}

impl<'a> ReadyEpochs<'a> {
    /// Begins with all that is wanted.
    pub fn of(wanted: Option<&'a Wanted>) -> Self {
        let keys = wanted.iter().flat_map(|wanted| wanted.open.iter());
        let ready = keys.map(|key| (key.epoch.clone(), watershed(&key.epoch))).collect();
        ReadyEpochs { wanted, ready }
    }

    /// A partition is not open: no epoch is ready there.
    pub fn none(&mut self) {
        self.ready.clear();
    }

    /// Strikes out what a partition lacks.
    pub fn see(&mut self, epochs: &PartitionEpochs) {
        let partition = epochs.partition();
        for key in self.wanted.iter().flat_map(|wanted| wanted.open.iter()) {
            match epochs.folds().get(key) {
                Some(fold) if fold.unready(partition).is_none() => {}
                Some(_) | None => _ = self.ready.remove(&key.epoch),
            }
        }
        if let Some(origin) = self.ready.get_mut(&Epoch::Origin) {
            origin.set(partition, epochs.origin());
        }
    }

    pub fn watersheds(self) -> Vec<Offsets> {
        self.ready.into_values().collect()
    }
}

fn view(budget: &ViewBudget) -> LiveView {
    let (held, limits) = (budget.all().held(), budget.limits());
    LiveView {
        groups: held.groups,
        overflow_groups: held.overflow_groups(),
        overflow_records: held.overflow_records,
        bytes: held.bytes,
        max_groups: limits.groups,
        max_bytes: limits.bytes,
    }
}

fn watershed(epoch: &Epoch) -> Offsets {
    match epoch {
        Epoch::Origin => Offsets::new(),
        Epoch::At(watershed) => watershed.clone(),
    }
}
