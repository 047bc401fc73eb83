//! A small durable map: topics, positions and commits live in two of them.
//!
//! Guarantees: a group of changes is applied whole or not at all; what `apply` returned survives `kill -9`, and a power
//! failure once it was synced. The file is a journal of changes, each group with its length and checksum; a torn tail
//! is cut off at start. When most of the file is history it is rewritten to the present content, under a new name that
//! replaces the old one in one step.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use bytes::{Buf, BufMut, Bytes};

use crate::BrokerError;
use crate::disk::sync_dir;
use crate::locks::lock;

/// Files smaller than this are never rewritten.
const COMPACT_FROM_BYTES: u64 = 4 << 20;
const FRAME_BYTES: usize = 8;

/// One change of the map.
#[derive(Debug, Clone)]
pub enum Change {
    Put(Bytes, Bytes),
    Delete(Bytes),
}

#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    /// Whether every `apply` is synced before it returns.
    sync_always: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    bytes: u64,
    live_bytes: u64,
    unsynced: bool,
    map: BTreeMap<Bytes, Bytes>,
}

impl Journal {
    pub fn open(path: &Path, sync_always: bool) -> Result<Journal, BrokerError> {
        let content = match std::fs::read(path) {
            Ok(content) => Bytes::from(content),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Bytes::new(),
            Err(source) => return Err(BrokerError::Io { path: path.to_owned(), source }),
        };
        let mut map = BTreeMap::new();
        let mut sound = 0;
        while let Some((changes, bytes)) = read_group(&content[sound..], &content.slice(sound..)) {
            changes.into_iter().for_each(|change| change_map(&mut map, change));
            sound += bytes;
        }
        if sound < content.len() {
            tracing::warn!(journal = %path.display(), torn_bytes = content.len() - sound, "torn tail cut off");
        }
        let io = BrokerError::io;
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(io(path))?;
        file.set_len(sound as u64).map_err(io(path))?;
        // The keys and values read so far share the memory of the whole file: give each its own.
        let map: BTreeMap<_, _> = map
            .into_iter()
            .map(|(key, value)| (Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&value)))
            .collect();
        let live_bytes = map.iter().map(|(key, value)| cost(key, value)).sum();
        let state = State { file, bytes: sound as u64, live_bytes, unsynced: true, map };
        if let Some(dir) = path.parent() {
            sync_dir(dir)?;
        }
        Ok(Journal { path: path.to_owned(), sync_always, state: Mutex::new(state) })
    }

    /// Writes the changes down, then makes them visible.
    pub fn apply(&self, changes: Vec<Change>) -> Result<(), BrokerError> {
        if changes.is_empty() {
            return Ok(());
        }
        let group = write_group(&changes);
        let mut state = lock(&self.state);
        if let Err(source) = state.file.write_all(&group) {
            // Half a group would hide every later one from the next start.
            let _ = state.file.set_len(state.bytes);
            return Err(BrokerError::Io { path: self.path.clone(), source });
        }
        state.bytes += group.len() as u64;
        state.unsynced = true;
        for change in changes {
            if let Change::Put(key, value) = &change {
                state.live_bytes += cost(key, value);
            }
            let before = change_map_taking(&mut state.map, change);
            state.live_bytes = state.live_bytes.saturating_sub(before);
        }
        if self.sync_always {
            self.sync_locked(&mut state)?;
        }
        if state.bytes > COMPACT_FROM_BYTES && state.bytes / 4 > state.live_bytes {
            // The changes are written and seen by everybody: that the file stays large is no fault of theirs.
            if let Err(error) = self.compact(&mut state) {
                tracing::error!(journal = %self.path.display(), %error, "history not removed");
            }
        }
        Ok(())
    }

    pub fn get(&self, key: &[u8]) -> Option<Bytes> {
        lock(&self.state).map.get(key).cloned()
    }

    /// Everything whose key begins with `prefix`, in the order of keys.
    pub fn with_prefix(&self, prefix: &[u8]) -> Vec<(Bytes, Bytes)> {
        let state = lock(&self.state);
        state
            .map
            .range::<[u8], _>((std::ops::Bound::Included(prefix), std::ops::Bound::Unbounded))
            .take_while(|(key, _)| key.starts_with(prefix))
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    pub fn sync(&self) -> Result<(), BrokerError> {
        self.sync_locked(&mut lock(&self.state))
    }

    fn sync_locked(&self, state: &mut State) -> Result<(), BrokerError> {
        if state.unsynced {
            state.file.sync_data().map_err(BrokerError::io(&self.path))?;
            state.unsynced = false;
        }
        Ok(())
    }

    fn compact(&self, state: &mut State) -> Result<(), BrokerError> {
        let fresh_path = self.path.with_extension("new");
        let io = BrokerError::io;
        let mut content = Vec::with_capacity(state.live_bytes as usize);
        for (key, value) in &state.map {
            content.extend_from_slice(&write_group(&[Change::Put(key.clone(), value.clone())]));
        }
        let mut fresh = File::create(&fresh_path).map_err(io(&fresh_path))?;
        fresh.write_all(&content).map_err(io(&fresh_path))?;
        fresh.sync_all().map_err(io(&fresh_path))?;
        // Opened before it takes the other's place: what is written to a file without a name would be lost.
        let fresh = OpenOptions::new().append(true).open(&fresh_path).map_err(io(&fresh_path))?;
        std::fs::rename(&fresh_path, &self.path).map_err(io(&self.path))?;
        state.file = fresh;
        state.bytes = content.len() as u64;
        state.live_bytes = state.bytes;
        state.unsynced = false;
        self.path.parent().map_or(Ok(()), sync_dir)
    }
}

