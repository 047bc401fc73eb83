//! What a server and the worker process that runs a statement for it say to each other.
//!
//! Frames over the worker's standard streams: a kind, a length, a payload. A worker says [`Reply::Ready`] once; then it does
//! what it is asked, one thing after the other. [`Ask::Read`] is answered by [`Reply::Read`]. [`Ask::Table`], [`Ask::Keep`] and
//! [`Ask::Drop`] make its tables what a statement is to see, and are answered by nothing. [`Ask::Run`] is answered by any number
//! of [`Reply::Rows`] and then [`Reply::Done`]; the tables stay as they are. [`Reply::Refused`] may come in place of an answer.
//! Rows travel as Arrow IPC, as they lie in memory.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::ipc::reader::StreamReader;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::RecordBatch;
use serde::{Deserialize, Serialize};

/// A frame that claims to be larger is not read.
pub const MOST_FRAME_BYTES: usize = 512 << 20;
/// Kind and length.
pub const HEAD_BYTES: usize = 5;

/// What a server asks of a worker.
#[derive(Debug)]
pub enum Ask {
    /// A statement's text is to be taken apart. Nothing is run, and nothing of it stays.
    Read {
        sql: String,
    },
    /// Rows of a table, behind those that it has. The first ones make the table.
    Table {
        table: TableName,
        rows: RecordBatch,
    },
    /// A table is to lose all rows but the first ones.
    Keep(Keep),
    /// A table is to go.
    Drop(TableName),
    Run(Run),
    /// All tables are to go. Answered by [`Reply::Done`].
    Forget,
}

/// What a worker says.
#[derive(Debug)]
pub enum Reply {
    Ready(Ready),
    /// The parse tree as DuckDB writes it.
    Read {
        tree: String,
    },
    Rows(RecordBatch),
    Done(Done),
    Refused(Refused),
}

/// A table of a statement: `flight_delays`, `batch.flight_delays`, `events.flights`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TableName {
    pub schema: Option<String>,
    pub name: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keep {
    pub table: TableName,
    /// How many rows came first.
    pub rows: usize,
}

/// A statement, over the tables that there are.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub sql: String,
    pub parameters: Parameters,
    /// Rows that are wanted at most, and bytes of Arrow.
    pub limit: u64,
    pub most_bytes: u64,
    /// Processor time after which the system ends the worker, should the server not have.
    pub cpu_seconds: u64,
}

/// Values of a statement's parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Parameters {
    /// `?`, `$1`.
    Listed(Vec<Parameter>),
    /// `$carrier`.
    Named(HashMap<String, Parameter>),
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Parameter {
    Null,
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Text(String),
}

/// How a worker is confined.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ready {
    /// In words, for the log.
    pub landlock: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// There were more rows than wanted.
    pub truncated: bool,
    /// False when the worker has grown so much that another one should take its place.
    pub again: bool,
}

/// Why a statement is not run, or has failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    pub message: String,
    /// Bytes of the statement before the place that is at fault.
    pub position: Option<usize>,
    /// The name that was not found, if that is the trouble.
    pub unknown: Option<String>,
    /// What it takes is more than a worker gives.
    pub too_large: bool,
    /// As in [`Done::again`].
    pub again: bool,
}

/// Bytes that are no frame of this protocol.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a frame of kind {0}, which nobody sends here")]
    Kind(u8),
    #[error("a frame of {0} bytes, more than {MOST_FRAME_BYTES}")]
    TooLarge(usize),
    #[error("rows without a table's name")]
    NoName,
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Arrow(#[from] ArrowError),
    #[error("text that is not UTF-8")]
    Text(#[from] std::string::FromUtf8Error),
}

/// The first bytes of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    kind: u8,
    pub bytes: usize,
}

/// The key of a table's name in its schema's metadata.
const TABLE: &str = "watershed-table";

impl Head {
    pub fn read(head: [u8; HEAD_BYTES]) -> Result<Head, FrameError> {
        let [kind, length @ ..] = head;
        let bytes = u32::from_le_bytes(length) as usize;
        if bytes > MOST_FRAME_BYTES { Err(FrameError::TooLarge(bytes)) } else { Ok(Head { kind, bytes }) }
    }
}

