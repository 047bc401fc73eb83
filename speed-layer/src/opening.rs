//! Where a partition begins when it is assigned.
//!
//! A checkpoint that the log continues is gone on with. Otherwise the log is followed from the newest
//! watershed, so that the epoch that everybody asks for is ready first, and the other epochs are
//! replayed. After a rollback the log may have let go of that watershed: then it is followed from where
//! it and the master dataset meet. An offset that neither holds is never replaced by one that the log
//! holds (invariant `NOTHING_VANISHES`): then the partition waits.

use std::collections::BTreeMap;
use std::sync::Arc;

use watershed_schemas::identity::TopicId;
use watershed_schemas::offsets::{Offset, OffsetRange, Partition};
use watershed_schemas::view::View;

use crate::checkpoint::Checkpoint;
use crate::partition::PartitionEpochs;
use crate::wanted::Wanted;

/// What a partition's log and the store hold when it is opened.
#[derive(Debug)]
pub struct Found {
    pub partition: Partition,
    pub held: OffsetRange,
    /// As the log tells it.
    pub topic_id: Option<TopicId>,
    /// Readable checkpoints of this very log, the furthest first.
    pub checkpoints: Vec<Checkpoint>,
}

/// No epoch begins where the log still is, or the log ends below what has landed.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "gap at partition {partition}: epoch {epoch} needs offset {needed}, the log holds {held}; {}",
    advice(.needed, .held)
)]
pub struct Unopened {
    pub partition: Partition,
    pub epoch: String,
    pub needed: Offset,
    pub held: OffsetRange,
}

fn advice(needed: &Offset, held: &OffsetRange) -> &'static str {
    match held.until < *needed {
        true => "the topic was truncated or created anew, for a version holds more of it",
        false => "a batch run with --accept-gap moves the watershed past it",
    }
}

/// Opens a partition with every fold that is wanted. Its live offset is where the log must be followed from.
pub fn open(
    found: Found,
    wanted: &Wanted,
    views: &BTreeMap<String, Arc<View>>,
) -> Result<PartitionEpochs, Unopened> {
    let Found { partition, held, topic_id, checkpoints } = found;
    let landed = landed(partition, held, wanted);
    if held.until < landed {
        // Offsets that have landed would be given out again, for other records.
        return Err(Unopened { partition, epoch: wanted.newest.to_string(), needed: landed, held });
    }
    let mut epochs =
        match checkpoints.into_iter().find_map(|checkpoint| resumed(checkpoint, partition, held, wanted)) {
            Some(epochs) => epochs,
            None => {
                let origin = wanted.origin(partition, held);
                PartitionEpochs::new(partition, origin, start(partition, held, wanted)?)
            }
        };
    epochs.follow(topic_id);
    complete(&mut epochs, wanted, views);
    Ok(epochs)
}

/// Opens what is wanted and missing, forgets what is not wanted.
pub fn complete(epochs: &mut PartitionEpochs, wanted: &Wanted, views: &BTreeMap<String, Arc<View>>) {
    epochs.forget(|key| wanted.keep.contains(key));
    if let Some(origin) = &wanted.origin {
        epochs.move_origin(origin.get(epochs.partition()));
    }
    for key in &wanted.open {
        if let Some(view) = wanted.view(views, &key.view) {
            epochs.open(key.clone(), view);
        }
    }
}

/// True for a checkpoint that the log continues and that holds something still wanted.
pub(crate) fn is_useful(
    checkpoint: &Checkpoint,
    partition: Partition,
    held: OffsetRange,
    wanted: &Wanted,
) -> bool {
    let live = checkpoint.live;
    if !reaches(held, live) {
        tracing::warn!(%partition, %live, %held, "a checkpoint is not used: the log does not continue it");
        return false;
    }
    checkpoint.folds.keys().any(|key| wanted.keep.contains(key))
}

/// A useful checkpoint, gone on with.
fn resumed(
    checkpoint: Checkpoint,
    partition: Partition,
    held: OffsetRange,
    wanted: &Wanted,
) -> Option<PartitionEpochs> {
    is_useful(&checkpoint, partition, held, wanted).then(|| PartitionEpochs::restored(partition, checkpoint))
}

/// Where what has landed ends, at the newest watershed or above it.
fn landed(partition: Partition, held: OffsetRange, wanted: &Wanted) -> Offset {
    let newest = wanted.newest.from(partition, wanted.origin(partition, held));
    newest.max(wanted.landed.until(partition))
}

/// The newest watershed if the log holds it. Else where what has landed ends, for what lies between is not lost;
/// else the furthest watershed that the log holds.
fn start(partition: Partition, held: OffsetRange, wanted: &Wanted) -> Result<Offset, Unopened> {
    let origin = wanted.origin(partition, held);
    let needed = wanted.newest.from(partition, origin);
    if let Some(from) =
        [needed, landed(partition, held, wanted)].into_iter().find(|from| reaches(held, *from))
    {
        return Ok(from);
    }
    let others = wanted.open.iter().map(|key| key.epoch.from(partition, origin));
    others.filter(|from| reaches(held, *from)).max().ok_or_else(|| Unopened {
        partition,
        epoch: wanted.newest.to_string(),
        needed,
        held,
    })
}

/// True when the log can be followed from `offset`: it holds it, or will give it to the next record.
pub fn reaches(held: OffsetRange, offset: Offset) -> bool {
    held.from <= offset && offset <= held.until
}
