//! A member of a consumer group, fed from positions of our own.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use watershed_schemas::log::{Delivery, LogError, Records, Subscription};
use watershed_schemas::offsets::{Offset, Offsets, Partition};

use crate::context::{Change, Member};
use crate::fetch::{Cause, Fault, Fetch};
use crate::log::Inner;
use crate::messages::is_lasting;

/// How long to wait for records before looking for a rebalance.
const GLANCE: Duration = Duration::from_millis(50);
/// How many things librdkafka says are heard between two waits: when there is none, asking takes next to no time.
const EVENTS_AT_ONCE: usize = 32;
/// How often delivered positions are committed, for tools that show a group's lag. Nothing reads them here.
const COMMIT_EVERY: Duration = Duration::from_secs(5);

pub(crate) struct KafkaSubscription {
    log: Arc<Inner>,
    topic: String,
    /// Positions behind what was fetched, of the partitions that were started.
    positions: BTreeMap<Partition, Offset>,
    /// Taken and not yet delivered.
    pending: VecDeque<Result<Records, LogError>>,
    /// Partitions whose position the log does not hold, until that was said.
    adrift: BTreeSet<Partition>,
    committed: Instant,
    uncommitted: Offsets,
    fetch: Box<dyn Fetch>,
    consumer: Arc<BaseConsumer<Member>>,
}

impl KafkaSubscription {
    pub fn new(log: Arc<Inner>, topic: &str, consumer: BaseConsumer<Member>) -> Result<Self, LogError> {
        let consumer = Arc::new(consumer);
        let fetch = log.fetch_of(topic, &consumer)?;
        Ok(KafkaSubscription {
            log,
            topic: topic.to_string(),
            positions: BTreeMap::new(),
            pending: VecDeque::new(),
            adrift: BTreeSet::new(),
            committed: Instant::now(),
            uncommitted: Offsets::new(),
            fetch,
            consumer,
        })
    }

    /// Waits for librdkafka to say something and hears all that it has to say: rebalances, log lines, errors, of which
    /// it gives the last that lasts.
    ///
    /// One call serves one of these and does not say whether there are more. Brokers that are away cause several every
    /// time they are tried, behind which a rebalance must not wait for as long as records are waited for each.
    fn serve(&self, wait: Duration) -> Option<KafkaError> {
        // The consumer waits for whole milliseconds, and through the rest of the last one without a pause.
        let wait = Duration::from_millis(wait.as_micros().div_ceil(1000) as u64);
        let waits = iter::once(wait).chain(iter::repeat(Duration::ZERO)).take(EVENTS_AT_ONCE);
        let events = waits.filter_map(|wait| self.consumer.poll(wait));
        events.filter_map(Result::err).filter(is_lasting).last()
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
        self.fetch.stop(partition);
        self.positions.remove(&partition);
        self.uncommitted.remove(partition);
        self.adrift.remove(&partition);
        self.pending.retain(|pending| match pending {
            Ok(records) => records.partition != partition.0,
            Err(_) => true,
        });
    }

    /// Takes what was fetched into `pending`.
    fn take(&mut self, max_records: usize, wait: Duration) {
        for fetched in self.fetch.take(max_records, wait) {
            match fetched {
                Ok(run) => {
                    let (partition, position) = (Partition(run.partition), Offset(run.position));
                    self.positions.insert(partition, position);
                    self.uncommitted.set(partition, position);
                    self.pending.push_back(Ok(run));
                }
                Err(Fault { partition, cause: Cause::OutOfRange }) => _ = self.adrift.insert(partition),
                Err(Fault { partition, cause: Cause::Truncated }) => {
                    let position = self.positions.get(&partition).copied().unwrap_or_default();
                    let topic = self.topic.clone();
                    self.pending.push_back(Err(LogError::Truncated { topic, partition, position }));
                }
                Err(Fault { cause: Cause::Other(error), .. }) => self.pending.push_back(Err(error)),
            }
        }
    }

    /// What is pending, up to where a partition comes again or something else than records does.
    fn deliver(&mut self) -> Option<Result<Delivery, LogError>> {
        let mut runs = match self.pending.pop_front()? {
            Ok(first) => vec![first],
            Err(error) => return Some(Err(error)),
        };
        while let Some(next) = self.pending.pop_front_if(|next| {
            let partition = next.as_ref().ok().map(|next| next.partition);
            partition.is_some_and(|partition| runs.iter().all(|run| run.partition != partition))
        }) {
            runs.extend(next);
        }
        Some(Ok(Delivery::Records(runs)))
    }

    /// Says that the log does not hold a partition's position, again and again until it also says what it holds: the
    /// fault itself comes only once.
    fn out_of_range(&mut self, partition: Partition) -> LogError {
        let position = self.positions.get(&partition).copied().unwrap_or_default();
        let error = self.log.out_of_range(&self.topic, partition, position);
        if matches!(error, LogError::OutOfRange { .. }) {
            self.adrift.remove(&partition);
        }
        error
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
            trouble = self.serve(Duration::ZERO).or(trouble);
            self.commit();
            if let Some(change) = self.change() {
                return Ok(change);
            }
            if let Some(delivery) = self.deliver() {
                return delivery;
            }
            if let Some(partition) = self.adrift.first().copied() {
                return Err(self.out_of_range(partition));
            }
            let wait = deadline.saturating_duration_since(Instant::now()).min(GLANCE);
            if self.positions.is_empty() {
                // Nothing is fetched, so the group's word is all that there is to wait for.
                trouble = self.serve(wait).or(trouble);
            } else {
                self.take(max_records.max(1), wait);
            }
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
            self.fetch.start(partition, offset)?;
            self.positions.insert(partition, offset);
        }
        Ok(())
    }
}
