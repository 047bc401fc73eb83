//! Reads the master dataset as a log is read: by offset, a slice at a time.
//!
//! Its files are cut by date and sorted by event time, so a piece is read whole, verified, and put into
//! the order of offsets first. Events of a field that was declared after they landed have NULL in it, as
//! in a batch run.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use polars::prelude::{DataFrame, PolarsResult, SortMultipleOptions, col, lit};
use watershed_schemas::events::scan;
use watershed_schemas::offsets::{Offset, OffsetRange, Partition};
use watershed_schemas::stream::{OFFSET_COLUMN, PARTITION_COLUMN, Stream};
use watershed_store::{Store, StoreError};

use crate::landed::Piece;

/// How many files are fetched at once.
const READS: usize = 8;

/// All events of a range of a partition, in the order of their offsets.
#[derive(Debug)]
pub struct Events {
    partition: Partition,
    range: OffsetRange,
    events: DataFrame,
    offsets: Vec<i64>,
}

/// The files of a piece, verified.
pub async fn fetch(store: &Store, piece: &Piece) -> Result<Vec<Bytes>, StoreError> {
    // Boxed, so that the compiler sees that it may move between threads.
    let reads: Vec<BoxFuture<'_, _>> = piece.files.iter().map(|file| store.read(file).boxed()).collect();
    futures::stream::iter(reads).buffered(READS).try_collect().await
}

impl Events {
    /// The events of a partition's range that these files hold, with these fields.
    pub fn decode(
        stream: &Stream,
        fields: &BTreeSet<String>,
        partition: Partition,
        range: OffsetRange,
        files: &[Bytes],
    ) -> PolarsResult<Events> {
        if files.is_empty() {
            let (events, offsets) = (DataFrame::empty(), Vec::new());
            return Ok(Events { partition, range, events, offsets });
        }
        let columns = fields.iter().map(String::as_str).chain([PARTITION_COLUMN, OFFSET_COLUMN]).map(col);
        let offset = || col(OFFSET_COLUMN);
        let within = offset().gt_eq(lit(range.from.0)).and(offset().lt(lit(range.until.0)));
        let events = scan(stream, files)?.filter(within).select(columns.collect::<Vec<_>>()).collect()?;
        let events = events.sort([OFFSET_COLUMN], SortMultipleOptions::default())?;
        let offsets = events.column(OFFSET_COLUMN)?.i64()?.iter().flatten().collect();
        Ok(Events { partition, range, events, offsets })
    }

    pub fn hold(&self, partition: Partition, from: Offset) -> bool {
        self.partition == partition && self.range.contains(from)
    }

    /// At most `most` events from `from` on, and the range of which they are all.
    pub fn slice(&self, from: Offset, most: usize) -> (OffsetRange, DataFrame) {
        let start = self.offsets.partition_point(|offset| *offset < from.0);
        let end = self.offsets.len().min(start + most.max(1));
        let until = self.offsets.get(end).map_or(self.range.until, |next| Offset(*next));
        (OffsetRange::new(from, until), self.events.slice(start as i64, end - start))
    }
}
