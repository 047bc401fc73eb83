//! Speed nodes under a budget: what they send, save and tell.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::support::live::{self, DAILY, HOURLY, Speed};
use ::support::log::MemoryLog;
use bytes::Bytes;
use watershed_schemas::budget::Limits;
use watershed_schemas::decode::Decoder;
use watershed_schemas::invariants;
use watershed_schemas::live::Partials;
use watershed_schemas::log::{Log, Records};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};
use watershed_schemas::scope::Scope;
use watershed_schemas::states::StateTable;
use watershed_schemas::value::Value;
use watershed_schemas::view::View;
use watershed_speed::SpeedSettings;
use watershed_speed::budgets::{Budgets, ViewBudget};
use watershed_speed::checkpoint::{Checkpoint, Snapshot, StoredLink};
use watershed_speed::epoch::Epoch;
use watershed_speed::partition::PartitionEpochs;
use watershed_speed::stretch::Stretch;
use watershed_store::{Publication, Store};

const FEW: Limits = Limits { groups: Some(5), bytes: None };

struct World {
    memory: MemoryLog,
    store: Store,
}

impl World {
    fn with_rides(rides: i64) -> World {
        let world = World { memory: MemoryLog::with_topic(live::TOPIC, 2), store: live::memory_store() };
        world.produce(0, rides);
        world
    }

    fn produce(&self, from: i64, until: i64) {
        for number in from..until {
            live::produce(&self.memory, (number % 2) as i32, number);
        }
    }

    fn start(&self, views: &[&str], limits: Limits) -> Speed {
        let log: Arc<dyn Log> = Arc::new(self.memory.clone());
        let settings = SpeedSettings {
            checkpoint_interval: Duration::from_millis(30),
            limits,
            ..Speed::settings("node")
        };
        Speed::with(&log, &self.store, &live::project(views), settings)
    }

    /// What the records that a reply holds come to, without a budget.
    fn unlimited(&self, view: &Arc<View>, reply: &Partials) -> StateTable {
        let mut whole = StateTable::new(view.clone());
        for (partition, until) in reply.live.iter() {
            let range = OffsetRange::new(reply.watershed.get(partition), until);
            let records = self.memory.records(live::TOPIC, partition.0);
            whole.merge(&live::direct(view, partition, &records, &[range]));
        }
        whole
    }
}

fn merged(view: &Arc<View>, reply: &Partials) -> StateTable {
    let mut whole = StateTable::new(view.clone());
    for states in &reply.states {
        whole.merge(&states.to_table(view, &Scope::default()).expect("the states are the view's"));
    }
    whole
}

