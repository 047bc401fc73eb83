//! A disk that fails: nothing that was not synced is said to be published.
//!
//! Needs `strace`, named by `WATERSHED_TEST_STRACE`: it answers `fsync` of one path with an I/O error in place of the disk.

use std::path::Path;
use std::process::Command;

use watershed_schemas::layout::Object;
use watershed_schemas::manifest::Version;
use watershed_store::Store;

use crate::support::command::{Ended, Folder, ended};

/// A project whose topic holds orders, and the tool.
fn with_orders() -> Option<(Folder, String)> {
    let strace = std::env::var("WATERSHED_TEST_STRACE").ok()?;
    let folder = Folder::with_project();
    folder.write_orders("orders.ndjson", 100);
    let file = folder.path("orders.ndjson");
    folder.done(&["produce", "orders", file.to_str().expect("a path in UTF-8")]);
    Some((folder, strace))
}

/// One batch run; `fsync` of `path` fails.
fn with_failing_sync(folder: &Folder, strace: &str, path: &Path) -> Ended {
    let run = folder.command(&["batch", "run"]);
    let mut traced = Command::new(strace);
    traced.args(["-f", "-qq", "-o", "/dev/null", "-e", "trace=fsync", "-e", "inject=fsync:error=EIO", "-P"]);
    traced.arg(path);
    traced.arg(run.get_program()).args(run.get_args());
    for (name, value) in run.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    ended(traced.stdin(std::process::Stdio::null()).output().expect("strace runs"))
}

fn manifest(folder: &Folder) -> std::path::PathBuf {
    let path = Object::Manifest { stream: "orders".to_string(), version: Version(1) }.path();
    folder.path("data").canonicalize().expect("the store is there").join(path)
}

#[test]
fn a_manifest_that_cannot_be_synced_is_not_published() {
    let Some((folder, strace)) = with_orders() else { return };
    let manifest = manifest(&folder);
    let staged = manifest.with_extension("json#1");
    let failed = with_failing_sync(&folder, &strace, &staged);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(
        failed.err.contains("was not written") && failed.err.contains("check the disk"),
        "{}",
        failed.err
    );
    assert!(!manifest.exists() && !staged.exists());
    let again = folder.done(&["batch", "run"]);
    assert!(again.contains("version 1 published") && again.contains("rows landed         100"), "{again}");
    folder.done(&["verify"]);
}

#[test]
fn a_manifest_whose_folder_cannot_be_synced_is_there_and_the_run_fails_all_the_same() {
    let Some((folder, strace)) = with_orders() else { return };
    let manifest = manifest(&folder);
    let versions = manifest.parent().expect("a folder");
    std::fs::create_dir_all(versions).expect("it is not synced for being new");
    let failed = with_failing_sync(&folder, &strace, versions);
    assert_eq!(failed.code, 1, "{failed:?}");
    assert!(failed.err.contains("is there, but the disk does not say that it stays"), "{}", failed.err);
    assert!(failed.err.contains(manifest.to_str().expect("UTF-8")), "{}", failed.err);
    assert!(manifest.exists());
    let again = folder.done(&["batch", "run"]);
    assert!(again.contains("version 1 is up to date"), "{again}");
    folder.done(&["verify"]);
}

#[test]
fn files_of_a_version_that_cannot_be_synced_stop_the_run_and_nothing_is_left() {
    let Some((folder, strace)) = with_orders() else { return };
    let data = folder.path("data").canonicalize().expect("the store is there");
    let store = Store::open("data", &folder.path("")).expect("the project's store");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    for below in ["events/orders", "views/sales"] {
        let failed = with_failing_sync(&folder, &strace, &data.join(below));
        assert_eq!(failed.code, 1, "{below}: {failed:?}");
        assert!(failed.err.contains("was not written"), "{below}: {}", failed.err);
        for left in ["versions/", "events/", "views/", "intents/"] {
            let left = runtime.block_on(store.list(left)).expect("it lists");
            assert!(left.is_empty(), "{below}: {left:?}");
        }
    }
    assert!(folder.done(&["batch", "run"]).contains("version 1 published"));
}
