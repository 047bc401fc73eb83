//! What a speed node writes down, and what it makes of it after a restart.

mod chains;
mod takeover;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::support::live::{self, DAILY, HOURLY, Speed};
use ::support::log::MemoryLog;
use ::support::watched_log::WatchedLog;
use proptest::prelude::*;
use watershed_schemas::decode::Decoder;
use watershed_schemas::invariants;
use watershed_schemas::layout;
use watershed_schemas::log::{Log, Records};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};
use watershed_schemas::view::View;
use watershed_speed::SpeedSettings;
use watershed_speed::checkpoint::{Checkpoint, CheckpointError, Snapshot};
use watershed_speed::epoch::Epoch;
use watershed_speed::partition::PartitionEpochs;
use watershed_speed::stretch::Stretch;
use watershed_store::{Publication, Store};

type Views = BTreeMap<String, Arc<View>>;

/// A partition with rides `[0, 40)` folded, one epoch open from the start and one that lacks `[10, 40)`.
fn folded(views: &Views) -> PartitionEpochs {
    let partition = Partition(3);
    let mut epochs = PartitionEpochs::new(partition, Offset(0), Offset(0));
    for view in views.values() {
        epochs.open(Epoch::Origin.of(&view.name), view);
    }
    let mut records = Records::new(partition, Offset(0));
    for offset in 0..40 {
        records.push(Offset(offset), live::RECORDED_AT, Some(live::ride(offset).as_bytes()));
    }
    let stream = &views["rides_hourly"].stream;
    let fields: Vec<&str> = stream.fields.iter().map(|field| field.name.as_str()).collect();
    let decoded = Decoder::new(stream, &fields).decode(&records);
    let range = OffsetRange::new(Offset(0), Offset(40));
    let stretch = Stretch::new(partition, range, &decoded.events).expect("a sound stretch");
    epochs.fold(&stretch).expect("it comes next");
    let late = Epoch::At(live::offsets(&[(3, 10), (4, 99)]));
    epochs.open(late.of("rides_hourly"), &views["rides_hourly"]);
    epochs
}

fn encoded(epochs: &PartitionEpochs) -> Vec<u8> {
    Snapshot::of(live::STREAM, epochs).encode().expect("states encode").to_vec()
}

fn decoded(bytes: &[u8], views: &Views) -> Result<Checkpoint, CheckpointError> {
    Checkpoint::decode(bytes, live::STREAM, Partition(3), views)
}

#[test]
fn a_checkpoint_gives_back_what_was_written() {
    let views = live::views(&live::project(&[HOURLY, DAILY]));
    let epochs = folded(&views);
    let bytes = encoded(&epochs);
    assert_eq!(
        encoded(&epochs),
        bytes,
        "invariant {}: the same folds give the same bytes",
        invariants::REPLAY
    );
    let checkpoint = decoded(&bytes, &views).expect("it is whole");
    assert_eq!((checkpoint.live, checkpoint.origin), (Offset(40), Offset(0)));
    assert_eq!(checkpoint.folds.len(), 3);
    for (key, fold) in &checkpoint.folds {
        let written = &epochs.folds()[key];
        assert_eq!(fold.span(), written.span());
        assert_eq!(fold.table().to_live_batch(), written.table().to_live_batch());
        assert_eq!(live::cells(fold.table()), live::cells(written.table()));
    }
}

#[test]
fn states_of_a_view_whose_definition_has_changed_are_left_out() {
    let views = live::views(&live::project(&[HOURLY, DAILY]));
    let bytes = encoded(&folded(&views));
    let changed = live::views(&live::project(&[HOURLY, &DAILY.replace("'Nowhere'", "'Elsewhere'")]));
    let checkpoint = decoded(&bytes, &changed).expect("it is whole");
    assert!(checkpoint.folds.keys().all(|key| key.view == "rides_hourly"), "{:?}", checkpoint.folds.keys());
    assert_eq!(checkpoint.folds.len(), 2);
}

