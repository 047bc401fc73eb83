//! Events over HTTP: what was accepted lies in the topic once, what was not is named.

mod failures;

use std::time::Duration;

use reqwest::Response;
use serde_json::{Value as Json, json};

use crate::support::platform::{Kafka, Platform, unique};

const VIEW: &str = "CREATE MATERIALIZED VIEW sales AS
    SELECT shop, tumble(at, INTERVAL '1 hour') AS hour, count(*) AS orders, sum(price) AS revenue
    FROM orders GROUP BY shop, hour";

fn schema(topic: &str) -> String {
    format!(
        "CREATE TABLE orders (at TIMESTAMP NOT NULL, shop TEXT NOT NULL, price DECIMAL(18,2))
         WITH (topic = '{topic}', format = 'json', event_time = 'at')"
    )
}

struct World {
    kafka: Kafka,
    platform: Platform,
    topic: String,
}

impl World {
    async fn start() -> World {
        let (kafka, topic) = (Kafka::start().await, unique("orders"));
        kafka.create_topic(&topic).await;
        let platform = Platform::start(&kafka, &schema(&topic), VIEW).await;
        World { kafka, platform, topic }
    }

    async fn post(&self, path: &str, body: impl Into<reqwest::Body>, key: Option<&str>) -> (u16, Json) {
        let mut request = self.platform.client.post(self.platform.url(path)).body(body);
        if let Some(key) = key {
            request = request.header("Idempotency-Key", key);
        }
        read(request.send().await.expect("the server answers")).await
    }

    /// Everything in the topic, as text, sorted.
    fn records(&self) -> Vec<String> {
        let records = self.kafka.read_all(&self.topic).into_values().flatten();
        let mut texts: Vec<String> = records.map(|bytes| String::from_utf8(bytes).expect("JSON")).collect();
        texts.sort();
        texts
    }

    async fn stop(self) {
        self.platform.stop().await;
        self.kafka.stop().await;
    }
}

async fn read(response: Response) -> (u16, Json) {
    let status = response.status().as_u16();
    (status, response.json().await.expect("the body is JSON"))
}

const EVENTS: &str = "/v1/streams/orders/events";

