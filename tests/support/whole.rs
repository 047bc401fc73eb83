//! All three layers over one log in memory, and an oracle that retention does not reach.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::memory::InMemory;
use reqwest::Client;
use serde_json::{Value as Json, json};
use watershed_batch::{BatchError, Outcome};
use watershed_schemas::invariants;
use watershed_schemas::log::Log;
use watershed_schemas::manifest::{Manifest, Version};
use watershed_schemas::offsets::{Offset, OffsetRange, Partition};
use watershed_serving::http::{ServeSettings, Server};
use watershed_speed::{SpeedNode, SpeedSettings};
use watershed_store::Store;

use crate::batch_world::{HOUR, TOPIC, VIEWS, World, YEAR_2013, project, reading};
use crate::serving::client;

/// What the oracle remembers of a record that is an event.
#[derive(Clone, Debug)]
struct Reading {
    partition: i32,
    offset: i64,
    hour: i64,
    site: &'static str,
    units: i64,
}

/// By (hour since 2013 began, site): readings and their units.
pub type Cells = BTreeMap<(i64, String), (i64, i64)>;

pub struct Whole {
    pub world: World,
    readings: Vec<Reading>,
    node: Option<Arc<SpeedNode>>,
    server: Option<Server>,
    client: Client,
    /// Numbers nodes, so that each has a name of its own.
    nodes: usize,
    /// Whether an answer, of which this is the block, counts a reading of so many units.
    pub counts: fn(&Json, i64) -> bool,
    /// Answers compared with the oracle's.
    pub checked: u64,
}

impl Whole {
    /// The view `hourly`, nothing produced yet.
    pub async fn start() -> Whole {
        let world = World::with(&VIEWS[..1], Store::new(Arc::new(InMemory::new())));
        let mut whole = Whole {
            world,
            readings: Vec::new(),
            node: None,
            server: None,
            client: client(),
            nodes: 0,
            counts: |_, _| true,
            checked: 0,
        };
        whole.restart().await;
        whole
    }

    /// The speed node and the server die and begin anew, the node without a last checkpoint.
    pub async fn restart(&mut self) {
        if let Some(server) = self.server.take() {
            server.stop().await;
        }
        self.node = None;
        self.nodes += 1;
        let settings = SpeedSettings {
            checkpoint_interval: Duration::from_secs(3_600),
            refresh_interval: Duration::from_millis(10),
            end_interval: Duration::from_millis(10),
            retry_interval: Duration::from_millis(20),
            poll_timeout: Duration::from_millis(10),
            replay_records: 7,
            ..SpeedSettings::new(format!("group{}", self.nodes), format!("node{}", self.nodes))
        };
        let log: Arc<dyn Log> = Arc::new(self.world.log.clone());
        let runtime = tokio::runtime::Handle::current();
        let node = SpeedNode::start(&settings, &self.world.project, &self.world.store, &log, runtime);
        let node = Arc::new(node.expect("threads can be had"));
        let serve = ServeSettings { workers: Some(1), ..ServeSettings::new("127.0.0.1:0") };
        let project = Arc::new(self.world.project.clone());
        let server =
            Server::start(serve, project, self.world.store.clone(), node.clone(), Some(log), None).await;
        (self.node, self.server) = (Some(node), Some(server.expect("the server starts")));
    }

    /// From here on the project has this stream and these views.
    pub async fn define(&mut self, stream: &str, views: &[&str]) {
        self.world.project = project(stream, views);
        self.restart().await;
    }

    pub fn produce(&mut self, partition: i32, hour: i64, site: &'static str, units: i64) {
        let offset = self.world.produce(partition, &reading(hour * HOUR, site, "d", 1.0, units));
        self.readings.push(Reading { partition, offset, hour, site, units });
    }

    /// Retention lets go of everything below `start`.
    pub fn trim(&self, partition: i32, start: i64) {
        self.world.log.trim(TOPIC, partition, start);
    }

    /// Retention lets go of everything that has landed.
    pub async fn trim_what_has_landed(&self) {
        let landed = self.newest().await.landed();
        landed.iter().for_each(|(partition, offset)| self.trim(partition.0, offset.0));
    }

    pub fn held(&self) -> Vec<(Partition, OffsetRange)> {
        self.world.log.bounds(TOPIC).expect("the topic is there")
    }

