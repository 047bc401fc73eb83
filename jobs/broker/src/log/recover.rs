//! Reading a partition's folder at start: every batch header of every segment, and every byte of the newest one.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::segment::{Segment, base_offset_of};
use crate::BrokerError;
use watershed_wire::batch::{BatchFault, BatchHeader, HEADER_BYTES};

const READ_AHEAD_BYTES: usize = 256 * 1024;

/// How much of a batch is read and believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trust {
    /// The header: for closed segments, which were synced when they were closed.
    Header,
    /// Nothing but the checksum: for the segment that was being written.
    Checksum,
}

/// Base offsets of the segments in `dir`, ascending.
pub fn segments_in(dir: &Path) -> Result<Vec<i64>, BrokerError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(BrokerError::io(dir))? {
        let name = entry.map_err(BrokerError::io(dir))?.file_name();
        found.extend(name.to_str().and_then(base_offset_of));
    }
    found.sort_unstable();
    Ok(found)
}

/// Admits every sound batch of `segment` in order, telling `seen` of each, and stops at the first that is not. Returns
/// why it stopped before the end of the file, if it did.
pub fn scan(
    segment: &mut Segment,
    trust: Trust,
    mut seen: impl FnMut(&BatchHeader),
) -> Result<Option<BatchFault>, BrokerError> {
    let mut reader = Reader { file: segment.file(), end: segment.file_bytes()?, from: 0, buffer: Vec::new() };
    let path = segment.path().to_owned();
    loop {
        let position = segment.bytes();
        if position == reader.end {
            return Ok(None);
        }
        let header = match reader.batch(position, trust).map_err(BrokerError::io(&path))? {
            Ok(header) => header,
            Err(fault) => return Ok(Some(fault)),
        };
        if header.base_offset != segment.next_offset() || header.last_offset_delta < 0 {
            return Ok(Some(BatchFault::Offset {
                found: header.base_offset,
                expected: segment.next_offset(),
            }));
        }
        seen(&header);
        segment.admit(&header);
    }
}

/// Reads ahead, so that a file of small batches costs few reads, and skips what it need not look at.
struct Reader {
    file: Arc<File>,
    end: u64,
    from: u64,
    buffer: Vec<u8>,
}

impl Reader {
    fn batch(&mut self, position: u64, trust: Trust) -> io::Result<Result<BatchHeader, BatchFault>> {
        let left = (self.end - position) as usize;
        let header = match BatchHeader::read(self.bytes(position, HEADER_BYTES.min(left))?) {
            Ok(header) => header,
            Err(fault) => return Ok(Err(fault)),
        };
        if header.bytes > left {
            return Ok(Err(BatchFault::Short { found: left, expected: header.bytes }));
        }
        match trust {
            Trust::Header => Ok(Ok(header)),
            Trust::Checksum => Ok(BatchHeader::verify(self.bytes(position, header.bytes)?)),
        }
    }

    fn bytes(&mut self, position: u64, count: usize) -> io::Result<&[u8]> {
        let held = self.from..self.from + self.buffer.len() as u64;
        if position < held.start || position + count as u64 > held.end {
            let ahead = count.max(READ_AHEAD_BYTES).min((self.end - position) as usize);
            self.buffer.resize(ahead, 0);
            self.file.read_exact_at(&mut self.buffer, position)?;
            self.from = position;
        }
        let at = (position - self.from) as usize;
        Ok(&self.buffer[at..at + count])
    }
}
