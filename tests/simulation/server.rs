//! A simulated server: versions, choice, merging and answering as they ship, and a reader who checks every answer.

use std::sync::Arc;
use std::time::Duration;

use ::support::live::STREAM;
use watershed_schemas::invariants;
use watershed_schemas::manifest::Version;
use watershed_schemas::offsets::Offsets;
use watershed_schemas::value::Value;
use watershed_serving::answer::{Answer, Block};
use watershed_serving::ask::Serving;
use watershed_serving::cells::CellsError;
use watershed_serving::grain::Grain;
use watershed_serving::query::{Accuracy, Filter, Literal, Query, Requirement};
use watershed_serving::refusal::{Reason, Refusal};
use watershed_serving::versions::{Loaded, Streams};

use super::fate::{Reply, Task};
use super::rides::{self, Definition, Question};
use super::wire::Wire;
use super::world::World;

pub struct Server {
    name: usize,
    definition: Definition,
    streams: Arc<Streams>,
    serving: Arc<Serving>,
    refreshing: Option<Task<()>>,
    asking: Option<Asking>,
}

/// A question that is being answered.
struct Asking {
    question: Question,
    query: Query,
    /// The version in service when it was asked.
    service: Option<Arc<Loaded>>,
    task: Task<Result<Answer, Refusal>>,
}

impl Server {
    pub fn new(name: usize, world: &World, wire: &Wire) -> Server {
        let definition = world.definition.clone();
        let tables = world.tables.clone();
        let read_rows = move |bytes| {
            tables.rows(&bytes).ok_or_else(|| CellsError::Missing { name: "of a table".to_string() })
        };
        let live = Arc::new(wire.clone());
        let streams = Streams::new(definition.project.clone(), world.store.clone(), live, None);
        let streams = Arc::new(streams.reading(Arc::new(read_rows)));
        let serving = Arc::new(Serving::new(streams.clone(), Duration::from_millis(30)));
        Server { name, definition, streams, serving, refreshing: None, asking: None }
    }

    pub fn definition(&self) -> usize {
        self.definition.number
    }

    /// The version in service.
    pub fn service(&self) -> Option<Arc<Loaded>> {
        self.streams.get(STREAM).expect("the project has it").current()
    }

    /// Looks for versions, a little further; true when a look is over.
    pub fn refresh(&mut self) -> bool {
        let streams = &self.streams;
        let refreshing = self.refreshing.get_or_insert_with(|| {
            let streams = streams.clone();
            Task::new(async move { streams.refresh().await })
        });
        let over = refreshing.step().is_some();
        if over {
            self.refreshing = None;
        }
        over
    }

    pub fn is_asked(&self) -> bool {
        self.asking.is_some()
    }

    /// Asks anything at all.
    pub fn ask_something(&mut self, world: &World) {
        let fate = &world.fate;
        let question = Question::random(self.definition.number, fate);
        let mut query = query(&question);
        match fate.below(8) {
            0 => query.accuracy = Accuracy::Batch,
            1 => query.as_of = Some(Version(1 + fate.below(world.objects.count() + 1) as u64)),
            2 => query.require = vec![Requirement::Complete],
            _ => {}
        }
        self.ask(question, query);
    }

    /// Asks all that a view says.
    pub fn ask_all(&mut self, view: &'static str) {
        let question = Question::whole(view, self.definition.number);
        let query = query(&question);
        self.ask(question, query);
    }

    fn ask(&mut self, question: Question, query: Query) {
        let (serving, asked) = (self.serving.clone(), Arc::new(query.clone()));
        let task = Task::new(async move { serving.ask(&asked).await });
        self.asking = Some(Asking { question, query, service: self.service(), task });
    }

    /// A question comes nearer to its answer, which is checked when it is there.
    pub fn answer(&mut self, world: &World) -> Option<Result<Answer, Refusal>> {
        let answer = self.asking.as_mut()?.task.step()?;
        let asking = self.asking.take()?;
        match &answer {
            Ok(answer) => self.check(&asking, answer, world),
            Err(refusal) => self.check_refusal(&asking, refusal, world),
        }
        Some(answer)
    }

