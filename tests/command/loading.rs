//! produce: NDJSON, CSV, Parquet; what is left out and what is sent as it is.

use std::io::Write;
use std::process::Stdio;
use std::time::{Duration, Instant};

use crate::support::command::{Folder, ended, root};

/// The number in the line of `batch run` that begins so.
fn told(out: &str, what: &str) -> u64 {
    let line = out
        .lines()
        .find_map(|line| line.trim().strip_prefix(what))
        .unwrap_or_else(|| panic!("{what}: {out}"));
    line.split_whitespace().next().expect("a number").parse().expect("a number")
}

#[test]
fn every_format_brings_the_same_events() {
    let folder = Folder::with_project();
    folder.write(
        "a.ndjson",
        "{\"at\": \"2026-03-01T10:00:00Z\", \"shop\": \"north\", \"units\": 3, \"price\": \"12.50\"}\n\n",
    );
    folder.write("b.csv", "at,shop,customer,units,price\n2026-03-01T10:00:00Z,north,,3,12.50\n2026-03-01T10:30:00Z,north,\"c, 1\",4,0.10\n");
    let path = |name: &str| folder.path(name).to_str().expect("a path in UTF-8").to_string();
    let out = folder.done(&["produce", "orders", &path("a.ndjson"), &path("b.csv"), "--key", "shop"]);
    assert!(out.contains("1 records sent") && out.contains("2 records sent"), "{out}");
    let run = folder.done(&["batch", "run"]);
    assert_eq!(told(&run, "rows landed"), 3);
    assert_eq!(told(&run, "dead letters"), 0);
    assert_eq!(told(&run, "windows recomputed"), 1);
    folder.done(&["verify"]);
}

#[test]
fn the_sample_loads_from_parquet_with_its_own_times() {
    let folder = Folder::new();
    folder.write(
        "schemas/flights.sql",
        &std::fs::read_to_string(root().join("schemas/flights.sql")).expect("the sample"),
    );
    folder.write(
        "jobs/a.sql",
        &std::fs::read_to_string(root().join("jobs/flight_delays.sql")).expect("the sample"),
    );
    let sample = root().join("jobs/sample/flights-2013-01.parquet");
    let sample = sample.to_str().expect("a path in UTF-8");
    folder.done(&["produce", "flights", sample, "--key", "tailnum", "--timestamp", "known_at"]);
    let run = folder.done(&["batch", "run", "--stream", "flights"]);
    assert_eq!(told(&run, "rows landed"), 27_004);
    folder.done(&["verify", "flight_delays"]);
}

#[test]
fn a_line_that_is_not_json_is_told_with_its_place_and_left_out() {
    let folder = Folder::with_project();
    folder.write(
        "mixed.ndjson",
        "{\"at\": \"2026-03-01T10:00:00Z\", \"shop\": \"a\"}\n{\"at\": \n{\"no\": \"order\"}\n",
    );
    let file = folder.path("mixed.ndjson");
    let ended = folder.run(&["produce", "orders", file.to_str().expect("a path in UTF-8")]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("mixed.ndjson:2:"), "{}", ended.err);
    assert!(ended.out.contains("2 records sent, 1 lines refused"), "{}", ended.out);
    // What is JSON is sent as it is: the layers say what is wrong with it.
    let run = folder.done(&["batch", "run"]);
    assert_eq!(told(&run, "rows landed"), 1);
    assert_eq!(told(&run, "dead letters"), 1);
}

#[test]
fn a_csv_value_that_does_not_fit_is_told_with_its_place() {
    let folder = Folder::with_project();
    folder.write(
        "bad.csv",
        "at,shop,units\n2026-03-01T10:00:00Z,a,1\n2026-03-01T10:00:00Z,a,many\n2026-03-01T10:00:00Z,a\n",
    );
    let file = folder.path("bad.csv");
    let ended = folder.run(&["produce", "orders", file.to_str().expect("a path in UTF-8")]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("bad.csv:3: column units: found \"many\""), "{}", ended.err);
    assert!(ended.err.contains("bad.csv:4: found 2 values, expected 3"), "{}", ended.err);
}

#[test]
fn standard_input_is_read_and_a_rate_is_kept() {
    let folder = Folder::with_project();
    let mut command = folder.command(&["produce", "orders", "-", "--rate", "20/s"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs");
    let started = Instant::now();
    let mut input = child.stdin.take().expect("its input is ours");
    for second in 0..21 {
        writeln!(input, "{{\"at\": \"2026-03-01T10:00:{second:02}Z\", \"shop\": \"a\"}}").expect("it reads");
    }
    drop(input);
    let ended = ended(child.wait_with_output().expect("it ends"));
    assert_eq!(ended.code, 0, "{ended:?}");
    assert!(ended.out.contains("21 records sent"), "{}", ended.out);
    assert!(started.elapsed() >= Duration::from_secs(1), "{:?}", started.elapsed());
}

#[test]
fn an_unknown_stream_or_file_is_told_before_anything_is_sent() {
    let folder = Folder::with_project();
    folder.write_orders("a.ndjson", 3);
    let file = folder.path("a.ndjson");
    let file = file.to_str().expect("a path in UTF-8");
    let ended = folder.run(&["produce", "oders", file]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("did you mean orders?"), "{}", ended.err);
    let ended = folder.run(&["produce", "orders", file, "nowhere.csv"]);
    assert_eq!(ended.code, 1);
    assert!(ended.err.contains("nowhere.csv"), "{}", ended.err);
    assert!(!folder.path("data").exists(), "nothing was started");
}
