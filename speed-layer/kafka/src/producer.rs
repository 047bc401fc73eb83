//! Records to Kafka, each once and in order.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::channel::oneshot;
use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseRecord, NoCustomPartitioner, Producer, ProducerContext, ThreadedProducer};
use watershed_schemas::log::LogError;
use watershed_schemas::offsets::{Offset, Partition};
use watershed_schemas::sink::{Outgoing, SendError, Sink};

use crate::context::Plain;
use crate::fault::{fault, topic_fault, unavailable};
use crate::settings::KafkaSettings;

/// A record to be sent. Without a partition, its key decides, as Java clients do it; without a key, chance.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProducerRecord<'a> {
    pub partition: Option<Partition>,
    pub key: Option<&'a [u8]>,
    /// `None` sends a tombstone.
    pub payload: Option<&'a [u8]>,
    /// In milliseconds since 1970-01-01; now unless given.
    pub timestamp: Option<i64>,
}

/// Sends records. Shared by reference between threads.
pub struct KafkaProducer {
    producer: ThreadedProducer<Receipts>,
    settings: KafkaSettings,
}

/// Told once what became of a record: where it lies, or why it lies nowhere.
type Receipt = Box<dyn FnOnce(Result<(Partition, Offset), LogError>) + Send>;

/// How long to wait for room in a full queue before looking again.
const FULL: Duration = Duration::from_millis(2);

impl KafkaProducer {
    /// Checks the settings. A producer younger than half a second holds its records back that long: librdkafka asks for
    /// the id of an idempotent producer before it is connected, and then once every half second.
    pub fn connect(settings: KafkaSettings) -> Result<Self, LogError> {
        let receipts = Receipts { brokers: settings.brokers.clone() };
        let created = settings.producer()?.create_with_context(receipts);
        let producer = created.map_err(|error| fault(&settings.brokers, error))?;
        Ok(KafkaProducer { producer, settings })
    }

    /// Queues a record, waiting while the queue is full. `receipt` is called from the producer's own thread, unless
    /// the record could not be queued at all, which is the error returned.
    pub fn send(
        &self,
        topic: &str,
        record: ProducerRecord<'_>,
        receipt: impl FnOnce(Result<(Partition, Offset), LogError>) + Send + 'static,
    ) -> Result<(), LogError> {
        let mut message = message(topic, record, receipt);
        loop {
            match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err((error, refused)) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::QueueFull) => {
                    message = refused;
                    std::thread::sleep(FULL);
                }
                Err((error, _)) => return Err(self.fault(topic, error)),
            }
        }
    }

    /// Queues a record if there is room.
    fn offer(
        &self,
        topic: &str,
        record: ProducerRecord<'_>,
        receipt: impl FnOnce(Result<(Partition, Offset), LogError>) + Send + 'static,
    ) -> Result<(), SendError> {
        self.producer.send(message(topic, record, receipt)).map_err(|(error, _)| {
            match error.rdkafka_error_code() {
                Some(RDKafkaErrorCode::QueueFull) => SendError::Full,
                Some(RDKafkaErrorCode::MessageSizeTooLarge) => {
                    SendError::TooLarge { bytes: record.payload.map_or(0, <[u8]>::len) }
                }
                _ => self.fault(topic, error).into(),
            }
        })
    }

    fn fault(&self, topic: &str, error: KafkaError) -> LogError {
        match error.rdkafka_error_code() {
            Some(code) => topic_fault(&self.settings.brokers, topic, code),
            None => fault(&self.settings.brokers, error),
        }
    }

    /// Waits until every record sent so far has had its receipt.
    pub fn flush(&self, timeout: Duration) -> Result<(), LogError> {
        let deadline = Instant::now() + timeout;
        self.producer.flush(timeout).map_err(|error| fault(&self.settings.brokers, error))?;
        // The producer's thread may still be handing out the last receipts.
        while self.producer.in_flight_count() > 0 {
            if Instant::now() >= deadline {
                let unsent = self.producer.in_flight_count();
                return Err(unavailable(
                    &self.settings.brokers,
                    format!("{unsent} records are not acknowledged yet"),
                ));
            }
            std::thread::sleep(FULL);
        }
        Ok(())
    }
}

fn message<'a>(
    topic: &'a str,
    record: ProducerRecord<'a>,
    receipt: impl FnOnce(Result<(Partition, Offset), LogError>) + Send + 'static,
) -> BaseRecord<'a, [u8], [u8], Box<Mutex<Option<Receipt>>>> {
    let receipt: Box<Mutex<Option<Receipt>>> = Box::new(Mutex::new(Some(Box::new(receipt))));
    let mut message = BaseRecord::with_opaque_to(topic, receipt);
    message.partition = record.partition.map(|partition| partition.0);
    message.key = record.key;
    message.payload = record.payload;
    message.timestamp = record.timestamp;
    message
}

#[async_trait]
impl Sink for KafkaProducer {
    async fn send(&self, topic: &str, records: &[Outgoing]) -> Vec<Result<(Partition, Offset), SendError>> {
        let mut full = false;
        let queued: Vec<_> = (records.iter())
            .map(|record| {
                // What follows a record must not overtake it.
                if full {
                    return Err(SendError::Full);
                }
                let (tell, told) = oneshot::channel();
                let record = ProducerRecord {
                    key: record.key.as_deref(),
                    payload: Some(&record.payload),
                    ..ProducerRecord::default()
                };
                // Whoever asked may have gone away.
                let offered = self.offer(topic, record, move |outcome| _ = tell.send(outcome));
                full = matches!(offered, Err(SendError::Full));
                offered.map(|()| told)
            })
            .collect();
        let mut outcomes = Vec::with_capacity(queued.len());
        for told in queued {
            outcomes.push(match told {
                Ok(told) => match told.await {
                    Ok(outcome) => outcome.map_err(SendError::from),
                    Err(oneshot::Canceled) => {
                        let stopped = "the producer stopped before it was told what became of a record";
                        Err(unavailable(&self.settings.brokers, stopped).into())
                    }
                },
                Err(error) => Err(error),
            });
        }
        outcomes
    }
}

/// Hands each record's outcome to its receipt.
struct Receipts {
    brokers: String,
}

impl ClientContext for Receipts {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        Plain.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        Plain.error(error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Receipts {
    type DeliveryOpaque = Box<Mutex<Option<Receipt>>>;

    fn delivery(&self, result: &DeliveryResult<'_>, receipt: Self::DeliveryOpaque) {
        let Some(receipt) = receipt.into_inner().unwrap_or_else(PoisonError::into_inner) else { return };
        receipt(match result {
            Ok(message) => Ok((Partition(message.partition()), Offset(message.offset()))),
            Err((error, message)) => Err(match error.rdkafka_error_code() {
                Some(code) => topic_fault(&self.brokers, message.topic(), code),
                None => fault(&self.brokers, error.clone()),
            }),
        });
    }
}
