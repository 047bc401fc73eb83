//! Records by way of librdkafka's messages.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use watershed_schemas::log::{LogError, Records};
use watershed_schemas::offsets::{Offset, Partition};

use crate::context::{Member, Plain};
use crate::fetch::{Cause, Fault, Fetch};
use crate::log::Inner;
use crate::queue::{Message, Queue, Reading};

/// The partitions that a member of a group holds.
pub(crate) struct MemberMessages {
    log: Arc<Inner>,
    topic: String,
    positions: BTreeMap<Partition, Offset>,
    queue: Queue<Member>,
    consumer: Arc<BaseConsumer<Member>>,
}

impl MemberMessages {
    pub fn new(log: Arc<Inner>, topic: &str, consumer: Arc<BaseConsumer<Member>>) -> Self {
        let queue = Queue::new(Arc::clone(&consumer));
        MemberMessages { log, topic: topic.to_string(), positions: BTreeMap::new(), queue, consumer }
    }

    /// Directs a partition's messages to our queue.
    fn direct(&self, partition: Partition) -> Result<(), LogError> {
        if self.queue.direct(&self.topic, partition.0) {
            return Ok(());
        }
        Err(self.log.unavailable(format!("topic {}: no partition {partition}", self.topic)))
    }
}

impl Fetch for MemberMessages {
    fn start(&mut self, partition: Partition, offset: Offset) -> Result<(), LogError> {
        self.positions.remove(&partition);
        // Before, so that nothing goes elsewhere; after, because librdkafka undoes it when it ends an earlier
        // fetching of the same partition.
        self.direct(partition)?;
        if let Err(error) = self.consumer.context().start(&self.consumer, partition, offset.0) {
            self.consumer.context().stop(&self.consumer, partition);
            return Err(self.log.fault(error));
        }
        self.direct(partition)?;
        self.positions.insert(partition, offset);
        Ok(())
    }

    fn stop(&mut self, partition: Partition) {
        self.positions.remove(&partition);
    }

    fn take(&mut self, most_records: usize, wait: Duration) -> Vec<Result<Records, Fault>> {
        let MemberMessages { positions, queue, .. } = self;
        let mut runs = Runs::default();
        queue.take(most_records, wait, |message| runs.add(positions, message));
        runs.end(&self.log, &self.topic, |partition| {
            // librdkafka gives up a partition whose position the log does not hold, and then refuses to move it.
            self.consumer.context().stop(&self.consumer, partition);
            positions.remove(&partition);
        })
    }
}

/// One partition, outside any group.
pub(crate) struct ReaderMessages {
    log: Arc<Inner>,
    topic: String,
    positions: BTreeMap<Partition, Offset>,
    reading: Option<Reading<Plain>>,
    consumer: Arc<BaseConsumer<Plain>>,
}

impl ReaderMessages {
    pub fn new(log: Arc<Inner>, topic: &str) -> Result<Self, LogError> {
        let created = log.settings.consumer(None)?.create_with_context(Plain);
        let consumer: BaseConsumer<Plain> = created.map_err(|error| log.fault(error))?;
        let (positions, consumer) = (BTreeMap::new(), Arc::new(consumer));
        Ok(ReaderMessages { log, topic: topic.to_string(), positions, reading: None, consumer })
    }
}

impl Fetch for ReaderMessages {
    fn start(&mut self, partition: Partition, offset: Offset) -> Result<(), LogError> {
        // The one before ends first: both would be of one partition.
        self.reading = None;
        self.positions.clear();
        let reading = Reading::start(Arc::clone(&self.consumer), &self.topic, partition.0, offset.0);
        self.reading = Some(reading.map_err(|code| self.log.topic_fault(&self.topic, code))?);
        self.positions.insert(partition, offset);
        Ok(())
    }

    fn stop(&mut self, _partition: Partition) {
        self.reading = None;
        self.positions.clear();
    }

    fn take(&mut self, most_records: usize, wait: Duration) -> Vec<Result<Records, Fault>> {
        let ReaderMessages { positions, reading, .. } = self;
        let mut runs = Runs::default();
        match reading {
            Some(reading) => reading.take(most_records, wait, |message| runs.add(positions, message)),
            None => std::thread::sleep(wait),
        }
        runs.end(&self.log, &self.topic, |_| {})
    }

    fn lasting(&mut self) -> Option<LogError> {
        let error = self.consumer.poll(Duration::ZERO)?.err()?;
        is_lasting(&error).then(|| self.log.fault(error))
    }
}

/// Messages that are put together: one run of records per partition.
#[derive(Default)]
struct Runs {
    runs: Vec<Records>,
    /// The run of the last record: a partition's records mostly come together.
    last: usize,
    faults: Vec<(Partition, RDKafkaErrorCode)>,
}

impl Runs {
    fn add(&mut self, positions: &mut BTreeMap<Partition, Offset>, message: Message<'_>) {
        let (partition, examined) = match &message {
            Message::Record { partition, offset, .. } => (Partition(*partition), Offset(offset + 1)),
            Message::End { partition, offset } => (Partition(*partition), Offset(*offset)),
            Message::Fault { partition, code, reason } => {
                tracing::debug!(partition, %code, "{reason}");
                // A partition without a position is not ours any more.
                if positions.contains_key(&Partition(*partition)) {
                    self.faults.push((Partition(*partition), *code));
                }
                return;
            }
        };
        let Some(position) = positions.get_mut(&partition).filter(|position| **position < examined) else {
            return;
        };
        if self.runs.get(self.last).is_none_or(|run| run.partition != partition.0) {
            let found = self.runs.iter().position(|run| run.partition == partition.0);
            self.last = found.unwrap_or_else(|| {
                self.runs.push(Records::new(partition, *position));
                self.runs.len() - 1
            });
        }
        *position = examined;
        match message {
            Message::Record { offset, timestamp, payload, .. } => {
                self.runs[self.last].push(Offset(offset), timestamp, payload);
            }
            _ => self.runs[self.last].position = examined.0,
        }
    }

    /// What was put together, then the faults behind it; `gone` is told of partitions that give nothing more.
    fn end(self, log: &Inner, topic: &str, mut gone: impl FnMut(Partition)) -> Vec<Result<Records, Fault>> {
        let faults = self.faults.into_iter().map(|(partition, code)| {
            let cause = match code {
                RDKafkaErrorCode::AutoOffsetReset => Cause::OutOfRange,
                RDKafkaErrorCode::LogTruncation => Cause::Truncated,
                code => Cause::Other(log.topic_fault(topic, code)),
            };
            if !matches!(cause, Cause::Other(_)) {
                gone(partition);
            }
            Err(Fault { partition, cause })
        });
        self.runs.into_iter().map(Ok).chain(faults).collect()
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
