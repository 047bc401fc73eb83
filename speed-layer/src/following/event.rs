//! What a follower hears: news of the log, the group and the store, and not an event of the stream.

use std::sync::Arc;
use std::time::Duration;

use watershed_schemas::log::{LogError, Records};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};

use crate::opening::Found;
use crate::stretch::Refused;
use crate::wanted::Wanted;

/// What happened.
#[derive(Debug)]
pub enum Event {
    /// The group was joined.
    Subscribed,
    Assigned(Vec<Partition>),
    Revoked(Vec<Partition>),
    /// Answers [`Command::Look`](super::Command::Look).
    Looked {
        partition: Partition,
        look: u64,
        found: Result<Found, String>,
    },
    /// The store's news: other folds are wanted than before.
    Wanted(Arc<Wanted>),
    /// Answers [`Command::Open`](super::Command::Open) and [`Command::Start`](super::Command::Start).
    Started {
        partition: Partition,
        result: Result<(), LogError>,
    },
    Delivered(Vec<Records>),
    /// Answers [`Command::Fold`](super::Command::Fold) for one partition: its folds end at `live` now.
    Folded {
        partition: Partition,
        live: Offset,
    },
    /// Answers [`Command::Fold`](super::Command::Fold) for one partition: nothing was folded.
    Refused {
        partition: Partition,
        refused: Refused,
    },
    /// Nobody may look at the partition's folds any more: one was left half-way, or the log that they were made from is
    /// not the one that is followed now.
    Broken {
        partition: Partition,
        reason: String,
    },
    /// The log says that it does not hold what comes next.
    OutOfRange {
        partition: Partition,
        needed: Offset,
        held: OffsetRange,
    },
    /// The log said where its partitions end.
    Ends(Offsets),
    /// Nothing was delivered. `answered_at` is when the log was last asked for its end and gave it.
    Idle {
        answered_at: Duration,
    },
    /// The log could not be asked.
    Failed(LogError),
    /// Time has passed.
    Tick,
}
