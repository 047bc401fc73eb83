//! Batch runs: what they land, what they recompute, what they carry over, what they refuse.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{Array, AsArray};
use arrow::datatypes::{Int32Type, Int64Type, TimestampMicrosecondType};
use object_store::memory::InMemory;
use support::batch_world::{
    Counts, DAY, HOUR, STREAM, TOPIC, VIEWS, World, YEAR_2013, assert_same, project, reading,
};
use support::log::MemoryLog;
use support::watched_log::WatchedLog;
use watershed_batch::{BatchError, Outcome};
use watershed_schemas::invariants;
use watershed_schemas::log::{Log, LogError, NotNext, Reader, Records, Subscription};
use watershed_schemas::manifest::{Manifest, Version};
use watershed_schemas::offsets::{Gap, Offset, OffsetRange, Partition};
use watershed_store::Store;

fn hourly() -> World {
    World::with(&VIEWS[..1], Store::new(Arc::new(InMemory::new())))
}

/// `readings` of the view `hourly` by (hour since 2013 began, site).
async fn readings(world: &World, manifest: &Manifest) -> Counts {
    let mut counts = Counts::new();
    for batch in world.rows(manifest, "hourly").await {
        let starts = batch["window_start"].as_primitive::<TimestampMicrosecondType>();
        let (sites, readings) =
            (batch["site"].as_string::<i32>(), batch["readings"].as_primitive::<Int64Type>());
        for row in 0..batch.num_rows() {
            let hour = (starts.value(row) / 1_000_000 - YEAR_2013) / HOUR;
            let before = counts.insert((hour, sites.value(row).to_string()), readings.value(row));
            assert_eq!(before, None, "a cell is in a version once");
        }
    }
    counts
}

fn files(manifest: &Manifest, view: &str) -> BTreeMap<i32, String> {
    manifest.views[view].files.iter().map(|file| (file.date, file.file.path.clone())).collect()
}

fn offsets(manifest: &Manifest) -> Vec<(i32, i64)> {
    manifest.watershed.iter().map(|(partition, offset)| (partition.0, offset.0)).collect()
}

#[tokio::test]
async fn the_first_version_holds_every_event_and_its_watershed_is_the_logs_end() {
    let world = hourly();
    let mut expected = Counts::new();
    for index in 0..500_i64 {
        let (hour, site) = (index * 7 % 60, ["a", "b", "c"][index as usize % 3]);
        world.produce((index % 4) as i32, &reading(hour * HOUR + index % 3600, site, "d", 1.0, 1));
        *expected.entry((hour, site.to_string())).or_default() += 1;
    }
    let report = world.publish().await;
    let manifest = &report.manifest;
    assert_eq!(manifest.version, Version(1));
    assert_eq!(offsets(manifest), [(0, 125), (1, 125), (2, 125), (3, 125)]);
    assert_eq!((manifest.rows_landed, manifest.windows_recomputed), (500, 60));
    assert_eq!(readings(&world, manifest).await, expected);
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    assert_eq!(world.newest().await.as_ref(), Some(manifest));
}

#[tokio::test]
async fn landed_files_are_sorted_and_carry_the_records_own_position_and_time() {
    let scattered = |index: i64| (index * 7919) % (3 * DAY);
    // In pairs of one time, and some of the first date come late, the last of them first.
    let late = |index: i64| if (500..510).contains(&index) { 600 - index } else { index / 2 * 2 * 250 };
    for (chunk_rows, seconds, files) in [(100, &scattered as &dyn Fn(i64) -> i64, 12), (1_000, &late, 11)] {
        let mut world = hourly();
        world.options.chunk_rows = chunk_rows;
        let records = chunk_rows as i64 * 33 / 10;
        for index in 0..records {
            world.produce(1, &reading(seconds(index) % (3 * DAY), "a", "d", 1.0, index));
        }
        let manifest = world.publish().await.manifest;
        let mut seen = BTreeSet::new();
        for file in &manifest.events {
            assert_eq!(file.partition, Partition(1));
            for batch in world.parquet(&file.file).await {
                let at = batch["at"].as_primitive::<TimestampMicrosecondType>().values();
                let offsets = batch["_offset"].as_primitive::<Int64Type>().values();
                assert!(at.iter().zip(offsets).is_sorted(), "{}", file.file.path);
                assert!(at.iter().all(|at| at.div_euclid(DAY * 1_000_000) as i32 == file.date));
                let stamps = batch["_timestamp"].as_primitive::<TimestampMicrosecondType>();
                assert!(stamps.values().iter().all(|stamp| *stamp == (YEAR_2013 + 365 * DAY) * 1_000_000));
                let partitions = batch["_partition"].as_primitive::<Int32Type>();
                assert!(partitions.values().iter().all(|partition| *partition == 1));
                for offset in offsets {
                    assert!(file.range.contains(Offset(*offset)));
                    assert!(seen.insert(*offset), "offset {offset} has landed twice");
                }
            }
        }
        assert_eq!(seen, (0..records).collect());
        assert_eq!(manifest.events.len(), files, "four chunks, two or three dates each");
    }
}

