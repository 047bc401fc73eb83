//! The store: URLs, whole objects, verified files, and which version is the newest.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use object_store::memory::InMemory;
use support::faulty_store::{Fault, Faults, FaultyStore};
use watershed_schemas::layout::Object;
use watershed_schemas::manifest::{Intent, Manifest, Version};
use watershed_schemas::offsets::{Offset, Partition};
use watershed_store::{Created, Publication, Store, StoreError};

/// An empty store of every kind, each with what keeps it alive: memory, a folder, and the bucket that
/// `tests/s3.sh` offers.
fn stores() -> Vec<(Store, Option<tempfile::TempDir>)> {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let local = Store::open("nested/data", folder.path()).expect("a folder is made");
    let mut stores = vec![(Store::new(Arc::new(InMemory::new())), None), (local, Some(folder))];
    if let Ok(bucket) = std::env::var("WATERSHED_TEST_S3") {
        let prefix = uuid::Uuid::new_v4().simple();
        let bucket = Store::open(&format!("{bucket}/{prefix}"), Path::new("")).expect("a bucket");
        stores.push((bucket, None));
    }
    stores
}

fn manifest(version: u64, run: &str) -> Manifest {
    Manifest {
        stream: "readings".to_string(),
        version: Version(version),
        run_id: run.to_string(),
        watershed: Default::default(),
        origin: Default::default(),
        log: Default::default(),
        created_at: "2013-01-01T00:00:00.000Z".to_string(),
        seconds: 0.25,
        rows_landed: 0,
        windows_recomputed: 0,
        events: Vec::new(),
        dead_letters: Vec::new(),
        views: Default::default(),
        gaps: Vec::new(),
        ahead: Default::default(),
    }
}

#[test]
fn a_store_url_is_a_folder_a_file_url_or_memory_and_anything_else_is_refused_by_name() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let beside = Store::open("data", folder.path()).expect("a relative folder");
    let home = folder.path().canonicalize().expect("it exists");
    assert_eq!(beside.local_path(), Some(home.join("data").as_path()));
    assert_eq!(beside.address("catalog.sql"), home.join("data/catalog.sql").display().to_string());
    let url = format!("file://{}/with%20space", home.display());
    let file = Store::open(&url, Path::new("elsewhere")).expect("a file URL");
    assert_eq!(file.local_path(), Some(home.join("with space").as_path()));
    for (url, said) in [
        ("gs://bucket", "found gs://, expected"),
        ("", "is empty"),
        ("s3://", "names no bucket"),
        ("file://elsewhere/data", "names no local folder"),
    ] {
        let error = Store::open(url, folder.path()).expect_err(url).to_string();
        assert!(error.starts_with("setting store.url: ") && error.contains(said), "{url}: {error}");
    }
}

#[tokio::test]
async fn a_memory_url_names_one_store_per_process() {
    let one = Store::open("memory://shared", Path::new("")).expect("memory");
    let same = Store::open("memory://shared", Path::new("")).expect("memory");
    let other = Store::open("memory://other", Path::new("")).expect("memory");
    one.put("a", Bytes::from_static(b"1")).await.expect("put");
    assert!(same.get("a").await.expect("get").is_some());
    assert!(other.get("a").await.expect("get").is_none());
}

#[tokio::test]
async fn objects_are_created_once_replaced_listed_in_order_and_removed() {
    for (store, _folder) in stores() {
        assert!(store.list("events/").await.expect("an empty folder lists").is_empty());
        assert_eq!(store.create("events/b", Bytes::from_static(b"1")).await.expect("create"), Created::Yes);
        assert_eq!(
            store.create("events/b", Bytes::from_static(b"2")).await.expect("create"),
            Created::Exists
        );
        assert_eq!(store.create("events/b", Bytes::from_static(b"1")).await.expect("create"), Created::Yes);
        store.put("events/a/x", Bytes::from_static(b"3")).await.expect("put");
        store.put("events/a/x", Bytes::from_static(b"4")).await.expect("put again");
        store.put("eventsother/x", Bytes::from_static(b"5")).await.expect("put");
        assert_eq!(store.list("events/").await.expect("list"), ["events/a/x", "events/b"]);
        assert_eq!(store.get("events/a/x").await.expect("get").as_deref(), Some(&b"4"[..]));
        store.delete("events/a/x").await.expect("delete");
        store.delete("events/a/x").await.expect("what is gone is removed already");
        assert_eq!(store.get("events/a/x").await.expect("get"), None);
    }
}

