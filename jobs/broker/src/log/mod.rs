//! The log of one partition.
//!
//! Guarantees:
//! - Offsets are dense: a record's offset is one more than that of the record before it, over restarts too.
//! - A batch is stored as the client sent it, but for base offset and leader epoch, and only if its checksum holds.
//! - What `append` acknowledged is read back by every later `read`, also after `kill -9`; after a power failure as far
//!   as the fsync policy promises. A torn tail of the newest segment is set aside at start; damage anywhere else is an
//!   error that names file and byte.
//! - Deleting (retention, or by request) moves the log's start, never its end.

mod epochs;
pub mod producers;
mod recover;
mod segment;
mod slice;
mod time;

use std::collections::VecDeque;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use epochs::Epochs;
use producers::{Producers, SequenceFault, Verdict};
use recover::Trust;
use segment::Segment;
pub use slice::LogSlice;
pub use time::Timed;
use watershed_wire::batch::{self, BatchFault, BatchHeader};

use crate::BrokerError;
use crate::housekeeping::unix_ms;

#[derive(Debug)]
pub struct Log {
    dir: PathBuf,
    /// Ascending, contiguous, never empty; the last one is written to.
    segments: VecDeque<Segment>,
    start_offset: i64,
    leader_epoch: i32,
    epochs: Epochs,
    producers: Producers,
    /// Holds the batch while it is placed, so that appends do not allocate.
    scratch: Vec<u8>,
}

