//! batch run, versions and verify, each a process of its own, over an embedded broker that nobody else runs.

use watershed_schemas::manifest::{Intent, Version};
use watershed_store::Store;

use crate::support::command::{Folder, SCHEMA};
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

/// What a live run on another machine leaves to be seen.
fn elsewhere() -> Intent {
    Intent {
        stream: "orders".to_string(),
        version: Version(1),
        target: Default::default(),
        run_id: "another".to_string(),
        holder: "elsewhere:17".to_string(),
        lease_until_ms: now_ms() + 60_000,
    }
}

#[test]
fn a_live_run_of_the_same_stream_is_exit_code_75() {
    let folder = with_orders(10);
    let store = Store::open("data", &folder.path("")).expect("the project's store");
    let intent = elsewhere();
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
fn of_several_streams_each_that_is_not_done_is_told_and_a_failure_decides() {
    let folder = with_orders(10);
    folder.write("schemas/returns.sql", &SCHEMA.replace("orders", "returns"));
    let store = Store::open("data", &folder.path("")).expect("the project's store");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(store.put_intent(&elsewhere())).expect("the intent is written");
    // Nothing was ever produced to the other stream: it has no topic.
    let ended = folder.run(&["batch", "run"]);
    assert_eq!(ended.code, 1, "{ended:?}");
    assert!(ended.err.contains("elsewhere:17") && ended.err.contains("stream returns"), "{}", ended.err);
}

#[test]
fn an_older_result_is_published_again_and_the_next_run_goes_on_from_there() {
    let folder = with_orders(100);
    let watershed = |out: &str| {
        let line = out.lines().find(|line| line.trim_start().starts_with("watershed "));
        line.unwrap_or_else(|| panic!("no watershed in {out}")).trim().to_string()
    };
    let first = folder.done(&["batch", "run"]);
    folder.write_orders("more.ndjson", 50);
    let file = folder.path("more.ndjson");
    folder.done(&["produce", "orders", file.to_str().expect("a path in UTF-8")]);
    let second = folder.done(&["batch", "run"]);
    assert_ne!(watershed(&first), watershed(&second));
    let back = folder.done(&["rollback", "orders", "1"]);
    assert!(back.contains("version 3 published, the result of version 1 again"), "{back}");
    assert_eq!(watershed(&back), watershed(&first));
    let verified = folder.done(&["verify"]);
    assert!(verified.contains("version 3, 100 events") && verified.contains(" 0 differences"), "{verified}");
    assert!(folder.done(&["rollback", "orders", "3"]).contains("version 3 is the newest already"));
    let again = folder.done(&["batch", "run"]);
    assert!(again.contains("version 4 published") && again.contains("rows taken over     50"), "{again}");
    assert_eq!(watershed(&again), watershed(&second));

    let unknown = folder.run(&["rollback", "orders", "9"]);
    assert_eq!(unknown.code, 1, "{unknown:?}");
    assert!(unknown.err.contains("retained are 1, 2, 3, 4"), "{}", unknown.err);
    let store = Store::open("data", &folder.path("")).expect("the project's store");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let live = Intent { version: Version(5), ..elsewhere() };
    runtime.block_on(store.put_intent(&live)).expect("the intent is written");
    let busy = folder.run(&["rollback", "orders", "1"]);
    assert_eq!(busy.code, 75, "{busy:?}");
    assert!(busy.err.contains("elsewhere:17"), "{}", busy.err);
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
