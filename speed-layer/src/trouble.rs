//! What is wrong, by where it comes from.

use watershed_schemas::live::TroubleSource;
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

impl Source {
    /// Without the partition.
    pub fn kind(self) -> TroubleSource {
        match self {
            Source::Thread => TroubleSource::Thread,
            Source::Log => TroubleSource::Log,
            Source::End => TroubleSource::End,
            Source::Partition(_) => TroubleSource::Partition,
            Source::Replay(_) => TroubleSource::Replay,
            Source::Store => TroubleSource::Store,
            Source::Checkpoint => TroubleSource::Checkpoint,
        }
    }
}
