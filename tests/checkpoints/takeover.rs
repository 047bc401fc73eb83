//! Nodes that go on with the chain of checkpoints that others began.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ::support::live::{self, Speed};
use ::support::log::MemoryLog;
use ::support::meters;
use ::support::watched_log::WatchedLog;
use watershed_schemas::layout::{self, Object};
use watershed_schemas::log::Log;
use watershed_schemas::offsets::Partition;
use watershed_schemas::project::Project;
use watershed_speed::{SpeedNode, SpeedSettings};
use watershed_store::{Store, StoredObject};

const METERS: usize = 400;

struct World {
    memory: MemoryLog,
    store: Store,
    project: Project,
    produced: i64,
}

impl World {
    fn new() -> World {
        let memory = MemoryLog::with_topic(meters::TOPIC, 1);
        let mut world =
            World { memory, store: live::memory_store(), project: meters::project(true), produced: 0 };
        world.produce(0..METERS);
        world
    }

    fn produce(&mut self, meters: impl IntoIterator<Item = usize>) {
        for meter in meters {
            meters::produce(&self.memory, meter);
            self.produced += 1;
        }
    }

    fn start(&self, settings: &SpeedSettings) -> (SpeedNode, WatchedLog) {
        let watched = WatchedLog::of(&self.memory);
        let log: Arc<dyn Log> = Arc::new(watched.clone());
        let runtime = tokio::runtime::Handle::current();
        let node = SpeedNode::start(settings, &self.project, &self.store, &log, runtime);
        (node.expect("threads can be had"), watched)
    }

    async fn until_current(&self, node: &SpeedNode) {
        meters::until(node, &self.project, self.produced).await;
    }

    /// A node begins, becomes current, saves and ends; gives how many records it read.
    async fn pass(&self, name: &str) -> u64 {
        let (node, read) = self.start(&Speed::settings(name));
        self.until_current(&node).await;
        node.shutdown().await;
        read.delivered()
    }

    async fn objects(&self) -> Vec<StoredObject> {
        let folder = layout::checkpoints(meters::STREAM, Partition(0));
        self.store.list_objects(&folder).await.expect("the store lists")
    }
}

fn base(object: &StoredObject) -> String {
    match Object::parse(&object.path) {
        Some(Object::Checkpoint { base, .. }) => base,
        other => panic!("{} is {other:?}", object.path),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_takes_over_continues_the_chain_and_writes_only_what_it_changed() {
    let mut world = World::new();
    assert_eq!(world.pass("first").await, METERS as u64);
    let whole = world.objects().await;
    assert_eq!(whole.len(), 1, "{whole:?}");

    world.produce([3, 5, METERS]);
    assert_eq!(world.pass("second").await, 3, "the rest is in the checkpoint");
    let objects = world.objects().await;
    assert_eq!(objects.len(), 2, "{objects:?}");
    assert_eq!(base(&objects[0]), base(&objects[1]));
    assert!(objects[1].bytes * 5 < whole[0].bytes, "{objects:?}");

    // What two nodes wrote is what a third one has.
    world.produce([7, 3]);
    assert_eq!(world.pass("third").await, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_link_is_passed_over_for_what_it_continues_and_a_damaged_base_for_the_log() {
    let mut world = World::new();
    world.pass("first").await;
    world.produce([3, 5]);
    world.pass("second").await;
    let objects = world.objects().await;
    super::corrupt(&world.store, &objects[1].path).await;
    let (node, read) = world.start(&Speed::settings("third"));
    world.until_current(&node).await;
    assert_eq!(read.delivered(), 2, "from the base on");
    drop(node);

    super::corrupt(&world.store, &objects[0].path).await;
    let (node, read) = world.start(&Speed::settings("fourth"));
    world.until_current(&node).await;
    assert_eq!(read.delivered(), METERS as u64 + 2, "from the log's start");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_finds_its_checkpoints_gone_begins_a_new_base() {
    let mut world = World::new();
    let settings =
        SpeedSettings { checkpoint_interval: Duration::from_millis(20), ..Speed::settings("node") };
    let (node, _) = world.start(&settings);
    world.until_current(&node).await;
    let first = live::eventually("there is a checkpoint", || async {
        let objects = world.objects().await;
        objects.first().map(base)
    })
    .await;
    for object in world.objects().await {
        world.store.delete(&object.path).await.expect("the store deletes");
    }
    // The next checkpoint still continues what is gone; the one after it does not.
    let mut bases = BTreeSet::from([first]);
    for meter in 0..500 {
        world.produce([meter % METERS]);
        world.until_current(&node).await;
        tokio::time::sleep(Duration::from_millis(10)).await;
        bases.extend(world.objects().await.iter().map(base));
        if bases.len() > 1 {
            break;
        }
    }
    assert!(bases.len() > 1, "there is a new base");
    node.shutdown().await;
    assert_eq!(world.pass("second").await, 0, "all is in the new base and what continues it");
}
