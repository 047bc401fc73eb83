//! Racing publishers (invariant `ONE_PUBLICATION`): whatever a store answers, each version has one winner, all others learn
//! which, and nothing that was published is lost.
//!
//! `WATERSHED_SEED=<seed>` draws other answers, `WATERSHED_RACE=<versions>` another length. The bucket is the one that
//! `tests/s3.sh` offers.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::memory::InMemory;
use support::ambiguous_store::{Ambiguity, AmbiguousStore, Counts};
use watershed_schemas::invariants;
use watershed_schemas::manifest::{Manifest, Version};
use watershed_schemas::offsets::{Offset, Offsets, Partition};
use watershed_store::{Publication, Store};

const STREAM: &str = "readings";
const PUBLISHERS: i32 = 16;

fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

/// One version on top of another: the publisher's own partition is one record further.
fn next(base: Option<&Manifest>, publisher: Partition) -> Manifest {
    let version = base.map_or(Version(1), |base| base.version.next());
    let mut watershed = base.map_or_else(Offsets::new, |base| base.watershed.clone());
    watershed.set(publisher, Offset(watershed.get(publisher).0 + 1));
    Manifest {
        stream: STREAM.to_string(),
        version,
        run_id: format!("publisher{publisher}-{version}"),
        watershed,
        origin: Offsets::new(),
        log: Default::default(),
        created_at: "2013-01-01T00:00:00.000Z".to_string(),
        seconds: 0.25,
        rows_landed: 1,
        windows_recomputed: 0,
        events: Vec::new(),
        dead_letters: Vec::new(),
        views: BTreeMap::new(),
        gaps: Vec::new(),
        ahead: Default::default(),
    }
}

/// What one publisher was told.
#[derive(Default)]
struct Told {
    published: Vec<Version>,
    lost: Vec<(Version, String)>,
}

/// Publishes upon the newest version, as a run does, until there are `versions`.
async fn publish_until(store: Store, publisher: Partition, versions: u64) -> Told {
    let mut told = Told::default();
    let mut newest: Option<Manifest> = None;
    loop {
        let known = newest.as_ref().map(|newest| newest.version);
        newest = store.newest(STREAM, known).await.expect("what is published can be read");
        if newest.as_ref().is_some_and(|newest| newest.version.0 >= versions) {
            return told;
        }
        let manifest = next(newest.as_ref(), publisher);
        // A run takes its time between the two.
        tokio::task::yield_now().await;
        match store.publish(&manifest).await {
            Ok(Publication::Published) => told.published.push(manifest.version),
            Ok(Publication::Lost { winner }) => told.lost.push((manifest.version, winner)),
            Err(error) => panic!("{}: a failure that is none: {error}", manifest.run_id),
        }
    }
}

async fn race(name: &str, store: &Store, versions: u64, seed: u64) {
    let counts = Counts::default();
    let began = Instant::now();
    let publishers = (0..PUBLISHERS).map(|number| {
        let seed = seed.wrapping_mul(1_000).wrapping_add(number as u64);
        let store = store.clone().wrapped(|inner| AmbiguousStore::over(inner, seed, &counts));
        tokio::spawn(publish_until(store, Partition(number), versions))
    });
    let told = futures::future::join_all(publishers).await;
    let took = began.elapsed();
    // What was under way when its publisher gave it up lands before anybody looks.
    tokio::time::sleep(Duration::from_millis(100)).await;

    let mut winners = BTreeMap::new();
    let mut before: Option<Manifest> = None;
    for version in 1..=versions {
        let manifest = store
            .manifest(STREAM, Version(version))
            .await
            .expect("it is whole")
            .expect("no number is left out");
        let law = invariants::ONE_PUBLICATION;
        let winner = (0..PUBLISHERS).map(Partition).find(|it| next(before.as_ref(), *it) == manifest);
        let winner = winner
            .unwrap_or_else(|| panic!("invariant {law}: version {version} lost an update: {manifest:?}"));
        winners.insert(Version(version), (winner, manifest.run_id.clone()));
        before = Some(manifest);
    }
    assert_eq!(store.manifest(STREAM, Version(versions + 1)).await.expect("get"), None);
    let mut lost = 0;
    for (number, told) in (0..PUBLISHERS).zip(told) {
        let told = told.expect("no publisher fails");
        let won: Vec<Version> = winners
            .iter()
            .filter(|(_, (winner, _))| *winner == Partition(number))
            .map(|(version, _)| *version)
            .collect();
        assert_eq!(told.published, won, "publisher {number} knows what it has published");
        for (version, winner) in &told.lost {
            assert_eq!(*winner, winners[version].1, "publisher {number} knows who won version {version}");
        }
        lost += told.lost.len();
    }
    let counts = counts.lock().expect("no publisher panics in here").clone();
    println!("{name}: {PUBLISHERS} publishers, {versions} versions, {lost} races lost, {took:?}, {counts:?}");
    let kinds = [
        Ambiguity::TimeoutBefore,
        Ambiguity::TimeoutAfter,
        Ambiguity::TimeoutDuring,
        Ambiguity::Conflict,
        Ambiguity::Unread,
    ];
    assert!(kinds.iter().all(|kind| counts.contains_key(kind)), "every ambiguity happened: {counts:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sixteen_publishers_that_are_answered_ambiguously_give_each_version_one_winner_and_lose_nothing() {
    let (seed, versions) = (setting("WATERSHED_SEED", 20_130_101), setting("WATERSHED_RACE", 500));
    println!("WATERSHED_SEED={seed}");
    race("memory", &Store::new(Arc::new(InMemory::new())), versions, seed).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let local = Store::open("data", folder.path()).expect("a folder is made");
    race("local folder, synced", &local, versions, seed).await;
    if let Ok(bucket) = std::env::var("WATERSHED_TEST_S3") {
        let prefix = uuid::Uuid::new_v4().simple();
        let bucket = Store::open(&format!("{bucket}/{prefix}"), Path::new("")).expect("a bucket");
        race("bucket", &bucket, versions, seed).await;
    }
}
