//! One partition, read forward without a group.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use watershed_schemas::log::{LogError, Reader, Records};
use watershed_schemas::offsets::{Offset, Partition};

use crate::context::Plain;
use crate::log::Inner;
use crate::queue::{Message, Reading};

/// How long to wait for records before looking at what librdkafka has to say.
const GLANCE: Duration = Duration::from_millis(100);

pub(crate) struct KafkaReader {
    log: Arc<Inner>,
    topic: String,
    partition: Partition,
    position: Offset,
    /// What came behind the last records: said in the next call.
    fault: Option<RDKafkaErrorCode>,
    reading: Reading<Plain>,
    consumer: Arc<BaseConsumer<Plain>>,
}

impl KafkaReader {
    pub fn open(log: Arc<Inner>, topic: &str, partition: Partition, from: Offset) -> Result<Self, LogError> {
        // Negative offsets are librdkafka's names for places in a partition.
        if from.0 < 0 {
            return Err(log.out_of_range(topic, partition, from));
        }
        let created = log.settings.consumer(None)?.create_with_context(Plain);
        let consumer: Arc<BaseConsumer<Plain>> = Arc::new(created.map_err(|error| log.fault(error))?);
        let started = Reading::start(Arc::clone(&consumer), topic, partition.0, from.0);
        let reading = started.map_err(|code| log.topic_fault(topic, code))?;
        Ok(KafkaReader {
            log,
            topic: topic.to_string(),
            partition,
            position: from,
            fault: None,
            reading,
            consumer,
        })
    }
}

impl Reader for KafkaReader {
    fn next(&mut self, max_records: usize, timeout: Duration) -> Result<Records, LogError> {
        let deadline = Instant::now() + timeout;
        let mut trouble = None;
        loop {
            match self.fault.take() {
                Some(RDKafkaErrorCode::AutoOffsetReset) => {
                    return Err(self.log.out_of_range(&self.topic, self.partition, self.position));
                }
                Some(RDKafkaErrorCode::LogTruncation) => {
                    let (topic, partition, position) = (self.topic.clone(), self.partition, self.position);
                    return Err(LogError::Truncated { topic, partition, position });
                }
                Some(code) => return Err(self.log.topic_fault(&self.topic, code)),
                None => {}
            }
            let mut records = Records::new(self.partition, self.position);
            let wait = deadline.saturating_duration_since(Instant::now());
            self.reading.take(max_records.max(1), wait.min(GLANCE), |message| match message {
                Message::Record { offset, timestamp, payload, .. } if offset >= records.position => {
                    records.push(Offset(offset), timestamp, payload);
                }
                Message::Record { .. } => {}
                Message::End { offset, .. } => records.position = records.position.max(offset),
                Message::Fault { code, reason, .. } => {
                    tracing::debug!(topic = self.topic, partition = self.partition.0, %code, "{reason}");
                    self.fault = Some(code);
                }
            });
            if records.position > self.position.0 {
                self.position = Offset(records.position);
                return Ok(records);
            }
            if self.fault.is_some() {
                continue;
            }
            if let Some(Err(error)) = self.consumer.poll(Duration::ZERO) {
                trouble = Some(error);
            }
            if Instant::now() >= deadline {
                return match trouble {
                    Some(error) if is_lasting(&error) => Err(self.log.fault(error)),
                    _ => Ok(records),
                };
            }
        }
    }

    fn position(&self) -> Offset {
        self.position
    }
}

/// True for an error that librdkafka does not mend by connecting again.
pub(crate) fn is_lasting(error: &KafkaError) -> bool {
    !matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::BrokerTransportFailure
                | RDKafkaErrorCode::Resolve
                | RDKafkaErrorCode::PollExceeded
                | RDKafkaErrorCode::OperationTimedOut
                | RDKafkaErrorCode::RequestTimedOut
        )
    )
}
