//! Reading a stretch of one segment without holding the log's lock.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use bytes::Bytes;

use super::segment::INDEX_INTERVAL_BYTES;
use watershed_wire::batch::{BatchHeader, HEADER_BYTES};

/// Bytes `[position, end)` of a segment. Both ends lie between batches, and what was appended is never changed, so a
/// slice stays readable whatever happens to the log.
#[derive(Debug, Clone)]
pub struct LogSlice {
    file: Arc<File>,
    position: u64,
    end: u64,
}

impl LogSlice {
    pub fn new(file: Arc<File>, position: u64, end: u64) -> LogSlice {
        LogSlice { file, position, end }
    }

    /// Whole batches from the one that holds `offset` on: as many as fit in `max_bytes`, or the first one alone when
    /// `whole_first` asks for it however large it is. Empty when nothing fits or the slice ends before `offset`.
    pub fn read_from(&self, offset: i64, max_bytes: usize, whole_first: bool) -> io::Result<Bytes> {
        let left = self.end - self.position;
        let wanted = (max_bytes as u64).saturating_add(2 * INDEX_INTERVAL_BYTES).min(left) as usize;
        let mut buffer = vec![0; wanted];
        self.file.read_exact_at(&mut buffer, self.position)?;
        let mut from = 0;
        loop {
            let Ok(header) = BatchHeader::read(&buffer[from..]) else {
                return self.read_far(from, offset, max_bytes, whole_first);
            };
            if header.next_offset() > offset {
                break;
            }
            from += header.bytes;
            if from as u64 >= left {
                return Ok(Bytes::new());
            }
            if from > buffer.len() {
                return self.read_far(from, offset, max_bytes, whole_first);
            }
        }
        let mut until = from;
        while let Ok(header) = BatchHeader::read(&buffer[until..]) {
            let next = until + header.bytes;
            if next > buffer.len() || next - from > max_bytes {
                if until == from && whole_first {
                    return self.read_exactly(from, header.bytes);
                }
                break;
            }
            until = next;
        }
        Ok(Bytes::from(buffer).slice(from..until))
    }

    /// The wanted batch begins behind the bytes read so far: a large batch came before it.
    fn read_far(&self, from: usize, offset: i64, max_bytes: usize, whole_first: bool) -> io::Result<Bytes> {
        if from == 0 {
            return Ok(Bytes::new());
        }
        let rest = LogSlice::new(Arc::clone(&self.file), self.position + from as u64, self.end);
        if rest.end - rest.position < HEADER_BYTES as u64 {
            return Ok(Bytes::new());
        }
        rest.read_from(offset, max_bytes, whole_first)
    }

    fn read_exactly(&self, from: usize, bytes: usize) -> io::Result<Bytes> {
        let mut buffer = vec![0; bytes];
        self.file.read_exact_at(&mut buffer, self.position + from as u64)?;
        Ok(Bytes::from(buffer))
    }

    /// Goes through the batches for which `wanted` says yes, whole, until `look` finds something in one.
    pub fn find_map<T>(
        &self,
        wanted: impl Fn(&BatchHeader) -> bool,
        look: impl Fn(Bytes) -> io::Result<Option<T>>,
    ) -> io::Result<Option<T>> {
        let mut position = self.position;
        let mut bytes = [0; HEADER_BYTES];
        while position < self.end {
            self.file.read_exact_at(&mut bytes, position)?;
            let header = BatchHeader::read(&bytes).map_err(io::Error::other)?;
            if wanted(&header) {
                let mut batch = vec![0; header.bytes];
                self.file.read_exact_at(&mut batch, position)?;
                if let Some(found) = look(Bytes::from(batch))? {
                    return Ok(Some(found));
                }
            }
            position += header.bytes as u64;
        }
        Ok(None)
    }
}
