//! Records per second of the speed layer over a bare consumer that drains the same topic and decodes nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use support::platform::{Kafka, PARTITIONS, Platform, flush, send, start_node, unique};
use watershed_schemas::live::LiveSource;

use crate::table::{Table, median};

const RECORDS: i64 = 400_000;
const ROUNDS: usize = 5;

pub fn schema(topic: &str) -> String {
    format!(
        "CREATE TABLE readings (
           at TIMESTAMP NOT NULL, device TEXT NOT NULL, site TEXT NOT NULL, part TEXT, value DOUBLE, status INTEGER
         ) WITH (topic = '{topic}', format = 'json', event_time = 'at', timestamp_format = 'epoch_millis')"
    )
}

pub const VIEW: &str = "CREATE MATERIALIZED VIEW by_site AS
    SELECT site, tumble(at, INTERVAL '1 hour') AS hour, count(*) AS readings, avg(value) AS mean,
           quantile_cont(value, 0.95) AS p95, count(DISTINCT device) AS devices, approx_top_k(part, 3) AS parts
    FROM readings GROUP BY site, hour";

/// An event of about 200 bytes; `sequence` decides all of it.
pub fn payload(sequence: i64) -> Vec<u8> {
    let mixed = (sequence as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16;
    format!(
        r#"{{"at":{},"device":"device-{:05}","site":"site-{:02}","part":"part-{:03}","value":{}.{:03},"status":{},"note":"{:0>80}"}}"#,
        1_767_225_600_000 + sequence * 10,
        mixed % 20_000,
        (mixed >> 8) % 25,
        (mixed >> 12) % 50,
        (mixed >> 16) % 900,
        (mixed >> 20) % 1_000,
        (mixed >> 24) % 5,
        sequence,
    )
    .into_bytes()
}

pub fn fill(kafka: &Kafka, topic: &str, from: i64, until: i64) {
    let producer = kafka.producer();
    for sequence in from..until {
        send(&producer, topic, (sequence % i64::from(PARTITIONS)) as i32, Some(&payload(sequence)));
    }
    flush(&producer);
}

pub async fn measure(table: &mut Table) {
    let kafka = Kafka::start().await;
    let topic = unique("readings");
    kafka.create_topic(&topic).await;
    fill(&kafka, &topic, 0, RECORDS);
    let platform = Platform::start(&kafka, &schema(&topic), VIEW).await;

    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        ours.push(fold(&platform).await);
        let (brokers, topic) = (kafka.brokers.clone(), topic.clone());
        bare.push(
            tokio::task::spawn_blocking(move || drain(&brokers, &topic)).await.expect("the consumer ends"),
        );
    }
    let ratios = ours.iter().zip(&bare).map(|(ours, bare)| ours / bare).collect();
    let shown = |rates: &[f64]| format!("{:.0} records/s", median(rates));
    table.add("speed layer over bare consumer", shown(&ours), shown(&bare), ratios);
    platform.stop().await;
    kafka.stop().await;
}

/// Records per second of a fresh node, from its first record to its last.
async fn fold(platform: &Platform) -> f64 {
    let node = start_node(&platform.project, &platform.store_beside(&unique("store")), &platform.log);
    let folded = async || {
        let status = node.status("readings").await.expect("a status");
        status.iter().map(|status| status.records as i64).sum::<i64>()
    };
    let (begun, first) = loop {
        let records = folded().await;
        if records > 0 {
            break (Instant::now(), records);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    while folded().await < RECORDS {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let rate = (RECORDS - first) as f64 / begun.elapsed().as_secs_f64();
    assert_eq!(folded().await, RECORDS, "every record is folded once");
    Arc::try_unwrap(node).ok().expect("nobody else holds the node").shutdown().await;
    rate
}

fn drain(brokers: &str, topic: &str) -> f64 {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", unique("bare"))
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&assignment).expect("an assignment");
    let mut drained = 0;
    let mut begun = Instant::now();
    while drained < RECORDS {
        if let Some(message) = consumer.poll(Duration::from_secs(1)) {
            message.expect("a record");
            if drained == 0 {
                begun = Instant::now();
            }
            drained += 1;
        }
    }
    drained as f64 / begun.elapsed().as_secs_f64()
}
