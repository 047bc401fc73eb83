//! What a follower asks for.

use std::sync::Arc;
use std::time::Duration;

use watershed_schemas::log::Records;
use watershed_schemas::offsets::{Offset, Partition};

use crate::partition::PartitionEpochs;
use crate::trouble::Source;
use crate::wanted::Wanted;

/// What is to be done.
#[derive(Debug)]
pub enum Command {
    /// Show that the partition is ours and not open yet.
    Await(Partition),
    /// Ask the log and the store, beside all this, what there is of a partition.
    Look { partition: Partition, look: u64 },
    /// Have the log deliver from these folds' live offset; if it can, they answer for their partition.
    Open(Box<PartitionEpochs>),
    /// Have the log deliver an open partition from this offset.
    Start { partition: Partition, live: Offset },
    /// Fold what comes next of open partitions, a run of each.
    Fold(Vec<Records>),
    /// Open and forget folds of all open partitions.
    Heed(Arc<Wanted>),
    /// Show that the partition cannot be followed; its folds answer no more.
    Stick { partition: Partition, reason: String },
    /// Show no more of these partitions, and write their folds down for whoever has them next.
    Release(Vec<Partition>),
    /// There may be something to replay.
    Replay,
    /// Tell a trouble, or that it is over.
    Tell(Source, Option<String>),
    /// Leave the log alone for so long.
    Pause(Duration),
}
