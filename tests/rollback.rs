//! Going back (invariants `COVER`, `NOTHING_VANISHES`): an older result is published again, what came after it is live
//! again, from the log or from what has landed, and nothing is missing or counted twice.

mod histories;
mod kafka;
mod replays;

use std::collections::BTreeSet;
use std::sync::Arc;

use object_store::memory::InMemory;
use serde_json::{Value as Json, json};
use support::batch_world::{HOUR, STREAM, TOPIC, VIEWS, World, assert_same, published, reading};
use support::whole::{Cells, Whole, cells, question};
use watershed_batch::{BatchError, rollback};
use watershed_schemas::layout;
use watershed_schemas::manifest::{EventFile, Manifest, Version};
use watershed_schemas::offsets::{Gap, Offset, OffsetRange, Offsets, Partition};
use watershed_store::Store;

fn hourly() -> World {
    World::with(&VIEWS[..1], Store::new(Arc::new(InMemory::new())))
}

fn produce_some(world: &World, hours: std::ops::Range<i64>) {
    for hour in hours {
        let payload = reading(hour * HOUR, ["a", "b"][hour as usize % 2], "d", hour as f64, hour);
        world.produce((hour % 4) as i32, &payload);
    }
}

/// Retention lets go of everything that has landed.
async fn trim(world: &World) {
    let landed = world.newest().await.expect("a version").landed();
    landed.iter().for_each(|(partition, offset)| world.log.trim(TOPIC, partition.0, offset.0));
}

async fn back(world: &World, to: u64) -> Manifest {
    published(rollback(&world.job(), Version(to)).await).manifest
}

async fn refused(world: &World, to: u64) -> BatchError {
    let before = world.newest().await;
    let refused = rollback(&world.job(), Version(to)).await.expect_err("it is refused");
    assert_eq!(world.newest().await, before);
    assert!(world.store.intents(TOPIC).await.expect("list").is_empty());
    refused
}

fn paths(files: &[EventFile]) -> BTreeSet<String> {
    files.iter().map(|file| file.file.path.clone()).collect()
}

#[tokio::test]
async fn what_has_landed_above_the_older_watershed_is_taken_over_by_the_next_run_though_kafka_has_let_go() {
    let mut world = World::new();
    // Versions go at once, and files that no version names with them.
    world.retain(3);
    produce_some(&world, 0..10);
    let first = world.publish().await.manifest;
    produce_some(&world, 10..20);
    world.log.append(TOPIC, 1, 0, Some(b"{ not json"));
    let second = world.publish().await.manifest;
    trim(&world).await;
    let third = back(&world, 1).await;
    assert_eq!((&third.watershed, &third.views), (&first.watershed, &first.views));
    assert_eq!((&third.events, &third.dead_letters), (&first.events, &first.dead_letters));
    assert_eq!(third.landed(), second.watershed);
    assert_eq!(third.ahead.dead_letters, second.dead_letters, "the dead letter landed with the second");
    let catalog = world.store.get(layout::CATALOG).await.expect("get").expect("it is there");
    let catalog = String::from_utf8(catalog.to_vec()).expect("text");
    for file in &third.ahead.events {
        assert!(!catalog.contains(&file.file.path), "events above the watershed are in no version yet");
    }
    // New events too, in windows of their own and in one that is taken over.
    world.produce(2, &reading(15 * HOUR, "late", "d", 1.0, 1));
    world.produce(2, &reading(40 * HOUR, "a", "d", 1.0, 1));
    let report = world.publish().await;
    let fourth = report.manifest;
    assert_eq!((fourth.rows_landed, report.rows_taken_over), (2, 10));
    assert!(fourth.ahead.is_empty());
    assert!(paths(&fourth.events).is_superset(&paths(&second.events)), "nothing was landed twice");
    assert_eq!(fourth.dead_letters, second.dead_letters);
    let rows: u64 = fourth.events.iter().map(|file| file.file.rows).sum();
    assert_eq!(rows, 22, "every event once");
    // The first version is gone now, and with it nothing that is still named.
    let full = world.publish_full().await.manifest;
    for view in ["hourly", "weekly", "monthly"] {
        assert_same(&world.rows(&full, view).await, &world.rows(&fourth, view).await, view);
    }
}

