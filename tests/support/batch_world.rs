//! One stream of readings, three views over it, a log in memory and a store: what batch tests act on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use arrow::array::AsArray;
use arrow::datatypes::Float64Type;
use arrow::record_batch::RecordBatch;
use object_store::memory::InMemory;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use serde_json::json;
use watershed_batch::{BatchError, Job, Options, Outcome, Quiet, Report, Retention};
use watershed_schemas::manifest::{Manifest, StoredFile};
use watershed_schemas::project::{Project, SourceFile};
use watershed_schemas::stream::Stream;
use watershed_schemas::view::View;
use watershed_store::Store;

use crate::log::MemoryLog;

pub const TOPIC: &str = "readings";
pub const HOUR: i64 = 3600;
pub const DAY: i64 = 24 * HOUR;
/// 2013-01-01T00:00:00Z in seconds.
pub const YEAR_2013: i64 = 1_356_998_400;

pub const STREAM: &str = "
CREATE TABLE readings (
  at     TIMESTAMP NOT NULL,
  site   TEXT NOT NULL,
  device TEXT,
  value  DOUBLE,
  units  BIGINT,
  price  DECIMAL(10,2)
) WITH (topic = 'readings', format = 'json', event_time = 'at');";

/// An hour, a week and a month: inside a date, over several, over a date's file.
pub const VIEWS: [&str; 3] = [
    "
CREATE MATERIALIZED VIEW hourly AS
SELECT site, tumble(at, INTERVAL '1 hour') AS hour,
       count(*)                             AS readings,
       count(*) FILTER (WHERE value > 50)   AS high,
       sum(units)                           AS units,
       sum(price)                           AS revenue,
       avg(value)                           AS mean,
       min(value)                           AS lowest,
       max(price)                           AS dearest,
       first(device)                        AS first_device,
       last(device)                         AS last_device,
       count(DISTINCT device)               AS devices,
       quantile_cont(value, 0.9)            AS p90,
       approx_top_k(device, 2)              AS busiest
FROM readings GROUP BY site, hour;",
    "
CREATE MATERIALIZED VIEW weekly AS
SELECT tumble(at, INTERVAL '7 days') AS week,
       count(*) AS readings, sum(units) AS units, stddev_samp(value) AS spread
FROM readings WHERE value IS NOT NULL GROUP BY week;",
    "
CREATE MATERIALIZED VIEW monthly AS
SELECT site, device, date_trunc('month', at) AS month, count(*) AS readings, sum(price) AS revenue
FROM readings GROUP BY site, device, month;",
];

pub struct World {
    pub project: Project,
    pub log: MemoryLog,
    pub store: Store,
    /// The store's time, in milliseconds since 1970-01-01. Starts at the real one and moves when told to.
    pub now: Arc<AtomicI64>,
    pub options: Options,
    runs: AtomicU64,
}

impl World {
    /// Four partitions, all views, a store in memory.
    pub fn new() -> Self {
        Self::with(&VIEWS, Store::new(Arc::new(InMemory::new())))
    }

    pub fn with(views: &[&str], store: Store) -> Self {
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970");
        let mut options = Options::new("", "the test");
        options.stall_timeout = Duration::from_secs(2);
        World {
            project: project(STREAM, views),
            log: MemoryLog::with_topic(TOPIC, 4),
            store,
            now: Arc::new(AtomicI64::new(now.as_millis() as i64)),
            options,
            runs: AtomicU64::new(0),
        }
    }

    pub fn stream(&self) -> Arc<Stream> {
        self.project.streams[0].clone()
    }

    pub fn view(&self, name: &str) -> Arc<View> {
        self.project.view(name).unwrap_or_else(|| panic!("no view {name}")).clone()
    }

    pub fn pass(&self, time: Duration) {
        self.now.fetch_add(time.as_millis() as i64, Ordering::SeqCst);
    }

    /// Keeps `versions` versions and nothing for courtesy.
    pub fn retain(&mut self, versions: usize) {
        self.options.retention = Retention { versions, superseded: Duration::ZERO, orphans: Duration::ZERO };
    }

    /// Appends a payload whose Kafka timestamp lies beyond every event time of these tests.
    pub fn produce(&self, partition: i32, payload: &str) -> i64 {
        let timestamp = (YEAR_2013 + 365 * DAY) * 1000;
        self.log.append(TOPIC, partition, timestamp, Some(payload.as_bytes()))
    }