impl Ask {
    pub fn frame(&self) -> Result<Vec<u8>, FrameError> {
        match self {
            Ask::Read { sql } => frame(b'S', |out| text(out, sql)),
            Ask::Table { table, rows } => {
                let name = serde_json::to_string(table)?;
                frame(b'T', |out| write(out, rows, HashMap::from([(TABLE.to_string(), name)])))
            }
            Ask::Keep(keep) => frame(b'K', |out| Ok(serde_json::to_writer(out, keep)?)),
            Ask::Drop(table) => frame(b'G', |out| Ok(serde_json::to_writer(out, table)?)),
            Ask::Run(run) => frame(b'X', |out| Ok(serde_json::to_writer(out, run)?)),
            Ask::Forget => frame(b'F', |_| Ok(())),
        }
    }

    pub fn read(head: Head, payload: Vec<u8>) -> Result<Ask, FrameError> {
        Ok(match head.kind {
            b'S' => Ask::Read { sql: String::from_utf8(payload)? },
            b'T' => {
                let rows = read(&payload)?;
                let schema = rows.schema();
                let name = schema.metadata().get(TABLE).ok_or(FrameError::NoName)?;
                Ask::Table { table: serde_json::from_str(name)?, rows }
            }
            b'K' => Ask::Keep(serde_json::from_slice(&payload)?),
            b'G' => Ask::Drop(serde_json::from_slice(&payload)?),
            b'X' => Ask::Run(serde_json::from_slice(&payload)?),
            b'F' => Ask::Forget,
            kind => return Err(FrameError::Kind(kind)),
        })
    }
}

impl Reply {
    pub fn frame(&self) -> Result<Vec<u8>, FrameError> {
        match self {
            Reply::Ready(ready) => frame(b'H', |out| Ok(serde_json::to_writer(out, ready)?)),
            Reply::Read { tree } => frame(b'P', |out| text(out, tree)),
            Reply::Rows(rows) => frame(b'B', |out| write(out, rows, HashMap::new())),
            Reply::Done(done) => frame(b'D', |out| Ok(serde_json::to_writer(out, done)?)),
            Reply::Refused(refused) => frame(b'E', |out| Ok(serde_json::to_writer(out, refused)?)),
        }
    }

    pub fn read(head: Head, payload: Vec<u8>) -> Result<Reply, FrameError> {
        Ok(match head.kind {
            b'H' => Reply::Ready(serde_json::from_slice(&payload)?),
            b'P' => Reply::Read { tree: String::from_utf8(payload)? },
            b'B' => Reply::Rows(read(&payload)?),
            b'D' => Reply::Done(serde_json::from_slice(&payload)?),
            b'E' => Reply::Refused(serde_json::from_slice(&payload)?),
            kind => return Err(FrameError::Kind(kind)),
        })
    }
}

fn frame(
    kind: u8,
    payload: impl FnOnce(&mut Vec<u8>) -> Result<(), FrameError>,
) -> Result<Vec<u8>, FrameError> {
    let mut out = vec![kind, 0, 0, 0, 0];
    payload(&mut out)?;
    let bytes = out.len() - HEAD_BYTES;
    if bytes > MOST_FRAME_BYTES {
        return Err(FrameError::TooLarge(bytes));
    }
    out[1..HEAD_BYTES].copy_from_slice(&(bytes as u32).to_le_bytes());
    Ok(out)
}

fn text(out: &mut Vec<u8>, text: &str) -> Result<(), FrameError> {
    out.extend_from_slice(text.as_bytes());
    Ok(())
}

fn write(out: &mut Vec<u8>, rows: &RecordBatch, metadata: HashMap<String, String>) -> Result<(), FrameError> {
    let schema = Arc::new(Schema::new_with_metadata(rows.schema().fields().clone(), metadata));
    let mut writer = StreamWriter::try_new(out, &schema)?;
    writer.write(&rows.clone().with_schema(schema)?)?;
    writer.finish()?;
    Ok(())
}

fn read(bytes: &[u8]) -> Result<RecordBatch, FrameError> {
    let mut reader = StreamReader::try_new(bytes, None)?;
    let schema = reader.schema();
    Ok(reader.next().transpose()?.unwrap_or_else(|| RecordBatch::new_empty(schema)))
}