fn change_map(map: &mut BTreeMap<Bytes, Bytes>, change: Change) {
    change_map_taking(map, change);
}

/// Applies the change and returns the bytes of what it replaced.
fn change_map_taking(map: &mut BTreeMap<Bytes, Bytes>, change: Change) -> u64 {
    match change {
        Change::Put(key, value) => {
            let bytes = key.len();
            map.insert(key, value).map_or(0, |old| cost_of(bytes, old.len()))
        }
        Change::Delete(key) => map.remove(&key).map_or(0, |old| cost_of(key.len(), old.len())),
    }
}

fn cost(key: &Bytes, value: &Bytes) -> u64 {
    cost_of(key.len(), value.len())
}

fn cost_of(key_bytes: usize, value_bytes: usize) -> u64 {
    (FRAME_BYTES + 4 + 1 + 4 + key_bytes + 4 + value_bytes) as u64
}

fn write_group(changes: &[Change]) -> Vec<u8> {
    let mut body = Vec::new();
    body.put_u32(changes.len() as u32);
    for change in changes {
        let (kind, key, value) = match change {
            Change::Put(key, value) => (1, key, Some(value)),
            Change::Delete(key) => (0, key, None),
        };
        body.put_u8(kind);
        for part in [Some(key), value].into_iter().flatten() {
            body.put_u32(part.len() as u32);
            body.put_slice(part);
        }
    }
    let mut group = Vec::with_capacity(FRAME_BYTES + body.len());
    group.put_u32(body.len() as u32);
    group.put_u32(crc32c::crc32c(&body));
    group.put_slice(&body);
    group
}

/// The changes of the first group and its size; `None` when it is not whole.
fn read_group(mut frame: &[u8], content: &Bytes) -> Option<(Vec<Change>, usize)> {
    let length = frame.try_get_u32().ok()? as usize;
    let checksum = frame.try_get_u32().ok()?;
    if frame.len() < length || crc32c::crc32c(&frame[..length]) != checksum {
        return None;
    }
    let mut body = content.slice(FRAME_BYTES..FRAME_BYTES + length);
    let count = body.try_get_u32().ok()?;
    let mut changes = Vec::new();
    for _ in 0..count {
        let kind = body.try_get_u8().ok()?;
        let key = read_part(&mut body)?;
        changes.push(if kind == 1 { Change::Put(key, read_part(&mut body)?) } else { Change::Delete(key) });
    }
    Some((changes, FRAME_BYTES + length))
}

fn read_part(body: &mut Bytes) -> Option<Bytes> {
    let bytes = body.try_get_u32().ok()? as usize;
    (body.len() >= bytes).then(|| body.split_to(bytes))
}
