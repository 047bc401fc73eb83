//! Three published versions with live records above them, and what is made of them while no file is damaged.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use support::batch_world::{HOUR, STREAM, TOPIC, VIEWS, World, project, reading};
use support::live::{cells, eventually};
use watershed_batch::{BatchError, Outcome};
use watershed_schemas::layout::{self, Object};
use watershed_schemas::live::{LiveSource, PartialsRequest};
use watershed_schemas::log::Log;
use watershed_schemas::manifest::{Intent, Manifest, Version};
use watershed_schemas::offsets::Offsets;
use watershed_schemas::project::Project;
use watershed_schemas::scope::Scope;
use watershed_schemas::states::StateTable;
use watershed_schemas::value::Value;
use watershed_serving::answer::Answer;
use watershed_serving::ask::Serving;
use watershed_serving::query::Query;
use watershed_serving::versions::Streams;
use watershed_speed::known;
use watershed_speed::wanted::Known;
use watershed_speed::{SpeedNode, SpeedSettings};
use watershed_store::Store;

pub const NEWEST: u64 = 3;

/// Every way in which a question reads what is stored.
pub const QUESTIONS: [&str; 6] = [
    r#"{ "view": "hourly" }"#,
    r#"{ "view": "hourly", "accuracy": "batch", "group_by": ["site"], "grain": "1 day" }"#,
    r#"{ "view": "hourly", "accuracy": "exact", "group_by": [], "grain": "all" }"#,
    r#"{ "view": "weekly", "accuracy": "live" }"#,
    r#"{ "view": "hourly", "as_of": 1, "accuracy": "batch" }"#,
    r#"{ "view": "weekly", "as_of": 2, "accuracy": "exact" }"#,
];

/// Folders with files that a version or a layer comes back to.
pub const FOLDERS: [&str; 7] =
    ["events/", "dead_letters/", "views/", "versions/", "intents/", "checkpoints/", layout::CATALOG];

/// What a partials request gives, cell by cell.
pub type Cells = Vec<(i64, Vec<Value>, Vec<Value>)>;

/// What a batch run leaves for others to see.
#[derive(Debug, PartialEq)]
pub struct Ran {
    pub manifest: Manifest,
    pub catalog: String,
    pub intents: Vec<Intent>,
}

pub struct Published {
    pub world: World,
    pub project: Arc<Project>,
    memory: Arc<InMemory>,
    /// The live half of every server, over undamaged files.
    pub live: Arc<SpeedNode>,
    pub files: BTreeMap<&'static str, Vec<String>>,
    /// Answers by version in service and question.
    pub answers: BTreeMap<(u64, usize), String>,
    pub known: Known,
    /// Live cells by watershed and view.
    pub cells: BTreeMap<(Offsets, String), Cells>,
    pub incremental: Ran,
    pub full: Ran,
}

impl Published {
    pub async fn new() -> Published {
        let memory = Arc::new(InMemory::new());
        // Without what depends on the order of additions in its last bits.
        let weekly = VIEWS[1].replace(", stddev_samp(value) AS spread", "");
        let views = [VIEWS[0], weekly.as_str()];
        let world = World::with(&views, Store::new(memory.clone()));
        let project = Arc::new(project(STREAM, &views));
        for version in 0..NEWEST as i64 {
            // A day after the other, and something late for the first.
            produce(&world, version * 24..version * 24 + 6);
            produce(&world, version..version + 2);
            world.log.append(TOPIC, 1, 5_000, Some(b"not a reading"));
            world.publish().await;
        }
        let dead = Intent {
            stream: TOPIC.to_string(),
            version: Version(NEWEST),
            target: Offsets::new(),
            run_id: "dead".to_string(),
            holder: "elsewhere, process 7".to_string(),
            lease_until_ms: (world.job().now)(),
        };
        world.store.put_intent(&dead).await.expect("memory takes it");
        world
            .store
            .put_intent(&Intent { run_id: "dead too".to_string(), ..dead })
            .await
            .expect("memory takes it");
        produce(&world, 50..56);
        // One node writes checkpoints and is gone, another one goes on.
        let writer = start(&project, &world.store, &world, "writer");
        until_current(&writer, &world, NEWEST).await;
        writer.shutdown().await;
        produce(&world, 54..60);
        produce(&world, 2..4);
        let live = start(&project, &world.store, &world, "reader");
        until_current(&live, &world, NEWEST).await;
        world.pass(Duration::from_secs(3600));

        let mut files = BTreeMap::new();
        for folder in FOLDERS {
            let listed = match folder {
                layout::CATALOG => vec![layout::CATALOG.to_string()],
                folder => world.store.list(folder).await.expect("memory lists"),
            };
            files.insert(folder, listed);
        }
        let nothing =
            Ran { manifest: manifest(&world, NEWEST).await, catalog: String::new(), intents: Vec::new() };
        let mut published = Published {
            world,
            project,
            memory,
            live,
            files,
            answers: BTreeMap::new(),
            known: Known::default(),
            cells: BTreeMap::new(),
            incremental: Ran {
                manifest: nothing.manifest.clone(),
                catalog: String::new(),
                intents: Vec::new(),
            },
            full: nothing,
        };
        published.look().await;
        published
    }