fn order(minute: u32, shop: &str, price: &str) -> String {
    format!(r#"{{"at":"2026-01-01T00:{minute:02}:00Z","shop":"{shop}","price":{price}}}"#)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_accepted_is_in_an_answer_and_what_is_not_is_named_by_its_line() {
    let world = World::start().await;
    let good = [order(1, "north", "1.10"), order(2, "north", "9007199254740993.25"), order(3, "south", "2")];
    let body = format!("{}\n\n{{\"at\": 3}}\n{}\nnot json\n{}\n", good[0], good[1], good[2]);
    let (status, receipt) = world.post(EVENTS, body, None).await;
    assert_eq!((status, &receipt["accepted"], &receipt["rejected_count"]), (202, &json!(3), &json!(2)));
    let rejected: Vec<(i64, &str)> = (receipt["rejected"].as_array().expect("a list").iter())
        .map(|line| (line["line"].as_i64().expect("a line"), line["kind"].as_str().expect("a kind")))
        .collect();
    assert_eq!(rejected, [(3, "wrong_type"), (5, "malformed")], "{receipt}");
    let mut expected = good.to_vec();
    expected.sort();
    assert_eq!(world.records(), expected, "payloads lie in the topic as they were sent, digit by digit");
    let question = json!({ "view": "sales", "grain": "all", "order_by": ["shop"] });
    let answer = world.platform.until_current(&question).await;
    assert_eq!(
        (&answer["data"][0]["orders"], &answer["data"][0]["revenue"], &answer["data"][1]["orders"]),
        (&json!(2), &json!("9007199254740994.35"), &json!(1))
    );
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_array_is_taken_element_by_element_and_a_broken_one_not_at_all() {
    let world = World::start().await;
    let (one, two) = (order(1, "north", "1"), order(2, "no]rth\\\"[", "2"));
    let (status, receipt) = world.post(EVENTS, format!("[ {one},\n{two},\n\n7 ,\"x\"]"), None).await;
    assert_eq!((status, &receipt["accepted"]), (202, &json!(2)), "{receipt}");
    let lines: Vec<&Json> =
        receipt["rejected"].as_array().expect("a list").iter().map(|r| &r["line"]).collect();
    assert_eq!(lines, [&json!(4), &json!(4)]);
    let (status, problem) = world.post(EVENTS, format!("[{one},\n {two}"), None).await;
    assert_eq!((status, &problem["position"]["line"]), (400, &json!(2)), "{problem}");
    let (status, receipt) = world.post(EVENTS, " [] ", None).await;
    assert_eq!((status, &receipt["accepted"]), (202, &json!(0)));
    let mut expected = vec![one, two];
    expected.sort();
    assert_eq!(world.records(), expected);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_request_sent_again_under_its_key_is_written_once() {
    let world = World::start().await;
    let body = format!("{}\n{}", order(1, "north", "1"), order(2, "south", "2"));
    // At once, and once more: each waits for the one before.
    let (first, second) = tokio::join!(
        world.post(EVENTS, body.clone(), Some("one")),
        world.post(EVENTS, body.clone(), Some("one"))
    );
    let third = world.post(EVENTS, body.clone(), Some("one")).await;
    for (status, receipt) in [first, second, third] {
        assert_eq!((status, receipt["accepted"].clone()), (202, json!(2)));
    }
    assert_eq!(world.records().len(), 2);
    let (status, problem) = world.post(EVENTS, order(3, "east", "3"), Some("one")).await;
    assert_eq!(status, 422, "{problem}");
    let (status, _) = world.post(EVENTS, body, Some("two")).await;
    assert_eq!((status, world.records().len()), (202, 4), "another key is another request");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_one_key_keep_their_order_in_one_partition() {
    let world = World::start().await;
    let body: Vec<String> =
        (0..60).map(|minute| order(minute, ["north", "south"][minute as usize % 2], "1")).collect();
    let (status, _) = world.post(&format!("{EVENTS}?key=shop"), body.join("\n"), None).await;
    assert_eq!(status, 202);
    for shop in ["north", "south"] {
        let records = world.kafka.read_all(&world.topic);
        let of_shop: Vec<(i32, String)> = (records.into_iter())
            .map(|((partition, _), payload)| {
                (partition, String::from_utf8(payload.expect("a payload")).expect("JSON"))
            })
            .filter(|(_, payload)| payload.contains(shop))
            .collect();
        assert!(
            of_shop.windows(2).all(|pair| pair[0].0 == pair[1].0 && pair[0].1 < pair[1].1),
            "{of_shop:?}"
        );
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_requests_are_problems_and_write_nothing() {
    let world = World::start().await;
    let one = order(1, "north", "1");
    for (path, expected, meant) in [
        ("/v1/streams/order/events", 404, Some("orders")),
        ("/v1/streams/orders/events?key=shopp", 400, Some("shop")),
        ("/v1/streams/orders/events?kye=shop", 400, Some("key")),
    ] {
        let (status, problem) = world.post(path, one.clone(), None).await;
        assert_eq!((status, problem["did_you_mean"].as_str()), (expected, meant), "{problem}");
    }
    let (status, problem) = world.post(EVENTS, one.clone(), Some(&"k".repeat(300))).await;
    assert_eq!(status, 400, "{problem}");
    let (status, problem) = world.post(EVENTS, vec![b' '; (16 << 20) + 1], None).await;
    assert_eq!(status, 413, "{problem}");
    let (status, receipt) =
        world.post(EVENTS, format!("{}\n{one}", order(1, &"x".repeat(1_000_000), "1")), None).await;
    assert_eq!(
        (status, &receipt["accepted"], &receipt["rejected"][0]["kind"]),
        (202, &json!(1), &json!("too_large"))
    );
    let get =
        world.platform.client.get(world.platform.url(EVENTS)).timeout(Duration::from_secs(5)).send().await;
    assert_eq!(get.expect("the server answers").status(), 405);
    assert_eq!(world.records(), [one]);
    world.stop().await;
}
