//! How records per second grow with views, groups, partitions and nodes, and how answers slow with rows and clients.
//!
//! Records per second are measured as in the benchmark `speed`: fresh nodes fold a topic that is full, from their first record
//! to their last, with the settings that a user has who sets nothing. Every point is the median of a few rounds, and every
//! round ends with a count of what the states hold.

mod gate;
mod queries;

use std::sync::Arc;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use support::platform::{Kafka, flush, send, unique};
use tokio::runtime::Handle;
use watershed_schemas::live::{LiveSource, PartialsRequest};
use watershed_schemas::log::Log;
use watershed_schemas::offsets::Offsets;
use watershed_schemas::project::{Project, SourceFile};
use watershed_schemas::scope::Scope;
use watershed_speed::{SpeedNode, SpeedSettings};
use watershed_store::Store;

use crate::table::{Curve, Table, median};
use crate::world::{FIRST_MS, VIEW, payload, schema};
use gate::Gate;

const RECORDS: i64 = 400_000;
/// Event time between two of them, as in the benchmark `speed`.
const STEP_MS: i64 = 10;
const PARTITIONS: i32 = 4;
/// Enough for two records in each of a million groups.
const RECORDS_OF_GROUPS: i64 = 2_000_000;
const ROUNDS: usize = 3;
const PATIENCE: Duration = Duration::from_secs(120);

pub use queries::measure as answers;

pub async fn records(table: &mut Table, rounds: usize) {
    let rounds = rounds.min(ROUNDS);
    let kafka = Kafka::start().await;
    let usual =
        Topic::fill(&kafka, PARTITIONS, RECORDS, |sequence| payload(sequence, FIRST_MS + sequence * STEP_MS))
            .await;
    let mut by_views = Vec::new();
    for views in [1, 4, 16] {
        let views: Vec<String> =
            (0..views).map(|nth| VIEW.replace("VIEW by_site", &format!("VIEW by_site_{nth}"))).collect();
        by_views.push((views.len() as f64, usual.rate(&kafka, &views, 1, rounds).await));
    }
    table.curve(rates("Records per second by views of one stream", "views", by_views));

    let view = [VIEW.to_string()];
    let mut by_nodes = Vec::new();
    for nodes in [1, 2] {
        by_nodes.push((nodes as f64, usual.rate(&kafka, &view, nodes, rounds).await));
    }
    table.curve(rates("Records per second by nodes on the same two cores", "nodes", by_nodes));

    let mut by_partitions = Vec::new();
    for partitions in [1, 4, 16] {
        let topic = Topic::fill(&kafka, partitions, RECORDS, |sequence| {
            payload(sequence, FIRST_MS + sequence * STEP_MS)
        });
        by_partitions.push((f64::from(partitions), topic.await.rate(&kafka, &view, 1, rounds).await));
    }
    table.curve(rates("Records per second by partitions of one node", "partitions", by_partitions));

    let (mut sketched, mut plain) = (Vec::new(), Vec::new());
    for groups in [100, 10_000, 1_000_000] {
        let topic =
            Topic::fill(&kafka, PARTITIONS, RECORDS_OF_GROUPS, |sequence| of_group(sequence, groups)).await;
        let rate = async |measures: &str| {
            let view = format!(
                "CREATE MATERIALIZED VIEW by_device AS SELECT device, tumble(at, INTERVAL '1 hour') AS hour,
                 count(*) AS readings, avg(value) AS mean{measures} FROM readings GROUP BY device, hour"
            );
            (groups as f64, topic.rate(&kafka, &[view], 1, rounds).await)
        };
        plain.push(rate("").await);
        sketched.push(rate(", quantile_cont(value, 0.95) AS p95, count(DISTINCT part) AS parts").await);
    }
    table.curve(Curve {
        series: vec![("count, mean".into(), plain), ("and two sketches".into(), sketched)],
        ..rates("Records per second by live groups", "groups", Vec::new())
    });
    kafka.stop().await;
}

fn rates(name: &str, x: &str, points: Vec<(f64, f64)>) -> Curve {
    Curve {
        name: name.to_string(),
        x: x.to_string(),
        y: "records per second".to_string(),
        series: vec![("records/s".to_string(), points)],
    }
}

/// An event whose device is one of so many, each as often as any other, all within an hour.
fn of_group(sequence: i64, groups: i64) -> Vec<u8> {
    // Odd, so that neighbours lie far apart and every device comes up before any comes again.
    let device = sequence.wrapping_mul(7_368_787).rem_euclid(groups);
    format!(
        r#"{{"at":{FIRST_MS},"device":"device-{device:07}","site":"site-{:02}","part":"part-{:03}","value":{}.{:03},"status":{},"note":"{:0>80}"}}"#,
        sequence % 25,
        sequence % 53,
        sequence % 900,
        sequence % 997,
        sequence % 5,
        sequence,
    )
    .into_bytes()
}

