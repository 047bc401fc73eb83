//! From producing an event to its being in an answer, over a bare consumer's receipt of the same event.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::json;
use support::platform::{Kafka, PARTITIONS, Platform, send, unique};

use crate::speed::{VIEW, payload, schema};
use crate::table::{Table, percentile};

const EVENTS: i64 = 300;

pub async fn measure(table: &mut Table) {
    let kafka = Kafka::start().await;
    let topic = unique("readings");
    kafka.create_topic(&topic).await;
    let platform = Platform::start(&kafka, &schema(&topic), VIEW).await;
    let bare = bare_consumer(&kafka, &topic);
    let producer: rdkafka::producer::BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &kafka.brokers)
        .set("linger.ms", "0")
        .create()
        .expect("a producer");
    let question = json!({ "view": "by_site", "group_by": [], "grain": "all", "measures": ["readings"] });

    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for sequence in 0..EVENTS {
        let begun = Instant::now();
        send(&producer, &topic, (sequence % i64::from(PARTITIONS)) as i32, Some(&payload(sequence)));
        // One side a round, so that neither waits for the other.
        if sequence % 2 == 0 {
            loop {
                let (_, answer) = platform.ask(&question).await;
                if answer["data"][0]["readings"].as_i64() == Some(sequence + 1) {
                    break;
                }
            }
            ours.push(begun.elapsed().as_secs_f64() * 1e3);
            while bare.poll(Duration::from_secs(1)).is_none() {}
        } else {
            while bare.poll(Duration::from_secs(1)).is_none() {}
            theirs.push(begun.elapsed().as_secs_f64() * 1e3);
            platform.until_current(&question).await;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for (name, share) in [
        ("event to queryable over bare receipt, p50", 0.5),
        ("event to queryable over bare receipt, p99", 0.99),
    ] {
        let (ours, theirs) = (percentile(&mut ours, share), percentile(&mut theirs, share));
        table.add(name, format!("{ours:.2} ms"), format!("{theirs:.2} ms"), vec![ours / theirs]);
    }
    drop(bare);
    platform.stop().await;
    kafka.stop().await;
}

fn bare_consumer(kafka: &Kafka, topic: &str) -> BaseConsumer {
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", &kafka.brokers)
        .set("group.id", unique("bare"))
        .set("enable.auto.commit", "false")
        .create()
        .expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    for partition in 0..PARTITIONS {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
    }
    consumer.assign(&assignment).expect("an assignment");
    // The first poll begins to fetch; there is nothing yet.
    assert!(consumer.poll(Duration::from_millis(500)).is_none());
    consumer
}
