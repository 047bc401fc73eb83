//! A speed node over a topic that becomes another one while it is followed, or while the node is away.

use std::sync::Arc;

use ::support::live::{self, HOURLY, Speed};
use ::support::log::MemoryLog;
use ::support::watched_log::{Call, WatchedLog};
use watershed_schemas::identity::LogIdentity;
use watershed_schemas::live::LiveError;
use watershed_schemas::log::Log;
use watershed_schemas::offsets::{Offsets, Partition};
use watershed_store::{Publication, Store};

fn start(memory: &MemoryLog, store: &Store) -> Speed {
    let log: Arc<dyn Log> = Arc::new(memory.clone());
    Speed::start(&log, store, &live::project(&[HOURLY]), "node")
}

/// The same number of rides in both partitions.
fn rides(memory: &MemoryLog, numbers: std::ops::Range<i64>) {
    for number in numbers {
        live::produce(memory, (number % 2) as i32, number);
    }
}

/// What a run that landed everything below `watershed` remembers.
fn remembered(memory: &MemoryLog, watershed: &Offsets) -> LogIdentity {
    let last = |(partition, until): (Partition, _)| {
        let records = memory.records(live::TOPIC, partition.0);
        let last = records.iter().rev().find(|record| record.offset < watershed.get(partition).0)?;
        assert!(last.offset < until, "the watershed lies above it");
        let offset = watershed_schemas::offsets::Offset(last.offset);
        let found =
            memory.record_at(live::TOPIC, partition, offset).expect("it is held").expect("it is there");
        Some((partition, found))
    };
    LogIdentity {
        topic_id: memory.topic_id(live::TOPIC).expect("the topic is there"),
        last_records: watershed
            .iter()
            .map(|(partition, until)| (partition, until.0))
            .filter_map(last)
            .collect(),
    }
}

async fn publish(speed: &Speed, version: u64, watershed: &Offsets, log: LogIdentity) {
    let mut manifest = live::manifest(version, watershed, &speed.views);
    manifest.log = log;
    let published = speed.store.publish(&manifest).await.expect("the store answers");
    assert_eq!(published, Publication::Published);
    speed.node.look(live::STREAM);
}

