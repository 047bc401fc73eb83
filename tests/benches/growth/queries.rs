//! How long answers take, by the rows of a view and by the clients that ask at once.

use std::time::{Duration, Instant};

use serde_json::{Value as Json, json};
use support::platform::{Kafka, Platform, flush, send, unique};
use watershed_batch::Outcome;

use crate::table::{Curve, Table, percentile};
use crate::world::{FIRST_MS, schema};

/// Of every device there is a row for each of so many hours.
const HOURS: i64 = 100;
const HOUR_MS: i64 = 3_600_000;
/// A question is for so many of them.
const ASKED: i64 = 30;
const PARTITIONS: i64 = support::platform::PARTITIONS as i64;
const ROWS: [i64; 4] = [10_000, 100_000, 1_000_000, 10_000_000];
const CLIENTS: [usize; 5] = [1, 4, 16, 64, 256];
/// Whose rows the clients ask for.
const ROWS_OF_CLIENTS: i64 = 1_000_000;
const QUESTIONS: i64 = 2_000;
const ROUND: Duration = Duration::from_secs(3);

const VIEW: &str = "CREATE MATERIALIZED VIEW by_device AS
    SELECT device, tumble(at, INTERVAL '1 hour') AS hour, count(*) AS readings, avg(value) AS mean
    FROM readings GROUP BY device, hour";

/// Of a time in milliseconds, its middle and what one in a hundred exceeds.
#[derive(Default)]
struct Latency {
    p50: Vec<(f64, f64)>,
    p99: Vec<(f64, f64)>,
}

impl Latency {
    fn add(&mut self, x: f64, mut milliseconds: Vec<f64>) {
        self.p50.push((x, percentile(&mut milliseconds, 0.5)));
        self.p99.push((x, percentile(&mut milliseconds, 0.99)));
    }

    fn series(self, name: &str) -> [(String, Vec<(f64, f64)>); 2] {
        [(format!("{name}p99"), self.p99), (format!("{name}p50"), self.p50)]
    }
}

pub async fn measure(table: &mut Table) {
    let (mut same, mut others, mut clients) = (Latency::default(), Latency::default(), Latency::default());
    let mut answers = Vec::new();
    for rows in ROWS {
        let kafka = Kafka::start().await;
        let platform = published(&kafka, rows).await;
        let hot = |_| question(rows, 0);
        same.add(rows as f64, one_after_another(&platform, hot).await);
        others.add(rows as f64, one_after_another(&platform, |nth| question(rows, nth)).await);
        if rows == ROWS_OF_CLIENTS {
            for count in CLIENTS {
                let milliseconds = at_once(&platform, &question(rows, 0), count).await;
                answers.push((count as f64, milliseconds.len() as f64 / ROUND.as_secs_f64()));
                clients.add(count as f64, milliseconds);
            }
        }
        platform.stop().await;
        kafka.stop().await;
    }
    let milliseconds = "milliseconds".to_string();
    table.curve(Curve {
        name: "Time to an answer of 30 rows by rows of the view".to_string(),
        x: "rows of the view".to_string(),
        y: milliseconds.clone(),
        series: others.series("never asked, ").into_iter().chain(same.series("asked before, ")).collect(),
    });
    table.curve(Curve {
        name: "Time to an answer of 30 rows by clients at once".to_string(),
        x: "clients".to_string(),
        y: milliseconds,
        series: clients.series("").into(),
    });
    table.curve(Curve {
        name: "Answers per second by clients at once".to_string(),
        x: "clients".to_string(),
        y: "answers per second".to_string(),
        series: vec![("answers/s".to_string(), answers)],
    });
}

