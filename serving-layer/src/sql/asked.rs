//! A statement in the hands of a worker.

use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use arrow::compute::concat_batches;
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use watershed_schemas::sql_worker::{Ask, Done, Keep, Refused, Reply, Run};
use watershed_schemas::stream::Stream;
use watershed_security::{Grant, RowFilter};

use super::cut::Content;
use super::events::Reading;
use super::fold::{Cells, Folded};
use super::handed::{Handed, HandedColumn, Held, Part, Wanted};
use super::question::Question;
use super::tables;
use super::workers::{Lent, WorkerError};
use crate::ask::Serving;
use crate::refusal::{Reason, Refusal, nearest};
use crate::turns::beside;
use crate::versions::Loaded;

/// A result larger than this is not given, however many rows it has.
const MOST_RESULT_BYTES: u64 = 32 << 20;
/// Of what tables may take in a worker, the share that those may which a statement does not name.
const UNNAMED_SHARE: usize = 4;
/// Folds that look at more cells leave the thread that follows workers.
const INLINE_CELLS: usize = 5_000;

pub struct Asked<'a> {
    serving: &'a Serving,
    worker: Lent,
    question: &'a Question,
    /// What the one who asks may see.
    grant: &'a Grant,
    /// What its tables may take altogether, and take.
    most_bytes: usize,
    bytes: usize,
    /// The worker has ended cleanly.
    again: bool,
}

/// What came of a statement.
pub struct Ended {
    pub rows: RecordBatch,
    pub truncated: bool,
    /// Its tables, in the order in which they were wanted.
    pub handed: Vec<Handed>,
}