#[tokio::test]
async fn one_may_go_back_and_forth_time_and_again_and_nothing_that_has_landed_is_lost_sight_of() {
    let world = hourly();
    let mut versions = Vec::new();
    for round in 0..3 {
        produce_some(&world, round * 10..round * 10 + 10);
        versions.push(world.publish().await.manifest);
        trim(&world).await;
    }
    let [first, second, third] = versions.as_slice() else { panic!("three versions") };
    let ahead = |of: &Manifest| paths(&of.ahead.events);
    let above = |watershed: &Offsets| {
        let of = third.events.iter().filter(|file| file.range.from >= watershed.get(file.partition));
        of.map(|file| file.file.path.clone()).collect::<BTreeSet<_>>()
    };
    let fourth = back(&world, 1).await;
    assert_eq!((ahead(&fourth), fourth.landed()), (above(&first.watershed), third.landed()));
    let fifth = back(&world, 2).await;
    assert_eq!((ahead(&fifth), &fifth.views), (above(&second.watershed), &second.views));
    let sixth = back(&world, 1).await;
    assert_eq!(ahead(&sixth), ahead(&fourth));
    let forward = back(&world, 3).await;
    assert!(forward.ahead.is_empty(), "{:?}", forward.ahead);
    assert_eq!((&forward.events, &forward.views), (&third.events, &third.views));
    // To an older result that was itself gone back to.
    let again = back(&world, 4).await;
    assert_eq!((&again.views, ahead(&again)), (&first.views, ahead(&fourth)));
    let whole = world.publish().await.manifest;
    assert_eq!(paths(&whole.events), paths(&third.events));
    assert_same(&world.rows(&whole, "hourly").await, &world.rows(third, "hourly").await, "hourly");
}

#[tokio::test]
async fn a_run_after_a_rollback_lands_what_kafka_has_beyond_and_refuses_a_gap_there() {
    let mut world = hourly();
    produce_some(&world, 0..8);
    world.publish().await;
    produce_some(&world, 8..16);
    let second = world.publish().await.manifest;
    back(&world, 1).await;
    produce_some(&world, 16..24);
    let landed = second.watershed.get(Partition(1));
    world.log.trim(TOPIC, 1, landed.0 + 1);
    let error = world.run().await.expect_err("a record that never landed is gone");
    let expected = format!("gap at partition 1: needed offset {landed}, log starts at {}", landed.0 + 1);
    assert!(error.to_string().starts_with(&expected), "{error}");
    world.options.accept_gap = true;
    let fourth = world.publish().await.manifest;
    let gap = Gap { partition: Partition(1), from: landed, until: Offset(landed.0 + 1) };
    assert_eq!((&fourth.gaps, fourth.rows_landed), (&vec![gap], 7));
    // What was live above the first and second watershed cannot be made live again: some of it is nowhere.
    for version in [1, 2, 3] {
        let error = refused(&world, version).await;
        assert!(matches!(error, BatchError::BelowGap { gap: of, .. } if of == gap), "{error}");
        assert!(error.to_string().contains(&format!("watershed is {} or later", gap.until)), "{error}");
    }
    produce_some(&world, 24..28);
    world.options.accept_gap = false;
    world.publish().await;
    let back = back(&world, 4).await;
    assert_eq!((back.gaps, back.watershed), (vec![gap], fourth.watershed), "above the loss one may go back");
}

#[tokio::test]
async fn a_rollback_is_refused_where_kafka_has_let_go_of_what_never_landed() {
    let world = hourly();
    produce_some(&world, 0..8);
    world.publish().await;
    produce_some(&world, 8..16);
    world.publish().await;
    produce_some(&world, 16..24);
    world.log.trim(TOPIC, 1, 5);
    let error = refused(&world, 1).await;
    assert!(matches!(error, BatchError::Forgotten { landed: Offset(4), start: Offset(5), .. }), "{error}");
    assert!(error.to_string().contains("records have landed only up to 4"), "{error}");
}