    /// Notes what is made of the files while they are whole.
    async fn look(&mut self) {
        for version in 1..=NEWEST {
            let store = self.store();
            for later in version + 1..=NEWEST {
                let path = Object::Manifest { stream: TOPIC.to_string(), version: Version(later) }.path();
                store.delete(&path).await.expect("memory forgets it");
            }
            let serving = self.restarted(&store).await;
            for (index, question) in QUESTIONS.iter().enumerate() {
                if let Ok(answer) = ask(&serving, question).await {
                    let served = serving.stream(TOPIC).expect("it is known").current().expect("a version");
                    assert_eq!(served.version(), Version(version));
                    self.answers.insert((version, index), told(answer));
                }
            }
        }
        assert!((0..QUESTIONS.len()).all(|question| self.answers.contains_key(&(NEWEST, question))));
        let mut known = Known::default();
        let damaged = known::refresh(&self.store(), TOPIC, &mut known, true).await.expect("memory reads");
        assert!(damaged.is_none() && known.newest.is_some() && known.previous.is_some());
        for published in known.newest.iter().chain(&known.previous) {
            for view in &self.project.views {
                let cells = self.cells_of(&self.live, &view.name, &published.watershed).await;
                self.cells
                    .insert((published.watershed.clone(), view.name.clone()), cells.expect("it is ready"));
            }
        }
        self.known = known;
        self.incremental = self.run(&self.store(), false).await.expect("no failure");
        self.full = self.run(&self.store(), true).await.expect("no failure");
    }

    /// The published files, to be changed at will.
    pub fn store(&self) -> Store {
        Store::new(Arc::new(self.memory.fork()))
    }

    /// A server's answering half that has just been started.
    pub async fn restarted(&self, store: &Store) -> Serving {
        let live: Arc<dyn LiveSource> = self.live.clone();
        let streams = Arc::new(Streams::new(self.project.clone(), store.clone(), live, None));
        streams.refresh().await;
        Serving::new(streams, std::time::Duration::ZERO)
    }

    /// A batch run upon a copy of `store`: what it publishes follows from what it reads.
    pub async fn run(&self, store: &Store, full: bool) -> Result<Ran, BatchError> {
        let mut job = self.world.job();
        job.store = store.clone();
        job.options.full = full;
        job.options.run_id = "after".to_string();
        let report = match watershed_batch::run(&job).await? {
            Outcome::Published(report) => report,
            other => panic!("expected a publication, found {other:?}"),
        };
        let catalog = store.get(layout::CATALOG).await.expect("memory reads").unwrap_or_default();
        Ok(Ran {
            manifest: report.manifest,
            catalog: String::from_utf8_lossy(&catalog).into_owned(),
            intents: store.intents(TOPIC).await.expect("memory lists"),
        })
    }

    /// A node that takes over from what is stored.
    pub fn taken_over(&self, store: &Store, name: &str) -> Arc<SpeedNode> {
        start(&self.project, store, &self.world, name)
    }

    /// A view's live cells, if the node has the epoch and is at the log's end.
    pub async fn cells_of(&self, node: &SpeedNode, view: &str, watershed: &Offsets) -> Option<Cells> {
        let view = self.project.view(view).expect("the project has it");
        let request = PartialsRequest {
            stream: TOPIC.to_string(),
            view: view.name.clone(),
            view_hash: view.hash.clone(),
            watershed: watershed.clone(),
            scope: Scope::default(),
        };
        let replies = node.partials(&request).await.ok()?;
        let end: Offsets = ends(&self.world);
        let mut table = StateTable::new(view.clone());
        for reply in replies {
            if !end.iter().all(|(partition, end)| reply.live.get(partition) >= end) {
                return None;
            }
            for states in &reply.states {
                table.merge(&states.to_table(view, &Scope::default()).expect("the view's own states"));
            }
        }
        Some(cells(&table))
    }
}

fn produce(world: &World, hours: std::ops::Range<i64>) {
    for hour in hours {
        let (site, device) = (["a", "b"][hour as usize % 2], format!("d{}", hour % 5));
        world.produce((hour % 4) as i32, &reading(hour * HOUR, site, &device, hour as f64 * 1.5, hour));
    }
}

fn start(project: &Project, store: &Store, world: &World, name: &str) -> Arc<SpeedNode> {
    let settings = SpeedSettings {
        checkpoint_interval: Duration::from_secs(3_600),
        refresh_interval: Duration::from_millis(20),
        end_interval: Duration::from_millis(20),
        poll_timeout: Duration::from_millis(10),
        retry_interval: Duration::from_millis(50),
        ..SpeedSettings::new(name, name)
    };
    let log: Arc<dyn Log> = Arc::new(world.log.clone());
    let runtime = tokio::runtime::Handle::current();
    Arc::new(SpeedNode::start(&settings, project, store, &log, runtime).expect("threads can be had"))
}

async fn until_current(node: &SpeedNode, world: &World, version: u64) {
    let watershed = manifest(world, version).await.watershed;
    let end = ends(world);
    eventually("a node is at the log's end", || async {
        let status = node.status(TOPIC).await.ok()?.pop()?;
        let current = status.live == end && status.epochs.contains(&watershed);
        current.then_some(())
    })
    .await;
}

fn ends(world: &World) -> Offsets {
    let bounds = world.log.bounds(TOPIC).expect("the log answers").into_iter();
    bounds.map(|(partition, held)| (partition, held.until)).collect()
}

async fn manifest(world: &World, version: u64) -> Manifest {
    let manifest = world.store.manifest(TOPIC, Version(version)).await.expect("memory reads");
    manifest.expect("it was published")
}

/// An answer, or why there is none.
pub async fn ask(serving: &Serving, question: &str) -> Result<Answer, String> {
    let query = Arc::new(Query::from_json(question.as_bytes()).expect("a sound question"));
    serving.ask(&query).await.map_err(|refusal| refusal.detail)
}

/// Everything that an answer says, but for how long it took and how old it is.
pub fn told(mut answer: Answer) -> String {
    answer.block.freshness_ms = None;
    answer.statistics.elapsed_ms = 0.0;
    format!("{answer:?}")
}
