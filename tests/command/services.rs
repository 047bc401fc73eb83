//! up, speed, serve and batch schedule: ready, asked, stopped, started again.

use std::time::{Duration, Instant};

use serde_json::Value as Json;
use watershed_schemas::manifest::{Intent, Version};
use watershed_schemas::offsets::{Offset, Partition};
use watershed_store::Store;

use crate::support::command::{Folder, Service};
use crate::support::exposition::Exposition;
use crate::support::kafka::eventually;
use crate::support::platform::now_ms;
use crate::support::serving::client;

const SECONDS: Duration = Duration::from_secs(12);

/// Asks until the answer satisfies, for events take a moment to be live.
fn answer(folder: &Folder, server: &str, satisfies: impl Fn(&Json) -> bool) -> Json {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let ended = folder.run(&[
            "query",
            "sales",
            "--grain",
            "all",
            "--group-by",
            "",
            "--server",
            server,
            "--format",
            "json",
        ]);
        let answer: Json = serde_json::from_str(&ended.out).unwrap_or_default();
        if ended.code == 0 && satisfies(&answer) {
            return answer;
        }
        assert!(Instant::now() < deadline, "not answered as hoped: {ended:?}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn orders(answer: &Json) -> i64 {
    answer["data"][0]["orders"].as_i64().unwrap_or_default()
}

fn produce(folder: &Folder, count: usize) {
    folder.write_orders("orders.ndjson", count);
    let file = folder.path("orders.ndjson");
    folder.done(&["produce", "orders", file.to_str().expect("a path in UTF-8")]);
}

/// What a process says under /metrics.
fn metrics(address: &str) -> Exposition {
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let text = runtime.block_on(async {
        let page = client().get(format!("{address}/metrics")).send().await.expect("an answer");
        page.text().await.expect("text")
    });
    Exposition::read(&text)
}

fn sum(page: &Exposition, family: &str) -> f64 {
    page.families[family].samples.values().sum()
}

fn stop(service: Service) {
    let (code, took) = service.stop();
    assert_eq!(code, 0);
    assert!(took < SECONDS, "it took {took:?} to stop");
}

#[test]
fn up_is_found_by_other_commands_and_keeps_everything_over_a_restart() {
    let folder = Folder::with_project();
    let up = folder.service(&["up"]);
    let server = up.line("ready: ");
    produce(&folder, 300);
    let live = answer(&folder, &server, |answer| orders(answer) == 300);
    assert_eq!(live["answer"]["version"], Json::Null);
    assert_eq!(live["answer"]["complete"], true);

    let run = folder.done(&["batch", "run"]);
    assert!(run.contains("version 1 published"), "{run}");
    produce(&folder, 50);
    let merged = answer(&folder, &server, |answer| orders(answer) == 350 && answer["answer"]["version"] == 1);
    assert_eq!(merged["answer"]["complete"], true);
    stop(up);

    let mut up = folder.service(&["up"]);
    let server = up.line("ready: ");
    answer(&folder, &server, |answer| orders(answer) == 350 && answer["answer"]["version"] == 1);
    // As a power failure would end it: what was acknowledged is still there.
    produce(&folder, 7);
    up.kill();
    let up = folder.service(&["up"]);
    let server = up.line("ready: ");
    answer(&folder, &server, |answer| orders(answer) == 357);
    stop(up);
}

#[test]
fn answers_come_in_every_format_and_refusals_in_one_line() {
    let folder = Folder::with_project();
    let up = folder.service(&["up"]);
    let server = up.line("ready: ");
    produce(&folder, 100);
    answer(&folder, &server, |answer| orders(answer) == 100);
    let ask = |format: &str| {
        let arguments = [
            "query",
            "sales",
            "--grain",
            "all",
            "--where",
            "shop=s0,s1",
            "--server",
            &server,
            "--format",
            format,
        ];
        folder.command(&arguments).output().expect("the command runs").stdout
    };
    let table = String::from_utf8(ask("table")).expect("text");
    assert!(table.contains("customers ~") && table.contains("~ customers: estimated"), "{table}");
    assert!(table.contains("s0") && !table.contains("s2"), "{table}");
    assert!(String::from_utf8(ask("csv")).expect("text").starts_with("shop,"));
    assert!(ask("parquet").starts_with(b"PAR1"));
    assert!(!ask("arrow").is_empty());
    let page = |more: &[&str]| {
        let arguments =
            ["query", "sales", "--grain", "all", "--order-by", "shop", "--limit", "1", "--server", &server];
        let out = folder.done(&[&arguments[..], more].concat());
        let cursor =
            out.lines().find_map(|line| line.strip_prefix("there is more: --cursor ")).map(str::to_string);
        (out, cursor)
    };
    let has = |out: &str, shop: &str| out.lines().any(|line| line.trim_start().starts_with(shop));
    let (first, cursor) = page(&[]);
    let (second, _) = page(&["--cursor", &cursor.expect("there are more shops")]);
    assert!(has(&first, "s0") && has(&second, "s1") && !has(&second, "s0"), "{first}{second}");
    let refused = folder.run(&["query", "sals", "--server", &server]);
    assert_eq!(refused.code, 1);
    assert!(refused.err.contains("did you mean \"sales\"?"), "{}", refused.err);
    assert_eq!(refused.err.trim().lines().count(), 1, "{}", refused.err);
    stop(up);
    let nobody = folder.run(&["query", "sales", "--server", &server]);
    assert_eq!(nobody.code, 1);
    assert!(nobody.err.contains("no answer from"), "{}", nobody.err);
}

#[test]
fn a_missed_run_is_made_up_for_at_the_start() {
    let folder = Folder::with_project();
    produce(&folder, 40);
    let up = folder.service(&["up"]);
    let server = up.line("ready: ");
    answer(&folder, &server, |answer| orders(answer) == 40 && answer["answer"]["version"] == 1);
    stop(up);
}

#[test]
fn a_run_that_finds_the_lease_of_a_dead_one_is_made_up_for_when_that_ends() {
    let folder = Folder::with_project();
    produce(&folder, 40);
    let store = Store::open("data", &folder.path("")).expect("the project's store");
    let intent = Intent {
        stream: "orders".to_string(),
        version: Version(1),
        target: (0..4).map(|partition| (Partition(partition), Offset(0))).collect(),
        run_id: "dead".to_string(),
        holder: "nobody:17".to_string(),
        lease_until_ms: now_ms() + 8_000,
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    runtime.block_on(store.put_intent(&intent)).expect("the intent is written");
    let up = folder.service(&["up"]);
    let server = up.line("ready: ");
    answer(&folder, &server, |answer| orders(answer) == 40 && answer["answer"]["version"] == 1);
    stop(up);
}

#[test]
fn separate_processes_give_the_same_answers() {
    let folder = Folder::with_project();
    // An `up` of its own is the broker's home; the other processes find it there.
    let up = folder.service(&["up"]);
    let together = up.line("ready: ");
    produce(&folder, 200);
    folder.done(&["batch", "run"]);
    produce(&folder, 20);

    let mut command = folder.command(&["speed"]);
    command.env("WATERSHED__SPEED__GROUP", "apart");
    let speed = Service::start(command);
    let partials = speed.line("ready: ");
    let mut command = folder.command(&["serve"]);
    command.env("WATERSHED__SPEED__PEERS", &partials);
    let serve = Service::start(command);
    let apart = serve.line("ready: ");

    let both = |server: &str| {
        answer(&folder, server, |answer| orders(answer) == 220 && answer["answer"]["version"] == 1)
    };
    let (from_one, from_several) = (both(&together), both(&apart));
    // Each process tells of itself: the speed node of its partitions, the server that has none of its versions.
    let told = [&together, &partials, &apart].map(|address| metrics(address));
    let folded_up_to = told.each_ref().map(|page| sum(page, "watershed_speed_live_offset"));
    assert_eq!(folded_up_to, [220.0, 220.0, 0.0]);
    let versions = told.each_ref().map(|page| page.families.contains_key("watershed_version"));
    assert_eq!(versions, [true, false, true]);
    assert_eq!(told[2].value("watershed_version", &[("stream", "orders")]), Some(1.0));
    // How far another process has come is as it was when that was last asked.
    let has_caught_up = || (sum(&metrics(&apart), "watershed_lag_records") == 0.0).then_some(());
    eventually("the server has heard that nothing lags", has_caught_up);
    assert!(told.iter().all(|page| sum(page, "process_resident_memory_bytes") > 1e6));
    assert_eq!(from_one["data"], from_several["data"]);
    assert_eq!(from_one["answer"]["watershed"], from_several["answer"]["watershed"]);
    stop(serve);
    stop(speed);
    stop(up);
}

#[test]
fn a_broker_folder_that_is_in_use_is_told_with_its_owner() {
    let folder = Folder::with_project();
    let up = folder.service(&["up"]);
    up.line("ready: ");
    let second = folder.run(&["up"]);
    assert_eq!(second.code, 1);
    assert!(second.err.contains("in use by process"), "{}", second.err);
    stop(up);
}
