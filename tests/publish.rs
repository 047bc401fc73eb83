//! Publication of whole runs (invariants `ONE_PUBLICATION`, `NOTHING_VANISHES`): races, crashes, leases, retention.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use object_store::memory::InMemory;
use support::batch_world::{DAY, HOUR, TOPIC, VIEWS, World, assert_same, reading};
use support::faulty_store::{Fault, Faults, FaultyStore};
use watershed_batch::{Outcome, rollback};
use watershed_schemas::layout::{self, Object};
use watershed_schemas::manifest::{Intent, Manifest, Version};
use watershed_schemas::offsets::{Offset, OffsetRange, Partition};
use watershed_store::Store;

fn produce_some(world: &World, hours: std::ops::Range<i64>) {
    for hour in hours {
        let payload = reading(hour * HOUR, ["a", "b"][hour as usize % 2], "d", hour as f64, hour);
        world.produce((hour % 4) as i32, &payload);
    }
}

/// Every path that a manifest names.
fn named(manifest: &Manifest) -> BTreeSet<String> {
    let views = manifest.views.values().flat_map(|view| &view.files).map(|file| &file.file);
    let events = manifest.landed_events().map(|file| &file.file);
    let dead_letters = manifest.landed_dead_letters().map(|file| &file.file);
    events.chain(dead_letters).chain(views).map(|file| file.path.clone()).collect()
}

/// Every data file in the store.
async fn stored(store: &Store) -> BTreeSet<String> {
    let mut stored = BTreeSet::new();
    for folder in ["events/", "dead_letters/", "views/"] {
        stored.extend(store.list(folder).await.expect("list"));
    }
    stored
}

