//! What librdkafka says by itself: logs, and rebalances of a consumer group.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::client::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use watershed_schemas::offsets::Partition;

/// How long a change of position may take; it needs no broker.
const SEEK: Duration = Duration::from_secs(10);

/// Passes librdkafka's log to `tracing`.
fn log(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => {
            tracing::warn!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
            tracing::info!(target: "librdkafka", facility, "{message}");
        }
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(target: "librdkafka", facility, "{message}");
        }
    }
}

/// A client that belongs to no group. Errors of connections are librdkafka's to mend; it reports what stays broken
/// as an error of the call that it concerns.
pub(crate) struct Plain;

impl ClientContext for Plain {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::info!(target: "librdkafka", %error, "{reason}");
    }
}

impl ConsumerContext for Plain {}

/// What the group decided.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Assigned(Vec<Partition>),
    Revoked(Vec<Partition>),
}

/// A member of a consumer group. An assignment is acknowledged empty: a partition is fetched only
/// from the offset that the caller names, so none is ever looked up in the group's commits.
pub(crate) struct Member {
    topic: String,
    changes: Mutex<VecDeque<Change>>,
    /// The partitions that are ours, and whether each is fetched.
    held: Mutex<BTreeMap<Partition, bool>>,
}

impl Member {
    pub fn new(topic: &str) -> Self {
        Member { topic: topic.to_string(), changes: Mutex::default(), held: Mutex::default() }
    }

    pub fn next_change(&self) -> Option<Change> {
        lock(&self.changes).pop_front()
    }

    /// Fetches a partition from an offset on. Of one that is no longer ours nothing is fetched: that it was revoked
    /// is about to be heard.
    pub fn start(
        &self,
        consumer: &BaseConsumer<Member>,
        partition: Partition,
        offset: i64,
    ) -> KafkaResult<()> {
        let mut held = lock(&self.held);
        let Some(is_fetched) = held.get_mut(&partition) else { return Ok(()) };
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(&self.topic, partition.0, Offset::Offset(offset))?;
        if *is_fetched {
            let sought = consumer.seek_partitions(list, SEEK)?;
            return sought.elements().iter().try_for_each(|entry| entry.error());
        }
        consumer.incremental_assign(&list)?;
        *is_fetched = true;
        Ok(())
    }

    /// Ends the fetching of a partition, so that its next start is a first one: librdkafka gives up a partition
    /// whose position the log does not hold, and then refuses to move it.
    pub fn stop(&self, consumer: &BaseConsumer<Member>, partition: Partition) {
        let mut held = lock(&self.held);
        let Some(is_fetched) = held.get_mut(&partition).filter(|is_fetched| **is_fetched) else { return };
        *is_fetched = false;
        if let Err(error) = consumer.incremental_unassign(&self.list([partition])) {
            tracing::warn!(topic = self.topic, %partition, %error, "fetching could not be ended");
        }
    }

    fn list(&self, partitions: impl IntoIterator<Item = Partition>) -> TopicPartitionList {
        let mut list = TopicPartitionList::new();
        for partition in partitions {
            list.add_partition(&self.topic, partition.0);
        }
        list
    }
}

impl ClientContext for Member {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::info!(target: "librdkafka", %error, "{reason}");
    }
}

impl ConsumerContext for Member {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let partitions: Vec<Partition> =
            list.elements().iter().map(|entry| Partition(entry.partition())).collect();
        let (outcome, change) = if event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS {
            tracing::info!(topic = self.topic, ?partitions, "partitions assigned");
            lock(&self.held).extend(partitions.iter().map(|partition| (*partition, false)));
            (consumer.incremental_assign(&TopicPartitionList::new()), Change::Assigned(partitions.clone()))
        } else {
            tracing::info!(
                topic = self.topic,
                ?partitions,
                lost = consumer.assignment_lost(),
                "partitions revoked"
            );
            let mut held = lock(&self.held);
            let ended: Vec<Partition> =
                partitions.iter().copied().filter(|partition| held.remove(partition) == Some(true)).collect();
            (consumer.incremental_unassign(&self.list(ended)), Change::Revoked(partitions.clone()))
        };
        if let Err(error) = outcome {
            tracing::warn!(topic = self.topic, %error, "rebalance was not acknowledged");
        }
        if !partitions.is_empty() {
            lock(&self.changes).push_back(change);
        }
    }

    fn commit_callback(&self, result: KafkaResult<()>, _offsets: &TopicPartitionList) {
        if let Err(error) = result {
            // Commits only serve tools that show a group's lag.
            tracing::debug!(topic = self.topic, %error, "commit failed");
        }
    }
}

/// The data behind a lock, which nobody leaves half changed.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
