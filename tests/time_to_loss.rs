//! How near retention is to records that no version holds: as arithmetic, and as the status tells it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use object_store::memory::InMemory;
use serde_json::{Value as Json, json};
use support::log::MemoryLog;
use support::serving::{NEW_YEAR, ScriptedLive, client, offsets, project, publish, trip};
use watershed_schemas::log::{Log, LogError, Reader, Subscription};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};
use watershed_schemas::project::Project;
use watershed_serving::http::{ServeSettings, Server};
use watershed_serving::time_to_loss::{LogSeen, PartitionToLoss, Starts};
use watershed_store::Store;

const HOUR: Duration = Duration::from_secs(3_600);

/// What is said of partition 0 that holds `[from, until)`, after it began at these offsets at these seconds.
fn to_loss(needed: i64, until: i64, starts: &[(u64, i64)], now: u64) -> PartitionToLoss {
    let began = Instant::now();
    let mut seen = LogSeen::default();
    for (seconds, start) in starts {
        let held = OffsetRange::new(Offset(*start), Offset(until));
        seen.observe(began + Duration::from_secs(*seconds), &[(Partition(0), held)]);
    }
    let needed = offsets(&[(0, needed)]);
    let mut told = seen.time_to_loss(Some(&needed), began + Duration::from_secs(now));
    let partition = told.partitions.remove(&Partition(0)).expect("it was observed");
    assert_eq!(told.seconds, partition.seconds, "there is one partition");
    partition
}

#[test]
fn loss_is_as_far_away_as_the_start_takes_at_its_pace() {
    let told = to_loss(500, 1_000, &[(0, 0), (60, 50), (100, 100)], 100);
    assert_eq!(
        (told.offsets_left, told.start_offsets_per_second, told.seconds),
        (400, Some(1.0), Some(400.0))
    );
    // The longer it then stands still, the slower it was.
    assert_eq!(to_loss(500, 1_000, &[(0, 0), (100, 100)], 200).seconds, Some(800.0));
}

#[test]
fn a_start_that_does_not_move_and_a_log_with_nothing_above_the_watershed_have_no_time_to_loss() {
    let still = to_loss(500, 1_000, &[(0, 100), (100, 100)], 200);
    assert_eq!((still.start_offsets_per_second, still.seconds), (None, None));
    let idle = to_loss(500, 500, &[(0, 0), (100, 100)], 100);
    assert_eq!((idle.start_offsets_per_second, idle.seconds), (Some(1.0), None));
}

#[test]
fn a_start_beyond_the_watershed_is_a_loss_that_has_happened() {
    let told = to_loss(120, 1_000, &[(0, 340)], 10);
    assert_eq!((told.offsets_left, told.start_offsets_per_second, told.seconds), (-220, None, Some(0.0)));
}

#[test]
fn a_start_that_went_back_is_another_logs_and_counts_anew() {
    assert_eq!(to_loss(500, 1_000, &[(0, 0), (10, 400), (20, 0)], 30).seconds, None);
}

#[test]
fn before_the_first_version_there_is_nothing_to_lose() {
    let mut seen = LogSeen::default();
    let now = Instant::now();
    seen.observe(now, &[(Partition(0), OffsetRange::new(Offset(7), Offset(9)))]);
    let told = seen.time_to_loss(None, now);
    assert_eq!((told.seconds, told.asked_ms_ago, told.partitions), (None, Some(0), BTreeMap::new()));
}

#[test]
fn moves_of_more_than_a_day_ago_are_forgotten_and_many_are_thinned_out() {
    let began = Instant::now();
    let mut starts = Starts::default();
    starts.observe(began, Offset(0));
    starts.observe(began + HOUR, Offset(3_600_000));
    starts.observe(began + 26 * HOUR, Offset(3_600_000));
    assert_eq!(starts.offsets_per_second(began + 26 * HOUR), None);
    for second in 0..10_000_i64 {
        starts
            .observe(began + 26 * HOUR + Duration::from_secs(second as u64), Offset(3_600_000 + 5 * second));
    }
    let rate = starts.offsets_per_second(began + 26 * HOUR + Duration::from_secs(9_999));
    assert!(rate.is_some_and(|rate| rate > 0.5 && rate < 5.01), "{rate:?}");
}

/// A server over a log, with no speed layer.
struct Watched {
    project: Arc<Project>,
    store: Store,
    server: Server,
}

