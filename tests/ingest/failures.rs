//! A log that fails half-way, is full, or never answers.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use watershed_schemas::log::LogError;
use watershed_schemas::offsets::{Offset, Partition};
use watershed_schemas::project::{Project, SourceFile};
use watershed_schemas::sink::{Outgoing, SendError, Sink};
use watershed_schemas::stream::Stream;
use watershed_serving::ingest::Ingest;
use watershed_serving::refusal::Reason;

use super::*;

/// Fails as it is told to, record by record; what it takes it keeps.
#[derive(Default)]
struct Scripted {
    failures: Mutex<Vec<usize>>,
    full: Mutex<bool>,
    taken: Mutex<Vec<String>>,
}

#[async_trait]
impl Sink for Scripted {
    async fn send(&self, _: &str, records: &[Outgoing]) -> Vec<Result<(Partition, Offset), SendError>> {
        let failures = std::mem::take(&mut *self.failures.lock().expect("no panic"));
        let full = std::mem::take(&mut *self.full.lock().expect("no panic"));
        let mut taken = self.taken.lock().expect("no panic");
        let outcomes = records.iter().enumerate().map(|(index, record)| {
            if full {
                return Err(SendError::Full);
            }
            if failures.contains(&index) {
                let (brokers, reason) = ("scripted".to_string(), "away".to_string());
                return Err(LogError::Unavailable { brokers, reason }.into());
            }
            taken.push(String::from_utf8(record.payload.clone()).expect("JSON"));
            Ok((Partition(0), Offset(taken.len() as i64 - 1)))
        });
        outcomes.collect()
    }
}

fn stream() -> Arc<Stream> {
    let file = SourceFile { path: "schemas/orders.sql".into(), text: schema("orders") };
    Project::parse(&[file], &[]).expect("it parses").stream("orders").expect("it is there").clone()
}

fn three() -> Vec<u8> {
    [order(1, "a", "1"), "{}".into(), order(2, "b", "2"), order(3, "c", "3")].join("\n").into_bytes()
}

#[tokio::test]
async fn of_a_request_that_failed_half_way_only_what_is_missing_is_sent_again() {
    let sink = Arc::new(Scripted::default());
    let ingest = Ingest::new(Some(sink.clone()));
    *sink.failures.lock().expect("no panic") = vec![1];
    let refused = ingest.take(&stream(), three(), None, Some("k"), None).await.expect_err("one is missing");
    assert_eq!(refused.reason, Reason::NotReady, "{refused}");
    assert!(refused.detail.contains("2 events are in the log, 1 are not known to be"), "{refused}");
    let receipt = ingest.take(&stream(), three(), None, Some("k"), None).await.expect("the rest is taken");
    assert_eq!((receipt.accepted, receipt.rejected_count, receipt.rejected[0].line), (3, 1, 2));
    let taken = sink.taken.lock().expect("no panic").clone();
    assert_eq!(taken, [order(1, "a", "1"), order(3, "c", "3"), order(2, "b", "2")]);
}

#[tokio::test]
async fn a_full_log_asks_for_patience() {
    let sink = Arc::new(Scripted::default());
    let ingest = Ingest::new(Some(sink.clone()));
    *sink.full.lock().expect("no panic") = true;
    let refused = ingest.take(&stream(), three(), None, None, None).await.expect_err("there is no room");
    assert_eq!(refused.reason, Reason::TooMany, "{refused}");
    assert!(refused.retry_after.is_some());
    assert!(sink.taken.lock().expect("no panic").is_empty());
}

#[tokio::test]
async fn a_server_without_kafka_says_so() {
    let refused =
        Ingest::new(None).take(&stream(), three(), None, None, None).await.expect_err("there is no Kafka");
    assert_eq!(refused.reason, Reason::NotReady, "{refused}");
}
