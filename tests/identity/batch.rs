//! Batch runs and rollbacks over a topic that is another one, or may be.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ::support::batch_world::{TOPIC, VIEWS, World, published, reading};
use ::support::log::MemoryLog;
use object_store::memory::InMemory;
use watershed_batch::{BatchError, Outcome};
use watershed_schemas::identity::{Fingerprint, LogIdentity, OtherLog, TopicId};
use watershed_schemas::log::{Log, LogError, Reader, Subscription};
use watershed_schemas::manifest::Version;
use watershed_schemas::offsets::{Offset, OffsetRange, Partition};
use watershed_store::{Publication, Store};

fn hourly() -> World {
    World::with(&VIEWS[..1], Store::new(Arc::new(InMemory::new())))
}

/// Ten readings in partition 0, published.
async fn ten_published() -> World {
    let world = hourly();
    produce(&world, 0..10, "a");
    world.publish().await;
    world
}

fn produce(world: &World, seconds: std::ops::Range<i64>, site: &str) {
    for second in seconds {
        world.produce(0, &reading(second, site, "d", 1.0, 1));
    }
}

/// What the store holds, by path.
async fn stored(world: &World) -> Vec<String> {
    world.store.list("").await.expect("memory lists")
}

/// A run that must be refused, and must leave everything as it was.
async fn refused(world: &World) -> BatchError {
    let (before, newest) = (stored(world).await, world.newest().await);
    let error = world.run().await.expect_err("it is another log");
    assert_eq!((stored(world).await, world.newest().await), (before, newest), "{error}");
    error
}

#[tokio::test]
async fn a_version_remembers_the_topics_id_and_the_last_record_of_each_partition() {
    let world = ten_published().await;
    world.log.append(TOPIC, 1, 77, None);
    world.log.skip(TOPIC, 1, 5);
    let log = world.publish().await.manifest.log;
    assert_eq!(log.topic_id, world.log.topic_id(TOPIC).expect("it is there"));
    let last = |partition: i32| log.last_records.get(&Partition(partition));
    assert_eq!(last(0).map(|last| last.offset), Some(Offset(9)), "carried over");
    let tombstone = Fingerprint { offset: Offset(0), timestamp: 77, payload_sha256: None };
    assert_eq!(last(1), Some(&tombstone), "dead letters count, offsets without records do not");
    assert_eq!(last(2), None);
    let found = world.log.record_at(TOPIC, Partition(0), Offset(9)).expect("it is held");
    assert_eq!(last(0), found.as_ref());
}

#[tokio::test]
async fn a_topic_that_was_created_anew_is_refused_by_its_id_however_far_it_reaches() {
    let mut world = ten_published().await;
    world.log.recreate(TOPIC);
    for more in [0..0, 0..10, 10..400] {
        produce(&world, more, "b");
        let error = refused(&world).await;
        let topic = BatchError::OtherLog {
            topic: TOPIC.to_string(),
            version: Version(1),
            found: OtherLog::Topic {
                expected: TopicId("readings#0".to_string()),
                found: TopicId("readings#1".to_string()),
            },
        };
        assert_eq!(error.to_string(), topic.to_string());
        for advice in ["nothing was published", "--accept-topic", "store.url"] {
            assert!(error.to_string().contains(advice), "{error}");
        }
    }
    world.options.accept_gap = true;
    assert!(matches!(refused(&world).await, BatchError::OtherLog { .. }), "an accepted gap is another thing");
}

#[tokio::test]
async fn where_brokers_tell_no_ids_the_last_record_tells_another_topic() {
    let world = hourly();
    world.log.hide_ids();
    produce(&world, 0..10, "a");
    assert_eq!(world.publish().await.manifest.log.topic_id, None);
    world.log.recreate(TOPIC);
    let error = refused(&world).await;
    assert!(matches!(error, BatchError::Truncated { end: Offset(0), .. }), "{error}");
    // It has grown past the watershed before anybody looked.
    produce(&world, 0..20, "b");
    let error = refused(&world).await;
    let other = OtherLog::Record {
        partition: Partition(0),
        expected: world.newest().await.expect("version 1").log.last_records[&Partition(0)].clone(),
        found: world.log.record_at(TOPIC, Partition(0), Offset(9)).expect("held").expect("there"),
    };
    assert!(matches!(&error, BatchError::OtherLog { found, .. } if *found == other), "{error}");
}

#[tokio::test]
async fn an_unclean_election_that_took_folded_records_is_refused_though_the_topic_is_the_same() {
    let world = ten_published().await;
    world.log.truncate(TOPIC, 0, 7);
    let error = refused(&world).await;
    assert!(matches!(error, BatchError::Truncated { watershed: Offset(10), end: Offset(7), .. }), "{error}");
    produce(&world, 100..110, "c");
    let error = refused(&world).await;
    assert!(matches!(error, BatchError::OtherLog { found: OtherLog::Record { .. }, .. }), "{error}");
}

#[tokio::test]
async fn a_last_record_that_retention_or_compaction_took_is_no_reason_to_refuse() {
    let world = ten_published().await;
    world.log.compact(TOPIC, 0, 9);
    produce(&world, 10..12, "a");
    assert_eq!(world.publish().await.manifest.rows_landed, 2);
    world.log.trim(TOPIC, 0, 12);
    produce(&world, 12..13, "a");
    let third = world.publish().await.manifest;
    assert_eq!((third.rows_landed, third.gaps.len()), (1, 0));
    assert_eq!(third.log.last_records[&Partition(0)].offset, Offset(12));
    // A log that has nothing left is still the same one.
    world.log.trim(TOPIC, 0, 13);
    assert!(matches!(world.run().await, Ok(Outcome::Unchanged(_))));
}

