//! Requests per second of a hot question, and their p99, over actix returning a constant of the same size, asked by the same client.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::json;
use watershed_batch::Outcome;

use crate::table::{Table, median, percentile};
use crate::world::World;

const RECORDS: i64 = 200_000;
/// The last of them are live.
const LIVE: i64 = 2_000;
/// Event time between two records: all of them spread over some 14,000 cells, the live ones over six hours.
const STEP: Duration = Duration::from_secs(10);
/// How far back the question goes.
const ASKED_MS: i64 = 30 * 3_600_000;
const CLIENTS: usize = 8;
const ROUND: Duration = Duration::from_secs(2);

pub async fn measure(table: &mut Table, rounds: usize) {
    let world = World::start(RECORDS - LIVE, STEP).await;
    let Outcome::Published(report) = world.platform.batch().await else { panic!("a first run publishes") };
    world.until_version(report.manifest.version.0, RECORDS - LIVE).await;
    world.fill(RECORDS - LIVE, RECORDS);
    world.until_readings(RECORDS).await;

    let from = chrono::DateTime::from_timestamp_millis(world.at_ms(RECORDS) - ASKED_MS).expect("a time");
    let question = json!({ "view": "by_site", "where": { "site": ["site-07"] }, "from": from.to_rfc3339() });
    let (status, answer) = world.platform.ask(&question).await;
    assert!(status == 200 && answer["rows"].as_u64() >= Some(29), "a row for every hour: {answer}");
    let (ours_url, body) = (world.platform.url("/v1/query"), question.to_string());
    let constant = Constant::start(answer.to_string()).await;
    let bare_url = format!("http://{}/v1/query", constant.address);
    let mut quiet = Vec::new();
    for _ in 0..rounds {
        quiet.push((load(&ours_url, &body).await, load(&bare_url, &body).await));
        assert_eq!(
            world.platform.ask(&question).await.1["data"],
            answer["data"],
            "the answer stays the same"
        );
    }
    let (mut moving, mut sent) = (Vec::new(), RECORDS);
    for _ in 0..rounds {
        let stop = Arc::new(AtomicBool::new(false));
        let coming = world.keep_coming(sent, &stop);
        moving.push((load(&ours_url, &body).await, load(&bare_url, &body).await));
        stop.store(true, Ordering::Release);
        sent = coming.await.expect("the producer ends");
        world.until_readings(sent).await;
    }
    add(table, "hot query over actix returning a constant", &quiet);
    add(table, "the same while a thousand records a second arrive", &moving);
    constant.handle.stop(true).await;
    world.stop().await;
}

struct Constant {
    address: SocketAddr,
    handle: actix_web::dev::ServerHandle,
}

impl Constant {
    async fn start(body: String) -> Self {
        let body = bytes::Bytes::from(body);
        let server = HttpServer::new(move || {
            let body = body.clone();
            App::new().route(
                "/v1/query",
                web::post().to(move |_: web::Bytes| {
                    let body = body.clone();
                    async move { HttpResponse::Ok().content_type("application/json").body(body) }
                }),
            )
        })
        .workers(1)
        .bind("127.0.0.1:0")
        .expect("a free port");
        let address = server.addrs()[0];
        let server = server.run();
        let handle = server.handle();
        tokio::spawn(server);
        Constant { address, handle }
    }
}

/// What a few clients met with.
struct Load {
    requests_per_second: f64,
    p99_ms: f64,
}

fn add(table: &mut Table, name: &str, rounds: &[(Load, Load)]) {
    type Figure = fn(&Load) -> f64;
    let figures: [(&str, &str, Figure); 2] =
        [("requests", "requests/s", |load| load.requests_per_second), ("p99", "ms", |load| load.p99_ms)];
    for (what, unit, figure) in figures {
        let (ours, bare): (Vec<f64>, Vec<f64>) =
            rounds.iter().map(|(ours, bare)| (figure(ours), figure(bare))).unzip();
        let shown = |figures: &[f64]| match what {
            "p99" => format!("{:.2} {unit}", median(figures)),
            _ => format!("{:.0} {unit}", median(figures)),
        };
        let ratios = ours.iter().zip(&bare).map(|(ours, bare)| ours / bare).collect();
        table.add(&format!("{name}, {what}"), shown(&ours), shown(&bare), ratios);
    }
}

/// A few clients ask one after another.
async fn load(url: &str, body: &str) -> Load {
    let begun = Instant::now();
    let clients = (0..CLIENTS).map(|_| {
        let (url, body) = (url.to_string(), body.to_string());
        tokio::spawn(async move {
            let client = support::serving::client();
            let mut taken = Vec::new();
            while begun.elapsed() < ROUND {
                let asked = Instant::now();
                let request = client.post(&url).header("content-type", "application/json").body(body.clone());
                let reply = request.send().await.expect("an answer");
                assert_eq!(reply.status(), 200);
                reply.bytes().await.expect("a body");
                taken.push(asked.elapsed().as_secs_f64() * 1e3);
            }
            taken
        })
    });
    let taken = futures::future::join_all(clients).await;
    let mut taken: Vec<f64> = taken.into_iter().flat_map(|client| client.expect("the client ends")).collect();
    let requests_per_second = taken.len() as f64 / begun.elapsed().as_secs_f64();
    Load { requests_per_second, p99_ms: percentile(&mut taken, 0.99) }
}
