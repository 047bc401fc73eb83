//! Going back on a real log: the embedded broker, or the Apache Kafka that `WATERSHED_TEST_KAFKA` names.

use std::collections::BTreeMap;

use rdkafka::admin::{AdminClient, AdminOptions};
use rdkafka::client::DefaultClientContext;
use rdkafka::{ClientConfig, Offset, TopicPartitionList};
use serde_json::{Value as Json, json};
use support::platform::{Kafka, PARTITIONS, Platform, flush, send, unique};
use watershed_batch::Outcome;
use watershed_schemas::manifest::Version;
use watershed_schemas::offsets::Offsets;

fn schema(topic: &str) -> String {
    format!(
        "CREATE TABLE orders (at TIMESTAMP NOT NULL, shop TEXT NOT NULL, units BIGINT)
         WITH (topic = '{topic}', format = 'json', event_time = 'at')"
    )
}

const VIEW: &str = "CREATE MATERIALIZED VIEW sales AS
    SELECT shop, tumble(at, INTERVAL '1 hour') AS hour, count(*) AS orders, sum(units) AS units
    FROM orders GROUP BY shop, hour";

/// By shop: orders and units of those that an answer names.
fn oracle(produced: &BTreeMap<(i32, i64), (String, i64)>, answer: &Json) -> BTreeMap<String, (i64, i64)> {
    let live = |partition: i32| answer["answer"]["live"][partition.to_string()].as_i64().unwrap_or_default();
    let mut totals: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    for ((partition, offset), (shop, units)) in produced {
        if *offset < live(*partition) {
            let total = totals.entry(shop.clone()).or_default();
            *total = (total.0 + 1, total.1 + units);
        }
    }
    totals
}

fn totals(answer: &Json) -> BTreeMap<String, (i64, i64)> {
    let rows = answer["data"].as_array().expect("data is a list").iter();
    let number = |row: &Json, name: &str| row[name].as_i64().expect("a number");
    let total = |row: &Json| {
        (row["shop"].as_str().expect("text").to_string(), (number(row, "orders"), number(row, "units")))
    };
    rows.map(total).collect()
}

/// Has the broker delete every record below these offsets, as its retention would.
async fn delete_records(kafka: &Kafka, topic: &str, below: &Offsets) {
    let admin: AdminClient<DefaultClientContext> =
        ClientConfig::new().set("bootstrap.servers", &kafka.brokers).create().expect("an admin client");
    let mut offsets = TopicPartitionList::new();
    for (partition, offset) in below.iter() {
        offsets.add_partition_offset(topic, partition.0, Offset::Offset(offset.0)).expect("an offset");
    }
    let deleted = admin.delete_records(&offsets, &AdminOptions::new()).await.expect("the broker answers");
    for partition in deleted.elements() {
        partition.error().expect("the records go");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_whole_platform_goes_back_beyond_what_the_broker_still_holds() {
    let kafka = Kafka::start().await;
    let topic = unique("orders");
    kafka.create_topic(&topic).await;
    let mut platform = Platform::start(&kafka, &schema(&topic), VIEW).await;
    let producer = kafka.producer();
    let mut numbers = 0..;
    let mut produce = |orders: usize| {
        for number in numbers.by_ref().take(orders) {
            let shop = ["north", "south", "east"][number % 3];
            let event = json!({ "at": format!("2026-01-01T{:02}:00:00Z", number % 24), "shop": shop, "units": number });
            send(&producer, &topic, number as i32 % PARTITIONS, Some(event.to_string().as_bytes()));
        }
        flush(&producer);
    };
    // What the broker holds is remembered before it goes.
    let mut produced = BTreeMap::new();
    let remember = |produced: &mut BTreeMap<(i32, i64), (String, i64)>, kafka: &Kafka, topic: &str| {
        for (position, payload) in kafka.read_all(topic) {
            let event: Json = serde_json::from_slice(&payload.expect("a payload")).expect("an event");
            let shop = event["shop"].as_str().expect("text").to_string();
            produced.insert(position, (shop, event["units"].as_i64().expect("a number")));
        }
    };
    produce(2_000);
    assert!(matches!(platform.batch().await, Outcome::Published(_)));
    produce(2_000);
    let Outcome::Published(second) = platform.batch().await else { panic!("there is news") };
    produce(500);
    remember(&mut produced, &kafka, &topic);
    delete_records(&kafka, &topic, &second.manifest.watershed).await;

    let question = json!({ "view": "sales", "group_by": ["shop"], "grain": "all" });
    let in_service = async |platform: &Platform, version: u64| loop {
        let answer = platform.until_current(&question).await;
        assert_eq!(totals(&answer), oracle(&produced, &answer), "{}", answer["answer"]);
        if answer["answer"]["version"] == json!(version) && answer["answer"]["complete"] == json!(true) {
            break answer;
        }
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    };
    let before = in_service(&platform, 2).await;
    let outcome = watershed_batch::rollback(&platform.job(), Version(1)).await.expect("no failure");
    assert!(matches!(outcome, Outcome::Published(_)), "{outcome:?}");
    let after = in_service(&platform, 3).await;
    assert_eq!(totals(&before), totals(&after));
    platform = platform.restart(&kafka).await;
    let restarted = in_service(&platform, 3).await;
    assert_eq!(totals(&before), totals(&restarted));
    let Outcome::Published(fourth) = platform.batch().await else { panic!("there is news") };
    assert_eq!((fourth.manifest.rows_landed, fourth.rows_taken_over), (500, 2_000));
    let onward = in_service(&platform, 4).await;
    assert_eq!(totals(&before), totals(&onward));
    platform.stop().await;
    kafka.stop().await;
}
