//! Records per second of the speed layer over a bare consumer that drains the same topic and decodes nothing.
//!
//! Both sides take turns on one core, the broker has the other; then on all cores with the broker among them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use support::platform::{Kafka, start_node, unique};
use watershed_schemas::live::{LiveSource, PartialsRequest};
use watershed_schemas::log::Log;
use watershed_schemas::offsets::Offsets;
use watershed_schemas::project::Project;
use watershed_schemas::scope::Scope;
use watershed_schemas::value::Value;
use watershed_speed::SpeedNode;
use watershed_store::Store;

use crate::broker_apart::{BrokerApart, pin};
use crate::cpu;
use crate::table::{Table, median};
use crate::world::{self, bare_consumer, project};

const RECORDS: i64 = 1_000_000;
/// Event time between two records: a little more than an hour in all.
const STEP: Duration = Duration::from_millis(4);

pub const VIEWS: &str = "
    CREATE MATERIALIZED VIEW by_site AS
    SELECT site, tumble(at, INTERVAL '1 hour') AS hour, count(*) AS readings, avg(value) AS mean
    FROM readings GROUP BY site, hour;
    CREATE MATERIALIZED VIEW devices AS
    SELECT site, tumble(at, INTERVAL '1 hour') AS hour, count(*) AS readings, count(DISTINCT device) AS devices
    FROM readings GROUP BY site, hour;
    CREATE MATERIALIZED VIEW by_part AS
    SELECT part, tumble(at, INTERVAL '1 hour') AS hour, count(*) AS readings, quantile_cont(value, 0.95) AS p95
    FROM readings GROUP BY part, hour;
    CREATE MATERIALIZED VIEW parts AS
    SELECT site, tumble(at, INTERVAL '10 minutes') AS since, count(*) AS readings, approx_top_k(part, 3) AS parts
    FROM readings GROUP BY site, since";

/// A topic full of readings, and what a node needs to follow it.
struct Filled {
    brokers: String,
    topic: String,
    project: Arc<Project>,
    log: Arc<dyn Log>,
    folder: tempfile::TempDir,
}

/// What one side took for all records.
pub struct Pass {
    records: f64,
    pub seconds: f64,
    cpu: f64,
}

pub async fn measure(table: &mut Table, rounds: usize) {
    let broker = BrokerApart::start();
    let filled = Filled::new(&broker.address).await;
    let own = std::process::id();
    let pinned = pin(broker.pid(), "1") && pin(own, "0");
    if !pinned {
        println!("speed: cores cannot be assigned here, so the kernel assigns them");
    }
    let alone = compare(&filled, rounds).await;
    pin(broker.pid(), "0-1023");
    pin(own, "0-1023");
    let all = compare(&filled, rounds).await;
    let rate = |pass: &Pass| pass.records / pass.seconds;
    let per_record = |pass: &Pass| pass.cpu / pass.records * 1e9;
    for (name, passes, figure, unit) in [
        (
            "speed layer over bare consumer on the same core, records",
            &alone,
            &rate as &dyn Fn(&Pass) -> f64,
            "records/s",
        ),
        ("speed layer over bare consumer on all cores, records", &all, &rate, "records/s"),
        ("speed layer over bare consumer, processor time", &alone, &per_record, "ns a record"),
    ] {
        let (ours, bare): (Vec<f64>, Vec<f64>) =
            passes.iter().map(|(ours, bare)| (figure(ours), figure(bare))).unzip();
        let shown = |figures: &[f64]| format!("{:.0} {unit}", median(figures));
        let ratios = ours.iter().zip(&bare).map(|(ours, bare)| ours / bare).collect();
        table.add(name, shown(&ours), shown(&bare), ratios);
    }
}

async fn compare(filled: &Filled, rounds: usize) -> Vec<(Pass, Pass)> {
    let mut passes = Vec::with_capacity(rounds);
    for _ in 0..rounds {
        let ours = fold(filled).await;
        let consumer = bare_consumer(&filled.brokers, &filled.topic);
        let bare =
            tokio::task::spawn_blocking(move || drain(&consumer, RECORDS)).await.expect("the consumer ends");
        passes.push((ours, bare));
    }
    passes
}

impl Filled {
    async fn new(brokers: &str) -> Filled {
        let (kafka, topic) = (Kafka::at(brokers), unique("readings"));
        kafka.create_topic(&topic).await;
        world::fill(&kafka, &topic, STEP, 0..RECORDS);
        Filled {
            brokers: brokers.to_string(),
            project: project(&topic, VIEWS),
            topic,
            log: kafka.log(),
            folder: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    /// A store that nothing was saved in.
    fn store(&self) -> Store {
        let folder = self.folder.path().join(unique("store"));
        Store::open(folder.to_str().expect("a path in UTF-8"), &folder).expect("a store")
    }
}

/// A fresh node, from its first record to its last.
async fn fold(filled: &Filled) -> Pass {
    let node = start_node(&filled.project, &filled.store(), &filled.log);
    let folded = async || {
        let status = node.status("readings").await.expect("a status");
        status.iter().map(|status| status.records as i64).sum::<i64>()
    };
    let (begun, cpu, first) = loop {
        let records = folded().await;
        if records > 0 {
            break (Instant::now(), cpu::own_seconds(), records);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    while folded().await < RECORDS {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu::own_seconds() - cpu);
    for view in &filled.project.views {
        assert_eq!(
            readings(&node, &view.name, &filled.project).await,
            RECORDS,
            "every record is in {} once",
            view.name
        );
    }
    Arc::try_unwrap(node).ok().expect("nobody else holds the node").shutdown().await;
    Pass { records: (RECORDS - first) as f64, seconds, cpu }
}

/// What the node's states say to the number of readings.
async fn readings(node: &SpeedNode, view: &str, project: &Project) -> i64 {
    let view = project.view(view).expect("the view is defined");
    let request = PartialsRequest {
        stream: view.stream.name.clone(),
        view: view.name.clone(),
        view_hash: view.hash.clone(),
        watershed: Offsets::new(),
        scope: Scope::default(),
    };
    let mut readings = 0;
    for states in
        node.partials(&request).await.expect("the node answers").iter().flat_map(|reply| &reply.states)
    {
        let table = states.to_table(view, &Scope::default()).expect("the states are the view's");
        for row in table.keys.sorted_rows() {
            let Value::Integer(count) = table.measures[0].finish(row) else { panic!("a count is a number") };
            readings += count;
        }
    }
    readings
}

/// A consumer that decodes nothing, from its first record to its last.
pub fn drain(consumer: &BaseConsumer, records: i64) -> Pass {
    let mut drained = 0;
    let (mut begun, mut cpu) = (Instant::now(), 0.0);
    while drained < records {
        if let Some(message) = consumer.poll(Duration::from_secs(1)) {
            message.expect("a record");
            if drained == 0 {
                (begun, cpu) = (Instant::now(), cpu::own_seconds());
            }
            drained += 1;
        }
    }
    let (seconds, cpu) = (begun.elapsed().as_secs_f64(), cpu::own_seconds() - cpu);
    Pass { records: drained as f64, seconds, cpu }
}
