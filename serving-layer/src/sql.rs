//! SQL over what views and events are at one moment.
//!
//! A statement is taken apart by a worker, which says what it names; the tables are cut here, all of one stream at one
//! coverage ([`tables`]), handed to the worker as Arrow and asked there. The worker is a process that can do nothing else
//! ([`workers`]).

mod answer;
mod names;
mod question;
pub(crate) mod tables;
mod tree;
mod workers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use arrow::record_batch::RecordBatch;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use watershed_schemas::sql_worker::{Ask, Reply, Run, TableName};
use watershed_security::Grant;

pub use answer::{Column, SqlAnswer, Statistics, Told};
pub use question::Question;
pub use workers::SqlSettings;

use crate::answer::Block;
use crate::ask::Serving;
use crate::refusal::{Reason, Refusal, nearest};
use crate::turns::beside;
use names::{Names, names};
use tables::{Cut, Handed, Known, Pieces, Shown};
use workers::{Worker, Workers};

/// The share of a worker's memory that its tables may take.
const TABLES_SHARE: u64 = 3;
/// A result larger than this is not given, however many rows it has.
const MOST_RESULT_BYTES: u64 = 32 << 20;
/// A parse tree takes a hundred times the text's room.
const MOST_TREE_BYTES: usize = 4 << 20;

/// Answers statements, where that is switched on.
pub struct Sql {
    serving: Arc<Serving>,
    workers: Option<Arc<Workers>>,
    /// Workers are followed here, whichever thread serves the connection.
    runtime: Handle,
}

/// Work that nobody waits for any more is given up, and its worker with it.
struct Abandoned<T>(JoinHandle<T>);

impl<T> Drop for Abandoned<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Sql {
    /// Without settings there is no SQL. Starts the workers on the runtime that this is called on.
    pub fn new(serving: Arc<Serving>, settings: Option<SqlSettings>) -> Sql {
        let runtime = Handle::current();
        let workers = settings.map(Workers::new);
        if let Some(workers) = workers.clone() {
            runtime.spawn(async move { workers.warm().await });
        }
        Sql { serving, workers, runtime }
    }

    /// Over what the grant shows of each table.
    pub async fn ask(&self, question: Question, grant: Arc<Grant>) -> Result<SqlAnswer, Refusal> {
        let Some(workers) = &self.workers else {
            return Err(Refusal::new(
                Reason::UnknownName,
                "SQL is switched off on this server (sql.enabled)",
            ));
        };
        let most = workers.settings.max_rows;
        if question.limit > most {
            return Err(Refusal::wrong(
                "limit",
                format!("limit is {}, expected at most {most}", question.limit),
            ));
        }
        let began = Instant::now();
        let turn = workers.turn().await?;
        let (serving, workers) = (self.serving.clone(), workers.clone());
        let statement = async move {
            let _turn = turn;
            let worker = workers.take().await?;
            let timeout = workers.settings.timeout;
            let asked = ask(&serving, &workers, worker, &question, &grant);
            let ended = tokio::time::timeout(timeout, asked).await.unwrap_or_else(|_| {
                let detail = format!("the statement had not ended after {timeout:?} (sql.timeout)");
                Ended { answer: Err(Refusal::new(Reason::TooLarge, detail)), worker: None }
            });
            match ended.worker {
                Some(worker) => workers.give_back(worker),
                None => drop(tokio::spawn(async move { workers.replace().await })),
            }
            ended.answer
        };
        let mut statement = Abandoned(self.runtime.spawn(statement));
        let answer = (&mut statement.0)
            .await
            .map_err(|error| Refusal::new(Reason::Failed, format!("answering was interrupted: {error}")))?;
        answer.map(|answer| answer.after(began.elapsed()))
    }
}

struct Ended {
    answer: Result<SqlAnswer, Refusal>,
    /// Unless it is gone, or has become too large to go on.
    worker: Option<Worker>,
}

/// A statement in the hands of a worker.
struct Asked<'a> {
    serving: &'a Serving,
    worker: Worker,
    question: &'a Question,
    /// What the one who asks may see.
    grant: &'a Grant,
    /// What its tables may take altogether, and have taken.
    most_bytes: usize,
    bytes: usize,
    /// The worker waits for more of this statement.
    open: bool,
    /// The worker is to go.
    broken: bool,
}

async fn ask(
    serving: &Serving,
    workers: &Workers,
    worker: Worker,
    question: &Question,
    grant: &Grant,
) -> Ended {
    let settings = &workers.settings;
    let most_bytes = usize::try_from(settings.memory / TABLES_SHARE).unwrap_or(usize::MAX);
    let mut asked =
        Asked { serving, worker, question, grant, most_bytes, bytes: 0, open: false, broken: false };
    let answer = asked.whole(settings).await;
    if asked.open && !asked.broken {
        asked.forget().await;
    }
    Ended { answer, worker: (!asked.broken).then_some(asked.worker) }
}

