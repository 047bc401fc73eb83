//! A batch run dies at every point between its intent and its end (invariants `ONE_PUBLICATION`, `NOTHING_VANISHES`):
//! once as a future that is dropped at a named call of the store, once as a process that is killed when its work shows
//! in the store's folder.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::memory::InMemory;
use watershed_batch::Outcome;
use watershed_schemas::manifest::Manifest;
use watershed_store::Store;

use super::seed;
use crate::support::batch_world::{DAY, HOUR, TOPIC, VIEWS, World, assert_same, reading};
use crate::support::command::Service;
use crate::support::crash_points::{CrashPoint, Death, POINTS};
use crate::support::deployment::{Deployment, STREAM};
use crate::support::load::{Judge, Orders, Questions, everything, send_orders};

/// One version, then more to do for the next run: several dates, a late event, a dead letter, an old version to drop.
async fn world() -> World {
    let mut world = World::with(&VIEWS[..2], Store::new(Arc::new(InMemory::new())));
    world.retain(1);
    let produce = |hours: std::ops::Range<i64>| {
        for hour in hours {
            let payload = reading(hour * HOUR, ["a", "b"][hour as usize % 2], "d", hour as f64, hour);
            world.produce((hour % 4) as i32, &payload);
        }
    };
    produce(0..30);
    world.publish().await;
    produce(30..80);
    world.produce(1, &reading(2 * HOUR, "late", "d", 1.0, 1));
    world.produce(2, "no event");
    world.pass(Duration::from_secs(60));
    world
}

async fn stored(store: &Store) -> BTreeSet<String> {
    let mut stored = BTreeSet::new();
    for folder in ["events/", "dead_letters/", "views/"] {
        stored.extend(store.list(folder).await.expect("list"));
    }
    stored
}

fn named(manifest: &Manifest) -> BTreeSet<String> {
    let views = manifest.views.values().flat_map(|view| &view.files).map(|file| &file.file);
    let events = manifest.events.iter().map(|file| &file.file);
    let dead_letters = manifest.dead_letters.iter().map(|file| &file.file);
    events.chain(dead_letters).chain(views).map(|file| file.path.clone()).collect()
}

async fn is_whole(world: &World, manifest: &Manifest, context: &str) {
    for path in named(manifest) {
        let stored = world.store.get(&path).await.expect("the store answers");
        assert!(stored.is_some(), "{context}: version {} lacks {path}", manifest.version);
    }
}

/// A run that dies at `point`; what it leaves is whole, and the next run makes of it what an undisturbed run makes.
async fn dies_at(point: CrashPoint, undisturbed: &World, counted: &Death) {
    let name = point.name;
    let mut world = world().await;
    let before = world.newest().await.expect("a version");
    let store = world.store.clone();
    let death = Death::plan(point, counted);
    world.store = store.clone().wrapped(|inner| death.over(inner));
    {
        let job = world.job();
        tokio::select! {
            outcome = watershed_batch::run(&job) => panic!("{name}: the run ended with {outcome:?}"),
            () = death.happened() => {}
            () = tokio::time::sleep(Duration::from_secs(30)) => panic!("{name}: this never happened"),
        }
    }
    world.store = store;

    let newest = world.newest().await.expect("a version");
    is_whole(&world, &newest, name).await;
    assert!(newest == before || newest.version == before.version.next(), "{name}: {}", newest.version);
    world.pass(world.options.lease + Duration::from_secs(1));
    let after = match world.run().await.expect("the next run does not fail") {
        Outcome::Published(report) => report.manifest,
        Outcome::Unchanged(manifest) => manifest,
        other => panic!("{name}: {other:?}"),
    };
    let expected = undisturbed.newest().await.expect("a version");
    assert_eq!((after.version, &after.watershed), (expected.version, &expected.watershed), "{name}");
    for view in expected.views.keys() {
        assert_same(&world.rows(&after, view).await, &undisturbed.rows(&expected, view).await, view);
    }
    assert!(world.store.intents(TOPIC).await.expect("list").is_empty(), "{name}: an intent is left");

    // One more run has nothing to wait for, and leaves nothing of the dead one.
    world.produce(0, &reading(3 * DAY, "a", "d", 1.0, 1));
    world.pass(Duration::from_secs(60));
    let last = world.publish().await.manifest;
    assert_eq!(stored(&world.store).await, named(&last), "{name}: what is stored is what is named");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_dies_at_any_named_point_leaves_a_whole_version_and_the_next_run_finishes() {
    let mut undisturbed = world().await;
    let counted = Death::default();
    let store = undisturbed.store.clone();
    undisturbed.store = store.clone().wrapped(|inner| counted.over(inner));
    undisturbed.publish().await;
    undisturbed.store = store;
    for point in POINTS {
        dies_at(point, &undisturbed, &counted).await;
    }
}

/// A run as its work shows in the store's folder.
struct Work<'a> {
    place: &'a Deployment,
    version: u64,
    /// Event files that were there before it began.
    events: usize,
}