#[tokio::test]
async fn a_topic_that_ends_below_what_has_landed_is_no_topic_to_go_back_on_or_to_go_on_with() {
    let mut world = hourly();
    produce_some(&world, 0..8);
    world.publish().await;
    produce_some(&world, 8..16);
    world.publish().await;
    let third = back(&world, 1).await;
    let log = world.log.clone();
    world.log = support::log::MemoryLog::with_topic(TOPIC, 4);
    // It holds all that the older version has folded, and less than has landed.
    produce_some(&world, 0..12);
    let error = world.run().await.expect_err("the topic is another one");
    assert!(matches!(error, BatchError::Truncated { watershed: Offset(4), end: Offset(3), .. }), "{error}");
    assert!(matches!(refused(&world, 2).await, BatchError::Truncated { .. }));
    world.log = log;
    assert_eq!(world.publish().await.manifest.version, third.version.next());
}

#[tokio::test]
async fn a_version_whose_watershed_cuts_through_a_file_is_refused_by_name() {
    let world = hourly();
    produce_some(&world, 0..8);
    let first = world.publish().await.manifest;
    produce_some(&world, 8..16);
    world.publish().await;
    // As a build would have published that landed again from the first watershed on, over the second.
    let mut joined = Manifest { version: Version(3), run_id: "joined".to_string(), ..first };
    let reach = OffsetRange::new(Offset(0), Offset(9));
    joined.events.iter_mut().for_each(|file| file.range = reach);
    let cut = joined.events[0].file.path.clone();
    joined.watershed = joined.watershed.partitions().map(|partition| (partition, Offset(4))).collect();
    let _ = world.store.publish(&joined).await.expect("memory takes it");
    let error = refused(&world, 1).await;
    assert!(matches!(&error, BatchError::Straddles { path, .. } if *path == cut), "{error}");
}

