//! A small statement over DuckDB in this process on the same rows; and the processor time that DuckDB takes for the
//! numbers of a hot question over what the server takes, HTTP included.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::{Float64Type, Int64Type};
use serde_json::{Value as Json, json};
use watershed_duckdb::Engine;

use crate::apart::Apart;
use crate::cpu;
use crate::table::{Table, median, percentile};

/// Spread over some 41,000 cells of an hour and a site.
const RECORDS: i64 = 200_000;
const LIVE: i64 = 2_000;
const STEP: Duration = Duration::from_secs(30);
/// Statements of each side in a round.
const STATEMENTS: i64 = 200;
/// Different statements that are asked over and over.
const TEXTS: i64 = 24;
/// How far back the hot question goes.
const ASKED_MS: i64 = 30 * 3_600_000;
/// Time in which each side answers it as often as it can.
const ROUND: Duration = Duration::from_secs(2);
const CLIENTS: usize = 8;

pub async fn measure(table: &mut Table, rounds: usize) {
    let apart = Apart::start(RECORDS, LIVE, STEP).await;
    let duckdb = same_rows(&apart).await;
    for number in 0..TEXTS {
        check(&apart, &duckdb, &statement(&apart, number)).await;
    }
    let often = |number: i64| statement(&apart, number % TEXTS);
    compare(table, "small statement over DuckDB in process", rounds, &apart, &duckdb, often).await;
    let new = |number: i64| format!("{} -- {number}", often(number));
    compare(table, "the same, of a text never asked before", rounds, &apart, &duckdb, new).await;
    cpu(table, rounds, &apart, &duckdb).await;

    let stop = Arc::new(AtomicBool::new(false));
    let coming = apart.keep_coming(RECORDS, &stop);
    let name = "the same while a thousand records a second arrive";
    compare(table, name, rounds, &apart, &duckdb, often).await;
    stop.store(true, Ordering::Release);
    apart.until_readings(coming.await.expect("the producer ends")).await;
    let duckdb = same_rows(&apart).await;
    check(&apart, &duckdb, &statement(&apart, 0)).await;
    apart.stop();
}

/// A DuckDB of this process that holds the view's rows as they are now.
async fn same_rows(apart: &Apart) -> Engine {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("by_site.parquet");
    let request = apart.client.post(apart.address("/v1/sql?format=parquet"));
    let reply = request.json(&json!({ "sql": "SELECT * FROM by_site", "limit": 1_000_000 })).send().await;
    let reply = reply.expect("an answer");
    assert_eq!(reply.status(), 200);
    std::fs::write(&file, reply.bytes().await.expect("a body")).expect("a file");
    let duckdb = Engine::new().expect("DuckDB opens");
    let path = file.display();
    duckdb.execute(&format!("CREATE TABLE by_site AS SELECT * FROM '{path}'")).expect("a table");
    let rows = duckdb.query("SELECT count(*) FROM by_site").expect("a number");
    assert!(rows[0].column(0).as_primitive::<Int64Type>().value(0) > 40_000, "tens of thousands of cells");
    duckdb
}

/// One of a few statements that differ in how far back they go.
fn statement(apart: &Apart, number: i64) -> String {
    let from = apart.at_ms(RECORDS * (number + 1) / (TEXTS + 1));
    let from = chrono::DateTime::from_timestamp_millis(from).expect("a time").format("%Y-%m-%d %H:%M:%S");
    format!(
        "SELECT site, sum(readings)::BIGINT AS readings, max(mean) AS highest FROM by_site
         WHERE hour >= TIMESTAMP '{from}' AND site <> 'site-00' GROUP BY site ORDER BY site"
    )
}

async fn check(apart: &Apart, duckdb: &Engine, sql: &str) {
    let ours = apart.post("/v1/sql", &json!({ "sql": sql })).await;
    let theirs: Vec<Json> = duckdb.query(sql).expect("an answer").iter().flat_map(rows).collect();
    assert_eq!(theirs.len(), 24);
    let ours = ours["data"].as_array().expect("rows");
    assert_eq!(ours.len(), theirs.len(), "{sql}");
    for (ours, theirs) in ours.iter().zip(&theirs) {
        assert_eq!((&ours["site"], &ours["readings"]), (&theirs["site"], &theirs["readings"]), "{sql}");
        assert!(same(ours["highest"].as_f64(), theirs["highest"].as_f64()), "{sql}: {ours} and {theirs}");
    }
}

/// The same number, but for what reading its decimal form may lose.
fn same(one: Option<f64>, other: Option<f64>) -> bool {
    one.zip(other).is_some_and(|(one, other)| (one - other).abs() <= 1e-15 * one.abs().max(other.abs()))
}

fn rows(batch: &RecordBatch) -> Vec<Json> {
    let (sites, readings) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
    let highest = batch.column(2).as_primitive::<Float64Type>();
    let row = |row: usize| json!({ "site": sites.value(row), "readings": readings.value(row), "highest": highest.value(row) });
    (0..batch.num_rows()).map(row).collect()
}