/// A platform that answers from a version of so many rows, each of one event.
async fn published(kafka: &Kafka, rows: i64) -> Platform {
    let topic = unique("readings");
    kafka.create_topic(&topic).await;
    let mut platform = Platform::start(kafka, &schema(&topic), VIEW).await;
    // What the version will hold need not be folded live before.
    platform.node.take().expect("it has a node").shutdown().await;
    let producer = kafka.producer();
    for sequence in 0..rows {
        send(&producer, &topic, (sequence % PARTITIONS) as i32, Some(&event(sequence, rows / HOURS)));
    }
    flush(&producer);
    let Outcome::Published(report) = platform.batch().await else { panic!("a first run publishes") };
    assert_eq!(report.manifest.views["by_device"].rows, rows as u64, "a row of every event");
    let platform = platform.restart(kafka).await;
    let all = json!({ "view": "by_device", "group_by": [], "grain": "all", "measures": ["readings"] });
    let answer = platform.until_current(&all).await;
    assert_eq!(answer["data"][0]["readings"], rows, "every event is in the answer once: {answer}");
    platform
}

/// Of every device one event in each hour, hour by hour.
fn event(sequence: i64, devices: i64) -> Vec<u8> {
    format!(
        r#"{{"at":{},"device":"{}","site":"site","part":"part","value":{}.5,"status":1}}"#,
        FIRST_MS + sequence / devices * HOUR_MS,
        device(sequence % devices),
        sequence % 900
    )
    .into_bytes()
}

fn device(number: i64) -> String {
    format!("device-{number:07}")
}

/// One device's rows of thirty hours; no two questions are alike, up to seventy for each device.
fn question(rows: i64, nth: i64) -> Json {
    let devices = rows / HOURS;
    let from = FIRST_MS + nth / devices % (HOURS - ASKED) * HOUR_MS;
    let time = |ms: i64| chrono::DateTime::from_timestamp_millis(ms).expect("a time").to_rfc3339();
    // Neighbours in number are not neighbours in the view.
    let device = device(nth * 7_919 % devices);
    json!({ "view": "by_device", "where": { "device": [device] }, "from": time(from), "to": time(from + ASKED * HOUR_MS) })
}

/// How long each of some questions took, in milliseconds.
async fn one_after_another(platform: &Platform, question: impl Fn(i64) -> Json) -> Vec<f64> {
    let mut milliseconds = Vec::new();
    for nth in 0..QUESTIONS {
        let question = question(nth);
        let asked = Instant::now();
        let (status, answer) = platform.ask(&question).await;
        milliseconds.push(asked.elapsed().as_secs_f64() * 1e3);
        check(status, &answer);
    }
    milliseconds
}

/// The same of clients that each ask a question again and again.
async fn at_once(platform: &Platform, question: &Json, clients: usize) -> Vec<f64> {
    let begun = Instant::now();
    let clients = (0..clients).map(|_| {
        let (client, url, question) =
            (platform.client.clone(), platform.url("/v1/query"), question.to_string());
        tokio::spawn(async move {
            let mut milliseconds = Vec::new();
            while begun.elapsed() < ROUND {
                let asked = Instant::now();
                let request =
                    client.post(&url).header("content-type", "application/json").body(question.clone());
                let reply = request.send().await.expect("an answer");
                let (status, body) = (reply.status().as_u16(), reply.bytes().await.expect("a body"));
                milliseconds.push(asked.elapsed().as_secs_f64() * 1e3);
                assert_eq!(status, 200);
                // To look into every answer would take much of the cores from those who make them.
                if milliseconds.len() % 64 == 1 {
                    check(status, &serde_json::from_slice(&body).expect("the body is JSON"));
                }
            }
            milliseconds
        })
    });
    let ended = futures::future::join_all(clients).await;
    ended.into_iter().flat_map(|client| client.expect("the client ends")).collect()
}

fn check(status: u16, answer: &Json) {
    let readings = answer["data"].as_array().into_iter().flatten().map(|row| row["readings"].as_i64());
    assert!(
        status == 200 && readings.flatten().sum::<i64>() == ASKED,
        "{ASKED} rows of one event each: {answer}"
    );
}