#[tokio::test]
async fn a_run_without_news_changes_nothing() {
    let world = hourly();
    world.produce(0, &reading(0, "a", "d", 1.0, 1));
    let first = world.publish().await.manifest;
    match world.run().await.expect("no failure") {
        Outcome::Unchanged(manifest) => assert_eq!(manifest, first),
        other => panic!("expected Unchanged, found {other:?}"),
    }
    assert_eq!(world.store.versions(TOPIC).await.expect("versions"), [Version(1)]);
}

#[tokio::test]
async fn an_empty_topic_gets_a_first_version_that_says_so() {
    let world = World::new();
    let manifest = world.publish().await.manifest;
    assert_eq!((manifest.rows_landed, manifest.views.len()), (0, 3));
    assert!(manifest.views.values().all(|view| view.files.is_empty() && view.rows == 0));
}

#[tokio::test]
async fn a_late_event_recomputes_its_own_window_and_everything_else_is_carried_over() {
    let world = hourly();
    for hour in 0..72 {
        world.produce((hour % 4) as i32, &reading(hour * HOUR, "a", "d", 1.0, 1));
    }
    let first = world.publish().await.manifest;
    world.produce(2, &reading(30 * HOUR + 5, "b", "d", 1.0, 1));
    let second = world.publish().await.manifest;
    assert_eq!((second.rows_landed, second.windows_recomputed), (1, 1));
    let (before, after) = (files(&first, "hourly"), files(&second, "hourly"));
    let changed: Vec<i32> = before.keys().copied().filter(|date| before[date] != after[date]).collect();
    assert_eq!(changed, [(YEAR_2013 / DAY) as i32 + 1], "one date's file is new, two are the old ones");
    let mut expected = readings(&world, &first).await;
    expected.insert((30, "b".to_string()), 1);
    assert_eq!(readings(&world, &second).await, expected);
    assert_eq!(second.events.len(), first.events.len() + 1, "the master dataset only grows");
}

#[tokio::test]
async fn runs_piece_by_piece_and_a_full_run_give_the_same_rows() {
    let mut world = World::new();
    // Small groups and chunks, so that their borders are crossed.
    world.options.chunk_rows = 50;
    world.options.group_bytes = 1;
    let mut newest = None;
    for index in 0..600_i64 {
        let seconds = (index * 104_729) % (40 * DAY);
        let device = format!("d{}", index % 13);
        let payload =
            reading(seconds, ["a", "b"][index as usize % 2], &device, (index % 97) as f64 * 1.1, index);
        world.produce((index * index % 4) as i32, &payload);
        if index % 150 == 149 {
            newest = Some(world.publish().await.manifest);
        }
    }
    let incremental = newest.expect("four versions");
    world.options.group_bytes = 1 << 30;
    let full = world.publish_full().await.manifest;
    assert_eq!((incremental.version, full.version), (Version(4), Version(5)));
    assert_eq!(full.rows_landed, 0);
    for view in ["hourly", "weekly", "monthly"] {
        assert_same(&world.rows(&incremental, view).await, &world.rows(&full, view).await, view);
        assert!(files(&full, view).values().all(|path| path.contains("version=5")), "{view}");
    }
}

#[tokio::test]
async fn a_changed_or_new_view_is_made_whole_and_the_others_are_left_alone() {
    let mut world = World::new();
    for hour in 0..200 {
        world.produce((hour % 4) as i32, &reading(hour * HOUR, "a", "d", 1.0, 1));
    }
    let first = world.publish().await.manifest;
    let changed = VIEWS[1].replace("value IS NOT NULL", "value > 1000");
    world.project = project(STREAM, &[VIEWS[0], &changed]);
    let second = world.publish().await.manifest;
    assert_eq!(
        second.views.keys().collect::<Vec<_>>(),
        ["hourly", "weekly"],
        "a view that is gone is dropped"
    );
    assert_eq!(files(&first, "hourly"), files(&second, "hourly"));
    assert_eq!(second.views["weekly"].rows, 0, "no event passes the new filter");
    world.project = project(STREAM, &VIEWS);
    let third = world.publish().await.manifest;
    assert_eq!(world.rows(&third, "weekly").await, world.rows(&first, "weekly").await);
    assert_eq!(world.rows(&third, "monthly").await, world.rows(&first, "monthly").await);
}

