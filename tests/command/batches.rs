//! batch run, versions and verify, each a process of its own, over an embedded broker that nobody else runs.

use watershed_schemas::manifest::{Intent, Version};
use watershed_store::Store;

use crate::support::command::Folder;
use crate::support::platform::now_ms;

fn with_orders(count: usize) -> Folder {
    let folder = Folder::with_project();
    folder.write_orders("orders.ndjson", count);
    let file = folder.path("orders.ndjson");
    folder.done(&["produce", "orders", file.to_str().expect("a path in UTF-8")]);
    folder
}

#[test]
fn a_run_publishes_and_a_second_one_has_nothing_to_do() {
    let folder = with_orders(500);
    let first = folder.done(&["batch", "run"]);
    assert!(first.contains("version 1 published") && first.contains("rows landed         500"), "{first}");
    let second = folder.done(&["batch", "run"]);
    assert!(second.contains("version 1 is up to date"), "{second}");
    let full = folder.done(&["batch", "run", "--full"]);
    assert!(full.contains("version 2 published") && full.contains("rows landed         0"), "{full}");
    let versions = folder.done(&["versions", "orders"]);
    assert_eq!(versions.lines().filter(|line| line.contains("500")).count(), 2, "{versions}");
    let verified = folder.done(&["verify"]);
    assert!(verified.contains("version 2, 500 events") && verified.contains(" 0 differences"), "{verified}");
}

#[test]
fn a_live_run_of_the_same_stream_is_exit_code_75() {
    let folder = with_orders(10);
    let store = Store::open("data", &folder.path("")).expect("the project's store");
    let intent = Intent {
        stream: "orders".to_string(),
        version: Version(1),
        target: Default::default(),
        run_id: "another".to_string(),
        holder: "elsewhere:17".to_string(),
        lease_until_ms: now_ms() + 60_000,
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(store.put_intent(&intent)).expect("the intent is written");
    let ended = folder.run(&["batch", "run"]);
    assert_eq!(ended.code, 75, "{ended:?}");
    assert!(ended.err.contains("elsewhere:17"), "{}", ended.err);
    assert_eq!(ended.err.trim().lines().count(), 1, "{}", ended.err);
    runtime.block_on(store.remove_intent(&intent)).expect("the intent is removed");
    folder.done(&["batch", "run"]);
}

#[test]
fn a_damaged_file_is_named_before_anything_is_compared() {
    let folder = with_orders(200);
    folder.done(&["batch", "run"]);
    let events = folder.path("data/events/orders");
    let date = std::fs::read_dir(&events).expect("dates").next().expect("a date").expect("a folder").path();
    let file = std::fs::read_dir(&date).expect("files").next().expect("a file").expect("a file").path();
    let mut bytes = std::fs::read(&file).expect("its bytes");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&file, bytes).expect("one flipped bit");
    let ended = folder.run(&["verify"]);
    assert_eq!(ended.code, 1);
    let name = file.file_name().expect("a name").to_str().expect("UTF-8");
    assert!(ended.err.contains(name) && ended.err.contains("damaged"), "{}", ended.err);
}

#[test]
fn a_stream_without_events_or_versions_is_told_so() {
    let folder = Folder::with_project();
    assert!(folder.done(&["versions", "orders"]).contains("no version yet"));
    assert!(folder.done(&["verify"]).contains("no version yet"));
    let ended = folder.run(&["batch", "run", "--stream", "order"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("did you mean orders?"), "{}", ended.err);
}

#[test]
fn a_run_that_is_told_to_stop_leaves_no_lease_behind() {
    let folder = with_orders(200_000);
    let mut run =
        folder.command(&["batch", "run"]).stderr(std::process::Stdio::null()).spawn().expect("it runs");
    let store = Store::open("data", &folder.path("")).expect("the project's store");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let announced = || !runtime.block_on(store.intents("orders")).expect("intents are listed").is_empty();
    while !announced() && run.try_wait().expect("it is watched").is_none() {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    let process = run.id().to_string();
    std::process::Command::new("kill").args(["-TERM", &process]).status().expect("kill runs");
    run.wait().expect("it ends");
    assert!(!announced(), "an intent was left behind");
    folder.done(&["batch", "run"]);
    folder.done(&["verify"]);
}
