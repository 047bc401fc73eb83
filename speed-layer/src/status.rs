//! How the speed layer is doing with a stream.

use std::collections::{BTreeMap, BTreeSet};

use watershed_schemas::live::{LiveStatus, LiveView};
use watershed_schemas::offsets::Offsets;

use crate::budgets::ViewBudget;
use crate::epoch::Epoch;
use crate::shared::{Shared, Slot, now_ms};

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
    let keys = wanted.iter().flat_map(|wanted| wanted.open.iter());
    // By epoch, its watershed as far as it is known; what any partition lacks is struck out.
    let mut ready: BTreeMap<Epoch, Offsets> =
        keys.clone().map(|key| (key.epoch.clone(), watershed(&key.epoch))).collect();
    let mut unready: BTreeSet<Epoch> = BTreeSet::new();
    for (partition, slot) in shared.partitions() {
        let Slot::Open(held) = slot else {
            ready.clear();
            continue;
        };
        let Ok(epochs) = held.read() else {
            ready.clear();
            continue;
        };
        status.live.set(partition, epochs.live());
        status.end.set(partition, progress.end.get(partition).max(epochs.live()));
        status.groups += epochs.folds().values().map(|fold| fold.table().cells() as u64).sum::<u64>();
        for key in keys.clone() {
            match epochs.folds().get(key) {
                Some(fold) if fold.unready(partition).is_none() => {}
                Some(_) | None => {
                    unready.insert(key.epoch.clone());
                }
            }
        }
        if let Some(origin) = ready.get_mut(&Epoch::Origin) {
            origin.set(partition, epochs.origin());
        }
    }
    status.epochs =
        ready.into_iter().filter(|(epoch, _)| !unready.contains(epoch)).map(|(_, at)| at).collect();
    status
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