    /// Invariant `COVER`: an answer says what all records below its live offsets say, but for those that it says are
    /// lost.
    fn check(&self, asking: &Asking, answer: &Answer, world: &World) {
        let Asking { question, query, service, .. } = asking;
        let mut question = question.clone();
        let block = &answer.block;
        let what = format!("invariant {}: server {}, {question:?}, {block:?}", invariants::COVER, self.name);
        let rows = rows(answer);
        world.fate.tell(format_args!(
            "server {}: {question:?}: version {:?}, watershed {}, live {}, gaps {:?}, complete {}: {} rows",
            self.name,
            block.version,
            block.watershed,
            block.live,
            block.gaps,
            block.complete,
            rows.len()
        ));
        world.fate.replied(match block {
            _ if query.batch_only() => Reply::BelowTheWatershed,
            Block { complete: true, version: Some(_), .. } => Reply::Complete,
            Block { complete: true, version: None, .. } => Reply::FromTheLogAlone,
            Block { gaps, .. } if !gaps.is_empty() => Reply::WithGaps,
            _ => Reply::Incomplete,
        });
        let ranges = match block.version {
            Some(number) => {
                let published = world.objects.published();
                let version =
                    published.get(number as usize - 1).unwrap_or_else(|| panic!("{what}: no such version"));
                assert_eq!(block.watershed, version.watershed, "{what}");
                assert_eq!(block.gaps, version.gaps, "{what}: gaps");
                // A version that holds another definition is answered from by that one.
                let held = rides::defined(question.view, &version.views[question.view].hash);
                question.definition = held.unwrap_or_else(|| panic!("{what}: of no definition")).number;
                world.below(&block.live, &version.origin, Some(&**version))
            }
            None => {
                self.check_origin(service.as_deref(), answer, &what);
                world.below(&block.live, &block.watershed, None)
            }
        };
        assert_eq!(rows, question.answer(&ranges), "{what}");
        for (partition, live) in block.live.iter() {
            assert!(live <= world.held(partition).until, "{what}: beyond the log's end");
            assert!(live >= block.watershed.get(partition), "{what}: it ends below its watershed");
        }
        assert!(block.gaps.is_empty() || !block.complete, "{what}: gaps in a complete answer");
        let covered = block.end.partitions().all(|partition| block.live.names(partition));
        assert!(
            covered || !block.complete || query.batch_only(),
            "{what}: a partition is left out of a complete answer"
        );
        if let Some(version) = query.as_of {
            assert_eq!(block.version, Some(version.0), "{what}: another version than was asked for");
        }
        assert!(query.require.is_empty() || block.complete, "{what}: what was required is not met");
        world.fate.checked();
    }

    /// An answer about a view that the version in service lacks begins where that version says that the log began.
    fn check_origin(&self, before: Option<&Loaded>, answer: &Answer, what: &str) {
        let (Some(before), Some(after)) = (before, self.service()) else { return };
        let block = &answer.block;
        let origin = &after.manifest.origin;
        if block.complete && before.manifest.origin == *origin {
            let partitions = block.watershed.partitions();
            let origin: Offsets = partitions.map(|partition| (partition, origin.get(partition))).collect();
            assert_eq!(
                block.watershed, origin,
                "{what}: records before it are left out, and nothing says so"
            );
        }
    }

    fn check_refusal(&self, asking: &Asking, refusal: &Refusal, world: &World) {
        world.fate.tell(format_args!("server {}: {:?}: {refusal}", self.name, asking.question));
        let expected = match refusal.reason {
            Reason::NotReady => true,
            Reason::UnknownName => asking.query.as_of.is_some(),
            Reason::Unmet => !asking.query.require.is_empty(),
            // A file that came damaged over the wire, or was removed while it was being read.
            Reason::Failed => asking.query.as_of.is_some() && !world.fate.is_calm(),
            _ => false,
        };
        world.fate.replied(Reply::Refused);
        assert!(
            expected && !refusal.detail.is_empty(),
            "server {}: {:?}: {refusal:?}",
            self.name,
            asking.question
        );
    }
}

fn query(question: &Question) -> Query {
    let mut query = Query::of(question.view);
    if !question.by_city {
        query.group_by = Some(Vec::new());
    }
    query.filters = (question.city.iter())
        .map(|(city, only)| {
            let values = vec![Literal::Text((*city).to_string())];
            Filter { dimension: "city".to_string(), negated: !only, values }
        })
        .collect();
    (query.from, query.to) = question.windows.unzip();
    query.grain = question.folded.then_some(Grain::All);
    query
}

/// An answer row by row.
fn rows(answer: &Answer) -> Vec<Vec<Value>> {
    let row = |row: usize| answer.columns.iter().map(|column| column.values[row].clone()).collect();
    (0..answer.rows).map(row).collect()
}
