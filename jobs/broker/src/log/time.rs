//! Offsets by time: the first record at or after an instant, and the latest record of all.
//!
//! Like Kafka, this looks into the one batch that must hold the record. Finding that batch needs only headers; the
//! records inside may be compressed.

use std::io;

use bytes::Bytes;
use kafka_protocol::records::RecordBatchDecoder;

use super::segment::Segment;
use super::{Log, LogSlice};
use watershed_wire::batch::BatchHeader;

/// A record's offset and timestamp.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timed {
    pub offset: i64,
    pub timestamp: i64,
}

/// Where to look; the looking itself reads the disk and needs no lock.
#[derive(Debug)]
pub struct TimeLookup {
    slices: Vec<LogSlice>,
    timestamp: i64,
    start_offset: i64,
}

impl Log {
    /// Prepares to find the first record at or after `timestamp` (Unix milliseconds).
    pub fn lookup_time(&self, timestamp: i64) -> TimeLookup {
        let slices = self
            .segments
            .iter()
            .filter(|segment| segment.max_timestamp() >= timestamp)
            .map(|segment| segment.slice_at_time(timestamp))
            .collect();
        TimeLookup { slices, timestamp, start_offset: self.start_offset }
    }

    /// Prepares to find the first of the records with the latest timestamp; `None` in an empty log.
    pub fn lookup_latest(&self) -> Option<TimeLookup> {
        let latest =
            self.segments.iter().filter(|segment| segment.bytes() > 0).map(Segment::max_timestamp).max()?;
        Some(self.lookup_time(latest))
    }
}

impl TimeLookup {
    pub fn find(&self) -> io::Result<Option<Timed>> {
        for slice in &self.slices {
            let may_hold = |header: &BatchHeader| {
                header.max_timestamp >= self.timestamp && header.next_offset() > self.start_offset
            };
            if let Some(found) = slice.find_map(may_hold, |batch| self.first_in(batch))? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn first_in(&self, mut batch: Bytes) -> io::Result<Option<Timed>> {
        let header = BatchHeader::read(&batch).map_err(io::Error::other)?;
        if header.has_append_time() {
            return Ok(Some(Timed { offset: header.base_offset, timestamp: header.max_timestamp }));
        }
        let records = RecordBatchDecoder::decode(&mut batch).map_err(io::Error::other)?.records;
        Ok(records
            .iter()
            .find(|record| record.timestamp >= self.timestamp && record.offset >= self.start_offset)
            .map(|record| Timed { offset: record.offset, timestamp: record.timestamp }))
    }
}
