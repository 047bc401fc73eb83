//! One file of a partition's log: whole batches, one after another, named after the first offset it may hold.
//!
//! A sparse index in memory says for about every 16 KiB which offset begins where, and how late any record before it
//! is. It is rebuilt from the batch headers at start, so it cannot disagree with the file.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, SeekFrom};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::slice::LogSlice;
use crate::BrokerError;
use crate::disk::sync_dir;
use crate::housekeeping::unix_ms;
use watershed_wire::batch::BatchHeader;

/// Bytes of log between two entries of the index.
pub const INDEX_INTERVAL_BYTES: u64 = 16 * 1024;

#[derive(Debug)]
pub struct Segment {
    base_offset: i64,
    path: PathBuf,
    file: Arc<File>,
    bytes: u64,
    next_offset: i64,
    max_timestamp: i64,
    index: Vec<IndexEntry>,
    unsynced: bool,
}

#[derive(Debug, Clone, Copy)]
struct IndexEntry {
    offset: i64,
    position: u64,
    /// The latest timestamp of this segment before this entry; `i64::MIN` for the first.
    latest_before: i64,
}

impl Segment {
    pub fn create(dir: &Path, base_offset: i64) -> Result<Segment, BrokerError> {
        let path = path(dir, base_offset);
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path);
        let file = file.map_err(BrokerError::io(&path))?;
        sync_dir(dir)?;
        Ok(Segment::over(file, path, base_offset))
    }

    /// Opens the file with nothing known of its content: `admit` each of its batches next.
    pub fn open(dir: &Path, base_offset: i64) -> Result<Segment, BrokerError> {
        let path = path(dir, base_offset);
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(BrokerError::io(&path))?;
        Ok(Segment::over(file, path, base_offset))
    }

    fn over(file: File, path: PathBuf, base_offset: i64) -> Segment {
        Segment {
            base_offset,
            path,
            file: Arc::new(file),
            bytes: 0,
            next_offset: base_offset,
            max_timestamp: i64::MIN,
            index: Vec::new(),
            unsynced: false,
        }
    }

    /// Writes a placed batch behind the last one. A failed write leaves the segment as it was: the next one begins at
    /// the same position.
    pub fn append(&mut self, batch: &[u8], header: &BatchHeader) -> io::Result<()> {
        if let Err(error) = self.file.write_all_at(batch, self.bytes) {
            // What was written of it is no batch; a start that still finds it cuts it off as a torn tail.
            let _ = self.file.set_len(self.bytes);
            return Err(error);
        }
        self.unsynced = true;
        self.admit(header);
        Ok(())
    }

    /// Takes note of a batch that lies at the end of what is known.
    pub fn admit(&mut self, header: &BatchHeader) {
        if self.index.last().is_none_or(|last| self.bytes - last.position >= INDEX_INTERVAL_BYTES) {
            self.index.push(IndexEntry {
                offset: header.base_offset,
                position: self.bytes,
                latest_before: self.max_timestamp,
            });
        }
        self.bytes += header.bytes as u64;
        self.next_offset = header.next_offset();
        self.max_timestamp = self.max_timestamp.max(header.max_timestamp);
    }

    /// From at or a little before the batch that holds `offset`, to the end of the segment.
    pub fn slice_at_offset(&self, offset: i64) -> LogSlice {
        let entry = self.index.partition_point(|entry| entry.offset <= offset);
        self.slice(entry)
    }

    /// From at or a little before the first batch with a record at or after `timestamp`.
    pub fn slice_at_time(&self, timestamp: i64) -> LogSlice {
        let entry = self.index.partition_point(|entry| entry.latest_before < timestamp);
        self.slice(entry)
    }

    /// The slice that begins at the entry before `after`.
    fn slice(&self, after: usize) -> LogSlice {
        let position = after.checked_sub(1).map_or(0, |entry| self.index[entry].position);
        LogSlice::new(Arc::clone(&self.file), position, self.bytes)
    }

    pub fn sync(&mut self) -> Result<(), BrokerError> {
        if self.unsynced {
            self.file.sync_data().map_err(BrokerError::io(&self.path))?;
            self.unsynced = false;
        }
        Ok(())
    }

    /// What must be synced to make the present content durable; syncing it needs no lock on the log.
    pub fn take_unsynced(&mut self) -> Option<(Arc<File>, PathBuf)> {
        std::mem::take(&mut self.unsynced).then(|| (Arc::clone(&self.file), self.path.clone()))
    }

    /// Cuts the file off behind what was admitted. The rest is kept in a file beside it, which is returned: one
    /// flipped bit makes a torn tail of everything behind it, and only a person can tell what it is worth.
    pub fn set_tail_aside(&mut self) -> Result<PathBuf, BrokerError> {
        let aside_path = self.path.with_extension(format!("{}.torn", Uuid::new_v4().simple()));
        let mut aside = File::create(&aside_path).map_err(BrokerError::io(&aside_path))?;
        let mut tail = &*self.file;
        tail.seek(SeekFrom::Start(self.bytes)).map_err(BrokerError::io(&self.path))?;
        io::copy(&mut tail, &mut aside)
            .and_then(|_| aside.sync_all())
            .map_err(BrokerError::io(&aside_path))?;
        self.file.set_len(self.bytes).map_err(BrokerError::io(&self.path))?;
        self.unsynced = true;
        Ok(aside_path)
    }

    /// Deletes the file. Fetches that are reading it still hold it open and finish undisturbed.
    pub fn remove(self) -> Result<(), BrokerError> {
        std::fs::remove_file(&self.path).map_err(BrokerError::io(&self.path))
    }

    pub fn file_bytes(&self) -> Result<u64, BrokerError> {
        Ok(self.file.metadata().map_err(BrokerError::io(&self.path))?.len())
    }

    /// When the file was last written to, as Unix time.
    pub fn written_ms(&self) -> Result<i64, BrokerError> {
        let written = self.file.metadata().and_then(|metadata| metadata.modified());
        written.map(unix_ms).map_err(BrokerError::io(&self.path))
    }

    pub fn file(&self) -> Arc<File> {
        Arc::clone(&self.file)
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn base_offset(&self) -> i64 {
        self.base_offset
    }

    pub fn next_offset(&self) -> i64 {
        self.next_offset
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The latest timestamp in it; `i64::MIN` while empty.
    pub fn max_timestamp(&self) -> i64 {
        self.max_timestamp
    }
}

fn path(dir: &Path, base_offset: i64) -> PathBuf {
    dir.join(format!("{base_offset:020}.log"))
}

/// The base offset in a segment's file name; `None` for any other file.
pub fn base_offset_of(name: &str) -> Option<i64> {
    let digits = name.strip_suffix(".log")?;
    if digits.len() != 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}
