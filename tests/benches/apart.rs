//! The platform in a process of its own, so that what it takes can be told from what its clients take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rdkafka::producer::BaseProducer;
use reqwest::Client;
use serde_json::{Value as Json, json};
use support::command::{Folder, Service};
use support::platform::{Kafka, PARTITIONS, flush, send};
use tokio::task::JoinHandle;

use crate::cpu;
use crate::world::{self, FIRST_MS, VIEW, how_many, readings};

const TOPIC: &str = "readings";
const PATIENCE: Duration = Duration::from_secs(120);

/// `watershed up` over readings, of which some are in a version and the rest is live.
pub struct Apart {
    folder: Folder,
    service: Service,
    kafka: Kafka,
    url: String,
    pub client: Client,
    step: Duration,
}

impl Apart {
    /// Readings 0 to `records`, each `step` of event time after the one before; the last `live` of them are in no version.
    pub async fn start(records: i64, live: i64, step: Duration) -> Apart {
        let folder = Folder::new();
        folder.write("schemas/readings.sql", &world::schema(TOPIC));
        // Nothing runs beside what is measured.
        let view = VIEW.replacen("by_site AS", "by_site WITH (schedule = '0 0 1 1 *') AS", 1);
        folder.write("jobs/by_site.sql", &view);
        let service = folder.service(&["up"]);
        let kafka = Kafka::at(&service.line("broker:"));
        let url = service.line("ready:");
        let apart = Apart { folder, service, kafka, url, client: support::serving::client(), step };
        apart.fill(0, records - live).await;
        let mut batch = apart.folder.command(&["batch", "run"]);
        batch.env("WATERSHED__KAFKA__BROKERS", &apart.kafka.brokers);
        let ended = support::command::ended(batch.output().expect("the command runs"));
        assert_eq!(ended.code, 0, "{ended:?}");
        apart.until(|answer| answer["answer"]["version"] == json!(1)).await;
        apart.fill(records - live, records).await;
        apart
    }

    /// The event time of a record, in milliseconds since 1970-01-01.
    pub fn at_ms(&self, sequence: i64) -> i64 {
        FIRST_MS + sequence * self.step.as_millis() as i64
    }

    /// Sends readings and waits until they are in answers.
    async fn fill(&self, from: i64, until: i64) {
        let producer = self.kafka.producer();
        (from..until).for_each(|sequence| produce(&producer, sequence, self.step));
        flush(&producer);
        self.until_readings(until).await;
    }

    pub async fn until_readings(&self, records: i64) {
        self.until(|answer| readings(answer) == records).await;
    }

    async fn until(&self, reached: impl Fn(&Json) -> bool) {
        let begun = Instant::now();
        loop {
            let answer: Json = self.post("/v1/query", &how_many()).await;
            if reached(&answer) {
                return;
            }
            assert!(begun.elapsed() < PATIENCE, "never reached: {answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Sends readings from `from` on, about a thousand a second, until `stop` is set; gives the number behind the last.
    pub fn keep_coming(&self, from: i64, stop: &Arc<AtomicBool>) -> JoinHandle<i64> {
        const AT_ONCE: i64 = 10;
        let (producer, step, stop) = (self.kafka.producer(), self.step, stop.clone());
        tokio::task::spawn_blocking(move || {
            let mut sequence = from;
            while !stop.load(Ordering::Acquire) {
                (sequence..sequence + AT_ONCE).for_each(|sequence| produce(&producer, sequence, step));
                sequence += AT_ONCE;
                flush(&producer);
                std::thread::sleep(Duration::from_millis(10));
            }
            sequence
        })
    }

    pub fn address(&self, path: &str) -> String {
        format!("{}{path}", self.url)
    }

    /// An answer that must be one.
    pub async fn post(&self, path: &str, question: &Json) -> Json {
        let reply = self.client.post(self.address(path)).json(question).send().await.expect("an answer");
        let status = reply.status();
        let answer: Json = reply.json().await.expect("the body is JSON");
        assert_eq!(status, 200, "{question}: {answer}");
        answer
    }

    /// Processor time that the server has taken, without its children, in seconds.
    pub fn cpu_seconds(&self) -> f64 {
        cpu::seconds(self.service.process())
    }

    pub fn stop(self) {
        self.service.stop();
    }
}

fn produce(producer: &BaseProducer, sequence: i64, step: Duration) {
    let at_ms = FIRST_MS + sequence * step.as_millis() as i64;
    let partition = (sequence % i64::from(PARTITIONS)) as i32;
    send(producer, TOPIC, partition, Some(&world::payload(sequence, at_ms)));
}