#[tokio::test]
async fn files_that_landed_before_a_field_was_dropped_or_declared_still_count() {
    let mut world = World::new();
    let counting = |measures: &str| {
        format!(
            "CREATE MATERIALIZED VIEW hourly AS SELECT site, tumble(at, INTERVAL '1 hour') AS hour, \
             count(*) AS readings{measures} FROM readings GROUP BY site, hour;"
        )
    };
    world.project = project(STREAM, &[&counting("")]);
    world.produce(0, &reading(0, "a", "d", 1.0, 1));
    world.publish().await;
    let fewer = STREAM.replace("units  BIGINT,\n  price  DECIMAL(10,2)", "units  BIGINT");
    assert_ne!(fewer, STREAM);
    world.project = project(&fewer, &[&counting("")]);
    world.produce(0, &reading(1, "a", "d", 1.0, 1));
    let second = world.publish().await.manifest;
    assert_eq!(readings(&world, &second).await[&(0, "a".to_string())], 2);
    let other = fewer.replace("units  BIGINT", "units  BIGINT,\n  grade  TEXT");
    world.project = project(&other, &[&counting(", count(grade) AS grades")]);
    world.produce(0, &reading(2, "a", "d", 1.0, 1));
    let third = world.publish().await.manifest;
    assert_eq!(readings(&world, &third).await[&(0, "a".to_string())], 3);
    let grades = world.rows(&third, "hourly").await[0]["grades"].as_primitive::<Int64Type>().value(0);
    assert_eq!(grades, 0, "nobody has been graded");
}