#[test]
fn another_partitions_checkpoint_is_refused() {
    let views = live::views(&live::project(&[HOURLY, DAILY]));
    let bytes = encoded(&folded(&views));
    let refused = Checkpoint::decode(&bytes, live::STREAM, Partition(2), &views).expect_err("of partition 3");
    assert!(matches!(refused, CheckpointError::Other { .. }), "{refused}");
    let refused = Checkpoint::decode(&bytes, "trips", Partition(3), &views).expect_err("of stream rides");
    assert!(matches!(refused, CheckpointError::Other { .. }), "{refused}");
}

proptest! {
    #[test]
    fn a_damaged_checkpoint_is_refused(place in any::<prop::sample::Index>(), bit in 0..8_u8, cut in any::<bool>()) {
        let views = live::views(&live::project(&[HOURLY, DAILY]));
        let mut bytes = encoded(&folded(&views));
        let place = place.index(bytes.len());
        if cut {
            bytes.truncate(place);
        } else {
            bytes[place] ^= 1 << bit;
        }
        prop_assert!(decoded(&bytes, &views).is_err());
    }
}

/// A log of two partitions with rides, a store, and the means to start nodes on them.
struct World {
    memory: MemoryLog,
    store: Store,
    produced: i64,
}

impl World {
    fn new() -> World {
        World { memory: MemoryLog::with_topic(live::TOPIC, 2), store: live::memory_store(), produced: 0 }
    }

    fn produce(&mut self, rides: i64) {
        for number in self.produced..self.produced + rides {
            live::produce(&self.memory, (number % 2) as i32, number);
        }
        self.produced += rides;
    }

    /// A node, and how much it reads.
    fn start(&self, settings: SpeedSettings) -> (Speed, WatchedLog) {
        let watched = WatchedLog::of(&self.memory);
        let log: Arc<dyn Log> = Arc::new(watched.clone());
        (Speed::with(&log, &self.store, &live::project(&[HOURLY, DAILY]), settings), watched)
    }

    async fn checkpoints(&self, partition: i32) -> Vec<String> {
        let folder = layout::checkpoints(live::STREAM, Partition(partition));
        self.store.list(&folder).await.expect("the store lists")
    }
}