    pub async fn newest(&self) -> Manifest {
        self.world.newest().await.expect("a version")
    }

    pub async fn rollback(&self, to: u64) -> Manifest {
        match self.try_rollback(to).await {
            Ok(Outcome::Published(report)) => report.manifest,
            other => panic!("expected a publication, found {other:?}"),
        }
    }

    pub async fn try_rollback(&self, to: u64) -> Result<Outcome, BatchError> {
        watershed_batch::rollback(&self.world.job(), Version(to)).await
    }

    pub async fn ask(&self, question: &Json) -> (u16, Json) {
        let server = self.server.as_ref().expect("a server runs");
        let url = format!("http://{}/v1/query", server.address);
        let response = self.client.post(url).json(question).send().await.expect("the server answers");
        (response.status().as_u16(), response.json().await.expect("the body is JSON"))
    }

    pub async fn get(&self, path: &str) -> (u16, Json) {
        let server = self.server.as_ref().expect("a server runs");
        let url = format!("http://{}{path}", server.address);
        let response = self.client.get(url).send().await.expect("the server answers");
        (response.status().as_u16(), response.json().await.expect("the body is JSON"))
    }

    /// Asks once; an answer is the oracle's at the records that it names, or there is none.
    pub async fn check(&mut self, question: &Json) -> Option<Json> {
        let (status, answer) = self.ask(question).await;
        assert!(status == 200 || status == 503, "{status}: {answer}");
        (status == 200).then(|| {
            self.compare(question, &answer);
            answer
        })
    }

    /// Invariant `COVER`: whatever an answer says of its records, these it holds, each once.
    fn compare(&mut self, question: &Json, answer: &Json) {
        let (watershed, live) = (&answer["answer"]["watershed"], &answer["answer"]["live"]);
        let at = |offsets: &Json, partition: i32| offsets[partition.to_string()].as_i64().unwrap_or_default();
        let mut expected = Cells::new();
        let counted = |of: &&Reading| (self.counts)(&answer["answer"], of.units);
        let below = |of: &&Reading| of.offset < at(live, of.partition);
        for reading in self.readings.iter().filter(below).filter(counted) {
            let cell = expected.entry((reading.hour, reading.site.to_string())).or_default();
            *cell = (cell.0 + 1, cell.1 + reading.units);
        }
        let what =
            format!("invariant {}: question {question}, answer {}", invariants::COVER, answer["answer"]);
        for partition in 0..4 {
            assert!(at(watershed, partition) <= at(live, partition), "{what}");
        }
        assert_eq!(cells(answer), expected, "{what}");
        self.checked += 1;
    }

    /// Asks until the newest version is in service and all of the log is in the answer, and checks every answer on the way.
    pub async fn until_current(&mut self) -> Json {
        let (question, deadline) = (question(), Instant::now() + Duration::from_secs(20));
        let newest = self.world.newest().await.map(|newest| newest.version.0);
        loop {
            let answer = self.check(&question).await;
            let current = answer.filter(|answer| {
                let live = |partition: Partition| answer["answer"]["live"][partition.to_string()].as_i64();
                let reached = |(partition, held): &(Partition, OffsetRange)| {
                    live(*partition).is_some_and(|live| Offset(live) >= held.until)
                };
                answer["answer"]["version"].as_u64() == newest
                    && answer["answer"]["complete"] == json!(true)
                    && self.held().iter().all(reached)
            });
            if let Some(answer) = current {
                return answer;
            }
            if Instant::now() >= deadline {
                let (_, status) = self.get("/v1/status").await;
                panic!("version {newest:?} is never in service with all of the log: {status}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

pub fn question() -> Json {
    json!({ "view": "hourly", "measures": ["readings", "units"] })
}

/// What an answer to [`question`] says.
pub fn cells(answer: &Json) -> Cells {
    let mut cells = Cells::new();
    for row in answer["data"].as_array().expect("data is a list") {
        let at = row["hour"].as_str().expect("a time");
        let at = chrono::DateTime::parse_from_rfc3339(at).expect("a time").timestamp();
        let number = |name: &str| row[name].as_i64().expect("a number");
        let key = ((at - YEAR_2013) / HOUR, row["site"].as_str().expect("text").to_string());
        let before = cells.insert(key, (number("readings"), number("units")));
        assert_eq!(before, None, "a cell is in an answer once");
    }
    cells
}