#[tokio::test]
async fn dead_letters_land_with_reason_and_bytes_and_delay_nothing() {
    let world = hourly();
    let bad: [(Option<&[u8]>, &str); 4] = [
        (Some(b"{not json"), "malformed"),
        (Some(br#"{"site": "a"}"#), "missing_field"),
        (Some(b""), "empty"),
        (None, "tombstone"),
    ];
    for (payload, _) in bad {
        world.produce(0, &reading(0, "a", "d", 1.0, 1));
        world.log.append(TOPIC, 0, 5000, payload);
    }
    let report = world.publish().await;
    assert_eq!(report.manifest.rows_landed, 4);
    let expected: BTreeMap<String, u64> = bad.iter().map(|(_, kind)| (kind.to_string(), 1)).collect();
    assert_eq!(report.dead_letters, expected);
    let [file] = report.manifest.dead_letters.as_slice() else { panic!("one file of dead letters") };
    assert_eq!(file.reasons, expected);
    let [batch] = world.parquet(&file.file).await.try_into().expect("one batch");
    let kinds = arrow::compute::cast(&batch["kind"], &arrow::datatypes::DataType::Utf8).expect("text");
    let payloads =
        arrow::compute::cast(&batch["payload"], &arrow::datatypes::DataType::Binary).expect("bytes");
    for (row, (payload, kind)) in bad.iter().enumerate() {
        assert_eq!(kinds.as_string::<i32>().value(row), *kind);
        let payloads = payloads.as_binary::<i32>();
        let found = payloads.is_valid(row).then(|| payloads.value(row));
        assert_eq!(found, *payload, "{kind}");
        assert_eq!(batch["offset"].as_primitive::<Int64Type>().value(row), 2 * row as i64 + 1);
        assert_eq!(batch["timestamp"].as_primitive::<TimestampMicrosecondType>().value(row), 5_000_000);
    }
}

#[tokio::test]
async fn a_gap_is_refused_and_leaves_the_watershed_unchanged_until_it_is_accepted() {
    let mut world = hourly();
    for index in 0..120 {
        world.produce(0, &reading(index, "a", "d", 1.0, 1));
    }
    let first = world.publish().await.manifest;
    for index in 120..400 {
        world.produce(0, &reading(index, "a", "d", 1.0, 1));
    }
    world.log.trim(TOPIC, 0, 340);
    let error = world.run().await.expect_err("records are gone");
    assert!(
        error.to_string().starts_with("gap at partition 0: needed offset 120, log starts at 340"),
        "{error}"
    );
    assert!(error.to_string().contains("--accept-gap"), "{error}");
    assert_eq!(world.newest().await, Some(first));
    world.options.accept_gap = true;
    let second = world.publish().await.manifest;
    assert_eq!(second.gaps, [Gap { partition: Partition(0), from: Offset(120), until: Offset(340) }]);
    assert_eq!(second.rows_landed, 60);
    world.options.accept_gap = false;
    world.produce(0, &reading(400, "a", "d", 1.0, 1));
    let third = world.publish().await.manifest;
    assert_eq!(third.gaps, second.gaps, "a loss is never forgotten");
}

#[tokio::test]
async fn a_topic_that_was_truncated_or_shows_fewer_partitions_is_refused() {
    let mut world = hourly();
    for index in 0..10 {
        world.produce(3, &reading(index, "a", "d", 1.0, 1));
    }
    world.publish().await;
    world.log.truncate(TOPIC, 3, 0);
    let error = world.run().await.expect_err("the topic has lost its end");
    assert!(matches!(error, BatchError::Truncated { watershed: Offset(10), end: Offset(0), .. }), "{error}");
    world.log = MemoryLog::with_topic(TOPIC, 3);
    let error = world.run().await.expect_err("a partition is missing");
    assert!(matches!(error, BatchError::PartitionMissing { partition: Partition(3), .. }), "{error}");
}

#[tokio::test]
async fn a_partition_that_joins_later_starts_at_its_beginning() {
    let world = hourly();
    world.produce(0, &reading(0, "a", "d", 1.0, 1));
    world.publish().await;
    world.log.create(TOPIC, 6);
    world.produce(5, &reading(1, "a", "d", 1.0, 1));
    let second = world.publish().await.manifest;
    assert_eq!(readings(&world, &second).await[&(0, "a".to_string())], 2);
    assert_eq!(second.watershed.get(Partition(5)), Offset(1));
}

#[tokio::test]
async fn holes_are_passed_by_position_and_counted_as_nothing() {
    let world = hourly();
    world.log.skip(TOPIC, 0, 5);
    world.produce(0, &reading(0, "a", "d", 1.0, 1));
    world.produce(0, &reading(1, "a", "d", 1.0, 1));
    world.log.compact(TOPIC, 0, 6);
    world.log.skip(TOPIC, 0, 100);
    world.log.skip(TOPIC, 1, 7);
    let manifest = world.publish().await.manifest;
    assert_eq!(offsets(&manifest), [(0, 107), (1, 7), (2, 0), (3, 0)]);
    assert_eq!(manifest.rows_landed, 1);
    world.log.skip(TOPIC, 1, 3);
    let second = world.publish().await.manifest;
    assert_eq!((second.rows_landed, second.watershed.get(Partition(1))), (0, Offset(10)));
    assert_eq!(second.views, manifest.views);
}

#[tokio::test]
async fn a_log_whose_records_do_not_come_is_an_error_and_no_version() {
    let world = hourly();
    world.produce(0, &reading(0, "a", "d", 1.0, 1));
    let mut job = world.job();
    job.log = Arc::new(Silent(world.log.clone()));
    job.options.stall_timeout = Duration::from_millis(600);
    let error = watershed_batch::run(&job).await.expect_err("nothing comes");
    assert!(matches!(error, BatchError::Stalled { target: Offset(1), position: Offset(0), .. }), "{error}");
    assert!(world.newest().await.is_none());
    assert!(world.store.intents(TOPIC).await.expect("list").is_empty());
}

#[tokio::test]
async fn a_flipped_bit_in_the_master_dataset_is_found_and_its_file_is_named() {
    let world = hourly();
    for hour in 0..48 {
        world.produce(0, &reading(hour * HOUR, "a", "d", hour as f64, 1));
    }
    let first = world.publish().await.manifest;
    let damaged = &first.events[0].file;
    let mut bytes = world.store.get(&damaged.path).await.expect("get").expect("it is there").to_vec();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    world.store.put(&damaged.path, bytes.into()).await.expect("put");
    // The second date's windows do not need the damaged file.
    world.produce(0, &reading(30 * HOUR, "a", "d", 1.0, 1));
    let second = world.publish().await.manifest;
    world.produce(0, &reading(3 * HOUR, "a", "d", 1.0, 1));
    let error = world.run().await.expect_err("a damaged file");
    assert!(error.to_string().contains(&damaged.path), "{error}");
    assert!(error.to_string().contains("is damaged: found"), "{error}");
    assert_eq!(world.newest().await, Some(second));
}

#[tokio::test]
async fn the_ledger_says_how_far_each_sketch_was_from_the_truth() {
    let world = hourly();
    for index in 0..3000_i64 {
        let device = format!("d{}", index % 700);
        world.produce((index % 4) as i32, &reading(index % 3600, "a", &device, (index % 500) as f64, 1));
    }
    let manifest = world.publish().await.manifest;
    let ledger = &manifest.views["hourly"].accuracy;
    let measures: Vec<&str> = ledger.iter().map(|line| line.measure.as_str()).collect();
    assert_eq!(measures, ["devices", "p90", "busiest"]);
    for line in ledger {
        assert_eq!(line.cells, 1, "{line:?}");
        assert!(line.max_error <= 0.06 && line.mean_error <= line.max_error, "{line:?}");
    }
    // A version that recomputes nothing of a view keeps what is known of it.
    world.log.skip(TOPIC, 0, 1);
    assert_eq!(&world.publish().await.manifest.views["hourly"].accuracy, ledger);
}

#[tokio::test]
async fn a_frequent_item_that_the_estimated_list_leaves_out_is_measured_by_its_own_estimate() {
    let world = hourly();
    let produce = |seconds: i64, device: &str| world.produce(0, &reading(seconds, "a", device, 1.0, 1));
    for _ in 0..400 {
        produce(0, "first");
    }
    for _ in 0..300 {
        produce(0, "second");
    }
    // What is seen once drives the sketch to purge; a device that appears only after that is estimated too high.
    for index in 0..7700 {
        produce(1 + index % 3000, &format!("noise {index}"));
    }
    for _ in 0..299 {
        produce(3599, "third");
    }
    let manifest = world.publish().await.manifest;
    let line = manifest.views["hourly"].accuracy.iter().find(|line| line.measure == "busiest");
    let line = line.expect("a line for the most frequent devices");
    assert_eq!((line.cells, line.beyond_bound), (1, 0), "{line:?}");
    assert!(line.max_error <= line.bound, "{line:?}");
}

#[tokio::test]
async fn events_that_a_ranking_does_not_count_make_its_error_no_smaller() {
    let line = async |unnamed: i64| {
        let world = hourly();
        // Whatever comes after the sketch has purged is estimated too high.
        for index in 0..3000 {
            world.produce(0, &reading(index, "a", &format!("noise {index}"), 1.0, 1));
        }
        for _ in 0..50 {
            world.produce(0, &reading(3599, "a", "often", 1.0, 1));
        }
        for _ in 0..unnamed {
            world.produce(0, &reading(0, "a", "nobody", 1.0, 1).replace("\"nobody\"", "null"));
        }
        let ledger = world.publish().await.manifest.views["hourly"].accuracy.clone();
        ledger
            .into_iter()
            .find(|line| line.measure == "busiest")
            .expect("a line for the most frequent devices")
    };
    let alone = line(0).await;
    assert!(alone.max_error > 0.0 && alone.beyond_bound == 0, "{alone:?}");
    assert_eq!(line(20_000).await, alone);
}

#[tokio::test]
async fn records_that_are_lost_on_the_way_stop_the_run_and_the_next_one_lands_them() {
    let world = hourly();
    world.produce(0, &reading(0, "a", "d", 1.0, 1));
    world.produce(0, &reading(1, "a", "d", 1.0, 1));
    let watched = WatchedLog::of(&world.log);
    watched.lose(Partition(0));
    let mut job = world.job();
    job.log = Arc::new(watched);
    let error = watershed_batch::run(&job).await.expect_err("records are missing");
    assert!(matches!(error, BatchError::NotNext(NotNext { expected: Offset(0), .. })), "{error}");
    assert!(error.to_string().contains(invariants::COVER), "{error}");
    assert!(world.newest().await.is_none());
    assert_eq!(world.publish().await.manifest.rows_landed, 2);
}

/// A log that knows its bounds and gives no record.
struct Silent(MemoryLog);

struct SilentReader(Offset);

impl Log for Silent {
    fn bounds(&self, topic: &str) -> Result<Vec<(Partition, OffsetRange)>, LogError> {
        self.0.bounds(topic)
    }

    fn reader(&self, _topic: &str, _partition: Partition, from: Offset) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(SilentReader(from)))
    }

    fn subscribe(&self, topic: &str, group: &str) -> Result<Box<dyn Subscription>, LogError> {
        self.0.subscribe(topic, group)
    }
}

impl Reader for SilentReader {
    fn next(&mut self, _max_records: usize, _timeout: Duration) -> Result<Records, LogError> {
        Ok(Records::new(Partition(0), self.0))
    }

    fn position(&self) -> Offset {
        self.0
    }
}
