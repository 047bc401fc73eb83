//! SQL over what views and events are at one moment.
//!
//! A statement is taken apart by a worker, which says what it names ([`statements`] remembers it). The tables are cut here,
//! all of one stream at one coverage ([`cut`]), handed to the worker as Arrow, as far as it does not hold them already
//! ([`handed`]), and asked there ([`asked`]). The worker is a process that can do nothing else ([`workers`]).

mod answer;
mod asked;
mod cut;
mod events;
mod fold;
mod handed;
mod names;
mod question;
mod statements;
mod tables;
mod tree;
mod workers;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use watershed_schemas::sql_worker::{Ask, Reply};
use watershed_security::Grant;

pub use answer::{Column, SqlAnswer, Statistics, Told};
pub use question::Question;
pub use workers::SqlSettings;

use crate::ask::Serving;
use crate::refusal::{Reason, Refusal};
use crate::turns::beside;
use asked::Asked;
use cut::{Content, Cut};
use handed::Wanted;
use names::{Names, names};
use statements::Statements;
use tables::Known;
use workers::{WorkerError, Workers};

/// The share of a worker's memory that its tables may take.
const TABLES_SHARE: u64 = 3;
/// A parse tree takes a hundred times the text's room.
const MOST_TREE_BYTES: usize = 4 << 20;
/// Smaller trees are looked through at once.
const INLINE_TREE_BYTES: usize = 64 << 10;

/// How long the first workers leave the cores to those who restore states. Who asks earlier is not kept waiting: a
/// statement without a worker starts one.
const READY_WITHIN: Duration = Duration::from_secs(5);
/// How often it is looked whether states are restored.
const LOOK: Duration = Duration::from_millis(50);

/// Answers statements, where that is switched on.
pub struct Sql {
    answering: Option<Arc<Answering>>,
    /// Workers are followed here, whichever thread serves the connection.
    runtime: Handle,
}

struct Answering {
    serving: Arc<Serving>,
    workers: Arc<Workers>,
    statements: Statements,
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
        let answering = settings.map(|settings| {
            let workers = Workers::new(settings);
            Arc::new(Answering { serving, workers, statements: Statements::default() })
        });
        if let Some(answering) = answering.clone() {
            runtime.spawn(async move {
                answering.until_ready().await;
                answering.workers.warm().await;
            });
        }
        Sql { answering, runtime }
    }

    /// Over what the grant shows of each table.
    pub async fn ask(&self, question: Question, grant: Arc<Grant>) -> Result<SqlAnswer, Refusal> {
        let Some(answering) = self.answering.clone() else {
            return Err(Refusal::new(
                Reason::UnknownName,
                "SQL is switched off on this server (sql.enabled)",
            ));
        };
        let most = answering.workers.settings.max_rows;
        if question.limit > most {
            return Err(Refusal::wrong(
                "limit",
                format!("limit is {}, expected at most {most}", question.limit),
            ));
        }
        let began = Instant::now();
        let turn = answering.workers.turn().await?;
        let statement = async move {
            let _turn = turn;
            let timeout = answering.workers.settings.timeout;
            let answered = answering.answer(&question, &grant);
            // Whatever worker is at it then is killed.
            tokio::time::timeout(timeout, answered).await.unwrap_or_else(|_| {
                let detail = format!("the statement had not ended after {timeout:?} (sql.timeout)");
                Err(Refusal::new(Reason::TooLarge, detail))
            })
        };
        let mut statement = Abandoned(self.runtime.spawn(statement));
        let answer = (&mut statement.0)
            .await
            .map_err(|error| Refusal::new(Reason::Failed, format!("answering was interrupted: {error}")))?;
        answer.map(|answer| answer.after(began.elapsed()))
    }
}

impl Answering {
    /// Waits until all streams are ready, or for so long.
    async fn until_ready(&self) {
        let (begun, streams) = (Instant::now(), &self.serving.streams);
        while begun.elapsed() < READY_WITHIN && !streams.iter().all(|state| state.readiness().is_ready()) {
            tokio::time::sleep(LOOK).await;
        }
    }

