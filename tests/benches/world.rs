//! What every benchmark starts from: a stream of readings on a broker of its own, and the platform over it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::{Value as Json, json};
use support::platform::{Kafka, PARTITIONS, Platform, flush, send, unique};
use tokio::task::JoinHandle;

pub const VIEW: &str = "CREATE MATERIALIZED VIEW by_site AS
    SELECT site, tumble(at, INTERVAL '1 hour') AS hour, count(*) AS readings, avg(value) AS mean,
           quantile_cont(value, 0.95) AS p95, count(DISTINCT device) AS devices, approx_top_k(part, 3) AS parts
    FROM readings GROUP BY site, hour";

/// The event time of record 0, in milliseconds since 1970-01-01.
pub const FIRST_MS: i64 = 1_767_225_600_000;
/// A machine on which anything here takes so long has no figures to give.
const PATIENCE: Duration = Duration::from_secs(60);

pub struct World {
    pub kafka: Kafka,
    pub topic: String,
    pub platform: Platform,
    step: Duration,
}

impl World {
    /// Readings 0 to `records`, each `step` of event time after the one before, all of them folded and in answers.
    pub async fn start(records: i64, step: Duration) -> World {
        let kafka = Kafka::start().await;
        let topic = unique("readings");
        kafka.create_topic(&topic).await;
        let platform = Platform::start(&kafka, &schema(&topic), VIEW).await;
        let world = World { kafka, topic, platform, step };
        world.fill(0, records);
        world.until_readings(records).await;
        world
    }

    /// The event time of a record, in milliseconds since 1970-01-01.
    pub fn at_ms(&self, sequence: i64) -> i64 {
        FIRST_MS + sequence * self.step.as_millis() as i64
    }

    /// A record of the log.
    pub fn payload(&self, sequence: i64) -> Vec<u8> {
        payload(sequence, self.at_ms(sequence))
    }

    /// Sends readings from `from` on, about a thousand a second, until `stop` is set; gives the number behind the last.
    pub fn keep_coming(&self, from: i64, stop: &Arc<AtomicBool>) -> JoinHandle<i64> {
        const AT_ONCE: i64 = 10;
        let (producer, topic, step, stop) =
            (self.kafka.producer(), self.topic.clone(), self.step, stop.clone());
        tokio::task::spawn_blocking(move || {
            let mut sequence = from;
            while !stop.load(Ordering::Acquire) {
                for sequence in sequence..sequence + AT_ONCE {
                    let partition = (sequence % i64::from(PARTITIONS)) as i32;
                    let at_ms = FIRST_MS + sequence * step.as_millis() as i64;
                    send(&producer, &topic, partition, Some(&payload(sequence, at_ms)));
                }
                sequence += AT_ONCE;
                flush(&producer);
                std::thread::sleep(Duration::from_millis(10));
            }
            sequence
        })
    }

    pub fn fill(&self, from: i64, until: i64) {
        let producer = self.kafka.producer();
        for sequence in from..until {
            let partition = (sequence % i64::from(PARTITIONS)) as i32;
            send(&producer, &self.topic, partition, Some(&self.payload(sequence)));
        }
        flush(&producer);
    }

    /// Waits until answers hold every record of the log, which must be so many.
    pub async fn until_readings(&self, records: i64) {
        let answer = self.platform.until_current(&how_many()).await;
        assert_eq!(readings(&answer), records, "every record is in the answer once");
    }

    /// Waits until answers stand on a version, so that no hand-over runs beside the next measurement.
    pub async fn until_version(&self, version: u64, records: i64) {
        let begun = Instant::now();
        loop {
            let (_, answer) = self.platform.ask(&how_many()).await;
            if answer["answer"]["version"] == json!(version) {
                assert_eq!(readings(&answer), records, "every record is in the answer once");
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "version {version} is never answered from: {answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// The limit: a consumer that decodes nothing, at the beginning of every partition.
    pub fn bare_consumer(&self) -> BaseConsumer {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.kafka.brokers)
            .set("group.id", unique("bare"))
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer");
        let mut assignment = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            assignment.add_partition_offset(&self.topic, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&assignment).expect("an assignment");
        consumer
    }

    pub async fn stop(self) {
        self.platform.stop().await;
        self.kafka.stop().await;
    }
}

/// A question for the number of all readings.
pub fn how_many() -> Json {
    json!({ "view": "by_site", "group_by": [], "grain": "all", "measures": ["readings"] })
}

/// What an answer says to it; no row is no readings.
pub fn readings(answer: &Json) -> i64 {
    answer["data"][0]["readings"].as_i64().unwrap_or_default()
}

pub fn schema(topic: &str) -> String {
    format!(
        "CREATE TABLE readings (
           at TIMESTAMP NOT NULL, device TEXT NOT NULL, site TEXT NOT NULL, part TEXT, value DOUBLE, status INTEGER
         ) WITH (topic = '{topic}', format = 'json', event_time = 'at', timestamp_format = 'epoch_millis')"
    )
}

/// An event of about 200 bytes; its number and time decide all of it.
pub fn payload(sequence: i64, at_ms: i64) -> Vec<u8> {
    let mixed = (sequence as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 16;
    format!(
        r#"{{"at":{},"device":"device-{:05}","site":"site-{:02}","part":"part-{:03}","value":{}.{:03},"status":{},"note":"{:0>80}"}}"#,
        at_ms,
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
