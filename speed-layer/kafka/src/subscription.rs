//! A member of a consumer group, fed from positions of our own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::RDKafkaErrorCode;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use watershed_schemas::log::{Delivery, LogError, Records, Subscription};
use watershed_schemas::offsets::{Offset, Offsets, Partition};

use crate::context::{Change, Member};
use crate::log::Inner;
use crate::queue::{Message, Queue};
use crate::reader::is_lasting;

/// How long to wait for records before looking for a rebalance.
const GLANCE: Duration = Duration::from_millis(50);
/// How often delivered positions are committed, for tools that show a group's lag. Nothing reads them here.
const COMMIT_EVERY: Duration = Duration::from_secs(5);

pub(crate) struct KafkaSubscription {
    log: Arc<Inner>,
    topic: String,
    /// Positions behind what was taken from the queue, of the partitions that were started.
    positions: BTreeMap<Partition, Offset>,
    /// Taken and not yet delivered.
    pending: VecDeque<Result<Records, LogError>>,
    /// Partitions whose position the log does not hold, until that was said.
    adrift: BTreeSet<Partition>,
    committed: Instant,
    uncommitted: Offsets,
    queue: Queue<Member>,
    consumer: Arc<BaseConsumer<Member>>,
}

impl KafkaSubscription {
    pub fn new(log: Arc<Inner>, topic: &str, consumer: BaseConsumer<Member>) -> Self {
        let consumer = Arc::new(consumer);
        KafkaSubscription {
            log,
            topic: topic.to_string(),
            positions: BTreeMap::new(),
            pending: VecDeque::new(),
            adrift: BTreeSet::new(),
            committed: Instant::now(),
            uncommitted: Offsets::new(),
            queue: Queue::new(Arc::clone(&consumer)),
            consumer,
        }
    }

    /// What the group decided since the last look.
    fn change(&mut self) -> Option<Delivery> {
        match self.consumer.context().next_change()? {
            Change::Assigned(partitions) => Some(Delivery::Assigned(partitions)),
            Change::Revoked(partitions) => {
                for partition in &partitions {
                    self.forget(*partition);
                }
                Some(Delivery::Revoked(partitions))
            }
        }
    }

    /// Nothing of this partition is delivered any more.
    fn forget(&mut self, partition: Partition) {
        self.positions.remove(&partition);
        self.uncommitted.remove(partition);
        self.adrift.remove(&partition);
        self.pending.retain(|pending| match pending {
            Ok(records) => records.partition != partition.0,
            Err(_) => true,
        });
    }

    /// Takes what the queue holds into `pending`: one run of records per partition.
    fn take(&mut self, max_records: usize, wait: Duration) {
        let KafkaSubscription { positions, queue, .. } = self;
        let mut runs: Vec<Records> = Vec::new();
        let mut faults = Vec::new();
        // The run of the last record: a partition's records mostly come together.
        let mut last = 0;
        queue.take(max_records, wait, |message| {
            let (partition, examined) = match &message {
                Message::Record { partition, offset, .. } => (Partition(*partition), Offset(offset + 1)),
                Message::End { partition, offset } => (Partition(*partition), Offset(*offset)),
                Message::Fault { partition, code, reason } => {
                    tracing::debug!(partition, %code, "{reason}");
                    return faults.push((Partition(*partition), *code));
                }
            };
            // A partition without a position is not ours any more.
            let Some(position) = positions.get_mut(&partition).filter(|position| **position < examined)
            else {
                return;
            };
            if runs.get(last).is_none_or(|run| run.partition != partition.0) {
                last = runs.iter().position(|run| run.partition == partition.0).unwrap_or_else(|| {
                    runs.push(Records::new(partition, *position));
                    runs.len() - 1
                });
            }
            *position = examined;
            match message {
                Message::Record { offset, timestamp, payload, .. } => {
                    runs[last].push(Offset(offset), timestamp, payload);
                }
                _ => runs[last].position = examined.0,
            }
        });
        for run in runs {
            self.uncommitted.set(Partition(run.partition), Offset(run.position));
            self.pending.push_back(Ok(run));
        }
        for (partition, code) in faults {
            if !self.positions.contains_key(&partition) {
                continue;
            }
            match code {
                RDKafkaErrorCode::AutoOffsetReset => {
                    self.consumer.context().stop(&self.consumer, partition);
                    self.adrift.insert(partition);
                }
                RDKafkaErrorCode::LogTruncation => {
                    self.consumer.context().stop(&self.consumer, partition);
                    let position = self.positions.get(&partition).copied().unwrap_or_default();
                    let topic = self.topic.clone();
                    self.pending.push_back(Err(LogError::Truncated { topic, partition, position }));
                }
                code => self.pending.push_back(Err(self.log.topic_fault(&self.topic, code))),
            }
        }
    }