async fn all_readable(world: &World, manifest: &Manifest) {
    let files = manifest.views.values().flat_map(|view| &view.files).map(|file| &file.file);
    for file in files.chain(manifest.events.iter().map(|file| &file.file)) {
        world.store.read(file).await.expect("a version's files are whole");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_runs_one_publishes_and_the_others_leave_nothing_behind() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let local = Store::open("data", folder.path()).expect("a store");
    for store in [Store::new(Arc::new(InMemory::new())), local] {
        let mut world = World::with(&VIEWS[..1], store);
        // Leases that never live: nothing but the manifest keeps the runs apart.
        world.options.lease = Duration::ZERO;
        for round in 0..3 {
            produce_some(&world, round * 10..round * 10 + 10);
            let jobs: Vec<_> = (0..4).map(|_| world.job()).collect();
            let runs = jobs.iter().map(watershed_batch::run);
            let outcomes = futures::future::join_all(runs).await;
            let mut won = 0;
            for outcome in outcomes {
                match outcome.expect("no run fails") {
                    Outcome::Published(_) => won += 1,
                    Outcome::Lost { .. } | Outcome::Unchanged(_) => {}
                    Outcome::Busy { holder, .. } => panic!("no lease lives, yet {holder} is at it"),
                }
            }
            let newest = world.newest().await.expect("a version");
            assert_eq!((won, newest.version), (1, Version(round as u64 + 1)));
            all_readable(&world, &newest).await;
            assert!(world.store.intents(TOPIC).await.expect("list").is_empty());
        }
        let mut expected = BTreeSet::new();
        for version in world.store.versions(TOPIC).await.expect("versions") {
            expected.extend(named(
                &world.store.manifest(TOPIC, version).await.expect("get").expect("it is there"),
            ));
        }
        assert_eq!(stored(&world.store).await, expected);
    }
}

#[tokio::test]
async fn a_run_that_dies_at_any_call_leaves_the_last_version_serving_and_the_next_run_finishes() {
    let faults = Faults::default();
    let mut attempt: u64 = 0;
    let mut published_by_the_dead = 0;
    loop {
        attempt += 1;
        let call = attempt.div_ceil(2);
        let fault = if attempt.is_multiple_of(2) { Fault::Lost } else { Fault::Unheard };
        // A fresh past for every call: one version, then more events.
        let store = Store::new(Arc::new(InMemory::new()));
        let mut world = World::with(&VIEWS[..1], store.clone());
        produce_some(&world, 0..6);
        let before = world.publish().await.manifest;
        produce_some(&world, 3..9);
        world.store = store.clone().wrapped(|inner| FaultyStore::over(inner, &faults));
        faults.crash_at(call, fault);
        let died = world.run().await;
        let calls = faults.heal();
        world.store = store;

        let newest = world.newest().await.expect("a version");
        all_readable(&world, &newest).await;
        match &died {
            Ok(Outcome::Published(report)) => assert_eq!(newest, report.manifest, "call {call}"),
            Ok(other) => panic!("call {call}: {other:?}"),
            // A run whose answer was lost may have published all the same: whole, or not at all.
            Err(_) if newest.version == before.version.next() => published_by_the_dead += 1,
            Err(_) => assert_eq!(newest, before, "call {call}"),
        }
        world.pass(world.options.lease + Duration::from_secs(1));
        let after = match world.run().await.expect("the next run does not fail") {
            Outcome::Published(report) => report.manifest,
            Outcome::Unchanged(manifest) => manifest,
            other => panic!("call {call}: {other:?}"),
        };
        assert_eq!(after.version, before.version.next(), "call {call}");
        let rows: u64 = after.events.iter().map(|file| file.file.rows).sum();
        assert_eq!(rows, 12, "call {call}: every record once");
        all_readable(&world, &after).await;
        assert!(world.store.intents(TOPIC).await.expect("list").is_empty(), "call {call}");
        if calls < call {
            break;
        }
    }
    assert!(attempt > 30, "a run makes more calls than {attempt} attempts show");
    assert!(published_by_the_dead > 0, "some call is the publication itself");
}

#[tokio::test]
async fn a_live_lease_of_another_run_is_respected_and_a_stale_one_removed() {
    let world = World::new();
    produce_some(&world, 0..3);
    let intent = Intent {
        stream: TOPIC.to_string(),
        version: Version(1),
        target: Default::default(),
        run_id: "other".to_string(),
        holder: "elsewhere, process 7".to_string(),
        lease_until_ms: (world.job().now)() + 1000,
    };
    world.store.put_intent(&intent).await.expect("put");
    match world.run().await.expect("no failure") {
        Outcome::Busy { holder, lease_until_ms, run_id } => {
            assert_eq!(
                (holder, lease_until_ms, run_id),
                (intent.holder, intent.lease_until_ms, intent.run_id)
            );
        }
        other => panic!("expected Busy, found {other:?}"),
    }
    assert!(world.newest().await.is_none());
    world.pass(Duration::from_secs(2));
    world.publish().await;
    assert!(world.store.intents(TOPIC).await.expect("list").is_empty());
}

#[tokio::test]
async fn old_versions_go_with_the_files_that_only_they_name() {
    let mut world = World::with(&VIEWS[..1], Store::new(Arc::new(InMemory::new())));
    world.retain(2);
    for day in 0..5 {
        produce_some(&world, day * 24..day * 24 + 3);
        // Something late each time, so that the first date's file is replaced by every version.
        world.produce(0, &reading(60 * day, "late", "d", 1.0, 1));
        world.pass(Duration::from_secs(1));
        world.publish().await;
    }
    let versions = world.store.versions(TOPIC).await.expect("versions");
    assert_eq!(versions, [Version(4), Version(5)]);
    let mut expected = BTreeSet::new();
    for version in versions {
        let manifest = world.store.manifest(TOPIC, version).await.expect("get").expect("it is there");
        all_readable(&world, &manifest).await;
        expected.extend(named(&manifest));
    }
    assert_eq!(stored(&world.store).await, expected);
}

#[tokio::test]
async fn a_version_stays_while_answers_may_still_be_made_from_it_and_orphans_go_with_age() {
    let mut world = World::with(&VIEWS[..1], Store::new(Arc::new(InMemory::new())));
    world.options.retention.versions = 1;
    let orphan = Object::Events {
        stream: TOPIC.to_string(),
        date: 3,
        partition: Partition(0),
        range: OffsetRange::new(Offset(0), Offset(1)),
        run: "dead".to_string(),
    };
    world.store.put(&orphan.path(), "left behind".into()).await.expect("put");
    produce_some(&world, 0..3);
    world.publish().await;
    produce_some(&world, 3..6);
    world.publish().await;
    assert_eq!(world.store.versions(TOPIC).await.expect("versions"), [Version(1), Version(2)]);
    assert!(stored(&world.store).await.contains(&orphan.path()));
    world.pass(Duration::from_secs(25 * 3600));
    produce_some(&world, 6..9);
    world.publish().await;
    assert!(!world.store.versions(TOPIC).await.expect("versions").contains(&Version(1)));
    assert!(!stored(&world.store).await.contains(&orphan.path()));
}

#[tokio::test]
async fn leavings_of_views_that_no_version_names_go_and_what_a_live_run_or_somebody_else_wrote_stays() {
    let mut world = World::with(&VIEWS[..1], Store::new(Arc::new(InMemory::new())));
    world.retain(1);
    let written = |view: &str, run: &str| {
        Object::View { view: view.to_string(), version: Version(1), date: 3, run: run.to_string() }.path()
    };
    let (left, kept) = (written("renamed", "dead"), written("elsewhere", "alive"));
    for path in [left.as_str(), kept.as_str(), "views/notes.txt"] {
        world.store.put(path, "something".into()).await.expect("put");
    }
    let intent = Intent {
        stream: "another".to_string(),
        version: Version(1),
        target: Default::default(),
        run_id: "alive".to_string(),
        holder: "elsewhere, process 7".to_string(),
        lease_until_ms: i64::MAX,
    };
    world.store.put_intent(&intent).await.expect("put");
    world.pass(Duration::from_secs(3600));
    produce_some(&world, 0..3);
    let mut expected = named(&world.publish().await.manifest);
    expected.extend([kept, "views/notes.txt".to_string()]);
    assert_eq!(stored(&world.store).await, expected);
}

/// What all retained versions name.
async fn named_by_any(store: &Store) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    for version in store.versions(TOPIC).await.expect("versions") {
        all.extend(named(&store.manifest(TOPIC, version).await.expect("get").expect("it is there")));
    }
    all
}

