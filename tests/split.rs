//! The cover law (invariants `FOLD`, `COVER`) over the batch layer: for random logs and every split point `W`,
//! the version at `W` merged with the fold of `[W, L)` is the fold of everything below `L`.

use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use support::batch_world::{DAY, TOPIC, World, YEAR_2013};
use support::log::MemoryLog;
use watershed_schemas::decode::Decoder;
use watershed_schemas::log::{Log, Records};
use watershed_schemas::manifest::Manifest;
use watershed_schemas::offsets::{Offset, Offsets};
use watershed_schemas::states::StateTable;
use watershed_schemas::types::DataType;
use watershed_schemas::value::Value;
use watershed_schemas::view::{Aggregate, Measure, View};

const PARTITIONS: i32 = 3;

/// What is appended to the log, in order.
#[derive(Clone, Debug)]
enum Entry {
    Event { partition: i32, payload: String },
    Bad { partition: i32, payload: Option<&'static str> },
    Hole { partition: i32, offsets: i64 },
}

fn entry() -> impl Strategy<Value = Entry> {
    let partition = 0..PARTITIONS;
    // Mostly one busy day, with late events from weeks before and some at the seams of windows.
    let seconds =
        prop_oneof![4 => 30 * DAY..31 * DAY, 2 => 0..40 * DAY, 1 => Just(30 * DAY), 1 => Just(31 * DAY - 1)];
    let event = (
        partition.clone(),
        seconds,
        0..3_usize,
        prop::option::of(0..4_u8),
        prop::option::of(prop_oneof![-1e6..1e6_f64, Just(0.0), (-5..100_i32).prop_map(f64::from)]),
        prop::option::of(prop_oneof![-1000..1000_i64, Just(i64::MAX)]),
        prop::option::of(-1_000_000..1_000_000_i64),
    )
        .prop_map(|(partition, seconds, site, device, value, units, cents)| {
            let at = chrono::DateTime::from_timestamp(YEAR_2013 + seconds, 0).expect("a time").to_rfc3339();
            let price = cents.map(|cents| {
                let sign = if cents < 0 { "-" } else { "" };
                format!("{sign}{}.{:02}", cents.abs() / 100, cents.abs() % 100)
            });
            let payload = serde_json::json!({
                "at": at, "site": (["a", "b", "ü"][site]), "device": device.map(|device| format!("d{device}")),
                "value": value, "units": units, "price": price,
            });
            Entry::Event { partition, payload: payload.to_string() }
        });
    let bad = (
        partition.clone(),
        prop_oneof![Just(None), Just(Some("{")), Just(Some("")), Just(Some(r#"{"site":1}"#))],
    );
    prop_oneof![
        12 => event,
        1 => bad.prop_map(|(partition, payload)| Entry::Bad { partition, payload }),
        1 => (partition, 1..4_i64).prop_map(|(partition, offsets)| Entry::Hole { partition, offsets }),
    ]
}

fn append(log: &MemoryLog, entry: &Entry) {
    let timestamp = (YEAR_2013 + 365 * DAY) * 1000;
    match entry {
        Entry::Event { partition, payload } => {
            log.append(TOPIC, *partition, timestamp, Some(payload.as_bytes()));
        }
        Entry::Bad { partition, payload } => {
            log.append(TOPIC, *partition, timestamp, payload.map(str::as_bytes));
        }
        Entry::Hole { partition, offsets } => log.skip(TOPIC, *partition, *offsets),
    }
}

/// Folds every record at or above `from` into `states`, as the speed layer does.
fn fold(states: &mut StateTable, view: &View, log: &MemoryLog, from: &Offsets) {
    let mut decoder = Decoder::new(&view.stream, &view.fields_read());
    for (partition, held) in log.bounds(TOPIC).expect("the topic is there") {
        let mut records = Records::new(partition, from.get(partition));
        for record in log.records(TOPIC, partition.0) {
            if record.offset >= from.get(partition).0 {
                records.push(Offset(record.offset), record.timestamp, record.payload.as_deref());
            }
        }
        assert!(from.get(partition) <= held.until, "a watershed is never beyond the log");
        states.fold(&decoder.decode(&records).events).expect("events fold");
    }
}

/// A version's states of a view.
async fn published(world: &World, manifest: &Manifest, view: &Arc<View>) -> StateTable {
    let mut states = StateTable::new(view.clone());
    for batch in world.rows(manifest, &view.name).await {
        states.merge(&StateTable::from_record_batch(view.clone(), &batch).expect("states are read back"));
    }
    states
}

/// Keys and values are the same; states too, where no double was added up.
fn assert_same(left: &StateTable, right: &StateTable, context: &str) {
    let view = &left.view;
    let (left_rows, right_rows) = (left.keys.sorted_rows(), right.keys.sorted_rows());
    assert_eq!(left_rows.len(), right_rows.len(), "cells, {context}");
    for (left_row, right_row) in left_rows.iter().zip(&right_rows) {
        let key = |table: &StateTable, row: u32| {
            let dimensions =
                (0..view.dimensions.len()).map(|dimension| table.keys.value(row, dimension).clone());
            (table.keys.windows()[row as usize], dimensions.collect::<Vec<Value>>())
        };
        assert_eq!(key(left, *left_row), key(right, *right_row), "{context}");
        for (index, measure) in view.measures.iter().enumerate() {
            let values = (left.measures[index].finish(*left_row), right.measures[index].finish(*right_row));
            assert!(near(&values.0, &values.1), "{context}: {} is {values:?}", measure.name);
        }
    }
    let (left, right): (RecordBatch, RecordBatch) = (left.to_record_batch(), right.to_record_batch());
    for measure in &view.measures {
        if adds_doubles(measure) || matches!(measure.aggregate, Aggregate::TopK(_)) {
            continue;
        }
        for field in watershed_schemas::measure::fields(measure) {
            let (left, right) = (&left[field.name().as_str()], &right[field.name().as_str()]);
            assert_eq!(left, right, "{context}: {}", field.name());
        }
    }
}

/// The order of additions may show in the last bits.
fn adds_doubles(measure: &Measure) -> bool {
    use Aggregate::{Avg, StddevSamp, Sum, VarSamp};
    matches!(measure.aggregate, Sum | Avg | StddevSamp | VarSamp) && measure.result_type == DataType::Double
}

fn near(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Double(left), Value::Double(right)) => {
            left == right || (left - right).abs() <= 1e-9 * left.abs().max(right.abs()).max(1.0)
        }
        _ => left == right,
    }
}

fn world() -> World {
    let mut world = World::new();
    world.log = MemoryLog::with_topic(TOPIC, PARTITIONS);
    world
}

/// Polars refuses to block a runtime of one thread.
fn runtime() -> tokio::runtime::Runtime {
    let threads = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    threads.expect("a runtime")
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 8, max_shrink_iters: 60, ..ProptestConfig::default() })]

    #[test]
    fn at_every_split_point_batch_and_live_together_are_the_fold_of_everything(
        entries in prop::collection::vec(entry(), 1..14),
    ) {
        runtime().block_on(async {
            let whole = world();
            entries.iter().for_each(|entry| append(&whole.log, entry));
            for split in 0..=entries.len() {
                let world = world();
                entries[..split].iter().for_each(|entry| append(&world.log, entry));
                let manifest = world.publish().await.manifest;
                for view in &world.project.views {
                    let mut merged = published(&world, &manifest, view).await;
                    fold(&mut merged, view, &whole.log, &manifest.watershed);
                    let mut oracle = StateTable::new(view.clone());
                    fold(&mut oracle, view, &whole.log, &Offsets::new());
                    assert_same(&merged, &oracle, &format!("view {}, split at {split}", view.name));
                }
            }
        });
    }

    #[test]
    fn a_chain_of_versions_is_the_fold_of_everything_at_each_of_them(
        entries in prop::collection::vec(entry(), 1..60),
        every in 1..20_usize,
    ) {
        runtime().block_on(async {
            let world = world();
            for (index, entry) in entries.iter().enumerate() {
                append(&world.log, entry);
                if index % every == 0 || index + 1 == entries.len() {
                    let manifest = world.publish().await.manifest;
                    for view in &world.project.views {
                        let mut oracle = StateTable::new(view.clone());
                        fold(&mut oracle, view, &world.log, &Offsets::new());
                        let states = published(&world, &manifest, view).await;
                        assert_same(&states, &oracle, &format!("view {}, after {}", view.name, index + 1));
                    }
                }
            }
        });
    }
}