    /// Says that the log does not hold a partition's position, again and again until it also says what it holds:
    /// librdkafka speaks of it only once.
    fn out_of_range(&mut self, partition: Partition) -> LogError {
        let position = self.positions.get(&partition).copied().unwrap_or_default();
        let error = self.log.out_of_range(&self.topic, partition, position);
        if matches!(error, LogError::OutOfRange { .. }) {
            self.adrift.remove(&partition);
        }
        error
    }

    /// Directs a partition's messages to our queue.
    fn direct(&self, partition: Partition) -> Result<(), LogError> {
        if self.queue.direct(&self.topic, partition.0) {
            return Ok(());
        }
        Err(self.log.unavailable(format!("topic {}: no partition {partition}", self.topic)))
    }

    fn commit(&mut self) {
        if self.committed.elapsed() < COMMIT_EVERY || self.positions.is_empty() {
            return;
        }
        self.committed = Instant::now();
        let mut list = TopicPartitionList::new();
        for (partition, offset) in self.uncommitted.iter() {
            if let Err(error) =
                list.add_partition_offset(&self.topic, partition.0, KafkaOffset::Offset(offset.0))
            {
                tracing::debug!(%error, "position cannot be committed");
            }
        }
        if list.count() == 0 {
            return;
        }
        if let Err(error) = self.consumer.commit(&list, CommitMode::Async) {
            tracing::debug!(topic = self.topic, %error, "commit failed");
        }
    }
}

impl Subscription for KafkaSubscription {
    fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Delivery, LogError> {
        let deadline = Instant::now() + timeout;
        let mut trouble = None;
        loop {
            if let Some(Err(error)) = self.consumer.poll(Duration::ZERO)
                && is_lasting(&error)
            {
                trouble = Some(error);
            }
            self.commit();
            if let Some(change) = self.change() {
                return Ok(change);
            }
            if let Some(pending) = self.pending.pop_front() {
                return pending.map(Delivery::Records);
            }
            if let Some(partition) = self.adrift.first().copied() {
                return Err(self.out_of_range(partition));
            }
            let wait = deadline.saturating_duration_since(Instant::now()).min(GLANCE);
            self.take(max_records.max(1), wait);
            if self.pending.is_empty() && self.adrift.is_empty() && Instant::now() >= deadline {
                return match (trouble, self.change()) {
                    (_, Some(change)) => Ok(change),
                    (Some(error), None) => Err(self.log.fault(error)),
                    (None, None) => Ok(Delivery::Idle),
                };
            }
        }
    }

    fn start(&mut self, positions: &Offsets) -> Result<(), LogError> {
        for (partition, offset) in positions.iter() {
            // Negative offsets are librdkafka's names for places in a partition.
            if offset.0 < 0 {
                return Err(self.log.out_of_range(&self.topic, partition, offset));
            }
            self.forget(partition);
            // Before, so that nothing goes elsewhere; after, because librdkafka undoes it when it ends an earlier
            // fetching of the same partition.
            self.direct(partition)?;
            if let Err(error) = self.consumer.context().start(&self.consumer, partition, offset.0) {
                self.consumer.context().stop(&self.consumer, partition);
                return Err(self.log.fault(error));
            }
            self.direct(partition)?;
            self.positions.insert(partition, offset);
        }
        Ok(())
    }
}