#[tokio::test]
async fn what_a_run_that_died_anywhere_left_goes_with_age_and_never_sooner() {
    let faults = Faults::default();
    let mut left_behind = 0;
    for attempt in 2_u64.. {
        let (call, fault) = (attempt / 2, [Fault::Lost, Fault::Unheard][attempt as usize % 2]);
        let store = Store::new(Arc::new(InMemory::new()));
        let mut world = World::with(&VIEWS[..1], store.clone());
        produce_some(&world, 0..6);
        world.publish().await;
        produce_some(&world, 3..9);
        world.store = store.clone().wrapped(|inner| FaultyStore::over(inner, &faults));
        faults.crash_at(call, fault);
        let died = world.run().await;
        let calls = faults.heal();
        world.store = store;
        let left = &stored(&world.store).await - &named_by_any(&world.store).await;
        assert!(died.is_err() || left.is_empty(), "call {call}: {left:?}");
        left_behind += left.len();

        // Its lease is over, yet it may be alive and slow.
        world.pass(world.options.lease + Duration::from_secs(1));
        produce_some(&world, 9..12);
        world.publish().await;
        assert!(left.is_subset(&stored(&world.store).await), "call {call}: {left:?}");
        world.pass(world.options.retention.orphans);
        produce_some(&world, 12..15);
        let newest = world.publish().await.manifest;
        assert_eq!(stored(&world.store).await, named_by_any(&world.store).await, "call {call}");
        all_readable(&world, &newest).await;
        if calls < call {
            break;
        }
    }
    assert!(left_behind > 20, "runs that die leave more than {left_behind} files");
}