type Sign = (&'static str, fn(&Work) -> bool);

/// What shows of a run, in the order in which it comes.
const SIGNS: [Sign; 6] = [
    ("its intent is written", |work| {
        work.place.stored(&format!("intents/{STREAM}")).iter().any(|path| path.ends_with(".json"))
    }),
    ("its first event file is written", |work| work.place.stored("events").len() > work.events),
    ("its first view file is written", |work| {
        !work.place.stored(&format!("views/sales/version={}", work.version)).is_empty()
    }),
    ("its manifest is being written", |work| {
        let name = format!("{:020}.json", work.version);
        work.place.stored(&format!("versions/{STREAM}")).iter().any(|path| path.contains(&name))
    }),
    ("its manifest is published", |work| work.place.versions().contains(&work.version)),
    ("the catalogue names its version", |work| {
        let catalog = std::fs::read_to_string(work.place.folder.path("data/catalog.sql")).unwrap_or_default();
        catalog.contains(&format!("stream {STREAM}, version {},", work.version))
    }),
];

/// So short is the moment between a manifest's file and its name that a test from outside may miss it.
const MAY_BE_MISSED: &str = "its manifest is being written";

impl Work<'_> {
    fn begin(place: &Deployment) -> (Work<'_>, Service) {
        let version = place.versions().last().map_or(1, |last| last + 1);
        let work = Work { place, version, events: place.stored("events").len() };
        (work, place.begin_batch())
    }

    /// The last sign that shows.
    fn reached(&self) -> Option<&'static str> {
        let last = SIGNS.iter().rfind(|(_, shows)| shows(self));
        last.map(|(name, _)| *name)
    }
}

/// Kills runs as soon as a sign shows, until one died with no later sign; how many were killed, and whether one was.
fn kill_at(place: &Deployment, (name, shows): Sign) -> (u32, bool) {
    let mut kills = 0;
    for _ in 0..8 {
        let (work, mut run) = Work::begin(place);
        let deadline = Instant::now() + Duration::from_secs(60);
        while !shows(&work) && run.exit_code().is_none() {
            assert!(Instant::now() < deadline, "no run comes so far that {name}");
        }
        kills += u32::from(run.exit_code().is_none());
        run.kill();
        let reached = work.reached();
        // Whatever it left, the next run finishes.
        place.publish();
        if reached == Some(name) {
            return (kills, true);
        }
    }
    (kills, false)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_is_killed_at_any_visible_step_leaves_answers_right_and_the_next_run_finishes() {
    let seed = seed();
    let place = Deployment::start(1).await;
    let speed = place.speed(0);
    let serve = place.serve();
    send_orders(&place, 0..2_000, seed);
    serve.line("ready: ");
    place.publish();
    let orders = Orders::keep_coming(&place, 200, seed + 1);
    let questions = Questions::keep_coming(&place);
    for sign in SIGNS {
        let (kills, hit) = kill_at(&place, sign);
        println!("{kills} runs killed for one that died when {}: {hit}", sign.0);
        assert!(hit || sign.0 == MAY_BE_MISSED, "no run died when {}\n{}", sign.0, place.tails(&["batch"]));
    }
    orders.end();
    place.publish();
    place.until_current(&everything()).await;
    let asked = questions.end().await;
    let verdict = Judge::of(&place.kafka, &place.topic).judge(&asked);
    println!("{verdict:?}, wrong: 0");
    assert!(verdict.straddling > 0 && verdict.versions >= SIGNS.len(), "{verdict:?}");
    assert_eq!(serve.stop().0, 0);
    assert_eq!(speed.stop().0, 0);
}
