//! Requests per second of a hot question over actix returning a constant of the same size, asked by the same client.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use actix_web::{App, HttpResponse, HttpServer, web};
use serde_json::json;
use support::platform::{Kafka, Platform, unique};
use watershed_batch::Outcome;

use crate::speed::{VIEW, fill, schema};
use crate::table::{Table, median};

const RECORDS: i64 = 200_000;
const LIVE: i64 = 2_000;
const ROUNDS: usize = 7;
const CLIENTS: usize = 8;
const ROUND: Duration = Duration::from_secs(2);

pub async fn measure(table: &mut Table) {
    let kafka = Kafka::start().await;
    let topic = unique("readings");
    kafka.create_topic(&topic).await;
    fill(&kafka, &topic, 0, RECORDS);
    let platform = Platform::start(&kafka, &schema(&topic), VIEW).await;
    assert!(matches!(platform.batch().await, Outcome::Published(_)));
    fill(&kafka, &topic, RECORDS, RECORDS + LIVE);
    let question = json!({ "view": "by_site", "where": { "site": ["site-07"] } });
    let whole = json!({ "view": "by_site", "group_by": [], "grain": "all", "measures": ["readings"] });
    let answer = platform.until_current(&whole).await;
    assert_eq!(answer["data"][0]["readings"], json!(RECORDS + LIVE), "batch and live add up");

    let body = question.to_string();
    let (_, answer) = platform.ask(&question).await;
    let constant = Constant::start(answer.to_string()).await;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(load(&platform.url("/v1/query"), &body).await);
        bare.push(load(&format!("http://{}/v1/query", constant.address), &body).await);
    }
    let ratios = ours.iter().zip(&bare).map(|(ours, bare)| ours / bare).collect();
    let shown = |rates: &[f64]| format!("{:.0} requests/s", median(rates));
    table.add("hot query over actix returning a constant", shown(&ours), shown(&bare), ratios);
    constant.handle.stop(true).await;
    platform.stop().await;
    kafka.stop().await;
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

/// Requests per second of a few clients that ask one after another.
async fn load(url: &str, body: &str) -> f64 {
    let begun = Instant::now();
    let clients = (0..CLIENTS).map(|_| {
        let (url, body) = (url.to_string(), body.to_string());
        tokio::spawn(async move {
            let client = support::serving::client();
            let mut answered = 0_u64;
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
    let total: u64 = answered.into_iter().map(|client| client.expect("the client ends")).sum();
    total as f64 / begun.elapsed().as_secs_f64()
}