    async fn answer(&self, question: &Question, grant: &Grant) -> Result<SqlAnswer, Refusal> {
        let names = self.names(question).await?;
        let place = |refusal, position| question.place(refusal, position);
        let known = tables::known(&self.serving, grant, &names, place)?;
        let mut cuts = self.cuts(&known).await?;
        let (mut wanted, mut contents) = (Vec::with_capacity(known.len()), Vec::with_capacity(known.len()));
        for table in known {
            let taken = cuts[table.stream()].table(&table)?;
            let columns = taken.content.columns(names.columns.as_ref());
            let (rows, source, live) = (grant.rows.clone(), taken.source, taken.live);
            wanted.push(Wanted { table, rows, source, live, columns });
            contents.push(taken.content);
        }
        let project = &self.serving.streams.project;
        let suits = |held: &[_]| handed::suits(held, &wanted, |held| held.is_given(grant, project));
        let worker = self.workers.lend(suits).await?;
        let settings = &self.workers.settings;
        let most_bytes = usize::try_from(settings.memory / TABLES_SHARE).unwrap_or(usize::MAX);
        let asked = Asked::new(&self.serving, worker, question, grant, most_bytes);
        let wanted: Vec<(Wanted, Content)> = wanted.into_iter().zip(contents).collect();
        let ended = asked.answer(&wanted, settings.timeout.as_secs() + 1).await?;
        for ((wanted, _), handed) in wanted.iter().zip(&ended.handed) {
            if let (Known::Merged(_), Some(cut)) = (&wanted.table, cuts.get_mut(wanted.table.stream())) {
                cut.block = std::mem::take(&mut cut.block).with(handed.overflow.clone(), None);
            }
        }
        let blocks = cuts.into_values().map(|cut| cut.block).collect();
        Ok(SqlAnswer::of(ended.rows, ended.truncated, &names, blocks, ended.handed))
    }

    /// What the statement names; any worker can tell.
    async fn names(&self, question: &Question) -> Result<Arc<Names>, Refusal> {
        if let Some(names) = self.statements.find(&question.sql) {
            return Ok(names);
        }
        let mut worker = self.workers.lend(|_| ()).await?;
        worker.send(&Ask::Read { sql: question.sql.clone() }).await?;
        let tree = match worker.receive().await? {
            Reply::Read { tree } => tree,
            Reply::Refused(refused) => {
                if refused.again {
                    worker.give_back();
                }
                return Err(asked::refusal(question, refused, std::iter::empty()));
            }
            _ => return Err(WorkerError::OutOfTurn.into()),
        };
        worker.give_back();
        if tree.len() > MOST_TREE_BYTES {
            return Err(Refusal::new(
                Reason::TooLarge,
                "the statement is too long: hand values over as parameters",
            ));
        }
        let names = match tree.len() <= INLINE_TREE_BYTES {
            true => names(&tree),
            false => beside(move || names(&tree)).await?,
        };
        let names = names.map_err(|unfit| {
            let position = unfit.position;
            question.place(unfit.refusal(), position)
        })?;
        let names = Arc::new(names);
        self.statements.keep(&question.sql, &names);
        Ok(names)
    }

    /// One cut of each stream that tables are of.
    async fn cuts(&self, known: &[Known]) -> Result<BTreeMap<String, Cut>, Refusal> {
        let mut streams: BTreeMap<&str, Vec<Known>> = BTreeMap::new();
        for table in known {
            streams.entry(table.stream()).or_default().push(table.clone());
        }
        let mut cuts = BTreeMap::new();
        for (stream, tables) in streams {
            let cut = Cut::take(&self.serving, self.serving.stream(stream)?, &tables).await?;
            cuts.insert(stream.to_string(), cut);
        }
        Ok(cuts)
    }
}