#[tokio::test]
async fn a_damaged_file_is_named_with_what_was_found_and_expected() {
    for (store, _folder) in stores() {
        for size in [100, 1_000_000] {
            let bytes = Bytes::from(vec![7; size]);
            let file = store.write("events/x.parquet", bytes.clone(), 3).await.expect("write");
            assert_eq!(store.read(&file).await.expect("read"), bytes);
            let mut flipped = bytes.to_vec();
            flipped[size / 2] ^= 1;
            store.put(&file.path, flipped.into()).await.expect("put");
            let error = store.read(&file).await.expect_err("a flipped bit");
            assert!(
                matches!(&error, StoreError::Damaged { expected, .. } if *expected == file.sha256),
                "{error}"
            );
            assert!(error.to_string().contains("events/x.parquet"), "{error}");
            store.put(&file.path, bytes.slice(1..)).await.expect("put");
            let error = store.read(&file).await.expect_err("a byte short").to_string();
            assert!(error.contains(&format!("found {} bytes", size - 1)), "{error}");
            store.delete(&file.path).await.expect("delete");
            let error = store.read(&file).await.expect_err("no file").to_string();
            assert!(error.contains("found no file"), "{error}");
        }
    }
}

#[tokio::test]
async fn the_newest_version_is_found_by_listing_by_probing_and_after_retention_overtook_the_asker() {
    for (store, _folder) in stores() {
        assert_eq!(store.newest("readings", None).await.expect("newest"), None);
        for version in 1..=7 {
            assert_eq!(
                store.publish(&manifest(version, "run")).await.expect("publish"),
                Publication::Published
            );
        }
        let newest = |known: Option<u64>| {
            let store = store.clone();
            async move {
                store.newest("readings", known.map(Version)).await.expect("newest").map(|it| it.version.0)
            }
        };
        assert_eq!(newest(None).await, Some(7));
        assert_eq!(newest(Some(7)).await, Some(7));
        assert_eq!(newest(Some(3)).await, Some(7));
        for version in 1..=5 {
            store.delete(&format!("versions/readings/{version:020}.json")).await.expect("delete");
        }
        assert_eq!(newest(Some(2)).await, Some(7));
        assert_eq!(store.versions("readings").await.expect("versions"), [Version(6), Version(7)]);
    }
}

#[tokio::test]
async fn a_damaged_version_is_passed_over_where_a_later_one_is_sound_and_named_where_none_is() {
    for (store, _folder) in stores() {
        for version in 1..=6 {
            let _ = store.publish(&manifest(version, "run")).await.expect("publish");
        }
        let path = |version: u64| format!("versions/readings/{version:020}.json");
        store.put(&path(3), Bytes::from_static(b"{")).await.expect("put");
        store.delete(&path(5)).await.expect("delete");
        for known in [None, Some(2), Some(4), Some(6)] {
            let newest = store.newest_sound("readings", known.map(Version)).await.expect("it is found");
            assert_eq!(newest.sound.map(|newest| newest.version), Some(Version(6)), "{known:?}");
            assert!(newest.damaged.is_empty(), "{:?}", newest.damaged);
        }
        store.put(&path(6), store.get(&path(4)).await.expect("get").expect("there")).await.expect("put");
        let error = store.newest("readings", None).await.expect_err("the newest is another one").to_string();
        assert!(error.contains(&path(6)) && error.contains("found version 4 of stream readings"), "{error}");
        assert!(store.newest("readings", Some(Version(5))).await.is_err());
        let newest = store.newest_sound("readings", None).await.expect("an older one is sound");
        assert_eq!(newest.sound.map(|newest| newest.version), Some(Version(4)));
        let damaged: Vec<Version> = newest.damaged.iter().map(|(version, _)| *version).collect();
        assert_eq!(damaged, [Version(6)]);
    }
}

