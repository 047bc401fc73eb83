//! What is replayed next and where it is read, and when a range that could not be read is tried again.
//!
//! The shortest range comes first, for its epoch is the nearest to being ready. The log is read as far as
//! it reaches back; what it has let go of is read from the master dataset, if it has landed. Plain code
//! over values: `now` is the time since some moment that stays the same, on a clock that never goes back.

use std::collections::BTreeMap;
use std::time::Duration;

use polars::prelude::PolarsError;
use watershed_schemas::log::{LogError, NotNext, Records};
use watershed_schemas::offsets::{Offset, OffsetRange, Partition};
use watershed_store::StoreError;

use crate::landed::{Landed, Piece};
use crate::stretch::Refused;

/// Reads that bring nothing for so many retry intervals are given up. A connection may take its time.
const PATIENCE: u32 = 10;

/// What epochs of a partition lack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    pub partition: Partition,
    pub range: OffsetRange,
}

/// Where a range is read, from its beginning on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    Log,
    MasterDataset(Piece),
}

/// Why a range was not replayed, or not further.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the log gives nothing from offset {from} on")]
    Silent { from: Offset },
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("events of partition {partition} in {range} cannot be read from the master dataset: {source}")]
    Events { partition: Partition, range: OffsetRange, source: PolarsError },
    #[error("the node stops")]
    Stopping,
}

impl From<NotNext> for ReplayError {
    fn from(elsewhere: NotNext) -> Self {
        ReplayError::Refused(elsewhere.into())
    }
}

/// What is known of reads that did not go well.
#[derive(Debug)]
pub struct Replaying {
    retry_interval: Duration,
    /// Ranges that could not be read begin here; tried again at that time.
    put_off: BTreeMap<(Partition, Offset), Duration>,
    /// Where reads bring nothing, and since when.
    silent: Option<((Partition, Offset), Duration)>,
    /// Where the logs began that did not reach back to what was needed.
    starts: BTreeMap<Partition, Offset>,
}

impl Missing {
    fn begins(&self) -> (Partition, Offset) {
        (self.partition, self.range.from)
    }
}

impl Replaying {
    pub fn new(retry_interval: Duration) -> Self {
        Replaying { retry_interval, put_off: BTreeMap::new(), silent: None, starts: BTreeMap::new() }
    }

    /// The shortest of these ranges that is not put off.
    pub fn next(&mut self, missing: impl IntoIterator<Item = Missing>, now: Duration) -> Option<Missing> {
        self.put_off.retain(|_, retry_at| *retry_at > now);
        let due = missing.into_iter().filter(|missing| !self.put_off.contains_key(&missing.begins()));
        due.min_by_key(|missing| missing.range.until.0 - missing.range.from.0)
    }

    /// Where to read a missing range.
    pub fn place(&self, missing: &Missing, landed: &Landed) -> Place {
        let Missing { partition, range } = *missing;
        let gone = self.starts.get(&partition).is_some_and(|start| range.from < *start);
        match gone.then(|| landed.piece(partition, range.from)).flatten() {
            Some(piece) => Place::MasterDataset(piece),
            None => Place::Log,
        }
    }

    /// Takes in that the log could not be read. True if the range has another place now: then it is to be read there at
    /// once.
    pub fn moves(&mut self, missing: &Missing, error: &LogError, landed: &Landed) -> bool {
        match error {
            LogError::OutOfRange { held, .. } if missing.range.from < held.from => {
                self.starts.insert(missing.partition, held.from);
                self.place(missing, landed) != Place::Log
            }
            _ => false,
        }
    }

    /// Judges what a read from the beginning of a missing range on brought: what is to be folded of it, if anything
    /// came. This log may never hold what is waited for, so waiting has an end.
    pub fn read(
        &mut self,
        missing: &Missing,
        records: &Records,
        now: Duration,
    ) -> Result<Option<OffsetRange>, ReplayError> {
        let from = missing.range.from;
        let range = records.range_at(from)?;
        if !range.is_empty() {
            self.silent = None;
            return Ok(Some(range));
        }
        let since = match self.silent {
            Some((begins, since)) if begins == missing.begins() => since,
            Some(_) | None => now,
        };
        self.silent = Some((missing.begins(), since));
        match now - since < self.retry_interval * PATIENCE {
            true => Ok(None),
            false => Err(ReplayError::Silent { from }),
        }
    }

    /// Puts off a range that could not be read, so that others get their turn.
    pub fn failed(&mut self, missing: &Missing, now: Duration) {
        self.silent = None;
        self.put_off.insert(missing.begins(), now + self.retry_interval);
    }
}