async fn until_told(speed: &Speed, word: &str) -> String {
    let told = |status: &watershed_schemas::live::LiveStatus| {
        status.trouble.as_ref().is_some_and(|trouble| trouble.contains(word))
    };
    speed.until_status(word, told).await.trouble.expect("just seen")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_is_created_anew_under_a_follower_is_refused_until_an_operator_accepts_it() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    rides(&memory, 0..100);
    let speed = start(&memory, &live::memory_store());
    let watershed = live::offsets(&[(0, 20), (1, 20)]);
    publish(&speed, 1, &watershed, remembered(&memory, &watershed)).await;
    speed.until_current("rides_hourly", &watershed).await;

    // It holds more than the old one did, so that every offset is there.
    memory.recreate(live::TOPIC);
    rides(&memory, 1_000..1_400);
    let trouble = until_told(&speed, "--accept-topic").await;
    assert!(trouble.contains("created anew") && trouble.contains("store.url"), "{trouble}");
    live::eventually("nothing of the mixture is given out", || async {
        matches!(speed.ask("rides_hourly", &watershed).await, Err(LiveError::NotReady { .. })).then_some(())
    })
    .await;
    tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    let refused = speed.ask("rides_hourly", &watershed).await.expect_err("it stays refused");
    assert!(refused.to_string().contains("created anew"), "{refused}");

    // A run that was told to accept it has published.
    let next = live::offsets(&[(0, 150), (1, 160)]);
    publish(&speed, 2, &next, remembered(&memory, &next)).await;
    let reply = speed.until_current("rides_hourly", &next).await;
    speed.check("rides_hourly", &reply, &memory);
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_starts_over_another_topic_refuses_it_by_its_id_and_by_its_record() {
    for hides_ids in [false, true] {
        let memory = MemoryLog::with_topic(live::TOPIC, 2);
        if hides_ids {
            memory.hide_ids();
        }
        rides(&memory, 0..100);
        let watershed = live::offsets(&[(0, 20), (1, 20)]);
        let log = remembered(&memory, &watershed);
        memory.recreate(live::TOPIC);
        rides(&memory, 1_000..1_400);
        let watched = WatchedLog::of(&memory);
        let log_seen: Arc<dyn Log> = Arc::new(watched.clone());
        let store = live::memory_store();
        let mut manifest = live::manifest(1, &watershed, &live::views(&live::project(&[HOURLY])));
        manifest.log = log;
        assert_eq!(store.publish(&manifest).await.expect("the store answers"), Publication::Published);
        let speed = Speed::start(&log_seen, &store, &live::project(&[HOURLY]), "node");
        let trouble = until_told(&speed, "is not the log that the newest version was folded from").await;
        assert!(trouble.contains(if hides_ids { "another record" } else { "topic id" }), "{trouble}");
        assert_eq!((watched.delivered(), watched.replayed()), (0, 0), "nothing of it is folded");
        speed.node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn before_the_first_version_a_topic_that_is_created_anew_is_simply_the_log() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    rides(&memory, 0..100);
    let store = live::memory_store();
    let speed = start(&memory, &store);
    speed.until_current("rides_hourly", &Offsets::new()).await;
    speed.node.shutdown().await;

    // The checkpoints at 50 are of the old one, though the new one holds that offset.
    memory.recreate(live::TOPIC);
    rides(&memory, 1_000..1_400);
    let watched = WatchedLog::of(&memory);
    let log: Arc<dyn Log> = Arc::new(watched.clone());
    let speed = Speed::start(&log, &store, &live::project(&[HOURLY]), "node");
    let reply = speed.until_current("rides_hourly", &Offsets::new()).await;
    speed.check("rides_hourly", &reply, &memory);

    // And once more, under the follower, which hears of nothing until the new one holds its offset.
    watched.fail(&[Call::Poll]);
    speed.until_status("it hears nothing", |status| status.trouble.is_some()).await;
    memory.recreate(live::TOPIC);
    rides(&memory, 2_000..2_800);
    watched.fail(&[]);
    until_told(&speed, "created anew").await;
    let reply = speed.until_current("rides_hourly", &Offsets::new()).await;
    speed.check("rides_hourly", &reply, &memory);
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_of_records_that_an_unclean_election_took_is_not_gone_on_with() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    rides(&memory, 0..200);
    let store = live::memory_store();
    let speed = start(&memory, &store);
    let watershed = live::offsets(&[(0, 20), (1, 20)]);
    publish(&speed, 1, &watershed, remembered(&memory, &watershed)).await;
    speed.until_current("rides_hourly", &watershed).await;
    speed.node.shutdown().await;

    // While the node is away, what it folded from 60 on is lost, and other records take its place.
    for partition in 0..2 {
        memory.truncate(live::TOPIC, partition, 60);
    }
    rides(&memory, 5_000..5_200);
    let speed = start(&memory, &store);
    let reply = speed.until_current("rides_hourly", &watershed).await;
    speed.check("rides_hourly", &reply, &memory);
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_ends_below_what_was_folded_is_told_and_folded_anew() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    rides(&memory, 0..200);
    let speed = start(&memory, &live::memory_store());
    let watershed = live::offsets(&[(0, 20), (1, 20)]);
    publish(&speed, 1, &watershed, remembered(&memory, &watershed)).await;
    speed.until_current("rides_hourly", &watershed).await;
    memory.truncate(live::TOPIC, 0, 60);
    live::eventually("the log is folded as it is now", || async {
        let reply = speed.ask("rides_hourly", &watershed).await.ok()?;
        (reply.live.get(Partition(0)).0 == 60).then_some(())
    })
    .await;
    let reply = speed.until_current("rides_hourly", &watershed).await;
    speed.check("rides_hourly", &reply, &memory);

    // Below the watershed nothing is folded any more.
    memory.truncate(live::TOPIC, 0, 10);
    let trouble = until_told(&speed, "truncated").await;
    assert!(trouble.contains("partition 0"), "{trouble}");
    speed.node.shutdown().await;
}