#[tokio::test]
async fn what_writers_left_half_written_goes_with_age_and_nothing_else_does() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open("data", folder.path()).expect("a folder is made");
    let letters = format!("dead_letters/readings/p0-{:020}-{:020}-run.parquet", 1, 2);
    let file = store.write(&letters, Bytes::from_static(b"1"), 1).await.expect("write");
    let hour = std::time::Duration::from_secs(3600);
    let now = std::time::SystemTime::now();
    let manifest = format!("versions/readings/{:020}.json", 1);
    let left = [
        (format!("{}#1", file.path), true),
        (format!("{manifest}#12"), true),
        ("catalog.sql#1".to_string(), true),
        (format!("{manifest}#"), false),
        (format!("{manifest}#1x"), false),
        ("dead_letters/readings/notes.txt#1".to_string(), false),
        ("broker/orders-0/00000.log#1".to_string(), false),
        (manifest.clone(), false),
    ];
    let root = store.local_path().expect("a local store").to_owned();
    for (path, _) in &left {
        std::fs::create_dir_all(root.join(path).parent().expect("a folder")).expect("a folder");
        let file = std::fs::File::create(root.join(path)).expect("a file");
        file.set_modified(now - 2 * hour).expect("its time is set");
    }
    let young = root.join(format!("{manifest}#2"));
    std::fs::write(&young, "being written").expect("a file");
    let until = now - hour;
    let until_ms = until.duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_millis() as i64;
    let folders = watershed_schemas::layout::folders("readings");
    assert_eq!(store.sweep_unfinished(&folders, until_ms).await.expect("it sweeps"), 3);
    for (path, goes) in &left {
        assert_eq!(root.join(path).exists(), !goes, "{path}");
    }
    assert!(young.exists());
    assert!(store.read(&file).await.is_ok());
}

#[tokio::test]
async fn a_damaged_intent_is_passed_over_whatever_it_says() {
    let store = Store::new(Arc::new(InMemory::new()));
    let intent = Intent {
        stream: "readings".to_string(),
        version: Version(2),
        target: [(Partition(0), Offset(1200))].into_iter().collect(),
        run_id: "a".to_string(),
        holder: "host 1".to_string(),
        lease_until_ms: 5,
    };
    store.put_intent(&intent).await.expect("put");
    let path = store.list("intents/").await.expect("list").remove(0);
    let whole = store.get(&path).await.expect("get").expect("there");
    for bit in 0..whole.len() * 8 {
        let mut bytes = whole.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        store.put(&path, bytes.into()).await.expect("put");
        assert!(store.intents("readings").await.expect("list").is_empty(), "bit {bit}");
        assert_eq!(store.damaged_intents("readings").await.expect("list")[0].path, path);
    }
    let elsewhere = path.replace("-a.json", "-b.json");
    store.put(&elsewhere, whole.clone()).await.expect("put");
    store.put(&path, whole).await.expect("put");
    assert_eq!(store.intents("readings").await.expect("list"), [intent], "one lies where it was written");
}

#[tokio::test]
async fn a_publication_whose_answer_never_came_is_settled_by_reading_it_back() {
    for fault in [Fault::Lost, Fault::Unheard, Fault::Conflict] {
        let faults = Faults::default();
        let store = Store::new(Arc::new(InMemory::new())).wrapped(|inner| FaultyStore::over(inner, &faults));
        faults.next_create("versions/", fault);
        let ours = store.publish(&manifest(1, "ours")).await.expect("it is settled");
        assert_eq!(ours, Publication::Published, "{fault:?}");
        faults.next_create("versions/", fault);
        let theirs = store.publish(&manifest(1, "theirs")).await.expect("it is settled");
        assert_eq!(theirs, Publication::Lost { winner: "ours".to_string() }, "{fault:?}");
        let found = store.manifest("readings", Version(1)).await.expect("get");
        assert_eq!(found, Some(manifest(1, "ours")));
    }
}

#[tokio::test]
async fn a_publication_that_cannot_be_settled_says_so() {
    let faults = Faults::default();
    let store = Store::new(Arc::new(InMemory::new())).wrapped(|inner| FaultyStore::over(inner, &faults));
    faults.crash_at(1, Fault::Unheard);
    let error = store.publish(&manifest(1, "ours")).await.expect_err("the store is gone");
    assert!(matches!(error, StoreError::Undecided { .. }), "{error}");
}

#[tokio::test]
async fn a_folder_that_is_gone_is_no_empty_store_and_is_not_made_anew() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let store = Store::open("data", folder.path()).expect("a store");
    assert_eq!(store.publish(&manifest(1, "ours")).await.expect("publish"), Publication::Published);
    let (here, away) = (folder.path().join("data"), folder.path().join("away"));
    std::fs::rename(&here, &away).expect("the folder goes");
    let path = "checkpoints/readings/p0/x";
    for error in [
        store.newest("readings", None).await.map(drop),
        store.get(path).await.map(drop),
        store.list("versions/").await.map(drop),
        store.put(path, "bytes".into()).await,
        store.create(path, "bytes".into()).await.map(drop),
        store.delete(path).await,
    ] {
        let error = error.expect_err("the store is away");
        assert!(matches!(&error, StoreError::Away { folder } if folder.ends_with("data")), "{error}");
    }
    assert!(!here.exists());
    std::fs::rename(&away, &here).expect("the folder is back");
    assert_eq!(store.newest("readings", None).await.expect("get"), Some(manifest(1, "ours")));
}

