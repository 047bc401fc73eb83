//! A checkpoint: one partition's folds, written down.
//!
//! ```text
//! "WSCKPT01" | header length (u32, little endian) | header (JSON) | states … | SHA-256 of all before
//! ```
//! The header names, per fold, its epoch, view, hash and span; its states follow as one Arrow IPC stream
//! each. Guarantee: what is decoded is what was encoded, or an error. A fold of a view whose
//! definition has changed is left out, for its states mean something else.

use std::collections::BTreeMap;
use std::io::Cursor;
use std::sync::Arc;

use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use watershed_schemas::identity::LogIdentity;
use watershed_schemas::measure::StateError;
use watershed_schemas::offsets::{Offset, Partition};
use watershed_schemas::states::StateTable;
use watershed_schemas::view::View;

use crate::epoch::{Fold, FoldKey, Span};
use crate::partition::PartitionEpochs;

const MAGIC: &[u8; 8] = b"WSCKPT01";
const HASH_BYTES: usize = 32;

/// A decoded checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    pub origin: Offset,
    pub live: Offset,
    /// The log that was folded; checkpoints of before this was remembered know nothing of it.
    pub log: LogIdentity,
    pub folds: BTreeMap<FoldKey, Fold>,
}

/// One partition at one moment. Taking it is quick; encoding it needs the partition no more.
#[derive(Debug)]
pub struct Snapshot {
    pub revision: u64,
    pub live: Offset,
    header: Header,
    states: Vec<RecordBatch>,
}

#[derive(Debug, Serialize, Deserialize)]
struct Header {
    stream: String,
    partition: Partition,
    origin: Offset,
    live: Offset,
    #[serde(default)]
    log: LogIdentity,
    folds: Vec<FoldHeader>,
}

#[derive(Debug, Serialize, Deserialize)]
struct FoldHeader {
    key: FoldKey,
    hash: String,
    span: Span,
    /// Of its states.
    bytes: u64,
}

/// Why bytes are not a checkpoint that can be resumed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("found {found} bytes, a checkpoint has at least {expected}")]
    Short { found: usize, expected: usize },
    #[error("found a file that begins with {found:?}, expected \"WSCKPT01\"")]
    Magic { found: Vec<u8> },
    #[error("its SHA-256 does not match: the file is damaged")]
    Damaged,
    #[error("found partition {found}, expected {expected}")]
    Other { found: String, expected: String },
    #[error("fold {epoch} of view {view}: span {span:?} at {live}")]
    Span { epoch: String, view: String, span: Span, live: Offset },
    #[error("header: {0}")]
    Header(#[from] serde_json::Error),
    #[error("states: {0}")]
    Arrow(#[from] ArrowError),
    #[error(transparent)]
    States(#[from] StateError),
}

impl Snapshot {
    /// Void folds are left out: they hold nothing.
    pub fn of(stream: &str, epochs: &PartitionEpochs) -> Snapshot {
        let kept = epochs.folds().iter().filter(|(_, fold)| !fold.is_void());
        let (folds, states) = kept
            .map(|(key, fold)| {
                let hash = fold.view().hash.clone();
                (FoldHeader { key: key.clone(), hash, span: fold.span(), bytes: 0 }, fold.export())
            })
            .unzip();
        let header = Header {
            stream: stream.to_string(),
            partition: epochs.partition(),
            origin: epochs.origin(),
            live: epochs.live(),
            log: epochs.log().clone(),
            folds,
        };
        Snapshot { revision: epochs.revision(), live: epochs.live(), header, states }
    }

    pub fn encode(mut self) -> Result<Bytes, CheckpointError> {
        let mut blobs = Vec::new();
        for (fold, states) in self.header.folds.iter_mut().zip(&self.states) {
            let before = blobs.len();
            let mut writer = StreamWriter::try_new(&mut blobs, &states.schema())?;
            writer.write(states)?;
            writer.finish()?;
            drop(writer);
            fold.bytes = (blobs.len() - before) as u64;
        }
        let header = serde_json::to_vec(&self.header)?;
        let mut bytes = Vec::with_capacity(MAGIC.len() + 4 + header.len() + blobs.len() + HASH_BYTES);
        bytes.extend_from_slice(MAGIC);
        bytes.extend_from_slice(&(header.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&blobs);
        let hash = Sha256::digest(&bytes);
        bytes.extend_from_slice(&hash);
        Ok(bytes.into())
    }
}

impl Checkpoint {
    /// Reads a checkpoint of a stream's partition; `views` are those of the project over the stream.
    pub fn decode(
        bytes: &[u8],
        stream: &str,
        partition: Partition,
        views: &BTreeMap<String, Arc<View>>,
    ) -> Result<Checkpoint, CheckpointError> {
        let (header, mut blobs) = open(bytes)?;
        if header.stream != stream || header.partition != partition {
            return Err(CheckpointError::Other {
                found: format!("{} of stream {}", header.partition, header.stream),
                expected: format!("{partition} of stream {stream}"),
            });
        }
        let mut folds = BTreeMap::new();
        for FoldHeader { key, hash, span, bytes } in header.folds {
            let (blob, rest) = (blobs.split_at_checked(bytes as usize))
                .ok_or(CheckpointError::Short { found: blobs.len(), expected: bytes as usize })?;
            blobs = rest;
            let Some(view) = views.get(&key.view).filter(|view| view.hash == hash) else {
                tracing::warn!(%partition, view = key.view, "a view's definition has changed: its states in the checkpoint are not used");
                continue;
            };
            if !span.is_sound(header.live) || span.from != key.epoch.from(partition, header.origin) {
                let (epoch, live) = (key.epoch.to_string(), header.live);
                return Err(CheckpointError::Span { epoch, view: key.view, span, live });
            }
            let table = match StreamReader::try_new(Cursor::new(blob), None)?.next() {
                Some(states) => StateTable::from_record_batch(view.clone(), &states?)?,
                None => StateTable::new(view.clone()),
            };
            folds.insert(key, Fold::restored(table, span));
        }
        Ok(Checkpoint { origin: header.origin, live: header.live, log: header.log, folds })
    }
}

/// The header and what follows it, once the whole is known to be undamaged.
fn open(bytes: &[u8]) -> Result<(Header, &[u8]), CheckpointError> {
    let short = |expected| CheckpointError::Short { found: bytes.len(), expected };
    let least = MAGIC.len() + 4 + HASH_BYTES;
    let (magic, _) = bytes.split_at_checked(MAGIC.len()).ok_or(short(least))?;
    if magic != MAGIC {
        return Err(CheckpointError::Magic { found: magic.to_vec() });
    }
    if bytes.len() < least {
        return Err(short(least));
    }
    let (contents, hash) = bytes.split_at(bytes.len() - HASH_BYTES);
    if Sha256::digest(contents)[..] != *hash {
        return Err(CheckpointError::Damaged);
    }
    let (length, rest) = contents[MAGIC.len()..].split_at(4);
    let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
    let (header, blobs) = rest.split_at_checked(length).ok_or(short(least + length))?;
    Ok((serde_json::from_slice(header)?, blobs))
}