#[tokio::test]
async fn a_faithful_copy_is_accepted_once_when_told_and_then_is_the_topic() {
    let mut world = ten_published().await;
    world.log.recreate(TOPIC);
    produce(&world, 0..10, "a");
    assert!(matches!(refused(&world).await, BatchError::OtherLog { found: OtherLog::Topic { .. }, .. }));
    world.options.accept_topic = true;
    let second = world.publish().await.manifest;
    assert_eq!(
        (second.version, second.rows_landed),
        (Version(2), 0),
        "a version says so, with nothing new in it"
    );
    assert_eq!(second.log.topic_id, Some(TopicId("readings#1".to_string())));
    assert!(matches!(world.run().await, Ok(Outcome::Unchanged(_))), "accepting once more changes nothing");
    world.options.accept_topic = false;
    produce(&world, 10..11, "a");
    assert_eq!(world.publish().await.manifest.rows_landed, 1);
}

#[tokio::test]
async fn a_copy_that_is_not_faithful_is_refused_though_it_was_to_be_accepted() {
    let mut world = ten_published().await;
    world.options.accept_topic = true;
    world.log.recreate(TOPIC);
    produce(&world, 0..5, "a");
    assert!(matches!(refused(&world).await, BatchError::Truncated { end: Offset(5), .. }));
    produce(&world, 5..9, "a");
    produce(&world, 9..12, "b");
    assert!(matches!(refused(&world).await, BatchError::OtherLog { found: OtherLog::Record { .. }, .. }));
}

#[tokio::test]
async fn versions_from_before_logs_were_remembered_are_gone_on_from_and_the_next_one_remembers() {
    let world = ten_published().await;
    let mut old = world.newest().await.expect("version 1");
    (old.version, old.run_id, old.log) = (Version(2), "an older build".to_string(), LogIdentity::default());
    assert_eq!(world.store.publish(&old).await.expect("memory takes it"), Publication::Published);
    assert!(matches!(world.run().await, Ok(Outcome::Unchanged(_))));
    produce(&world, 10..11, "a");
    let log = world.publish().await.manifest.log;
    assert_eq!(log.topic_id, Some(TopicId("readings#0".to_string())));
    assert_eq!(log.last_records.len(), 1);
}

#[tokio::test]
async fn a_rollback_is_refused_over_another_topic_too() {
    let world = ten_published().await;
    produce(&world, 10..12, "a");
    world.publish().await;
    world.log.recreate(TOPIC);
    produce(&world, 0..30, "b");
    let before = stored(&world).await;
    let error = watershed_batch::rollback(&world.job(), Version(1)).await.expect_err("it is another topic");
    assert!(matches!(error, BatchError::OtherLog { version: Version(2), .. }), "{error}");
    assert_eq!(stored(&world).await, before);
}

#[tokio::test]
async fn a_rollback_goes_back_to_before_a_topic_was_accepted() {
    let mut world = ten_published().await;
    world.log.recreate(TOPIC);
    produce(&world, 0..10, "a");
    world.options.accept_topic = true;
    world.publish().await;
    world.options.accept_topic = false;
    let third = published(watershed_batch::rollback(&world.job(), Version(1)).await).manifest;
    assert_eq!(third.log.topic_id, Some(TopicId("readings#1".to_string())), "the topic is what was accepted");
    assert!(matches!(world.run().await, Ok(Outcome::Unchanged(_))));
}

#[tokio::test]
async fn a_compacted_topic_is_refused_with_the_reason() {
    let world = hourly();
    produce(&world, 0..3, "a");
    for policy in ["compact", "compact,delete"] {
        world.log.set_cleanup_policy(TOPIC, policy);
        let error = refused(&world).await;
        assert!(matches!(&error, BatchError::Compacted { policy: found, .. } if found == policy), "{error}");
        assert!(error.to_string().contains("keeps only the last record of each key"), "{error}");
    }
    world.log.set_cleanup_policy(TOPIC, "delete");
    assert_eq!(world.publish().await.manifest.rows_landed, 3);
}

/// A topic that is created anew after it was first looked at.
struct Changing {
    log: MemoryLog,
    asked: AtomicU64,
}

impl Log for Changing {
    fn bounds(&self, topic: &str) -> Result<Vec<(Partition, OffsetRange)>, LogError> {
        self.log.bounds(topic)
    }

    fn reader(&self, topic: &str, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, LogError> {
        self.log.reader(topic, partition, from)
    }

    fn subscribe(&self, topic: &str, group: &str) -> Result<Box<dyn Subscription>, LogError> {
        self.log.subscribe(topic, group)
    }

    fn topic_id(&self, _topic: &str) -> Result<Option<TopicId>, LogError> {
        Ok(Some(TopicId(self.asked.fetch_add(1, Ordering::SeqCst).to_string())))
    }
}

#[tokio::test]
async fn a_topic_that_is_created_anew_while_a_run_reads_it_stops_the_run() {
    let world = hourly();
    produce(&world, 0..3, "a");
    let mut job = world.job();
    job.log = Arc::new(Changing { log: world.log.clone(), asked: AtomicU64::new(0) });
    let error = watershed_batch::run(&job).await.expect_err("it changed");
    assert!(matches!(error, BatchError::OtherLog { found: OtherLog::Topic { .. }, .. }), "{error}");
    assert!(stored(&world).await.is_empty(), "nothing of the run is left");
}