#[tokio::test]
async fn a_publication_that_meets_a_manifest_which_cannot_be_read_says_that_it_may_be_its_own() {
    let store = Store::new(Arc::new(InMemory::new()));
    let path = Object::Manifest { stream: "readings".to_string(), version: Version(1) }.path();
    store.put(&path, "{ torn".into()).await.expect("memory takes it");
    let error = store.publish(&manifest(1, "ours")).await.expect_err("what lies there cannot be read");
    assert!(matches!(error, StoreError::Unsettled { .. }), "{error}");
}

#[tokio::test]
async fn a_refusal_after_an_attempt_that_was_not_heard_leaves_the_publication_undecided() {
    let faults = Faults::default();
    let whole = Store::new(Arc::new(InMemory::new()));
    let store = whole.clone().wrapped(|inner| FaultyStore::over(inner, &faults));
    faults.fail_from(1, Fault::Unheard, Fault::Refused);
    let error = store.publish(&manifest(1, "ours")).await.expect_err("the credentials ran out");
    assert!(matches!(error, StoreError::Undecided { .. }), "{error}");
    let published = whole.manifest("readings", Version(1)).await.expect("get");
    assert!(published.is_some(), "the first attempt landed");
    faults.fail_from(1, Fault::Refused, Fault::Refused);
    let error = store.publish(&manifest(2, "ours")).await.expect_err("nothing was tried before");
    assert!(matches!(error, StoreError::Object(_)), "{error}");
}

#[tokio::test]
async fn every_flipped_bit_and_every_missing_end_of_a_manifest_is_found() {
    let store = Store::new(Arc::new(InMemory::new()));
    let mut sealed = manifest(1, "ours");
    sealed.watershed = [(Partition(0), Offset(1200))].into_iter().collect();
    assert_eq!(store.publish(&sealed).await.expect("publish"), Publication::Published);
    assert_eq!(store.manifest("readings", Version(1)).await.expect("it is whole"), Some(sealed));
    let path = format!("versions/readings/{:020}.json", 1);
    let whole = store.get(&path).await.expect("get").expect("it is there");
    let flipped = (0..whole.len() * 8).map(|bit| {
        let mut bytes = whole.to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        Bytes::from(bytes)
    });
    let cut = (0..whole.len()).map(|end| whole.slice(..end));
    for damaged in flipped.chain(cut) {
        store.put(&path, damaged.clone()).await.expect("put");
        let error = store.manifest("readings", Version(1)).await.expect_err("a damaged manifest").to_string();
        assert!(error.contains(&path), "{error}: {}", String::from_utf8_lossy(&damaged));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_racing_publishers_one_wins_and_all_others_learn_who() {
    for (store, _folder) in stores() {
        for version in 1..=10 {
            let racers = (0..8).map(|racer| {
                let store = store.clone();
                tokio::spawn(async move { store.publish(&manifest(version, &format!("run{racer}"))).await })
            });
            let mut winners = Vec::new();
            let mut told = Vec::new();
            for (racer, outcome) in futures::future::join_all(racers).await.into_iter().enumerate() {
                match outcome.expect("no panic").expect("an outcome") {
                    Publication::Published => winners.push(format!("run{racer}")),
                    Publication::Lost { winner } => told.push(winner),
                }
            }
            assert_eq!(winners.len(), 1);
            assert!(told.iter().all(|told| *told == winners[0]));
        }
    }
}

#[tokio::test]
async fn intents_come_and_go_and_a_broken_one_stops_nobody() {
    for (store, _folder) in stores() {
        let intent = |run: &str, version| Intent {
            stream: "readings".to_string(),
            version: Version(version),
            target: Default::default(),
            run_id: run.to_string(),
            holder: "host 1".to_string(),
            lease_until_ms: 5,
        };
        store.put_intent(&intent("b", 2)).await.expect("put");
        store.put_intent(&intent("a", 2)).await.expect("put");
        store
            .put("intents/readings/00000000000000000001-x.json", Bytes::from_static(b"{"))
            .await
            .expect("put");
        assert_eq!(store.intents("readings").await.expect("list"), [intent("a", 2), intent("b", 2)]);
        store.remove_intent(&intent("a", 2)).await.expect("remove");
        assert_eq!(store.intents("readings").await.expect("list"), [intent("b", 2)]);
    }
}
