//! The log over Kafka.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use rdkafka::admin::AdminClient;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset as KafkaOffset, TopicPartitionList};
use watershed_schemas::identity::{self, Fingerprint, TopicId};
use watershed_schemas::log::{Log, LogError, Reader, Subscription};
use watershed_schemas::offsets::{Offset, OffsetRange, Partition};
use watershed_wire::FetchSettings;

use crate::context::{Member, Plain};
use crate::fault::{fault, topic_fault, unavailable};
use crate::fetch::{Batches, Fetch};
use crate::messages::{MemberMessages, ReaderMessages};
use crate::reader::KafkaReader;
use crate::settings::KafkaSettings;
use crate::subscription::KafkaSubscription;
use crate::topic_id::topic_id;

/// Kafka as a log. Cheap to clone: clones share a client for questions; each reader and
/// subscription has a client of its own.
#[derive(Clone)]
pub struct KafkaLog {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub settings: KafkaSettings,
    consumer: BaseConsumer<Plain>,
    /// Made when it is first needed.
    admin: OnceLock<AdminClient<Plain>>,
    /// The partitions that each topic was last seen with. They never become fewer.
    partitions: Mutex<HashMap<String, usize>>,
    /// Whether it was said that the brokers do not tell topics' settings.
    settings_are_hidden: AtomicBool,
}

impl KafkaLog {
    /// Checks the settings. Brokers are reached when they are first needed.
    pub fn connect(settings: KafkaSettings) -> Result<Self, LogError> {
        let created = settings.consumer(None)?.create_with_context(Plain);
        let consumer = created.map_err(|error| fault(&settings.brokers, error))?;
        let (partitions, settings_are_hidden) = (Mutex::default(), AtomicBool::new(false));
        let admin = OnceLock::new();
        Ok(KafkaLog { inner: Arc::new(Inner { settings, consumer, admin, partitions, settings_are_hidden }) })
    }

    pub fn settings(&self) -> &KafkaSettings {
        &self.inner.settings
    }

    pub(crate) fn admin_client(&self) -> &OnceLock<AdminClient<Plain>> {
        &self.inner.admin
    }