#[tokio::test]
async fn a_damaged_version_goes_past_retention_and_until_then_no_file_goes() {
    let mut world = World::with(&VIEWS[..1], Store::new(Arc::new(InMemory::new())));
    world.retain(2);
    let publish = async |world: &World, hour: i64| {
        // Late events, so that every version has files of its own.
        produce_some(world, hour..hour + 1);
        world.produce(0, &reading(60, "late", "d", 1.0, 1));
        world.pass(Duration::from_secs(1));
        world.publish().await
    };
    publish(&world, 0).await;
    let second = publish(&world, 1).await.manifest;
    let path = Object::Manifest { stream: TOPIC.to_string(), version: Version(2) }.path();
    let whole = world.store.get(&path).await.expect("get").expect("it is there");
    world.store.put(&path, whole.slice(1..)).await.expect("put");

    // The run goes on from the newest version, so the damaged one has to be that no more.
    let error = world.run().await.expect_err("the newest version cannot be read").to_string();
    assert!(error.contains(&path) && error.contains("restore the file from a copy, or remove it"), "{error}");
    world.store.put(&path, whole.clone()).await.expect("put");
    publish(&world, 2).await;
    world.store.put(&path, whole.slice(1..)).await.expect("put");
    assert_eq!(world.store.versions(TOPIC).await.expect("versions"), [2, 3].map(Version));
    world.options.retention.versions = 3;
    let report = publish(&world, 3).await;
    assert!(report.warnings.iter().any(|warning| warning.contains(&path)), "{:?}", report.warnings);
    assert!(named(&second).is_subset(&stored(&world.store).await));

    world.options.retention.versions = 2;
    let report = publish(&world, 4).await;
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    assert_eq!(world.store.versions(TOPIC).await.expect("versions"), [4, 5].map(Version));
    assert_eq!(stored(&world.store).await, named_by_any(&world.store).await);
}

#[tokio::test]
async fn a_view_that_is_gone_takes_its_files_with_it_and_a_stream_that_is_gone_keeps_all() {
    let mut world = World::with(&VIEWS[..2], Store::new(Arc::new(InMemory::new())));
    world.retain(1);
    produce_some(&world, 0..3);
    world.publish().await;
    let other = Object::Manifest { stream: "gone".to_string(), version: Version(1) }.path();
    let events = Object::Events {
        stream: "gone".to_string(),
        date: 3,
        partition: Partition(0),
        range: OffsetRange::new(Offset(0), Offset(1)),
        run: "dead".to_string(),
    };
    let manifest = Manifest { stream: "gone".to_string(), ..world.newest().await.expect("a version") };
    let published = world.store.publish(&manifest).await.expect("memory takes it");
    assert_eq!(published, watershed_store::Publication::Published);
    world.store.put(&events.path(), "of a stream that nobody runs".into()).await.expect("put");
    world.project = support::batch_world::project(support::batch_world::STREAM, &VIEWS[..1]);
    world.pass(Duration::from_secs(3600));
    produce_some(&world, 3..6);
    world.publish().await;
    let stored = stored(&world.store).await;
    assert!(stored.iter().any(|path| path.starts_with("views/weekly/")), "another stream's version names it");
    assert!(stored.contains(&events.path()));

    world.store.delete(&other).await.expect("delete");
    world.pass(Duration::from_secs(3600));
    produce_some(&world, 6..9);
    world.publish().await;
    let stored = self::stored(&world.store).await;
    assert!(!stored.iter().any(|path| path.starts_with("views/weekly/")), "{stored:?}");
    assert!(stored.contains(&events.path()));
}

#[tokio::test]
async fn no_version_goes_while_the_catalogue_may_still_name_its_files() {
    let mut world = World::with(&VIEWS[..1], Store::new(Arc::new(InMemory::new())));
    world.retain(1);
    let damaged = Object::Manifest { stream: "another".to_string(), version: Version(1) }.path();
    produce_some(&world, 0..3);
    let first = world.publish().await.manifest;
    world.store.put(&damaged, "{".into()).await.expect("put");
    world.pass(Duration::from_secs(3600));
    produce_some(&world, 0..3);
    let report = world.publish().await;
    assert!(report.warnings[0].starts_with("the catalogue was not refreshed"), "{:?}", report.warnings);
    assert_eq!(world.store.versions(TOPIC).await.expect("versions"), [Version(1), Version(2)]);
    all_readable(&world, &first).await;
    world.store.delete(&damaged).await.expect("delete");
    world.pass(Duration::from_secs(3600));
    produce_some(&world, 0..3);
    assert!(world.publish().await.warnings.is_empty());
    assert_eq!(world.store.versions(TOPIC).await.expect("versions"), [Version(3)]);
}