/// An acknowledged batch.
#[derive(Debug, Clone, Copy)]
pub struct Appended {
    pub base_offset: i64,
    /// The log had it already; nothing was written.
    pub duplicate: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    #[error(transparent)]
    Batch(#[from] BatchFault),
    #[error(transparent)]
    Sequence(#[from] SequenceFault),
    #[error(transparent)]
    Storage(#[from] BrokerError),
    #[error("cannot write to the log: {0}")]
    Write(#[from] io::Error),
}

/// An offset that is not in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("found offset {offset}, expected {start} to {end}")]
pub struct OutOfRange {
    pub offset: i64,
    pub start: i64,
    pub end: i64,
}

/// What may be deleted, and when a segment is full.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub segment_bytes: u64,
    pub retention_bytes: Option<u64>,
    pub retention: Option<Duration>,
}

impl Log {
    /// Opens the log in `dir`, creating it when empty. `start_offset` is the start that was asked for by deletion of
    /// records; segments that retention removed may have moved it further. `leader_epoch` marks new batches.
    pub fn open(dir: &Path, start_offset: i64, leader_epoch: i32) -> Result<Log, BrokerError> {
        std::fs::create_dir_all(dir).map_err(BrokerError::io(dir))?;
        let mut log = Log {
            dir: dir.to_owned(),
            segments: VecDeque::new(),
            start_offset,
            leader_epoch,
            epochs: Epochs::default(),
            producers: Producers::default(),
            scratch: Vec::new(),
        };
        let bases = recover::segments_in(dir)?;
        for (position, &base_offset) in bases.iter().enumerate() {
            let newest = position + 1 == bases.len();
            log.recover_segment(base_offset, newest)?;
        }
        if log.segments.is_empty() {
            log.segments.push_back(Segment::create(dir, start_offset)?);
        }
        log.start_offset = start_offset.max(log.segments[0].base_offset()).min(log.end_offset());
        Ok(log)
    }

    fn recover_segment(&mut self, base_offset: i64, newest: bool) -> Result<(), BrokerError> {
        let mut segment = Segment::open(&self.dir, base_offset)?;
        let damaged = |segment: &Segment, reason: String| BrokerError::Damaged {
            path: segment.path().to_owned(),
            position: segment.bytes(),
            reason,
        };
        if let Some(before) = self.segments.back()
            && before.next_offset() != base_offset
        {
            let reason = format!("found first offset {base_offset}, expected {}", before.next_offset());
            return Err(damaged(&segment, reason));
        }
        let trust = if newest { Trust::Checksum } else { Trust::Header };
        let written_ms = segment.written_ms()?;
        let fault = recover::scan(&mut segment, trust, |header| {
            self.epochs.record(header.leader_epoch, header.base_offset);
            self.producers.record(header, header.base_offset, written_ms);
        })?;
        if let Some(fault) = fault {
            if !newest {
                return Err(damaged(&segment, fault.to_string()));
            }
            let torn_bytes = segment.file_bytes()? - segment.bytes();
            let aside = segment.set_tail_aside()?;
            tracing::warn!(segment = %segment.path().display(), torn_bytes, next_offset = segment.next_offset(), %fault,
                aside = %aside.display(), "torn tail cut off and set aside");
        }
        self.segments.push_back(segment);
        Ok(())
    }

    /// Appends the one batch in `bytes`, whose header was verified.
    pub fn append(
        &mut self,
        bytes: &[u8],
        header: &BatchHeader,
        limits: &Limits,
    ) -> Result<Appended, AppendError> {
        if let Verdict::Duplicate { base_offset } = self.producers.check(header)? {
            return Ok(Appended { base_offset, duplicate: true });
        }
        let base_offset = self.end_offset();
        let placed = BatchHeader { base_offset, leader_epoch: self.leader_epoch, ..*header };
        if self.active().bytes() > 0 && self.active().bytes() + header.bytes as u64 > limits.segment_bytes {
            self.roll()?;
        }
        self.scratch.clear();
        self.scratch.extend_from_slice(&bytes[..header.bytes]);
        batch::place(&mut self.scratch, base_offset, self.leader_epoch);
        let scratch = std::mem::take(&mut self.scratch);
        let written = self.active().append(&scratch, &placed);
        if scratch.capacity() <= KEPT_SCRATCH_BYTES {
            self.scratch = scratch;
        }
        written?;
        self.epochs.record(self.leader_epoch, base_offset);
        self.producers.record(&placed, base_offset, unix_ms(SystemTime::now()));
        Ok(Appended { base_offset, duplicate: false })
    }

    /// Closes the active segment, synced, and begins the next.
    fn roll(&mut self) -> Result<(), BrokerError> {
        self.active().sync()?;
        let next = Segment::create(&self.dir, self.end_offset())?;
        self.segments.push_back(next);
        Ok(())
    }

    /// Where to read from to find `offset`; `None` at the end of the log, where there is nothing yet.
    pub fn slice_from(&self, offset: i64) -> Result<Option<LogSlice>, OutOfRange> {
        let (start, end) = (self.start_offset, self.end_offset());
        if offset < start || offset > end {
            return Err(OutOfRange { offset, start, end });
        }
        if offset == end {
            return Ok(None);
        }
        let after = self.segments.partition_point(|segment| segment.base_offset() <= offset);
        // The batch that holds the offset is in the newest segment that does not begin after it.
        Ok(Some(self.segments[after.saturating_sub(1)].slice_at_offset(offset)))
    }

    /// Moves the start of the log to `offset` and deletes the closed segments that lie wholly before it.
    pub fn delete_before(&mut self, offset: i64) -> Result<(), OutOfRange> {
        let (start, end) = (self.start_offset, self.end_offset());
        if offset > end || offset < 0 {
            return Err(OutOfRange { offset, start, end });
        }
        self.start_offset = start.max(offset);
        self.drop_before_start();
        Ok(())
    }

    fn drop_before_start(&mut self) {
        while self.segments.len() > 1 && self.segments[0].next_offset() <= self.start_offset {
            if let Some(segment) = self.segments.pop_front()
                && let Err(error) = segment.remove()
            {
                tracing::warn!(%error, "deleted segment left on disk");
            }
        }
    }

    /// Deletes what is too old or too much, by whole segments; returns whether the start moved.
    pub fn retain(&mut self, limits: &Limits, now_ms: i64) -> Result<bool, BrokerError> {
        let before = self.start_offset;
        if let Some(age) = limits.retention {
            let oldest_ms = now_ms.saturating_sub(i64::try_from(age.as_millis()).unwrap_or(i64::MAX));
            let expired = |segment: &Segment| segment.bytes() > 0 && segment.max_timestamp() < oldest_ms;
            if self.segments.iter().all(expired) {
                self.roll()?;
            }
            while self.segments.len() > 1 && expired(&self.segments[0]) {
                self.start_offset = self.start_offset.max(self.segments[0].next_offset());
                self.drop_before_start();
            }
        }
        if let Some(most) = limits.retention_bytes {
            let mut bytes: u64 = self.bytes();
            while self.segments.len() > 1 && bytes - self.segments[0].bytes() >= most {
                bytes -= self.segments[0].bytes();
                self.start_offset = self.start_offset.max(self.segments[0].next_offset());
                self.drop_before_start();
            }
        }
        Ok(self.start_offset > before)
    }

    pub fn forget_producers(&mut self, before_ms: i64) {
        self.producers.forget(before_ms);
    }

    pub fn sync(&mut self) -> Result<(), BrokerError> {
        self.active().sync()
    }

    /// The file to sync, if anything was appended since the last one. Closed segments were synced when closed.
    pub fn take_unsynced(&mut self) -> Option<(Arc<File>, PathBuf)> {
        self.active().take_unsynced()
    }

    fn active(&mut self) -> &mut Segment {
        let last = self.segments.len() - 1;
        &mut self.segments[last]
    }

    pub fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// The offset of the next record.
    pub fn end_offset(&self) -> i64 {
        self.segments.back().map_or(self.start_offset, Segment::next_offset)
    }

    /// The newest epoch at or below `epoch` and the offset where it ends.
    pub fn epoch_end(&self, epoch: i32) -> Option<(i32, i64)> {
        self.epochs.end_of(epoch, self.leader_epoch, self.end_offset())
    }

    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(Segment::bytes).sum()
    }
}

/// A larger scratch (after a very large batch) is given back.
const KEPT_SCRATCH_BYTES: usize = 1 << 20;
