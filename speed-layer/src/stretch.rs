//! A stretch of a partition: a range that was examined whole, and the events found in it.

use std::ops::Deref;

use polars::prelude::{DataFrame, PolarsError};
use watershed_schemas::coding::Run;
use watershed_schemas::invariants;
use watershed_schemas::log::NotNext;
use watershed_schemas::offsets::{Offset, OffsetRange, Partition};
use watershed_schemas::stream::OFFSET_COLUMN;

/// Every event of `range`, and no other. Offsets ascend; between them may be holes and dead letters.
#[derive(Debug)]
pub struct Stretch {
    partition: Partition,
    range: OffsetRange,
    events: Run,
    offsets: Vec<i64>,
}

/// Some of a stretch's events.
pub(crate) enum Own<'s> {
    All(&'s Run),
    Some(Run),
}

impl Deref for Own<'_> {
    type Target = Run;

    fn deref(&self) -> &Run {
        match self {
            Own::All(events) => events,
            Own::Some(events) => events,
        }
    }
}

/// Why something was not folded. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    #[error(transparent)]
    NotNext(#[from] NotNext),
    #[error("invariant {}: partition {found} is none of partition {expected}'s", invariants::COVER)]
    OtherPartition { expected: Partition, found: Partition },
    #[error("invariant {}: partition {partition} range {range} ends before it begins", invariants::COVER)]
    Backwards { partition: Partition, range: OffsetRange },
    #[error(
        "invariant {}: partition {partition} found offset {found} where one from {expected} on and in {range} was due",
        invariants::COVER
    )]
    Astray { partition: Partition, range: OffsetRange, found: i64, expected: Offset },
    #[error("events of partition {partition} have no column of offsets: {source}")]
    Columns { partition: Partition, source: PolarsError },
}

impl Stretch {
    pub fn new(partition: Partition, range: OffsetRange, events: &DataFrame) -> Result<Self, Refused> {
        if range.until < range.from {
            return Err(Refused::Backwards { partition, range });
        }
        let offsets = offsets(events).map_err(|source| Refused::Columns { partition, source })?;
        let mut expected = range.from;
        for &found in &offsets {
            if found < expected.0 || found >= range.until.0 {
                return Err(Refused::Astray { partition, range, found, expected });
            }
            expected = Offset(found + 1);
        }
        Ok(Stretch { partition, range, events: Run::new(events.clone()), offsets })
    }

    pub fn partition(&self) -> Partition {
        self.partition
    }

    pub fn range(&self) -> OffsetRange {
        self.range
    }

    /// The events whose offsets lie in `within`; `None` if there are none.
    pub(crate) fn events(&self, within: OffsetRange) -> Option<Own<'_>> {
        let start = self.offsets.partition_point(|offset| *offset < within.from.0);
        let end = self.offsets.partition_point(|offset| *offset < within.until.0);
        (start < end).then(|| match end - start == self.offsets.len() {
            true => Own::All(&self.events),
            false => Own::Some(Run::new(self.events.events().slice(start as i64, end - start))),
        })
    }
}

fn offsets(events: &DataFrame) -> Result<Vec<i64>, PolarsError> {
    if events.height() == 0 {
        return Ok(Vec::new());
    }
    let column = events.column(OFFSET_COLUMN)?.i64()?;
    // A missing offset is out of every range, so it is refused like any stray one.
    Ok(column.iter().map(|offset| offset.unwrap_or(i64::MIN)).collect())
}