/// Two versions of which the log has let go, and some records beyond them.
async fn two_versions() -> Whole {
    let mut whole = Whole::start().await;
    whole.world.options.chunk_rows = 10;
    for index in 0..120 {
        whole.produce(index % 4, i64::from(index) * 7 % 50, ["a", "b"][index as usize % 2], i64::from(index));
    }
    whole.world.publish().await;
    for index in 120..300 {
        whole.produce(index % 4, i64::from(index) * 7 % 70, ["a", "b"][index as usize % 2], i64::from(index));
    }
    whole.world.log.append(TOPIC, 2, 0, Some(b"{ not json"));
    whole.world.log.skip(TOPIC, 3, 4);
    whole.world.publish().await;
    whole.until_current().await;
    whole.trim_what_has_landed().await;
    for index in 300..350 {
        whole.produce(index % 4, i64::from(index) * 7 % 90, "c", i64::from(index));
    }
    whole
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_running_node_makes_the_older_epoch_from_what_has_landed_where_kafka_has_let_go() {
    let mut whole = two_versions().await;
    // A third version: the first one's epoch is forgotten.
    whole.world.publish().await;
    whole.until_current().await;
    whole.trim_what_has_landed().await;
    whole.produce(1, 3, "c", 7);
    let before = whole.until_current().await;
    whole.rollback(1).await;
    let after = whole.until_current().await;
    assert_eq!((&before["answer"]["version"], &after["answer"]["version"]), (&json!(3), &json!(4)));
    assert_eq!(cells(&before), cells(&after), "not a record more or less");
    assert_ne!(before["answer"]["watershed"], after["answer"]["watershed"]);
    let report = whole.world.publish().await;
    assert_eq!((report.manifest.rows_landed, report.rows_taken_over), (1, 230));
    let onward = whole.until_current().await;
    assert_eq!((cells(&onward), &onward["answer"]["version"]), (cells(&before), &json!(5)));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_begins_anew_follows_the_log_from_where_it_and_what_has_landed_meet() {
    let mut whole = two_versions().await;
    let before = whole.until_current().await;
    whole.rollback(1).await;
    // Nothing in memory, no checkpoint, and the watershed is below the log's start.
    whole.restart().await;
    let after = whole.until_current().await;
    assert_eq!(cells(&before), cells(&after));
    let (_, status) = whole.get("/v1/status").await;
    let status = &status["streams"][0];
    assert_eq!(status["trouble"], json!([]), "{status}");
    let loss = &status["time_to_loss"]["partitions"];
    for partition in ["0", "1", "2", "3"] {
        let left = loss[partition]["offsets_left"].as_i64();
        assert!(left.is_none_or(|left| left >= 0), "what has landed needs the log no more: {status}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn questions_below_the_watershed_read_no_event_above_it() {
    let mut whole = two_versions().await;
    let by_version = |version: u64| {
        let mut question = question();
        question["as_of"] = json!(version);
        question
    };
    whole.rollback(1).await;
    whole.until_current().await;
    let (first, second) = (whole.check(&by_version(1)).await, whole.check(&by_version(2)).await);
    let third = whole.check(&by_version(3)).await;
    let of = |answer: &Option<Json>| -> Cells { cells(answer.as_ref().expect("a retained version answers")) };
    assert_eq!(of(&first), of(&third));
    assert_ne!(of(&first), of(&second));
    let exactly = |as_of: u64| {
        json!({ "view": "hourly", "measures": ["readings", "devices", "p90"], "group_by": [], "grain": "all",
                "accuracy": "exact", "as_of": as_of })
    };
    for (version, events) in [(1, 120), (2, 300), (3, 120)] {
        let (status, answer) = whole.ask(&exactly(version)).await;
        assert_eq!(status, 200, "{answer}");
        assert_eq!(answer["data"][0]["readings"], json!(events), "version {version}");
        assert_eq!(answer["answer"]["complete"], json!(true), "version {version}");
    }
    // What differs is told by the watershed that moved, and by what was folded anew.
    whole.world.publish().await;
    let told = async |before: u64, after: u64| {
        let (status, diff) = whole.get(&format!("/v1/streams/readings/versions/{before}/diff/{after}")).await;
        assert_eq!(status, 200, "{diff}");
        (diff["windows_changed"].as_u64(), diff["reasons"].clone())
    };
    let (given_back, reasons) = told(2, 3).await;
    assert!(given_back > Some(0) && reasons["rollback"].as_u64() == given_back, "{reasons}");
    assert_eq!(told(1, 3).await.0, Some(0));
    let (again, reasons) = told(3, 4).await;
    assert!(again > Some(0) && reasons["late"].as_u64() == again, "{reasons}");
    let (beyond, reasons) = told(2, 4).await;
    assert!(beyond > Some(0) && beyond < again && reasons["late"].as_u64() == beyond, "{reasons}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_no_version_holds_is_live_from_the_origin_though_the_log_begins_later() {
    let mut whole = two_versions().await;
    whole.until_current().await;
    whole.define(STREAM, &VIEWS[..2]).await;
    whole.until_current().await;
    let weekly = json!({ "view": "weekly", "measures": ["readings"], "grain": "all" });
    let answer = support::live::eventually("the new view holds every reading", || async {
        let (status, answer) = whole.ask(&weekly).await;
        (status == 200 && answer["data"][0]["readings"] == json!(350)).then_some(answer)
    });
    let answer = answer.await;
    assert_eq!((&answer["answer"]["version"], &answer["answer"]["complete"]), (&json!(null), &json!(true)));
    assert_eq!(answer["answer"]["watershed"]["0"], json!(0), "{answer}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_keeps_the_older_epoch_unready_and_the_newer_version_in_service() {
    let mut whole = two_versions().await;
    let before = whole.until_current().await;
    let file = whole.newest().await.events.last().expect("files have landed").file.clone();
    let good = whole.world.store.get(&file.path).await.expect("get").expect("it is there");
    let mut bad = good.to_vec();
    let middle = bad.len() / 2;
    bad[middle] ^= 4;
    whole.world.store.put(&file.path, bad.into()).await.expect("put");
    // With nothing in memory, what the first version's epoch holds must be read again. A server that begins with the
    // version gone back to would have no other to stay with.
    whole.restart().await;
    whole.until_current().await;
    whole.rollback(1).await;
    support::live::eventually("the damage is told", || async {
        let (_, status) = whole.get("/v1/status").await;
        status.to_string().contains(&format!("{} is damaged", file.path)).then_some(())
    })
    .await;
    let answer = whole.check(&question()).await.expect("the newer version answers");
    assert_eq!(answer["answer"]["version"], json!(2));
    whole.world.store.put(&file.path, good).await.expect("put");
    let after = whole.until_current().await;
    assert_eq!((cells(&after), &after["answer"]["version"]), (cells(&before), &json!(3)));
}