/// All measures of all records together.
fn total(table: &StateTable) -> Vec<Value> {
    let rows: Vec<u32> = (0..table.cells() as u32).collect();
    let measures = table.measures.iter().zip(&table.view.measures);
    let total = measures.map(|(states, measure)| {
        let mut all = watershed_schemas::measure::empty(measure);
        all.resize(1);
        all.merge(&vec![0; rows.len()], &**states, &rows);
        all.finish(0)
    });
    total.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_sends_the_totals_of_all_records_and_tells_what_overflows() {
    let world = World::with_rides(300);
    let speed = world.start(&[HOURLY, DAILY], FEW);
    let view = &speed.views["rides_hourly"];
    let reply = speed.until_current("rides_hourly", &Offsets::new()).await;
    let (found, whole) = (merged(view, &reply), world.unlimited(view, &reply));
    assert_eq!(total(&found), total(&whole), "invariant {}", invariants::COVER);
    assert!(found.cells() < whole.cells());
    let status = speed.status().await;
    let told = &status.views["rides_hourly"];
    assert_eq!((told.groups, told.max_groups), (5, Some(5)), "both partitions share the budget");
    let sent: u64 = found.overflow().map(|(_, records)| records.expect("counted as they came")).sum();
    assert!(sent > 0);
    assert_eq!(told.overflow_records, sent);
    assert!(told.bytes > 0 && told.overflow_groups > 0);
    // Days are few.
    let told = &status.views["rides_daily"];
    assert_eq!((told.overflow_groups, told.overflow_records), (0, 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_view_says_goes_before_the_settings() {
    let world = World::with_rides(100);
    let roomy = HOURLY.replace("rides_hourly AS", "rides_hourly WITH (max_groups = 1000) AS");
    let speed = world.start(&[&roomy], FEW);
    let reply = speed.until_current("rides_hourly", &Offsets::new()).await;
    speed.check("rides_hourly", &reply, &world.memory);
    let status = speed.status().await;
    assert_eq!(status.views["rides_hourly"].max_groups, Some(1_000));
    assert_eq!(status.views["rides_hourly"].overflow_groups, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_goes_on_with_the_overflow_groups_of_the_checkpoint_under_whatever_budget() {
    let world = World::with_rides(200);
    let first = world.start(&[HOURLY], FEW);
    first.until_current("rides_hourly", &Offsets::new()).await;
    first.node.shutdown().await;
    drop(first);
    world.produce(200, 260);
    for limits in [FEW, Limits { groups: Some(2), bytes: None }, Limits::default()] {
        let speed = world.start(&[HOURLY], limits);
        let view = &speed.views["rides_hourly"];
        let reply = speed.until_current("rides_hourly", &Offsets::new()).await;
        assert_eq!(total(&merged(view, &reply)), total(&world.unlimited(view, &reply)), "{limits:?}");
        let told = speed.status().await.views["rides_hourly"].clone();
        assert!(told.overflow_records > 0, "what was folded together cannot be told apart again");
        assert!(limits.groups.is_none_or(|most| told.groups <= most), "{told:?}");
        speed.node.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_epoch_of_the_next_version_has_room_however_full_the_one_before_is() {
    let world = World::with_rides(300);
    let speed = world.start(&[HOURLY], Limits { groups: Some(10), bytes: None });
    speed.until_current("rides_hourly", &Offsets::new()).await;
    assert!(speed.status().await.views["rides_hourly"].overflow_records > 0);
    let ends = live::offsets(&[(0, 150), (1, 150)]);
    let manifest = live::manifest(1, &ends, &speed.views);
    assert_eq!(world.store.publish(&manifest).await.expect("memory takes it"), Publication::Published);
    speed.node.look(live::STREAM);
    speed.until_current("rides_hourly", &ends).await;
    world.produce(300, 306);
    // Servers that are a version behind still ask the old epoch.
    let old = speed.until_current("rides_hourly", &Offsets::new()).await;
    let view = &speed.views["rides_hourly"];
    assert!(merged(view, &old).overflow().count() > 0);
    let new = speed.until_current("rides_hourly", &ends).await;
    speed.check("rides_hourly", &new, &world.memory);
    assert_eq!(merged(view, &new).overflow().count(), 0);
    // Two versions on, nobody asks the old one, and nothing overflows.
    for version in 2..=3 {
        let manifest = live::manifest(version, &ends, &speed.views);
        assert_eq!(world.store.publish(&manifest).await.expect("memory takes it"), Publication::Published);
        speed.node.look(live::STREAM);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    speed.until_status("nothing overflows", |status| status.views["rides_hourly"].overflow_groups == 0).await;
    assert!(speed.status().await.views["rides_hourly"].groups > 0);
}

/// A checkpoint as a node that takes over loads it.
fn loaded(path: &str, stored: &BTreeMap<String, Bytes>, views: &BTreeMap<String, Arc<View>>) -> Checkpoint {
    let open = |path: &str| StoredLink::open(path, stored[path].clone()).expect("it is undamaged");
    let last = open(path);
    let mut chain: Vec<StoredLink> = last.continues().iter().map(|path| open(path)).collect();
    chain.push(last);
    let chain: Vec<&StoredLink> = chain.iter().collect();
    Checkpoint::of(&chain, live::STREAM, Partition(0), views).expect("the chain is whole")
}

#[test]
fn a_checkpoint_after_groups_were_given_up_has_the_fold_as_it_is_then() {
    let views = live::views(&live::project(&[HOURLY]));
    let view = &views["rides_hourly"];
    let budget = ViewBudget::new(Limits { groups: None, bytes: Some(150_000) });
    let budgets = Budgets::from([(view.name.clone(), budget)]);
    let mut epochs = PartitionEpochs::new(Partition(0), Offset(0), Offset(0)).within(&budgets);
    epochs.open(Epoch::Origin.of(&view.name), view);
    let mut decoder = Decoder::new(&view.stream, &view.fields_read());
    let mut stored = BTreeMap::new();
    for from in (0..8_000).step_by(200) {
        let mut records = Records::new(Partition(0), Offset(from));
        for number in from..from + 200 {
            records.push(Offset(number), live::RECORDED_AT, Some(live::ride(number).as_bytes()));
        }
        let decoded = decoder.decode(&records);
        let stretch = Stretch::new(Partition(0), records.range(), &decoded.events).expect("a sound stretch");
        epochs.fold(&stretch).expect("it comes next");
        epochs.cut();
        let (link, bytes) = Snapshot::next(live::STREAM, &epochs).seal().expect("states encode");
        stored.insert(link.path.clone(), bytes);
        let checkpoint = loaded(&link.path, &stored, &views);
        epochs.chain_mut().wrote(link);
        for (key, fold) in epochs.folds() {
            let written = &checkpoint.folds[key];
            assert_eq!(
                written.table().to_live_batch(),
                fold.table().to_live_batch(),
                "invariant {}, up to {}",
                invariants::REPLAY,
                epochs.live()
            );
        }
    }
    let fold = epochs.folds().values().next().expect("one is open");
    assert!(fold.table().numbering() > 1, "groups were given up more than once");
    assert!(fold.table().overflow().count() > 0);
}