#[tokio::test]
async fn a_rollback_publishes_the_older_result_with_the_older_watershed_and_the_next_run_goes_on_from_there()
{
    let world = World::new();
    produce_some(&world, 0..10);
    let first = world.publish().await.manifest;
    produce_some(&world, 10..20);
    let second = world.publish().await.manifest;
    let outcome = rollback(&world.job(), Version(1)).await.expect("no failure");
    let Outcome::Published(report) = outcome else { panic!("expected a publication, found {outcome:?}") };
    assert_eq!(report.manifest.version, Version(3));
    assert_eq!((&report.manifest.watershed, &report.manifest.views), (&first.watershed, &first.views));
    let again = world.publish().await.manifest;
    assert_eq!((again.version, &again.watershed), (Version(4), &second.watershed));
    for view in second.views.keys() {
        assert_same(&world.rows(&again, view).await, &world.rows(&second, view).await, view);
    }
    let error = rollback(&world.job(), Version(9)).await.expect_err("no version 9");
    assert!(error.to_string().contains("retained are 1, 2, 3, 4"), "{error}");
    let outcome = rollback(&world.job(), Version(4)).await.expect("no failure");
    assert!(matches!(outcome, Outcome::Unchanged(newest) if newest == again));
}

#[tokio::test]
async fn a_version_past_retention_is_not_gone_back_to_though_it_is_still_there() {
    let mut world = World::with(&VIEWS[..1], Store::new(Arc::new(InMemory::new())));
    world.options.retention.versions = 2;
    for hour in 0..3 {
        produce_some(&world, hour..hour + 1);
        world.publish().await;
    }
    let versions = world.store.versions(TOPIC).await.expect("versions");
    assert_eq!(versions, [1, 2, 3].map(Version), "answers may still be made from the first");
    let error = rollback(&world.job(), Version(1)).await.expect_err("its files may go");
    assert!(error.to_string().contains("is past retention (batch.keep_versions)"), "{error}");
    assert!(error.to_string().contains("go back to one of 2 to 3"), "{error}");
    assert_eq!(world.newest().await.expect("a version").version, Version(3));
    let outcome = rollback(&world.job(), Version(2)).await.expect("no failure");
    assert!(matches!(outcome, Outcome::Published(_)), "{outcome:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_rollback_beside_a_run_that_drops_old_versions_never_publishes_files_that_go() {
    for round in 0..20 {
        let mut world = World::with(&VIEWS[..1], Store::new(Arc::new(InMemory::new())));
        world.retain(2);
        // Leases that never live: nothing but the manifest keeps the two apart.
        world.options.lease = Duration::ZERO;
        for hour in 0..3 {
            produce_some(&world, hour..hour + 1);
            // Late events, so that every version has files of its own.
            world.produce(0, &reading(60, "late", "d", 1.0, 1));
            if hour < 2 {
                world.publish().await;
            }
        }
        world.pass(Duration::from_secs(1));
        let (job, back) = (world.job(), world.job());
        let run = tokio::spawn(async move { watershed_batch::run(&job).await });
        let to = Version(1 + round % 2);
        let rolled_back = rollback(&back, to).await;
        let ran = run.await.expect("the run ends").expect("the run does not fail");
        let newest = world.newest().await.expect("a version");
        assert!(newest.version >= Version(3), "round {round}: {ran:?}, {rolled_back:?}");
        all_readable(&world, &newest).await;
        assert!(world.store.intents(TOPIC).await.expect("list").is_empty(), "round {round}");
    }
}

#[tokio::test]
async fn a_rollback_beside_a_live_run_says_so_and_does_nothing() {
    let world = World::with(&VIEWS[..1], Store::new(Arc::new(InMemory::new())));
    produce_some(&world, 0..8);
    world.publish().await;
    produce_some(&world, 8..16);
    world.publish().await;
    let intent = Intent {
        stream: TOPIC.to_string(),
        version: Version(3),
        target: Default::default(),
        run_id: "another".to_string(),
        holder: "elsewhere, process 7".to_string(),
        lease_until_ms: i64::MAX,
    };
    world.store.put_intent(&intent).await.expect("put");
    let outcome = rollback(&world.job(), Version(1)).await.expect("no failure");
    assert!(matches!(&outcome, Outcome::Busy { run_id, .. } if run_id == "another"), "{outcome:?}");
    assert_eq!(world.store.intents(TOPIC).await.expect("list"), [intent]);
    assert_eq!(world.newest().await.expect("a version").version, Version(2));
}

#[tokio::test]
async fn the_catalogue_names_every_file_of_the_newest_version_and_no_pattern() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let world = World::with(&VIEWS, Store::open("da'ta", folder.path()).expect("a store"));
    produce_some(&world, 0..40);
    world.produce(0, &reading(40 * DAY, "a", "d", 1.0, 1));
    let manifest = world.publish().await.manifest;
    let catalog = world.store.get(layout::CATALOG).await.expect("get").expect("it is there");
    let catalog = String::from_utf8(catalog.to_vec()).expect("text");
    for path in named(&manifest) {
        let address = world.store.address(&path).replace('\'', "''");
        assert!(catalog.contains(&format!("'{address}'")), "{address}\n{catalog}");
    }
    assert!(
        catalog.contains("CREATE OR REPLACE VIEW \"hourly\" AS SELECT window_start AS \"hour\""),
        "{catalog}"
    );
    assert!(
        catalog.contains("VIEW batch.\"hourly\"") && catalog.contains("VIEW events.\"readings\""),
        "{catalog}"
    );
    assert!(!catalog.contains('*') || !catalog.contains("*.parquet"), "{catalog}");
}

