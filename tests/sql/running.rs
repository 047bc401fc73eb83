//! `watershed sql` against a running project, and one coverage for several views under load.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};

use crate::support::command::Folder;
use crate::support::serving::client;

const DAILY: &str = "CREATE MATERIALIZED VIEW daily WITH (schedule = '0 0 1 1 *') AS
SELECT tumble(at, INTERVAL '1 day') AS day, count(*) AS orders, sum(units) AS units FROM orders GROUP BY day;
";

fn order(number: usize) -> String {
    let (day, hour, shop) = (1 + number % 3, number % 24, number % 4);
    json!({ "at": format!("2026-03-0{day}T{hour:02}:15:00Z"), "shop": format!("s{shop}"), "units": 1 })
        .to_string()
}

/// Invariant `COVER`: however many views a statement names, they are folds of the same records.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn views_of_one_statement_hold_the_same_records_while_more_arrive() {
    let folder = Folder::with_project();
    folder.write("jobs/daily.sql", DAILY);
    let service = tokio::task::block_in_place(|| folder.service(&["up"]));
    let url = tokio::task::block_in_place(|| service.line("ready:"));
    let done = Arc::new(AtomicBool::new(false));
    let load = {
        let (done, url) = (done.clone(), url.clone());
        tokio::spawn(async move {
            let mut sent = 0;
            while !done.load(Ordering::Relaxed) {
                let lines: String = (sent..sent + 40).map(|number| order(number) + "\n").collect();
                let posted =
                    client().post(format!("{url}/v1/streams/orders/events")).body(lines).send().await;
                assert_eq!(posted.expect("the server answers").status(), 202);
                sent += 40;
            }
        })
    };
    let statement = "SELECT (SELECT sum(orders) FROM sales) AS a, (SELECT sum(orders) FROM daily) AS b, (SELECT sum(units) FROM daily) AS c";
    let (mut moved, mut before) = (0, Json::Null);
    let until = Instant::now() + Duration::from_secs(6);
    let mut answers = 0;
    while Instant::now() < until {
        let response = client().post(format!("{url}/v1/sql")).json(&json!({ "sql": statement })).send().await;
        let response = response.expect("the server answers");
        let status = response.status();
        let answer: Json = response.json().await.expect("JSON");
        assert_eq!(status, 200, "{answer}");
        let row = &answer["data"][0];
        let live = answer["answer"]["live"].as_object().expect("offsets");
        let records: u64 = live.values().filter_map(Json::as_u64).sum();
        let sum = row["a"].as_u64().unwrap_or_default();
        assert_eq!((&row["a"], &row["a"]), (&row["b"], &row["c"]), "{answer}");
        assert_eq!(sum, records, "{answer}");
        moved += usize::from(row["a"] != before);
        before = row["a"].clone();
        answers += 1;
    }
    done.store(true, Ordering::Relaxed);
    load.await.expect("every event is taken");
    assert!(answers >= 20 && moved >= 10, "{answers} answers, {moved} of them new");

    let run = |arguments: &[&str]| {
        let mut all = vec!["sql", "--server", url.as_str()];
        all.extend(arguments);
        tokio::task::block_in_place(|| folder.run(&all))
    };
    let shown = run(&["SELECT shop, sum(orders) AS orders FROM sales GROUP BY shop ORDER BY shop"]);
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(
        shown.out.contains("s3") && shown.out.contains("4 rows · no version yet, watershed"),
        "{}",
        shown.out
    );
    let shown = run(&["SELECT typical FROM sales", "--limit", "1"]);
    assert!(
        shown.out.contains("typical ~") && shown.out.contains("there are more rows: --limit"),
        "{}",
        shown.out
    );
    let shown = run(&[
        "SELECT count(*) AS n FROM sales WHERE shop = $shop",
        "--parameter",
        "shop=s1",
        "--format",
        "csv",
    ]);
    assert!(shown.out.starts_with("n\n"), "{}", shown.out);
    let shown = run(&["SELECT shop,\n  ordrs FROM sales"]);
    assert_eq!(shown.code, 1);
    assert!(
        shown.err.contains("did you mean \"orders\"") && shown.err.contains("\n    ordrs FROM sales\n    ^"),
        "{}",
        shown.err
    );
    let (code, _) = tokio::task::block_in_place(|| service.stop());
    assert_eq!(code, 0);
}