impl Asked<'_> {
    async fn whole(&mut self, settings: &SqlSettings) -> Result<SqlAnswer, Refusal> {
        self.send(Ask::Read { sql: self.question.sql.clone() }).await?;
        self.open = true;
        let tree = match self.receive().await? {
            Reply::Read { tree } => tree,
            other => return Err(self.unexpected(other, &[])),
        };
        if tree.len() > MOST_TREE_BYTES {
            return Err(Refusal::new(
                Reason::TooLarge,
                "the statement is too long: hand values over as parameters",
            ));
        }
        let names = beside(move || names(&tree)).await?.map_err(|unfit| {
            let position = unfit.position;
            self.question.place(unfit.refusal(), position)
        })?;
        let place = |refusal, position| self.question.place(refusal, position);
        let known = tables::known(self.serving, self.grant, &names, place)?;
        let (blocks, handed) = self.hand(&known, &names).await?;
        let run = Run {
            parameters: self.question.parameters.clone(),
            limit: self.question.limit,
            most_bytes: MOST_RESULT_BYTES,
            cpu_seconds: settings.timeout.as_secs() + 1,
        };
        self.send(Ask::Run(run)).await?;
        let mut pieces: Vec<RecordBatch> = Vec::new();
        let done = loop {
            match self.receive().await? {
                Reply::Rows(rows) => pieces.push(rows),
                Reply::Done(done) => break done,
                other => return Err(self.unexpected(other, &known)),
            }
        };
        self.open = false;
        self.broken = !done.again;
        let rows = tables::whole(&pieces).map_err(|error| {
            self.broken = true;
            Refusal::new(Reason::Failed, format!("the worker's rows do not fit together: {error}"))
        })?;
        Ok(SqlAnswer::of(rows, done.truncated, &names, blocks, handed))
    }

    async fn send(&mut self, ask: Ask) -> Result<(), Refusal> {
        let sent = self.worker.send(&ask).await;
        self.broken |= sent.is_err();
        Ok(sent?)
    }

    async fn receive(&mut self) -> Result<Reply, Refusal> {
        let received = self.worker.receive().await;
        self.broken |= received.is_err();
        Ok(received?)
    }

    /// Brings the worker back to where it was before the statement.
    async fn forget(&mut self) {
        if self.send(Ask::Forget).await.is_err() {
            return;
        }
        loop {
            match self.receive().await {
                Ok(Reply::Done(done)) => return self.broken |= !done.again,
                // What it had said to the statement before it heard of this.
                Ok(_) => {}
                Err(_) => return,
            }
        }
    }

    /// Every table that is named, those of one stream from one cut.
    async fn hand(&mut self, known: &[Known], names: &Names) -> Result<(Vec<Block>, Vec<Handed>), Refusal> {
        let mut streams: BTreeMap<&str, Vec<Known>> = BTreeMap::new();
        for table in known {
            streams.entry(table.stream()).or_default().push(table.clone());
        }
        let (mut blocks, mut handed) = (Vec::new(), Vec::new());
        for (stream, tables) in streams {
            let serving = self.serving;
            let mut cut = Cut::take(serving, serving.stream(stream)?, &tables).await?;
            for table in &tables {
                let shown = Shown { wanted: names.columns.as_ref(), rows: self.grant.rows.as_ref() };
                handed.push(cut.rows(serving, table, shown, self).await?);
            }
            blocks.push(cut.block);
        }
        Ok((blocks, handed))
    }

    /// What the worker says in place of what it was asked: mostly what DuckDB finds wrong, told in a problem's form.
    fn unexpected(&mut self, reply: Reply, known: &[Known]) -> Refusal {
        let Reply::Refused(refused) = reply else {
            self.broken = true;
            return workers::WorkerError::OutOfTurn.into();
        };
        self.open = false;
        if refused.too_large {
            self.broken = true;
            return Refusal::new(Reason::TooLarge, refused.message);
        }
        let columns = known.iter().flat_map(Known::columns);
        let near = refused.unknown.as_deref().and_then(|unknown| nearest(unknown, columns));
        let lines = refused.message.lines().filter(|line| !line.trim().is_empty());
        // Candidates are those of the columns that were handed over, which are not all there are.
        let kept = lines.filter(|line| near.is_none() || !line.starts_with("Candidate bindings"));
        let detail = kept.collect::<Vec<_>>().join(" ");
        let refusal = Refusal { did_you_mean: near, ..Refusal::new(Reason::WrongQuestion, detail) };
        self.question.place(refusal, refused.position)
    }
}

impl Pieces for Asked<'_> {
    async fn take(&mut self, table: &TableName, rows: RecordBatch) -> Result<(), Refusal> {
        self.bytes += rows.get_array_memory_size();
        if self.bytes > self.most_bytes {
            let (most, name) = (self.most_bytes, tables::shown(table));
            let detail = format!(
                "the statement's tables take more than {most} bytes, {name} among them: name fewer columns, or ask a view instead of events (sql.memory)"
            );
            return Err(Refusal::new(Reason::TooLarge, detail));
        }
        self.send(Ask::Table { table: table.clone(), rows }).await
    }
}