/// Needs a Python with the package `duckdb`, named by `WATERSHED_TEST_PYTHON`.
#[tokio::test]
async fn duckdb_reads_views_states_and_events_through_the_catalogue_with_no_tool_of_ours() {
    let Ok(python) = std::env::var("WATERSHED_TEST_PYTHON") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let world = World::with(&VIEWS, Store::open("da'ta", folder.path()).expect("a store"));
    produce_some(&world, 0..40);
    world.publish().await;
    produce_some(&world, 20..60);
    world.publish().await;
    let script = "
import duckdb, sys
db = duckdb.connect()
db.execute(open(sys.argv[1]).read())
def ask(sql): print(db.execute(sql).fetchall())
ask('SELECT sum(readings), sum(units), sum(revenue), min(hour), max(window_end), max(lowest) FROM hourly')
ask('SELECT count(*), sum(units), count(DISTINCT (_partition, _offset)) FROM events.readings')
ask('SELECT sum(readings__count), count(*) FROM batch.hourly')
ask('SELECT sum(readings) FROM monthly UNION ALL SELECT sum(readings) FROM weekly')
ask('SELECT busiest[1].value, busiest[1].count FROM hourly ORDER BY hour, site LIMIT 1')
";
    let catalog = folder.path().join("da'ta").join(layout::CATALOG);
    let ran = std::process::Command::new(python)
        .args(["-c", script, catalog.to_str().expect("a path in UTF-8")])
        .current_dir("/")
        .output()
        .expect("Python runs");
    let said = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{said}{}", String::from_utf8_lossy(&ran.stderr));
    let units: i64 = (0..40).chain(20..60).sum();
    let lines: Vec<&str> = said.lines().collect();
    assert!(
        lines[0]
            .starts_with(&format!("[(80, {units}, Decimal('1000.00'), datetime.datetime(2013, 1, 1, 0, 0)")),
        "{said}"
    );
    assert!(lines[0].ends_with("datetime.datetime(2013, 1, 3, 12, 0), 59.0)]"), "{said}");
    assert_eq!(lines[1], format!("[(80, {units}, 80)]"));
    assert_eq!(lines[2], "[(80, 60)]");
    assert_eq!(lines[3], "[(80,), (80,)]");
    assert_eq!(lines[4], "[('d', 1)]");
}
