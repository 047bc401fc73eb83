//! One object of a chain.
//!
//! ```text
//! "WSCKPT02" | images … | header (JSON) | header length (u32, little endian) | SHA-256 of all before
//! ```
//! Each batch of an image is an Arrow IPC stream that begins at a multiple of 64 bytes. Guarantee: what is opened is what
//! was sealed, or an error. The object's name ends with its hash, so what a chain names is that object or none.

use arrow::array::RecordBatch;
use arrow::buffer::Buffer;
use arrow::ipc::reader::StreamDecoder;
use arrow::ipc::writer::StreamWriter;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use watershed_schemas::identity::LogIdentity;
use watershed_schemas::image::{Encoded, Extent};
use watershed_schemas::layout::Object;
use watershed_schemas::offsets::{Offset, Partition};

use super::CheckpointError;
use crate::epoch::{FoldKey, Span};

const MAGIC: &[u8; 8] = b"WSCKPT02";
const HASH_BYTES: usize = 32;
const LENGTH_BYTES: usize = 4;
/// Of an object's name. What was damaged shows by the whole hash; the name only tells objects apart.
const NAME_BYTES: usize = 16;
/// So that what is read can be used where it lies.
const ALIGNMENT: usize = 64;

/// What an object says of itself.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Header {
    pub stream: String,
    pub partition: Partition,
    pub origin: Offset,
    pub live: Offset,
    pub log: LogIdentity,
    /// The objects before it in the chain, the base first; none in a base.
    pub continues: Vec<String>,
    /// All folds that there were, changed or not.
    pub folds: Vec<FoldHeader>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct FoldHeader {
    pub key: FoldKey,
    pub hash: String,
    pub span: Span,
    pub extent: Extent,
    /// What the image here continues; none if it is of the whole fold.
    pub since: Option<Extent>,
    /// How many rows the image here has states of.
    pub rows: usize,
    /// Bytes of each batch of the image; none if nothing has changed.
    pub batches: Vec<u64>,
}

/// An object that is whole.
#[derive(Debug)]
pub(crate) struct Opened {
    pub path: String,
    pub header: Header,
    /// The batches of each fold.
    images: Vec<Vec<Bytes>>,
}

/// Seals a header and the images of its folds; gives the object's path and its bytes.
pub(crate) fn seal(
    mut header: Header,
    images: Vec<Option<Encoded>>,
) -> Result<(Header, String, Bytes), CheckpointError> {
    let mut bytes = MAGIC.to_vec();
    for (fold, image) in header.folds.iter_mut().zip(images) {
        for batch in image.into_iter().flatten() {
            bytes.resize(bytes.len().next_multiple_of(ALIGNMENT), 0);
            let before = bytes.len();
            let mut writer = StreamWriter::try_new(&mut bytes, &batch.schema())?;
            writer.write(&batch)?;
            writer.finish()?;
            drop(writer);
            fold.batches.push((bytes.len() - before) as u64);
        }
    }
    let text = serde_json::to_vec(&header)?;
    bytes.extend_from_slice(&text);
    bytes.extend_from_slice(&(text.len() as u32).to_le_bytes());
    let hash = Sha256::digest(&bytes);
    bytes.extend_from_slice(&hash);
    let path = path(&header, &hash)?;
    Ok((header, path, bytes.into()))
}

/// Opens an object; `path` is where it was found, if it was.
pub(crate) fn open(path: Option<&str>, bytes: Bytes) -> Result<Opened, CheckpointError> {
    let short = |expected| CheckpointError::Short { found: bytes.len(), expected };
    let least = MAGIC.len() + LENGTH_BYTES + HASH_BYTES;
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
    let (contents, length) = contents.split_at(contents.len() - LENGTH_BYTES);
    let length = u32::from_le_bytes([length[0], length[1], length[2], length[3]]) as usize;
    let images_end = (contents.len() - MAGIC.len()).checked_sub(length).ok_or(short(least + length))?;
    let images_end = images_end + MAGIC.len();
    let header: Header = serde_json::from_slice(&contents[images_end..])?;
    let own = self::path(&header, hash)?;
    if let Some(path) = path.filter(|path| *path != own) {
        return Err(CheckpointError::Misnamed { found: own, expected: path.to_string() });
    }
    let mut images = Vec::with_capacity(header.folds.len());
    let mut until = MAGIC.len();
    for fold in &header.folds {
        let mut batches = Vec::with_capacity(fold.batches.len());
        for length in &fold.batches {
            let from = until.next_multiple_of(ALIGNMENT);
            until = from.saturating_add(*length as usize);
            if until > images_end {
                return Err(CheckpointError::Short { found: images_end, expected: until });
            }
            batches.push(bytes.slice(from..until));
        }
        images.push(batches);
    }
    Ok(Opened { path: own, header, images })
}

impl Opened {
    /// What was sealed of the fold at this place of the header; `None` if nothing had changed.
    pub(crate) fn image(&self, fold: usize) -> Result<Option<Encoded>, CheckpointError> {
        let batches = self.images[fold].iter().map(decode).collect::<Result<Encoded, _>>()?;
        Ok((!batches.is_empty()).then_some(batches))
    }
}

/// Columns lie where the object lies in memory, uncopied.
fn decode(stream: &Bytes) -> Result<RecordBatch, CheckpointError> {
    let batch = StreamDecoder::new().decode(&mut Buffer::from(stream.clone()))?;
    batch.ok_or(CheckpointError::Short { found: 0, expected: 1 })
}

/// Where an object lies: its name follows from its bytes, so that writing it twice is writing it once.
fn path(header: &Header, hash: &[u8]) -> Result<String, CheckpointError> {
    let id = hash[..NAME_BYTES].iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let base = match header.continues.first().map(|base| (base, Object::parse(base))) {
        None => id.clone(),
        Some((_, Some(Object::Checkpoint { id, .. }))) => id,
        Some((base, _)) => return Err(CheckpointError::NotACheckpoint { path: base.clone() }),
    };
    let (stream, partition, offset) = (header.stream.clone(), header.partition, header.live);
    Ok(Object::Checkpoint { stream, partition, offset, base, id }.path())
}
