//! The worker: runs statements of people who are not trusted, in a process that can do nothing else.
//!
//! Guarantee: a statement sees the tables that it was handed and nothing beside: the database, in memory, is empty before
//! and after each. Whatever it does, the process can open no file and no connection, has an address
//! space and processor time that end, and is killed by its server at the statement's deadline. DuckDB's settings say the
//! same once more, and are locked.

mod confine;
mod database;

use std::io::{self, ErrorKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use watershed_schemas::sql_worker::{Ask, Done, FrameError, HEAD_BYTES, Head, Ready, Refused, Reply, Run};

pub use confine::{ConfineError, Confined, confine};
pub use database::{Database, Locks};

/// Rows travel in pieces of about this size.
const PIECE_BYTES: usize = 1 << 20;

/// Why a worker ends before its server wants it to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error(transparent)]
    Confine(#[from] ConfineError),
    #[error("its server does not speak with it any more: {0}")]
    Stream(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("its server asks out of turn")]
    OutOfTurn,
    #[error("a statement broke off in the middle")]
    Broken,
    #[error(transparent)]
    Engine(#[from] crate::EngineError),
}

/// Serves one server until that closes the stream. `memory` is what the process may take beyond what it begins with.
pub fn serve(memory: u64, input: &mut impl Read, output: &mut impl Write) -> Result<(), WorkerError> {
    // DuckDB reads of the system what it wants to know as long as it can.
    let mut database = Database::open(memory, Locks::All)?;
    let confined = confine(memory)?;
    send(output, &Reply::Ready(Ready { landlock: confined.landlock.clone() }))?;
    loop {
        let sql = match receive(input)? {
            None => return Ok(()),
            Some(Ask::Read { sql }) => sql,
            // What was on its way when the statement before was refused.
            Some(Ask::Table { .. } | Ask::Run(_)) => continue,
            Some(Ask::Forget) => {
                send(output, &Reply::Done(Done { truncated: false, again: confined.has_room() }))?;
                continue;
            }
        };
        // What a panic leaves behind is nothing to go on with.
        let ended = catch_unwind(AssertUnwindSafe(|| statement(&mut database, &sql, input, output)));
        let ended = ended.unwrap_or(Err(WorkerError::Broken))?;
        // Before anybody hears that it is over.
        database.empty()?;
        match ended {
            Ended::Done { truncated } => {
                send(output, &Reply::Done(Done { truncated, again: confined.has_room() }))?;
            }
            Ended::Refused(refused) => send(output, &Reply::Refused(refused))?,
            Ended::Closed => return Ok(()),
        }
    }
}

enum Ended {
    Done { truncated: bool },
    Refused(Refused),
    Closed,
}

fn statement(
    database: &mut Database,
    sql: &str,
    input: &mut impl Read,
    output: &mut impl Write,
) -> Result<Ended, WorkerError> {
    match database.parse_tree(sql) {
        Ok(tree) => send(output, &Reply::Read { tree })?,
        Err(refused) => return Ok(Ended::Refused(refused)),
    }
    loop {
        match receive(input)? {
            None => return Ok(Ended::Closed),
            Some(Ask::Table { table, rows }) => {
                if let Err(refused) = database.add(&table, rows) {
                    return Ok(Ended::Refused(refused));
                }
            }
            Some(Ask::Run(run)) => return self::run(database, sql, &run, output),
            Some(Ask::Forget) => return Ok(Ended::Done { truncated: false }),
            Some(Ask::Read { .. }) => return Err(WorkerError::OutOfTurn),
        }
    }
}

fn run(database: &Database, sql: &str, run: &Run, output: &mut impl Write) -> Result<Ended, WorkerError> {
    confine::limit_cpu(run.cpu_seconds)?;
    let mut piece: Vec<RecordBatch> = Vec::new();
    let (mut rows, mut bytes, mut piece_bytes, mut sent) = (0, 0, 0, false);
    let mut truncated = false;
    let mut broken = None;
    let mut take = |batch: RecordBatch| {
        let room = usize::try_from(run.limit).unwrap_or(usize::MAX) - rows;
        truncated = batch.num_rows() > room;
        let batch = if truncated { batch.slice(0, room) } else { batch };
        rows += batch.num_rows();
        let size = batch.get_array_memory_size();
        (bytes, piece_bytes) = (bytes + size, piece_bytes + size);
        piece.push(batch);
        if bytes as u64 > run.most_bytes {
            return Err(Refused {
                message: format!(
                    "the result is larger than {} bytes: ask for fewer rows or columns",
                    run.most_bytes
                ),
                position: None,
                unknown: None,
                too_large: true,
            });
        }
        if piece_bytes > PIECE_BYTES {
            sent = true;
            piece_bytes = 0;
            broken = flush(&mut piece, output).err();
        }
        Ok(!truncated && broken.is_none())
    };
    let schema = match database.run(sql, &run.parameters, &mut take) {
        Ok(schema) => schema,
        Err(refused) => return Ok(Ended::Refused(refused)),
    };
    if let Some(error) = broken {
        return Err(error);
    }
    if piece.is_empty() && !sent {
        // Columns are told even where there are no rows.
        piece.push(RecordBatch::new_empty(schema));
    }
    flush(&mut piece, output)?;
    Ok(Ended::Done { truncated })
}

fn flush(piece: &mut Vec<RecordBatch>, output: &mut impl Write) -> Result<(), WorkerError> {
    if let Some(first) = piece.first() {
        let rows = concat_batches(&first.schema(), piece.iter()).map_err(FrameError::from)?;
        piece.clear();
        send(output, &Reply::Rows(rows))?;
    }
    Ok(())
}

fn send(output: &mut impl Write, reply: &Reply) -> Result<(), WorkerError> {
    output.write_all(&reply.frame()?)?;
    Ok(output.flush()?)
}

/// `None` at the end of the stream.
fn receive(input: &mut impl Read) -> Result<Option<Ask>, WorkerError> {
    let mut head = [0; HEAD_BYTES];
    match input.read_exact(&mut head) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let head = Head::read(head)?;
    let mut payload = vec![0; head.bytes];
    input.read_exact(&mut payload)?;
    Ok(Some(Ask::read(head, payload)?))
}
