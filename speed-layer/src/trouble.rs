//! What is wrong, by where it comes from.

use watershed_schemas::offsets::Partition;

/// Where a trouble comes from: each has at most one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Source {
    Thread,
    Log,
    End,
    Partition(Partition),
    Replay(Partition),
    Store,
    Checkpoint,
}
