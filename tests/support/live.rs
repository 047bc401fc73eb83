//! What the tests of the speed layer share: a small project, records of every kind, and the oracle: a
//! direct fold of the records of a range.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::memory::InMemory;
use watershed_schemas::decode::Decoder;
use watershed_schemas::identity::LogIdentity;
use watershed_schemas::invariants;
use watershed_schemas::live::{LiveError, LiveSource, LiveStatus, Partials, PartialsRequest};
use watershed_schemas::log::{Log, Records};
use watershed_schemas::manifest::{Intent, Manifest, Version, ViewVersion};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};
use watershed_schemas::project::{Project, SourceFile};
use watershed_schemas::scope::Scope;
use watershed_schemas::states::StateTable;
use watershed_schemas::value::Value;
use watershed_schemas::view::View;
use watershed_speed::{SpeedNode, SpeedSettings};
use watershed_store::Store;

use crate::log::{MemoryLog, Record};

pub const STREAM: &str = "rides";
pub const TOPIC: &str = "ride-events";

const SCHEMA: &str = "CREATE TABLE rides (
    at TIMESTAMP NOT NULL, city TEXT NOT NULL, driver TEXT, seconds BIGINT
) WITH (topic = 'ride-events', format = 'json', event_time = 'at');";

/// Measures whose states are the same whatever order the records come in.
pub const HOURLY: &str = "CREATE MATERIALIZED VIEW rides_hourly AS
SELECT city, tumble(at, INTERVAL '1 hour') AS hour,
       count(*) AS rides, count(*) FILTER (WHERE seconds > 600) AS long, sum(seconds) AS seconds,
       min(seconds) AS shortest, max(driver) AS last_name, avg(seconds) AS mean,
       first(seconds) AS earliest, last(driver) AS latest,
       quantile_cont(seconds, 0.9) AS p90, count(DISTINCT driver) AS drivers
FROM rides GROUP BY city, hour;";

pub const DAILY: &str = "CREATE MATERIALIZED VIEW rides_daily AS
SELECT tumble(at, INTERVAL '1 day') AS day, count(seconds) AS timed, sum(seconds) AS seconds
FROM rides WHERE city <> 'Nowhere' GROUP BY day;";

/// The stream and these views over it.
pub fn project(views: &[&str]) -> Project {
    let file = |path: String, text: &str| SourceFile { path, text: text.to_string() };
    let jobs: Vec<_> =
        views.iter().enumerate().map(|(index, text)| file(format!("jobs/{index}.sql"), text)).collect();
    Project::parse(&[file("schemas/rides.sql".to_string(), SCHEMA)], &jobs).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|p| format!("{p}\n")).collect::<String>())
    })
}

pub fn views(project: &Project) -> BTreeMap<String, Arc<View>> {
    project.views_of(STREAM).into_iter().map(|view| (view.name.clone(), view)).collect()
}

/// Ride number `number`: its hour, city, driver and length follow from the number, and are spread and sometimes
/// missing; every seventh is late by a day.
pub fn ride(number: i64) -> String {
    let mixed = number.wrapping_mul(2_654_435_761).rem_euclid(1 << 31);
    let day = if mixed % 7 == 0 { 1 } else { 2 };
    let city = ["Oslo", "Lima", "Pune", "Nowhere"][(mixed % 4) as usize];
    let driver = if mixed % 5 == 0 { "null".to_string() } else { format!("\"driver {}\"", mixed % 23) };
    let seconds = if mixed % 11 == 0 { "null".to_string() } else { (mixed % 5_000 - 100).to_string() };
    let (hour, minute) = ((mixed / 7) % 6, (mixed / 31) % 60);
    format!(
        r#"{{"at":"2026-03-0{day}T{hour:02}:{minute:02}:00Z","city":"{city}","driver":{driver},"seconds":{seconds}}}"#
    )
}

/// The Kafka timestamp of test records: after every ride.
pub const RECORDED_AT: i64 = 1_772_500_000_000;

pub fn memory_store() -> Store {
    Store::new(Arc::new(InMemory::new()))
}

/// Produces ride `number` and gives its offset.
pub fn produce(log: &MemoryLog, partition: i32, number: i64) -> i64 {
    log.append(TOPIC, partition, RECORDED_AT, Some(ride(number).as_bytes()))
}

/// The oracle: a direct fold of the records that lie in any of these ranges.
pub fn direct(
    view: &Arc<View>,
    partition: Partition,
    records: &[Record],
    ranges: &[OffsetRange],
) -> StateTable {
    let mut chosen = Records::new(partition, Offset(0));
    let within = |record: &&Record| ranges.iter().any(|range| range.contains(Offset(record.offset)));
    for record in records.iter().filter(within) {
        chosen.push(Offset(record.offset), record.timestamp, record.payload.as_deref());
    }
    let decoded = Decoder::new(&view.stream, &view.fields_read()).decode(&chosen);
    let mut table = StateTable::new(view.clone());
    table.fold(&decoded.events).expect("the view can be evaluated");
    table
}

/// What a table says: each cell's key and all its measures' values.
pub fn cells(table: &StateTable) -> Vec<(i64, Vec<Value>, Vec<Value>)> {
    let dimensions = table.view.dimensions.len();
    let rows = table.keys.sorted_rows().into_iter();
    rows.map(|row| {
        let key = (0..dimensions).map(|dimension| table.keys.value(row, dimension).clone()).collect();
        let values = table.measures.iter().map(|states| states.finish(row)).collect();
        (table.keys.windows()[row as usize], key, values)
    })
    .collect()
}

pub fn offsets(positions: &[(i32, i64)]) -> Offsets {
    positions.iter().map(|(partition, offset)| (Partition(*partition), Offset(*offset))).collect()
}

