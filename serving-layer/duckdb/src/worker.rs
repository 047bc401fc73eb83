//! The worker: runs statements of people who are not trusted, in a process that can do nothing else.
//!
//! Guarantee: a statement sees the tables that its server has made here and nothing beside, and leaves them as it found them:
//! what DuckDB does not read as `SELECT` is not run, and what is runs in a transaction that may not write and is rolled back.
//! Whatever it does, the process can open no file and no
//! connection, has an address space and processor time that end, and is killed by its server at the statement's deadline.
//! DuckDB's settings say the same once more, and are locked.

mod confine;
mod database;

use std::collections::HashSet;
use std::io::{self, ErrorKind, Read, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};

use arrow::compute::concat_batches;
use arrow::record_batch::RecordBatch;
use watershed_schemas::sql_worker::{Ask, Done, FrameError, HEAD_BYTES, Head, Ready, Refused, Reply, Run};

pub use confine::{ConfineError, Confined, confine};
pub use database::{Database, Locks};

/// Rows travel in pieces of about this size.
const PIECE_BYTES: usize = 1 << 20;
/// Statements that are known to have been read, and their length at most.
const MOST_READ: usize = 256;
const LONGEST_READ: usize = 16 << 10;

/// Why a worker ends before its server wants it to.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error(transparent)]
    Confine(#[from] ConfineError),
    #[error("its server does not speak with it any more: {0}")]
    Stream(#[from] io::Error),
    #[error(transparent)]
    Frame(#[from] FrameError),
    #[error("a statement broke off in the middle")]
    Broken,
    #[error(transparent)]
    Engine(#[from] crate::EngineError),
}

/// Serves one server until that closes the stream. `memory` is what the process may take beyond what it begins with.
pub fn serve(memory: u64, input: &mut impl Read, output: &mut impl Write) -> Result<(), WorkerError> {
    // DuckDB reads of the system what it wants to know as long as it can.
    let database = Database::open(memory, Locks::All)?;
    let mut worker = Serving { database, unfit: None, read: HashSet::new() };
    let confined = confine(memory)?;
    send(output, &Reply::Ready(Ready { landlock: confined.landlock.clone() }))?;
    while let Some(ask) = receive(input)? {
        // What a panic leaves behind is nothing to go on with.
        let answered = catch_unwind(AssertUnwindSafe(|| worker.answer(ask, output)));
        let Some(reply) = answered.unwrap_or(Err(WorkerError::Broken))? else { continue };
        let again = |again: bool| again && confined.has_room();
        send(
            output,
            &match reply {
                Reply::Done(done) => Reply::Done(Done { again: again(done.again), ..done }),
                Reply::Refused(refused) => {
                    Reply::Refused(Refused { again: again(refused.again && !refused.too_large), ..refused })
                }
                other => other,
            },
        )?;
    }
    Ok(())
}

struct Serving {
    database: Database,
    /// Why the tables are not what they were to be.
    unfit: Option<Refused>,
    /// Statements that this process has read itself.
    read: HashSet<String>,
}

impl Serving {
    fn answer(&mut self, ask: Ask, output: &mut impl Write) -> Result<Option<Reply>, WorkerError> {
        let changed = match ask {
            Ask::Read { sql } => {
                return Ok(Some(self.read(&sql).map_or_else(Reply::Refused, |tree| Reply::Read { tree })));
            }
            Ask::Run(run) => {
                let fit = match self.unfit.take() {
                    None if self.read.contains(&run.sql) => Ok(()),
                    None => self.read(&run.sql).map(drop),
                    Some(unfit) => Err(unfit),
                };
                return match fit {
                    Ok(()) => self::run(&mut self.database, &run, output).map(Some),
                    Err(refused) => Ok(Some(Reply::Refused(refused))),
                };
            }
            Ask::Forget => {
                self.database.empty()?;
                self.unfit = None;
                return Ok(Some(Reply::Done(Done { truncated: false, again: true })));
            }
            // There is no use in more.
            _ if self.unfit.is_some() => Ok(()),
            Ask::Table { table, rows } => self.database.add(&table, rows),
            Ask::Keep(keep) => self.database.keep(&keep.table, keep.rows),
            Ask::Drop(table) => self.database.remove(&table),
        };
        if let Err(refused) = changed {
            self.unfit = Some(Refused { again: false, ..refused });
        }
        Ok(None)
    }

    /// The parse tree of what is nothing but `SELECT`.
    fn read(&mut self, sql: &str) -> Result<String, Refused> {
        let tree = self.database.parse_tree(sql)?;
        if sql.len() <= LONGEST_READ {
            if self.read.len() >= MOST_READ {
                self.read.clear();
            }
            self.read.insert(sql.to_string());
        }
        Ok(tree)
    }
}

fn run(database: &mut Database, run: &Run, output: &mut impl Write) -> Result<Reply, WorkerError> {
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
                again: true,
            });
        }
        if piece_bytes > PIECE_BYTES {
            sent = true;
            piece_bytes = 0;
            broken = flush(&mut piece, output).err();
        }
        Ok(!truncated && broken.is_none())
    };
    let schema = match database.run(&run.sql, &run.parameters, &mut take) {
        Ok(schema) => schema,
        Err(refused) => return Ok(Reply::Refused(refused)),
    };
    if let Some(error) = broken {
        return Err(error);
    }
    if piece.is_empty() && !sent {
        // Columns are told even where there are no rows.
        piece.push(RecordBatch::new_empty(schema));
    }
    flush(&mut piece, output)?;
    Ok(Reply::Done(Done { truncated, again: true }))
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