impl Asked<'_> {
    pub fn new<'a>(
        serving: &'a Serving,
        worker: Lent,
        question: &'a Question,
        grant: &'a Grant,
        most_bytes: usize,
    ) -> Asked<'a> {
        Asked { serving, worker, question, grant, most_bytes, bytes: 0, again: false }
    }

    /// Has the worker run the statement over these tables. It is given back where it ended cleanly.
    pub async fn answer(mut self, wanted: &[(Wanted, Content)], cpu_seconds: u64) -> Result<Ended, Refusal> {
        let ended = match self.hand(wanted).await {
            Ok(handed) => self.run(cpu_seconds, wanted, handed).await,
            Err(refusal) => {
                self.forget().await;
                Err(refusal)
            }
        };
        if self.again {
            self.worker.give_back();
        }
        ended
    }

    /// Makes the worker's tables what the statement is to see. Only then is there a statement that could look.
    async fn hand(&mut self, wanted: &[(Wanted, Content)]) -> Result<Vec<Handed>, Refusal> {
        self.clear(wanted).await?;
        let mut handed = Vec::with_capacity(wanted.len());
        for (wanted, content) in wanted {
            let name = wanted.table.name();
            let before = self.worker.held.iter().position(|held| held.made.table.name() == name);
            let before = before.map(|index| self.worker.held.swap_remove(index));
            let held = match before {
                Some(held) if held.is(wanted) => held,
                before => self.make(before, wanted, content).await?,
            };
            self.bytes += held.bytes();
            handed.push(held.handed(&wanted.columns));
            self.worker.held.push(held);
        }
        Ok(handed)
    }

    /// Drops what the one who asks is not given, and what takes too much room beside a table that is to come.
    async fn clear(&mut self, wanted: &[(Wanted, Content)]) -> Result<(), Refusal> {
        let is_named = |held: &Held| {
            let name = held.made.table.name();
            wanted.iter().any(|(wanted, _)| wanted.table.name() == name)
        };
        let held = std::mem::take(&mut self.worker.held);
        let is_new = |wanted: &Wanted| !held.iter().any(|held| held.is(wanted));
        let others: usize = held.iter().filter(|held| !is_named(held)).map(Held::bytes).sum();
        let crowded =
            others > self.most_bytes / UNNAMED_SHARE && wanted.iter().any(|(wanted, _)| is_new(wanted));
        let project = &self.serving.streams.project;
        let stays = |held: &Held| held.is_given(self.grant, project) && (is_named(held) || !crowded);
        let (stay, go): (Vec<Held>, Vec<Held>) = held.into_iter().partition(stays);
        self.worker.held = stay;
        for held in go {
            self.send(Ask::Drop(held.made.table.name())).await?;
        }
        Ok(())
    }

    async fn make(
        &mut self,
        before: Option<Held>,
        wanted: &Wanted,
        content: &Content,
    ) -> Result<Held, Refusal> {
        let settled_until = match content {
            Content::Cells(cells) => cells.settled_until(),
            Content::Events(..) => i64::MAX,
        };
        let mut made = wanted.clone();
        if let Some(held) = before {
            if let Content::Cells(cells) = content
                && held.can_follow(wanted, settled_until)
            {
                return self.follow(held, wanted, cells).await;
            }
            self.send(Ask::Drop(wanted.table.name())).await?;
            // Statements over different columns take turns.
            if held.is_of(wanted) && held.bytes() <= self.most_bytes / UNNAMED_SHARE {
                made.columns.extend(held.made.columns);
            }
        }
        match content {
            Content::Cells(cells) => {
                let (columns, rows) = (made.columns.clone(), made.rows.clone());
                let below = Cells { live: Vec::new(), ..cells.clone() };
                let settled = fold(&below, i64::MIN..settled_until, &columns, rows.as_ref()).await?;
                let rest = fold(cells, settled_until..i64::MAX, &columns, rows.as_ref()).await?;
                let (settled_rows, rest_rows) = (settled.rows.clone(), rest.rows.clone());
                let (settled, rest) = (Part::from(settled), Part::from(rest));
                self.has_room(&made, settled.bytes() + rest.bytes())?;
                self.append(&made, settled_rows).await?;
                self.append(&made, rest_rows).await?;
                Ok(Held { made, settled_until, settled, rest, lost_bytes: 0 })
            }
            Content::Events(stream, loaded) => self.events(made, stream, loaded).await,
        }
    }

    /// Brings the rows that are not settled up to date.
    async fn follow(&mut self, mut held: Held, wanted: &Wanted, cells: &Cells) -> Result<Held, Refusal> {
        let windows = held.settled_until..i64::MAX;
        let rest = fold(cells, windows, &held.made.columns, wanted.rows.as_ref()).await?;
        self.has_room(wanted, held.settled.bytes() + rest.rows.get_array_memory_size())?;
        if held.rest.rows > 0 {
            let keep = Keep { table: wanted.table.name(), rows: held.settled.rows };
            self.send(Ask::Keep(keep)).await?;
        }
        self.append(&held.made, rest.rows.clone()).await?;
        held.lost_bytes += held.rest.bytes();
        held.rest = rest.into();
        held.made.live = wanted.live.clone();
        Ok(held)
    }

    async fn events(&mut self, made: Wanted, stream: &Arc<Stream>, loaded: &Loaded) -> Result<Held, Refusal> {
        let reading = Reading::of(stream, &made.columns, made.rows.as_ref())?;
        let mut settled = Part::empty(&reading.schema);
        let rest = settled.clone();
        self.append(&made, RecordBatch::new_empty(reading.schema.clone())).await?;
        for file in &loaded.manifest.events {
            for rows in reading.read(self.serving, file).await? {
                settled.add(&rows);
                self.has_room(&made, settled.bytes())?;
                self.append(&made, rows).await?;
            }
        }
        Ok(Held { made, settled_until: i64::MAX, settled, rest, lost_bytes: 0 })
    }

    /// Hands rows over, behind those that the table has.
    async fn append(&mut self, made: &Wanted, rows: RecordBatch) -> Result<(), Refusal> {
        /// Rows of a piece.
        const PIECE: usize = 65_536;
        let table = made.table.name();
        let mut begun = 0;
        loop {
            let piece = rows.slice(begun, PIECE.min(rows.num_rows() - begun));
            self.send(Ask::Table { table: table.clone(), rows: piece }).await?;
            begun += PIECE;
            if begun >= rows.num_rows() {
                return Ok(());
            }
        }
    }

    /// For a table that takes so much beside those that are there.
    fn has_room(&self, table: &Wanted, bytes: usize) -> Result<(), Refusal> {
        if self.bytes + bytes <= self.most_bytes {
            return Ok(());
        }
        let (most, name) = (self.most_bytes, tables::shown(&table.table.name()));
        let detail = format!(
            "the statement's tables take more than {most} bytes, {name} among them: name fewer columns, or ask a view instead of events (sql.memory)"
        );
        Err(Refusal::new(Reason::TooLarge, detail))
    }

    async fn run(
        &mut self,
        cpu_seconds: u64,
        wanted: &[(Wanted, Content)],
        handed: Vec<Handed>,
    ) -> Result<Ended, Refusal> {
        let run = Run {
            sql: self.question.sql.clone(),
            parameters: self.question.parameters.clone(),
            limit: self.question.limit,
            most_bytes: MOST_RESULT_BYTES,
            cpu_seconds,
        };
        self.send(Ask::Run(run)).await?;
        let mut pieces: Vec<RecordBatch> = Vec::new();
        let done = loop {
            match self.receive().await? {
                Reply::Rows(rows) => pieces.push(rows),
                Reply::Done(done) => break done,
                Reply::Refused(refused) => {
                    self.again = refused.again;
                    let columns = wanted.iter().flat_map(|(wanted, _)| wanted.table.columns());
                    return Err(refusal(self.question, refused, columns));
                }
                Reply::Ready(_) | Reply::Read { .. } => return Err(WorkerError::OutOfTurn.into()),
            }
        };
        let rows = whole(pieces).map_err(|error| {
            Refusal::new(Reason::Failed, format!("the worker's rows do not fit together: {error}"))
        })?;
        self.again = done.again;
        Ok(Ended { rows, truncated: done.truncated, handed })
    }

    /// Leaves nothing of what was not handed over whole.
    async fn forget(&mut self) {
        self.worker.held.clear();
        if self.send(Ask::Forget).await.is_ok() {
            self.again = matches!(self.receive().await, Ok(Reply::Done(Done { again: true, .. })));
        }
    }

    async fn send(&mut self, ask: Ask) -> Result<(), Refusal> {
        Ok(self.worker.send(&ask).await?)
    }

    async fn receive(&mut self) -> Result<Reply, Refusal> {
        Ok(self.worker.receive().await?)
    }
}