impl Watched {
    async fn over(log: Arc<dyn Log>) -> Watched {
        let (project, store) = (Arc::new(project()), Store::new(Arc::new(InMemory::new())));
        let live = ScriptedLive::new();
        live.go_away();
        let settings = ServeSettings { workers: Some(1), ..ServeSettings::new("127.0.0.1:0") };
        let server = Server::start(settings, project.clone(), store.clone(), live, Some(log), None).await;
        Watched { project, store, server: server.expect("the server starts") }
    }

    async fn publish(&self, version: u64, watershed: Offsets) {
        publish(&self.store, &self.project, version, watershed, &[trip(NEW_YEAR, "Oslo", 1, 1, "ada")]).await;
        self.server.refresh();
    }

    async fn status(&self) -> Json {
        let answer = client().get(format!("http://{}/v1/status", self.server.address)).send().await;
        let status: Json = answer.expect("the server answers").json().await.expect("the body is JSON");
        status["streams"][0].clone()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Json) -> bool) -> Json {
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            let status = self.status().await;
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "{what} was never told: {status}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

#[tokio::test]
async fn the_status_tells_how_near_retention_is_before_and_after_it_passes() {
    let log = MemoryLog::with_topic("trips", 2);
    for index in 0..100 {
        log.append("trips", 0, index, None);
    }
    let watched = Watched::over(Arc::new(log.clone())).await;
    watched.publish(1, offsets(&[(0, 50), (1, 0)])).await;
    let start = |status: &Json| status["time_to_loss"]["partitions"]["0"]["log_start_offset"].clone();
    let still = watched.until("the start", |status| start(status) == 0).await["time_to_loss"].clone();
    assert_eq!(
        still["partitions"]["0"],
        json!({ "needed_offset": 50, "log_start_offset": 0, "offsets_left": 50,
                "start_offsets_per_second": null, "seconds": null })
    );
    assert_eq!(still["seconds"], Json::Null);
    assert!(still["asked_ms_ago"].as_u64().is_some_and(|age| age < 10_000), "{still}");

    log.trim("trips", 0, 10);
    let moving = watched.until("the move", |status| start(status) == 10).await;
    let seconds = moving["time_to_loss"]["seconds"].as_f64().expect("the start moves");
    assert!(seconds > 0.0 && seconds < 120.0, "{moving}");
    assert_eq!(moving["time_to_loss"]["partitions"]["1"]["seconds"], Json::Null);

    log.trim("trips", 0, 60);
    let lost = watched.until("the loss", |status| start(status) == 60).await;
    assert_eq!(lost["time_to_loss"]["partitions"]["0"]["offsets_left"], -10);
    assert_eq!(lost["time_to_loss"]["seconds"], 0.0);
    let trouble = lost["trouble"].to_string();
    assert!(trouble.contains("gap at partition 0: needed offset 50, log starts at 60"), "{trouble}");
}

/// A log that does not answer until it is let go.
struct Stuck(Arc<AtomicBool>);

impl Log for Stuck {
    fn bounds(&self, topic: &str) -> Result<Vec<(Partition, OffsetRange)>, LogError> {
        while !self.0.load(Ordering::SeqCst) {
            std::thread::sleep(Duration::from_millis(5));
        }
        Err(LogError::UnknownTopic { topic: topic.to_string() })
    }

    fn reader(&self, topic: &str, _: Partition, _: Offset) -> Result<Box<dyn Reader>, LogError> {
        Err(LogError::UnknownTopic { topic: topic.to_string() })
    }

    fn subscribe(&self, topic: &str, _: &str) -> Result<Box<dyn Subscription>, LogError> {
        Err(LogError::UnknownTopic { topic: topic.to_string() })
    }
}

#[tokio::test]
async fn a_log_that_does_not_answer_holds_up_no_newer_version() {
    let answer = Arc::new(AtomicBool::new(false));
    let watched = Watched::over(Arc::new(Stuck(answer.clone()))).await;
    for version in 1..=2 {
        watched.publish(version, offsets(&[(0, version as i64), (1, 0)])).await;
        watched.until("the version", |status| status["version"] == version).await;
    }
    let told = watched.status().await["time_to_loss"].clone();
    assert_eq!(told, json!({ "seconds": null, "asked_ms_ago": null, "partitions": {} }));
    answer.store(true, Ordering::SeqCst);
}