/// A manifest as the speed layer reads it: without files.
pub fn manifest(version: u64, watershed: &Offsets, views: &BTreeMap<String, Arc<View>>) -> Manifest {
    let view = |view: &Arc<View>| ViewVersion {
        hash: view.hash.clone(),
        sql: view.sql.clone(),
        window: view.window.name.clone(),
        columns: Vec::new(),
        files: Vec::new(),
        rows: 0,
        accuracy: Vec::new(),
    };
    Manifest {
        stream: STREAM.to_string(),
        version: Version(version),
        run_id: format!("run-{version}"),
        watershed: watershed.clone(),
        origin: watershed.partitions().map(|partition| (partition, Offset(0))).collect(),
        log: LogIdentity::default(),
        created_at: "2026-03-03T00:00:00Z".to_string(),
        seconds: 0.0,
        rows_landed: 0,
        windows_recomputed: 0,
        events: Vec::new(),
        dead_letters: Vec::new(),
        views: views.iter().map(|(name, of)| (name.clone(), view(of))).collect(),
        gaps: Vec::new(),
        ahead: Default::default(),
    }
}

pub fn intent(version: u64, target: &Offsets, lease_until_ms: i64) -> Intent {
    Intent {
        stream: STREAM.to_string(),
        version: Version(version),
        target: target.clone(),
        run_id: format!("run-{version}"),
        holder: "test".to_string(),
        lease_until_ms,
    }
}

/// A speed node in this process, with short intervals.
pub struct Speed {
    pub node: SpeedNode,
    pub store: Store,
    pub log: Arc<dyn Log>,
    pub views: BTreeMap<String, Arc<View>>,
}

impl Speed {
    pub fn start(log: &Arc<dyn Log>, store: &Store, project: &Project, name: &str) -> Speed {
        Speed::with(log, store, project, Speed::settings(name))
    }

    pub fn settings(name: &str) -> SpeedSettings {
        SpeedSettings {
            checkpoint_interval: Duration::from_secs(3_600),
            refresh_interval: Duration::from_millis(20),
            end_interval: Duration::from_millis(20),
            retry_interval: Duration::from_millis(50),
            replay_records: 64,
            ..SpeedSettings::new("test", name)
        }
    }

    pub fn with(log: &Arc<dyn Log>, store: &Store, project: &Project, settings: SpeedSettings) -> Speed {
        let runtime = tokio::runtime::Handle::current();
        let node = SpeedNode::start(&settings, project, store, log, runtime).expect("threads can be had");
        Speed { node, store: store.clone(), log: log.clone(), views: views(project) }
    }

    /// A question about a view's epoch; without a watershed about that of the log's start.
    pub async fn ask(&self, view: &str, watershed: &Offsets) -> Result<Partials, LiveError> {
        let request = PartialsRequest {
            stream: STREAM.to_string(),
            view: view.to_string(),
            view_hash: self.views[view].hash.clone(),
            watershed: watershed.clone(),
            scope: Scope::default(),
        };
        let mut replies = self.node.partials(&request).await?;
        assert_eq!(replies.len(), 1, "a node replies once");
        Ok(replies.remove(0))
    }

    pub async fn status(&self) -> LiveStatus {
        self.node.status(STREAM).await.expect("status needs nothing").remove(0)
    }

    /// Asks until the epoch is ready and has reached the log's present end in all partitions.
    pub async fn until_current(&self, view: &str, watershed: &Offsets) -> Partials {
        let ends: Offsets = (self.log.bounds(TOPIC).expect("the log answers").into_iter())
            .map(|(partition, held)| (partition, held.until))
            .collect();
        let what = format!("epoch {watershed} of {view} reaches {ends}");
        let reached = |reply: &Partials| {
            ends.iter()
                .all(|(partition, end)| reply.live.names(partition) && reply.live.get(partition) >= end)
        };
        eventually(&what, || async { self.ask(view, watershed).await.ok().filter(reached) }).await
    }

    pub async fn until_status(&self, what: &str, holds: impl Fn(&LiveStatus) -> bool) -> LiveStatus {
        eventually(what, || async { Some(self.status().await).filter(|status| holds(status)) }).await
    }

    /// Invariant `COVER`: for every partition that it names, the reply is the direct fold of `[watershed, live)`.
    pub fn check(&self, view: &str, reply: &Partials, log: &MemoryLog) {
        let view = &self.views[view];
        assert_eq!(reply.partitions.len(), reply.states.len());
        let mut found: BTreeMap<Partition, Arc<StateTable>> = BTreeMap::new();
        for (partition, states) in reply.partitions.iter().zip(&reply.states) {
            let states = states.to_table(view, &Scope::default()).expect("the states are the view's");
            assert!(found.insert(*partition, states).is_none(), "a partition has one table");
        }
        for (partition, until) in reply.live.iter() {
            let range = OffsetRange::new(reply.watershed.get(partition), until);
            let oracle = direct(view, partition, &log.records(TOPIC, partition.0), &[range]);
            let found = found.remove(&partition).unwrap_or_else(|| Arc::new(StateTable::new(view.clone())));
            assert_eq!(cells(&found), cells(&oracle), "invariant {}: {partition} {range}", invariants::COVER);
            assert!(reply.end.get(partition) >= until, "the log ends where it was read at the earliest");
        }
        assert!(found.is_empty(), "states of partitions that the reply does not name");
    }
}

/// Asks time and again, for ten seconds.
pub async fn eventually<R, F: Future<Output = Option<R>>>(what: &str, mut ask: impl FnMut() -> F) -> R {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "it never happened that {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