/// Asks both sides the same statements, one after another; `text` is the statement of a number that counts up.
async fn compare(
    table: &mut Table,
    name: &str,
    rounds: usize,
    apart: &Apart,
    duckdb: &Engine,
    text: impl Fn(i64) -> String,
) {
    let url = apart.address("/v1/sql");
    let shares = [("p50", 0.5), ("p99", 0.99)];
    let mut figures = shares.map(|_| (Vec::new(), Vec::new()));
    for round in 0..rounds as i64 {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for number in (0..STATEMENTS).map(|number| round * STATEMENTS + number) {
            let question = json!({ "sql": text(number) }).to_string();
            let begun = Instant::now();
            let request = apart.client.post(&url).header("content-type", "application/json").body(question);
            let reply = request.send().await.expect("an answer");
            let status = reply.status();
            let body = reply.bytes().await.expect("a body");
            ours.push(millis(begun));
            assert_eq!(status, 200, "{body:?}");
        }
        for number in (0..STATEMENTS).map(|number| round * STATEMENTS + number) {
            let sql = text(number);
            let begun = Instant::now();
            let batches = duckdb.query(&sql).expect("an answer");
            theirs.push(millis(begun));
            assert_eq!(batches.iter().map(RecordBatch::num_rows).sum::<usize>(), 24);
        }
        for ((_, share), (our_rounds, their_rounds)) in shares.iter().zip(&mut figures) {
            our_rounds.push(percentile(&mut ours, *share));
            their_rounds.push(percentile(&mut theirs, *share));
        }
    }
    for ((share, _), (ours, theirs)) in shares.iter().zip(&figures) {
        let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let shown = |rounds: &[f64]| format!("{:.2} ms", median(rounds));
        table.add(&format!("{name}, {share}"), shown(ours), shown(theirs), ratios);
    }
}

/// The processor time of a hot question: DuckDB's over ours.
async fn cpu(table: &mut Table, rounds: usize, apart: &Apart, duckdb: &Engine) {
    let from = chrono::DateTime::from_timestamp_millis(apart.at_ms(RECORDS) - ASKED_MS).expect("a time");
    let question = json!({ "view": "by_site", "where": { "site": ["site-07"] }, "from": from.to_rfc3339() });
    let answer = apart.post("/v1/query", &question).await;
    assert!(answer["rows"].as_u64() >= Some(29), "a row for every hour: {answer}");
    let sql = format!(
        "SELECT site, readings, mean, p95, devices, parts, hour FROM by_site
         WHERE site = 'site-07' AND hour >= TIMESTAMP '{}' ORDER BY hour",
        from.format("%Y-%m-%d %H:%M:%S")
    );
    same_numbers(&answer, &duckdb.query(&sql).expect("an answer"));
    let (mut theirs, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let (begun, before, mut answered) = (Instant::now(), cpu::own_seconds(), 0_u32);
        while begun.elapsed() < ROUND {
            duckdb.query(&sql).expect("an answer");
            answered += 1;
        }
        theirs.push((cpu::own_seconds() - before) / f64::from(answered));
        let before = apart.cpu_seconds();
        let answered = load(apart, &question).await;
        ours.push((apart.cpu_seconds() - before) / f64::from(answered));
        assert_eq!(apart.post("/v1/query", &question).await["data"], answer["data"], "it stays the same");
    }
    let ratios = theirs.iter().zip(&ours).map(|(theirs, ours)| theirs / ours).collect();
    let shown = |seconds: &[f64]| format!("{:.0} µs", median(seconds) * 1e6);
    table.add("processor time of a hot question: DuckDB over ours", shown(&theirs), shown(&ours), ratios);
}

/// Questions answered to a few clients that ask one after another.
async fn load(apart: &Apart, question: &Json) -> u32 {
    let begun = Instant::now();
    let clients = (0..CLIENTS).map(|_| {
        let (url, body) = (apart.address("/v1/query"), question.to_string());
        tokio::spawn(async move {
            let (client, mut answered) = (support::serving::client(), 0);
            while begun.elapsed() < ROUND {
                let request = client.post(&url).header("content-type", "application/json").body(body.clone());
                let reply = request.send().await.expect("an answer");
                assert_eq!(reply.status(), 200);
                reply.bytes().await.expect("a body");
                answered += 1;
            }
            answered
        })
    });
    let answered = futures::future::join_all(clients).await;
    answered.into_iter().map(|client| client.expect("the client ends")).sum()
}

fn same_numbers(answer: &Json, batches: &[RecordBatch]) {
    let ours = answer["data"].as_array().expect("rows").iter().map(|row| {
        let numbers = ["readings", "mean", "p95", "devices"].map(|name| row[name].as_f64());
        (numbers, row["parts"].as_array().map(Vec::len))
    });
    let theirs = batches.iter().flat_map(|batch| {
        let whole = |column: usize, row: usize| batch.column(column).as_primitive::<Int64Type>().value(row);
        let double =
            |column: usize, row: usize| batch.column(column).as_primitive::<Float64Type>().value(row);
        let row = |row: usize| {
            let (readings, devices) = (whole(1, row) as f64, whole(4, row) as f64);
            let numbers = [readings, double(2, row), double(3, row), devices].map(Some);
            (numbers, Some(batch.column(5).as_list::<i32>().value(row).len()))
        };
        (0..batch.num_rows()).map(row).collect::<Vec<_>>()
    });
    let (ours, theirs): (Vec<_>, Vec<_>) = (ours.collect(), theirs.collect());
    assert_eq!(ours.len(), theirs.len());
    for (ours, theirs) in ours.iter().zip(&theirs) {
        let numbers = ours.0.iter().zip(&theirs.0).all(|(ours, theirs)| same(*ours, *theirs));
        assert!(numbers && ours.1 == theirs.1, "{ours:?} and {theirs:?}");
    }
}

fn millis(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}