impl From<Folded> for Part {
    fn from(folded: Folded) -> Part {
        Part { rows: folded.rows.num_rows(), columns: folded.columns, overflow: folded.overflow }
    }
}

impl Part {
    /// No rows yet, of columns that are no measures.
    fn empty(schema: &Schema) -> Part {
        let column = |name: &String| HandedColumn { name: name.clone(), bytes: 0, exact: None, error: None };
        let columns = schema.fields().iter().map(|field| column(field.name())).collect();
        Part { rows: 0, columns, overflow: None }
    }

    fn add(&mut self, rows: &RecordBatch) {
        self.rows += rows.num_rows();
        for (column, added) in self.columns.iter_mut().zip(rows.columns()) {
            column.bytes += added.get_array_memory_size();
        }
    }
}

async fn fold(
    cells: &Cells,
    windows: Range<i64>,
    columns: &BTreeSet<String>,
    filter: Option<&RowFilter>,
) -> Result<Folded, Refusal> {
    // Polars evaluates a filter, which blocks the thread that it is called on.
    let folded = match filter.is_none() && cells.reached(&windows) <= INLINE_CELLS {
        true => cells.fold(windows, columns, None),
        false => {
            let (cells, columns, filter) = (cells.clone(), columns.clone(), filter.cloned());
            beside(move || cells.fold(windows, &columns, filter.as_ref())).await?
        }
    };
    folded.map_err(|error| Refusal::new(Reason::Failed, format!("rows could not be handed over: {error}")))
}

/// What DuckDB finds wrong, in a problem's form. `columns` are those that the statement might have meant.
pub fn refusal<'a>(question: &Question, refused: Refused, columns: impl Iterator<Item = &'a str>) -> Refusal {
    if refused.too_large {
        return Refusal::new(Reason::TooLarge, refused.message);
    }
    let near = refused.unknown.as_deref().and_then(|unknown| nearest(unknown, columns));
    let lines = refused.message.lines().filter(|line| !line.trim().is_empty());
    // Candidates are those of the columns that were handed over, which are not all there are.
    let kept = lines.filter(|line| near.is_none() || !line.starts_with("Candidate bindings"));
    let detail = kept.collect::<Vec<_>>().join(" ");
    let refusal = Refusal { did_you_mean: near, ..Refusal::new(Reason::WrongQuestion, detail) };
    question.place(refusal, refused.position)
}

/// All rows of a result in one piece.
fn whole(mut pieces: Vec<RecordBatch>) -> Result<RecordBatch, ArrowError> {
    match pieces.len() {
        1 => Ok(pieces.remove(0)),
        _ => {
            let schema = pieces.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
            concat_batches(&schema, &pieces)
        }
    }
}