    /// A run with a new id and the world's options.
    pub fn job(&self) -> Job {
        let run = self.runs.fetch_add(1, Ordering::SeqCst) + 1;
        let now = self.now.clone();
        Job {
            stream: self.stream(),
            views: self.project.views.clone(),
            store: self.store.clone(),
            log: Arc::new(self.log.clone()),
            options: Options { run_id: format!("run{run}"), ..self.options.clone() },
            now: Arc::new(move || now.load(Ordering::SeqCst)),
            progress: Arc::new(Quiet),
        }
    }

    pub async fn run(&self) -> Result<Outcome, BatchError> {
        watershed_batch::run(&self.job()).await
    }

    /// A run that must publish.
    pub async fn publish(&self) -> Report {
        published(self.run().await)
    }

    pub async fn publish_full(&self) -> Report {
        let mut job = self.job();
        job.options.full = true;
        published(watershed_batch::run(&job).await)
    }

    pub async fn newest(&self) -> Option<Manifest> {
        self.store.newest(TOPIC, None).await.expect("the store is well")
    }

    /// All rows of a view as of a manifest, file by file.
    pub async fn rows(&self, manifest: &Manifest, view: &str) -> Vec<RecordBatch> {
        let mut batches = Vec::new();
        for file in &manifest.views[view].files {
            batches.extend(self.parquet(&file.file).await);
        }
        batches
    }

    /// A stored Parquet file, verified.
    pub async fn parquet(&self, file: &StoredFile) -> Vec<RecordBatch> {
        let bytes = self.store.read(file).await.expect("the file is whole");
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes).expect("it is Parquet").build();
        let batches: Vec<_> =
            reader.expect("it is Parquet").collect::<Result<_, _>>().expect("it is Parquet");
        assert_eq!(
            batches.iter().map(|batch| batch.num_rows() as u64).sum::<u64>(),
            file.rows,
            "{}",
            file.path
        );
        batches
    }
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

pub fn project(stream: &str, views: &[&str]) -> Project {
    let file = |path: String, text: &str| SourceFile { path, text: text.to_string() };
    let views: Vec<SourceFile> =
        (views.iter().enumerate()).map(|(index, text)| file(format!("jobs/view{index}.sql"), text)).collect();
    Project::parse(&[file("schemas/readings.sql".to_string(), stream)], &views).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|it| format!("{it}\n")).collect::<String>())
    })
}

pub fn published(outcome: Result<Outcome, BatchError>) -> Report {
    match outcome {
        Ok(Outcome::Published(report)) => report,
        other => panic!("expected a publication, found {other:?}"),
    }
}

/// One reading, `seconds` after 2013 began.
pub fn reading(seconds: i64, site: &str, device: &str, value: f64, units: i64) -> String {
    let at = chrono::DateTime::from_timestamp(YEAR_2013 + seconds, 0).expect("a time").to_rfc3339();
    json!({ "at": at, "site": site, "device": device, "value": value, "units": units, "price": "12.50" })
        .to_string()
}

/// Equal bit for bit, but for doubles: the order of additions shows in their last bits.
pub fn assert_same(left: &[RecordBatch], right: &[RecordBatch], view: &str) {
    assert_eq!(left.len(), right.len(), "{view}: files");
    for (left, right) in left.iter().zip(right) {
        assert_eq!(left.schema(), right.schema(), "{view}");
        for (index, field) in left.schema().fields().iter().enumerate() {
            let (left, right) = (left.column(index), right.column(index));
            let (Some(doubles), Some(others)) =
                (left.as_primitive_opt::<Float64Type>(), right.as_primitive_opt::<Float64Type>())
            else {
                assert_eq!(left, right, "{view}: {}", field.name());
                continue;
            };
            let value = |value: Option<f64>| value.map_or((false, 0.0), |value| (true, value));
            for (left, right) in doubles.iter().map(value).zip(others.iter().map(value)) {
                let near = (left.1 - right.1).abs() <= 1e-9 * left.1.abs().max(1.0);
                assert!(left.0 == right.0 && near, "{view}: {} is {left:?} and {right:?}", field.name());
            }
        }
    }
}

/// A map of a version's counts by (window, site): for readers that trust no state.
pub type Counts = BTreeMap<(i64, String), i64>;
