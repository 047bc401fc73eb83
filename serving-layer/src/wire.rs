//! Partials on the wire: one Arrow IPC stream, with what its states hold as JSON in the schema's metadata.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};
use watershed_schemas::live::{LiveError, Partials, PartitionStates};
use watershed_schemas::offsets::{Offsets, Partition};

pub const MEDIA_TYPE: &str = "application/vnd.apache.arrow.stream";
const HEADER: &str = "watershed-partials";

/// One node's reply, but for its states.
#[derive(Serialize, Deserialize)]
struct Header {
    watershed: Offsets,
    live: Offsets,
    end: Offsets,
    current_at_ms: i64,
    /// The partition of each of this reply's batches, which follow one another in the stream.
    partitions: Vec<Partition>,
}

/// Bytes that are no partials.
#[derive(Debug, thiserror::Error)]
pub enum WireError {
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    #[error("header: {0}")]
    Header(#[from] serde_json::Error),
    #[error("found {found} state tables, the header says {expected}")]
    Tables { found: usize, expected: usize },
    #[error("it ends in the middle")]
    Cut,
}

pub fn encode(replies: &[Partials]) -> Result<Vec<u8>, WireError> {
    let header = |reply: &Partials| Header {
        watershed: reply.watershed.clone(),
        live: reply.live.clone(),
        end: reply.end.clone(),
        current_at_ms: reply.current_at_ms,
        partitions: reply.partitions.clone(),
    };
    let headers = serde_json::to_string(&replies.iter().map(header).collect::<Vec<_>>())?;
    let states = replies.iter().flat_map(|reply| &reply.states);
    let mut batches = states.map(PartitionStates::to_batch).peekable();
    // Without states there is nothing to describe but the header.
    let fields = batches.peek().map_or_else(Default::default, |batch| batch.schema().fields().clone());
    let schema = Arc::new(Schema::new_with_metadata(fields, HashMap::from([(HEADER.to_string(), headers)])));
    let mut writer = StreamWriter::try_new(Vec::new(), &schema)?;
    for batch in batches {
        writer.write(&RecordBatch::try_new(schema.clone(), batch.columns().to_vec())?)?;
    }
    Ok(writer.into_inner()?)
}

/// What one node says of several views: each as [`encode`] writes it, behind its length.
pub fn encode_together(views: &[Vec<Partials>]) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::new();
    for replies in views {
        let encoded = encode(replies)?;
        bytes.extend_from_slice(&(encoded.len() as u64).to_le_bytes());
        bytes.extend(encoded);
    }
    Ok(bytes)
}

pub fn decode_together(mut bytes: &[u8]) -> Result<Vec<Vec<Partials>>, WireError> {
    let mut views = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk().ok_or(WireError::Cut)?;
        let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
        let (view, rest) = rest.split_at_checked(length).ok_or(WireError::Cut)?;
        views.push(decode(view)?);
        bytes = rest;
    }
    Ok(views)
}

pub fn decode(bytes: &[u8]) -> Result<Vec<Partials>, WireError> {
    let reader = StreamReader::try_new(bytes, None)?;
    let headers = reader.schema().metadata().get(HEADER).cloned().unwrap_or_default();
    let headers: Vec<Header> = serde_json::from_str(&headers)?;
    let mut states = reader.collect::<Result<Vec<_>, _>>()?.into_iter();
    let expected = headers.iter().map(|header| header.partitions.len()).sum();
    if states.len() != expected {
        return Err(WireError::Tables { found: states.len(), expected });
    }
    let reply = |header: Header| {
        let Header { watershed, live, end, current_at_ms, partitions } = header;
        let states = states.by_ref().take(partitions.len()).map(PartitionStates::Encoded).collect();
        Partials { watershed, live, end, current_at_ms, partitions, states }
    };
    Ok(headers.into_iter().map(reply).collect())
}

/// A [`LiveError`] on the wire. Tagged from outside: serde cannot read offsets, whose keys are numbers, behind a tag
/// within.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Refused {
    NotReady { stream: String, watershed: Offsets, reason: String },
    UnknownView { view: String },
    Unavailable { reason: String },
}

impl From<LiveError> for Refused {
    fn from(error: LiveError) -> Self {
        match error {
            LiveError::NotReady { stream, watershed, reason } => {
                Refused::NotReady { stream, watershed, reason }
            }
            LiveError::UnknownView { view } => Refused::UnknownView { view },
            LiveError::Unavailable { reason } => Refused::Unavailable { reason },
        }
    }
}

impl From<Refused> for LiveError {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::NotReady { stream, watershed, reason } => {
                LiveError::NotReady { stream, watershed, reason }
            }
            Refused::UnknownView { view } => LiveError::UnknownView { view },
            Refused::Unavailable { reason } => LiveError::Unavailable { reason },
        }
    }
}