    /// How many partitions a topic has, or `None` if there is no such topic.
    pub fn partition_count(&self, topic: &str) -> Result<Option<usize>, LogError> {
        match self.inner.partition_count(topic) {
            Ok(count) => Ok(Some(count)),
            Err(LogError::UnknownTopic { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Says once that the brokers do not tell topics' settings.
    pub(crate) fn settings_are_hidden(&self, topic: &str) {
        if !self.inner.settings_are_hidden.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                topic,
                "the brokers do not tell the topic's settings: if it is compacted, that is not noticed"
            );
        }
    }

    pub(crate) fn forget_topic(&self, topic: &str) {
        self.inner.partitions.lock().unwrap_or_else(PoisonError::into_inner).remove(topic);
    }
}

impl Log for KafkaLog {
    fn bounds(&self, topic: &str) -> Result<Vec<(Partition, OffsetRange)>, LogError> {
        let count = self.inner.partition_count(topic)?;
        // The start is asked for first: it never passes an end that is asked for later.
        let starts = self.inner.offsets(topic, count, KafkaOffset::Beginning)?;
        let ends = self.inner.offsets(topic, count, KafkaOffset::End)?;
        let ranges = starts.into_iter().zip(ends).enumerate();
        Ok(ranges
            .map(|(partition, (from, until))| (Partition(partition as i32), OffsetRange { from, until }))
            .collect())
    }

    fn reader(&self, topic: &str, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, LogError> {
        self.inner.check_partition(topic, partition)?;
        let fetch = self.inner.fetch(topic)?;
        Ok(Box::new(KafkaReader::open(Arc::clone(&self.inner), fetch, topic, partition, from)?))
    }

    fn record_at(
        &self,
        topic: &str,
        partition: Partition,
        offset: Offset,
    ) -> Result<Option<Fingerprint>, LogError> {
        identity::record_at(self.inner.open_for_one(topic, partition, offset), topic, partition, offset)
    }

    fn subscribe(&self, topic: &str, group: &str) -> Result<Box<dyn Subscription>, LogError> {
        self.inner.partition_count(topic)?;
        let config = self.inner.settings.consumer(Some(group))?;
        let created = config.create_with_context(Member::new(topic));
        let consumer: BaseConsumer<Member> = created.map_err(|error| self.inner.fault(error))?;
        consumer.subscribe(&[topic]).map_err(|error| self.inner.fault(error))?;
        Ok(Box::new(KafkaSubscription::new(Arc::clone(&self.inner), topic, consumer)?))
    }

    fn topic_id(&self, topic: &str) -> Result<Option<TopicId>, LogError> {
        let Inner { settings, consumer, .. } = &*self.inner;
        let found = topic_id(consumer.client(), topic, settings.timeout);
        consumer.poll(Duration::ZERO);
        match found {
            Ok(id) => Ok(id.map(TopicId)),
            // Brokers of before topics had ids.
            Err(RDKafkaErrorCode::UnsupportedFeature | RDKafkaErrorCode::UnsupportedVersion) => Ok(None),
            Err(code) => Err(self.inner.topic_fault(topic, code)),
        }
    }

    fn cleanup_policy(&self, topic: &str) -> Result<Option<String>, LogError> {
        self.topic_setting(topic, "cleanup.policy")
    }
}

impl Inner {
    /// What reads one partition.
    pub fn fetch(self: &Arc<Self>, topic: &str) -> Result<Box<dyn Fetch>, LogError> {
        let log = Arc::clone(self);
        Ok(match self.settings.fetch()? {
            Some(settings) => Box::new(Batches::new(log, topic, settings)?),
            None => Box::new(ReaderMessages::new(log, topic)?),
        })
    }

    /// A reader that asks for no more than the batch that its next record is in.
    fn open_for_one(
        self: &Arc<Self>,
        topic: &str,
        partition: Partition,
        from: Offset,
    ) -> Result<Box<dyn Reader>, LogError> {
        self.check_partition(topic, partition)?;
        let log = Arc::clone(self);
        let fetch: Box<dyn Fetch> = match self.settings.fetch()? {
            // However little is asked for, a broker sends a whole batch.
            Some(settings) => {
                Box::new(Batches::new(log, topic, FetchSettings { partition_max_bytes: 1, ..settings })?)
            }
            None => Box::new(ReaderMessages::new(log, topic)?),
        };
        Ok(Box::new(KafkaReader::open(Arc::clone(self), fetch, topic, partition, from)?))
    }

    /// What reads the partitions that a member holds.
    pub fn fetch_of(
        self: &Arc<Self>,
        topic: &str,
        member: &Arc<BaseConsumer<Member>>,
    ) -> Result<Box<dyn Fetch>, LogError> {
        let log = Arc::clone(self);
        Ok(match self.settings.fetch()? {
            Some(settings) => Box::new(Batches::new(log, topic, settings)?),
            None => Box::new(MemberMessages::new(log, topic, Arc::clone(member))),
        })
    }

    pub fn fault(&self, error: KafkaError) -> LogError {
        fault(&self.settings.brokers, error)
    }

    pub fn topic_fault(&self, topic: &str, code: RDKafkaErrorCode) -> LogError {
        topic_fault(&self.settings.brokers, topic, code)
    }

    pub fn unavailable(&self, reason: impl Into<String>) -> LogError {
        unavailable(&self.settings.brokers, reason)
    }

    /// How many partitions a topic has. An answer with fewer than before is an error, never news.
    fn partition_count(&self, topic: &str) -> Result<usize, LogError> {
        let metadata = self.consumer.fetch_metadata(Some(topic), self.settings.timeout);
        // Serves the log lines that librdkafka has queued.
        self.consumer.poll(Duration::ZERO);
        let metadata = metadata.map_err(|error| self.fault(error))?;
        let Some(found) = metadata.topics().iter().find(|found| found.name() == topic) else {
            return Err(LogError::UnknownTopic { topic: topic.to_string() });
        };
        if let Some(error) = found.error() {
            return Err(self.topic_fault(topic, error.into()));
        }
        let count = found.partitions().len();
        let mut known = self.partitions.lock().unwrap_or_else(PoisonError::into_inner);
        let before = known.get(topic).copied().unwrap_or(1);
        if count < before {
            return Err(self.unavailable(format!("topic {topic}: shows {count} partitions, had {before}")));
        }
        known.insert(topic.to_string(), count);
        Ok(count)
    }

    fn check_partition(&self, topic: &str, partition: Partition) -> Result<(), LogError> {
        let count = self.partition_count(topic)?;
        if usize::try_from(partition.0).is_ok_and(|partition| partition < count) {
            return Ok(());
        }
        Err(self
            .unavailable(format!("topic {topic} has {count} partitions: there is no partition {partition}")))
    }

    /// Each partition's start, or its last stable offset: librdkafka asks with the client's isolation level.
    fn offsets(&self, topic: &str, count: usize, which: KafkaOffset) -> Result<Vec<Offset>, LogError> {
        let mut asked = TopicPartitionList::new();
        for partition in 0..count {
            asked.add_partition_offset(topic, partition as i32, which).map_err(|error| self.fault(error))?;
        }
        let answer = self.consumer.offsets_for_times(asked, self.settings.timeout);
        let answer = answer.map_err(|error| match error.rdkafka_error_code() {
            Some(code) => self.topic_fault(topic, code),
            None => self.fault(error),
        })?;
        let resolve = |partition: usize| {
            let entry = answer.find_partition(topic, partition as i32);
            match entry.as_ref().map(|entry| (entry.error(), entry.offset())) {
                Some((Ok(()), KafkaOffset::Offset(offset))) if offset >= 0 => Ok(Offset(offset)),
                Some((Err(error), _)) => Err(self.fault(error)),
                _ => {
                    Err(self.unavailable(format!("topic {topic}: no offset known for partition {partition}")))
                }
            }
        };
        (0..count).map(resolve).collect()
    }

    /// The error of an offset that a partition does not hold.
    pub fn out_of_range(&self, topic: &str, partition: Partition, needed: Offset) -> LogError {
        match self.consumer.fetch_watermarks(topic, partition.0, self.settings.timeout) {
            Ok((low, high)) => {
                LogError::OutOfRange { partition, needed, held: OffsetRange::new(Offset(low), Offset(high)) }
            }
            Err(error) => self.fault(error),
        }
    }
}