async fn check_all(speed: &Speed, world: &World) {
    for view in ["rides_hourly", "rides_daily"] {
        let reply = speed.until_current(view, &Offsets::new()).await;
        speed.check(view, &reply, &world.memory);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_resumes_from_the_last_checkpoint_and_reads_nothing_twice() {
    let mut world = World::new();
    world.produce(500);
    let (first, read) = world.start(Speed::settings("first"));
    check_all(&first, &world).await;
    assert_eq!((read.delivered(), read.replayed()), (500, 0));
    first.node.shutdown().await;

    world.produce(60);
    let (second, read) = world.start(Speed::settings("second"));
    check_all(&second, &world).await;
    assert_eq!((read.delivered(), read.replayed()), (60, 0));
    second.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn after_a_crash_only_what_came_after_the_checkpoint_is_read_again() {
    let mut world = World::new();
    world.produce(500);
    let settings =
        SpeedSettings { checkpoint_interval: Duration::from_millis(30), ..Speed::settings("first") };
    let (first, _) = world.start(settings);
    check_all(&first, &world).await;
    live::eventually("both partitions have checkpoints at 250", || async {
        let (left, right) = (world.checkpoints(0).await, world.checkpoints(1).await);
        let is_there = |paths: &[String]| paths.iter().any(|path| path.contains("/00000000000000000250-"));
        (is_there(&left) && is_there(&right)).then_some(())
    })
    .await;
    drop(first);

    world.produce(40);
    let (second, read) = world.start(Speed::settings("second"));
    check_all(&second, &world).await;
    assert_eq!((read.delivered(), read.replayed()), (40, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_corrupted_checkpoint_falls_back_to_the_one_before_and_then_to_the_log() {
    let mut world = World::new();
    for _ in 0..3 {
        world.produce(100);
        let (speed, _) = world.start(Speed::settings("node"));
        check_all(&speed, &world).await;
        speed.node.shutdown().await;
    }
    for partition in 0..2 {
        let paths = world.checkpoints(partition).await;
        assert_eq!(paths.len(), 2, "the last two are kept: {paths:?}");
        assert!(paths[1].contains("00000150"), "{paths:?}");
        corrupt(&world.store, &paths[1]).await;
    }
    let (speed, read) = world.start(Speed::settings("node"));
    check_all(&speed, &world).await;
    assert_eq!(read.delivered(), 100, "from the checkpoints before the damaged ones");
    drop(speed);

    for partition in 0..2 {
        for path in world.checkpoints(partition).await {
            corrupt(&world.store, &path).await;
        }
    }
    let (speed, read) = world.start(Speed::settings("node"));
    check_all(&speed, &world).await;
    assert_eq!(read.delivered(), 300, "from the log's start");
}

async fn corrupt(store: &Store, path: &str) {
    let bytes = store.get(path).await.expect("the store answers").expect("the checkpoint is there");
    let mut bytes = bytes.to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] = bytes[middle].wrapping_add(1);
    store.put(path, bytes.into()).await.expect("the store takes it");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_beyond_the_logs_end_is_not_used() {
    let mut world = World::new();
    world.produce(100);
    let (speed, _) = world.start(Speed::settings("node"));
    check_all(&speed, &world).await;
    speed.node.shutdown().await;

    // The topic is created anew: offset 50 of it is not what was folded at 50.
    world.memory.recreate(live::TOPIC);
    world.produce(20);
    let (speed, read) = world.start(Speed::settings("node"));
    check_all(&speed, &world).await;
    assert_eq!(read.delivered(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_that_holds_nothing_wanted_any_more_does_not_hold_up_the_newest_epoch() {
    let mut world = World::new();
    world.produce(100);
    let (speed, _) = world.start(Speed::settings("node"));
    check_all(&speed, &world).await;
    speed.node.shutdown().await;

    // While the node was away, two versions came out beyond where it had come.
    world.produce(100);
    let watershed = |offset: i64| live::offsets(&[(0, offset), (1, offset)]);
    for (version, at) in [(1, 60), (2, 80)] {
        let manifest = live::manifest(version, &watershed(at), &speed.views);
        let published = world.store.publish(&manifest).await.expect("the store answers");
        assert_eq!(published, Publication::Published);
    }
    let (speed, read) = world.start(Speed::settings("node"));
    for at in [60, 80] {
        let reply = speed.until_current("rides_hourly", &watershed(at)).await;
        speed.check("rides_hourly", &reply, &world.memory);
    }
    assert_eq!(read.delivered(), 40, "live begins at the newest watershed");
    assert_eq!(read.replayed(), 40, "only the version before lacks something");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_checkpoint_is_not_gone_on_with_when_the_log_ends_below_a_version() {
    let mut world = World::new();
    world.produce(40);
    let (speed, _) = world.start(Speed::settings("node"));
    check_all(&speed, &world).await;
    speed.node.shutdown().await;

    // A run reads on to 60, and the topic is created anew: offset 20 of it is not what comes next at 20.
    let watershed = live::offsets(&[(0, 60), (1, 60)]);
    let manifest = live::manifest(1, &watershed, &speed.views);
    let published = world.store.publish(&manifest).await.expect("the store answers");
    assert_eq!(published, Publication::Published);
    world.memory.recreate(live::TOPIC);
    world.produce(60);
    let (speed, read) = world.start(Speed::settings("node"));
    let status = speed.until_status("it is told", |status| status.trouble.is_some()).await;
    let trouble = status.trouble.expect("just seen");
    assert!(trouble.contains("created anew"), "{trouble}");
    assert_eq!(read.delivered(), 0, "nothing of the new log is folded into the old one's epochs");
    speed.node.shutdown().await;
}
