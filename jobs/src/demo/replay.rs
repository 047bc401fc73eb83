//! Records through the broker, and where each came to lie.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use watershed_kafka::{KafkaProducer, ProducerRecord};
use watershed_schemas::log::LogError;
use watershed_schemas::offsets::{Offset, Offsets, Partition};

use super::sample::{Flight, Record};

const FLUSH: Duration = Duration::from_secs(30);

/// The records that the broker has acknowledged, by their place in the log.
#[derive(Default)]
pub struct Ledger {
    places: Mutex<Vec<(Partition, Offset, usize)>>,
    lost: Mutex<Option<LogError>>,
}

pub struct Replay {
    pub records: Vec<Record>,
    pub ledger: Arc<Ledger>,
    topic: String,
    producer: KafkaProducer,
}

impl Replay {
    pub fn new(records: Vec<Record>, topic: &str, producer: KafkaProducer) -> Self {
        Replay { records, ledger: Arc::default(), topic: topic.to_string(), producer }
    }

    /// Sends record `index`. Waits only while the producer's queue is full.
    pub fn send(&self, index: usize) -> Result<(), LogError> {
        let record = &self.records[index];
        let ledger = self.ledger.clone();
        let sent = ProducerRecord {
            partition: None,
            key: record.key.as_deref(),
            payload: record.payload.as_deref(),
            timestamp: Some(record.known_at),
        };
        self.producer.send(&self.topic, sent, move |outcome| ledger.note(index, outcome))
    }

    /// Sends a range of records and waits until all of them are acknowledged.
    pub fn send_all(&self, indices: std::ops::Range<usize>) -> Result<(), LogError> {
        for index in indices {
            self.send(index)?;
        }
        self.flush()
    }

    pub fn flush(&self) -> Result<(), LogError> {
        self.producer.flush(FLUSH)?;
        let lost = self.ledger.lost.lock().unwrap_or_else(PoisonError::into_inner).take();
        lost.map_or(Ok(()), Err)
    }

    /// The flights below `until`: what an answer with these live offsets must hold.
    pub fn flights_below(&self, until: &Offsets) -> Vec<&Flight> {
        let places = self.ledger.places();
        let below = places.iter().filter(|(partition, offset, _)| *offset < until.get(*partition));
        below.filter_map(|(_, _, index)| self.records[*index].flight.as_ref()).collect()
    }
}

impl Ledger {
    fn note(&self, index: usize, outcome: Result<(Partition, Offset), LogError>) {
        match outcome {
            Ok((partition, offset)) => self.places().push((partition, offset, index)),
            Err(error) => *self.lost.lock().unwrap_or_else(PoisonError::into_inner) = Some(error),
        }
    }

    fn places(&self) -> std::sync::MutexGuard<'_, Vec<(Partition, Offset, usize)>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many acknowledged records lie at or above a watershed.
    pub fn at_or_above(&self, watershed: &Offsets) -> usize {
        self.places().iter().filter(|(partition, offset, _)| *offset >= watershed.get(*partition)).count()
    }

    /// Where the log ends.
    pub fn end(&self) -> Offsets {
        let mut end = Offsets::new();
        for (partition, offset, _) in self.places().iter() {
            end.set(*partition, end.get(*partition).max(Offset(offset.0 + 1)));
        }
        end
    }
}