/// A full topic.
struct Topic {
    name: String,
    partitions: i32,
    records: i64,
}

impl Topic {
    async fn fill(kafka: &Kafka, partitions: i32, records: i64, event: impl Fn(i64) -> Vec<u8>) -> Topic {
        let name = unique("readings");
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &kafka.brokers).create().expect("an admin client");
        let new = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        let created = admin.create_topics([&new], &AdminOptions::new()).await.expect("the broker answers");
        created.into_iter().for_each(|created| _ = created.expect("the topic is created"));
        let producer = kafka.producer();
        for sequence in 0..records {
            send(&producer, &name, (sequence % i64::from(partitions)) as i32, Some(&event(sequence)));
        }
        flush(&producer);
        Topic { name, partitions, records }
    }

    /// Records per second that nodes of one group fold together.
    async fn rate(&self, kafka: &Kafka, views: &[String], nodes: usize, rounds: usize) -> f64 {
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        let views: Vec<_> =
            views.iter().enumerate().map(|(nth, view)| file(&format!("jobs/view{nth}.sql"), view)).collect();
        let project = Project::parse(&[file("schemas/stream.sql", &schema(&self.name))], &views)
            .unwrap_or_else(|problems| panic!("{problems:?}"));
        let mut rates = Vec::new();
        for _ in 0..rounds {
            rates.push(self.fold(kafka, &project, nodes).await);
        }
        median(&rates)
    }

    async fn fold(&self, kafka: &Kafka, project: &Project, nodes: usize) -> f64 {
        let folder = tempfile::tempdir().expect("a folder");
        let store = Store::open("bench", folder.path()).expect("a store");
        let gate = Gate::default();
        let group = unique("group");
        let start = |nth: usize| {
            let settings = SpeedSettings::new(&group, format!("node-{nth}"));
            let log: Arc<dyn Log> = gate.before(kafka.log());
            SpeedNode::start(&settings, project, &store, &log, Handle::current()).expect("threads can be had")
        };
        let nodes: Vec<SpeedNode> = (0..nodes).map(start).collect();
        self.until_shared(&nodes).await;
        gate.open();
        let begun = Instant::now();
        let (begun, first) = loop {
            let records = folded(&nodes).await;
            if records > 0 {
                break (Instant::now(), records);
            }
            pause(begun).await;
        };
        while folded(&nodes).await < self.records {
            pause(begun).await;
        }
        let rate = (self.records - first) as f64 / begun.elapsed().as_secs_f64();
        for view in &project.views {
            let mut counted = 0;
            for node in &nodes {
                counted += readings(node, &view.stream.name, &view.name, &view.hash).await;
            }
            assert_eq!(counted, self.records, "every record is in the states of {} once", view.name);
        }
        futures::future::join_all(nodes.iter().map(SpeedNode::shutdown)).await;
        rate
    }

    /// Waits until every node holds its share of the partitions.
    async fn until_shared(&self, nodes: &[SpeedNode]) {
        let begun = Instant::now();
        loop {
            let mut held = Vec::new();
            for node in nodes {
                held.push(node.status("readings").await.expect("a status")[0].live.len());
            }
            let share = (self.partitions as usize).div_ceil(nodes.len());
            if held.iter().sum::<usize>() == self.partitions as usize
                && held.iter().all(|held| *held <= share)
            {
                return;
            }
            pause(begun).await;
        }
    }
}

async fn folded(nodes: &[SpeedNode]) -> i64 {
    let mut records = 0;
    for node in nodes {
        let status = node.status("readings").await.expect("a status");
        records += status.iter().map(|status| status.records as i64).sum::<i64>();
    }
    records
}

async fn pause(since: Instant) {
    assert!(since.elapsed() < PATIENCE, "the nodes never get there");
    tokio::time::sleep(Duration::from_millis(1)).await;
}

/// What a node's states of a view say to the number of readings.
async fn readings(node: &SpeedNode, stream: &str, view: &str, hash: &str) -> i64 {
    let request = PartialsRequest {
        stream: stream.to_string(),
        view: view.to_string(),
        view_hash: hash.to_string(),
        watershed: Offsets::new(),
        scope: Scope::default(),
    };
    let replies = node.partials(&request).await.expect("the node answers");
    let states = replies.iter().flat_map(|reply| &reply.states);
    let counted = states.map(|states| {
        let counts =
            states.to_batch().column_by_name("readings__count").cloned().expect("the count is a state");
        counts.as_primitive::<Int64Type>().values().iter().sum::<i64>()
    });
    counted.sum()
}
