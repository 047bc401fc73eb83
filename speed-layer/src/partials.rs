//! Answers requests for live states.
//!
//! Guarantee (invariant `COVER`): for every partition that a reply names, its states are exactly the fold of
//! `[watershed, live)`. Each partition is cut at one moment; partitions may be cut at different
//! ones, and the reply says at which.

use watershed_schemas::live::{LiveError, Partials, PartialsRequest};
use watershed_schemas::offsets::Offsets;
use watershed_schemas::superseded;

use crate::epoch::{Epoch, Fold, FoldKey};
use crate::partition::PartitionEpochs;
use crate::shared::{Shared, Slot};

/// Whether an answer may take its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Give up rather than wait for a fold or export large states.
    None,
    Full,
}

/// States of so many cells are exported at once.
const FEW_CELLS: usize = 1_000;

/// `None` only without patience.
pub(crate) fn partials(
    shared: &Shared,
    request: &PartialsRequest,
    patience: Patience,
) -> Option<Result<Partials, LiveError>> {
    let not_ready = |reason: String| {
        let (stream, watershed) = (request.stream.clone(), request.watershed.clone());
        Some(Err(LiveError::NotReady { stream, watershed, reason }))
    };
    match shared.view(&request.view) {
        Some(view) if view.hash == request.view_hash => {}
        // The version that holds it is yet to be seen, or is gone.
        None if superseded::is_name(&request.view) => {
            return not_ready(format!("no version is known that holds view {}", request.view));
        }
        Some(_) | None => return Some(Err(LiveError::UnknownView { view: request.view.clone() })),
    }
    let epoch = Epoch::asked(&request.watershed);
    let key = epoch.of(&request.view);
    // Before the cuts, so that these hold at least what was current then.
    let progress = shared.progress().clone();
    let mut reply = Partials {
        watershed: request.watershed.clone(),
        live: Offsets::new(),
        end: progress.end.clone(),
        current_at_ms: progress.current_at_ms,
        partitions: Vec::new(),
        states: Vec::new(),
    };
    for (partition, slot) in shared.partitions() {
        let held = match slot {
            Slot::Open(held) => held,
            Slot::Opening => return not_ready(format!("partition {partition} is being opened")),
            Slot::Stuck(reason) => return not_ready(reason),
        };
        let epochs = match patience {
            Patience::Full => held.read().map(Some),
            Patience::None => held.try_read(),
        };
        let epochs = match epochs {
            Ok(Some(epochs)) => epochs,
            Ok(None) => return None,
            Err(broken) => return not_ready(format!("partition {partition}: {broken}")),
        };
        let Some(fold) = fold(&epochs, &key) else {
            return not_ready(format!(
                "partition {partition} has not opened epoch {epoch} of view {}",
                request.view
            ));
        };
        if let Some(reason) = fold.unready(partition) {
            return not_ready(reason);
        }
        let span = fold.span();
        if epoch == Epoch::Origin {
            reply.watershed.set(partition, span.from);
        }
        reply.live.set(partition, span.until);
        reply.end.set(partition, progress.end.get(partition).max(span.until));
        let cells = fold.table().cells();
        if cells > 0 {
            if patience == Patience::None && cells > FEW_CELLS && !fold.is_exported() {
                return None;
            }
            reply.partitions.push(partition);
            reply.states.push(fold.export());
        }
    }
    Some(Ok(reply))
}

/// The fold of an epoch. A watershed that lies at the log's start has the same records as the origin epoch, so that one
/// may stand in: a version of a topic that is still empty is ready at once.
fn fold<'a>(epochs: &'a PartitionEpochs, key: &FoldKey) -> Option<&'a Fold> {
    epochs.folds().get(key).or_else(|| {
        let from = key.epoch.from(epochs.partition(), epochs.origin());
        let origin = epochs.folds().get(&Epoch::Origin.of(&key.view));
        origin.filter(|origin| origin.span().from == from)
    })
}
