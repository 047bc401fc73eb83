//! The log as the layers see it: records by partition and offset.
//!
//! A real log is Kafka; tests bring one of their own. Calls block, so that the same decision code
//! runs under a thread and under a simulator.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

use crate::identity::{self, Fingerprint, TopicId};
use crate::invariants;
use crate::offsets::{Offset, OffsetRange, Offsets, Partition};

/// Consecutive records of one partition, column by column. Payloads stay where they came: nothing of a fetch is copied.
///
/// They are all that `[from, position)` holds. Offsets have holes, so only `from` tells a record that was lost on
/// the way from one that never was: whoever takes records compares it with where it stands itself.
#[derive(Clone, Debug, Default)]
pub struct Records {
    pub partition: i32,
    /// The reader's position before these records.
    pub from: i64,
    pub offsets: Vec<i64>,
    /// Kafka timestamps in milliseconds since 1970-01-01.
    pub timestamps: Vec<i64>,
    /// True where the record is a tombstone: it has no payload at all (an empty payload is not one).
    pub tombstones: Vec<bool>,
    /// The reader's position behind these records; holes that follow them are already passed.
    pub position: i64,
    places: Vec<Place>,
    shared: Vec<Bytes>,
    /// Payloads that came one by one, behind one another.
    own: Vec<u8>,
    payload_bytes: usize,
}

/// Where a payload lies.
#[derive(Clone, Copy, Debug)]
struct Place {
    source: Source,
    length: u32,
    start: usize,
}

/// Bytes that records share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source(u32);

const OWN: Source = Source(u32::MAX);

impl Records {
    /// No records yet, of a reader that stands at `position`.
    pub fn new(partition: Partition, position: Offset) -> Self {
        let (partition, position) = (partition.0, position.0);
        Records { partition, from: position, position, ..Records::default() }
    }

    /// Makes room for so many records more.
    pub fn reserve(&mut self, records: usize) {
        self.offsets.reserve(records);
        self.timestamps.reserve(records);
        self.tombstones.reserve(records);
        self.places.reserve(records);
    }

    /// Adds a record, its payload by copying it.
    pub fn push(&mut self, offset: Offset, timestamp: i64, payload: Option<&[u8]>) {
        let start = self.own.len();
        self.own.extend_from_slice(payload.unwrap_or_default());
        self.add(offset, timestamp, OWN, payload.map(|_| start..self.own.len()));
    }

    /// Holds bytes in which payloads lie that are to be added.
    pub fn share(&mut self, bytes: Bytes) -> Source {
        self.shared.push(bytes);
        Source(self.shared.len() as u32 - 1)
    }

    /// Adds a record whose payload lies in bytes that were shared before; `None` for a tombstone.
    #[inline]
    pub fn push_shared(
        &mut self,
        offset: Offset,
        timestamp: i64,
        source: Source,
        payload: Option<Range<usize>>,
    ) {
        self.add(offset, timestamp, source, payload);
    }

    #[inline]
    fn add(&mut self, offset: Offset, timestamp: i64, source: Source, payload: Option<Range<usize>>) {
        self.offsets.push(offset.0);
        self.timestamps.push(timestamp);
        self.tombstones.push(payload.is_none());
        let payload = payload.unwrap_or_default();
        self.payload_bytes += payload.len();
        let length = u32::try_from(payload.len()).expect("Kafka counts the bytes of a record in 31 bits");
        self.places.push(Place { source, length, start: payload.start });
        self.position = offset.0 + 1;
    }

    pub fn len(&self) -> usize {
        self.offsets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.offsets.is_empty()
    }

    /// Of all payloads together.
    pub fn payload_bytes(&self) -> usize {
        self.payload_bytes
    }

    /// What was examined to find these records.
    pub fn range(&self) -> OffsetRange {
        OffsetRange::new(Offset(self.from), Offset(self.position))
    }

    /// The same, if it begins where whoever takes these records stands.
    pub fn range_at(&self, expected: Offset) -> Result<OffsetRange, NotNext> {
        let (partition, found) = (Partition(self.partition), self.range());
        if found.from == expected { Ok(found) } else { Err(NotNext { partition, expected, found }) }
    }

    /// The payload of record `index`; empty for a tombstone.
    #[inline]
    pub fn payload(&self, index: usize) -> &[u8] {
        let Place { source, length, start } = self.places[index];
        let bytes = if source == OWN { &self.own[..] } else { &self.shared[source.0 as usize][..] };
        &bytes[start..start + length as usize]
    }

    /// Drops the records at or above an offset; what was examined ends there then.
    pub fn cut(&mut self, until: Offset) {
        let keep = self.offsets.partition_point(|offset| *offset < until.0);
        self.payload_bytes -= self.places[keep..].iter().map(|place| place.length as usize).sum::<usize>();
        self.offsets.truncate(keep);
        self.timestamps.truncate(keep);
        self.tombstones.truncate(keep);
        self.places.truncate(keep);
        self.position = self.position.min(until.0);
    }
}

/// Records of another place than the next: what lies between would be lost, or would be taken twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "invariant {}: partition {partition} was taken up to {expected}, found a range {found} that does not begin there",
    invariants::COVER
)]
pub struct NotNext {
    pub partition: Partition,
    pub expected: Offset,
    pub found: OffsetRange,
}

/// Why the log did not give what was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("topic {topic} does not exist: create it, or produce a first event to it")]
    UnknownTopic { topic: String },
    /// The log no longer holds (or never held) the offset: retention passed it, or the topic was truncated or created anew.
    #[error("gap at partition {partition}: needed offset {needed}, log holds {held}")]
    OutOfRange { partition: Partition, needed: Offset, held: OffsetRange },
    /// An unclean election took records that were read already; others may lie at their offsets now.
    #[error(
        "partition {partition} of topic {topic} was truncated below offset {position}, up to which it had been read"
    )]
    Truncated { topic: String, partition: Partition, position: Offset },
    #[error("partition {partition} of topic {topic} gives nothing at offset {offset}, which it holds")]
    Silent { topic: String, partition: Partition, offset: Offset },
    /// Partitions never become fewer: an answer that lacks one is an error, not news.
    #[error(
        "topic {topic} shows no partition {partition}, which it had: the brokers may be starting, ask again"
    )]
    PartitionMissing { topic: String, partition: Partition },
    #[error("kafka at {brokers}: {reason}")]
    Unavailable { brokers: String, reason: String },
    #[error("kafka setting {setting}: {reason}")]
    Setting { setting: String, reason: String },
}

/// A topic's log.
pub trait Log: Send + Sync {
    /// What each partition holds: from the log's start to the last stable offset. At least one partition.
    fn bounds(&self, topic: &str) -> Result<Vec<(Partition, OffsetRange)>, LogError>;

    /// Reads committed records of one partition from `from` on. An offset out of range is an error, never reset.
    fn reader(&self, topic: &str, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, LogError>;

    /// Joins the speed layer's consumer group. `group` names it; members share the partitions.
    fn subscribe(&self, topic: &str, group: &str) -> Result<Box<dyn Subscription>, LogError>;

    /// The record at an offset that the log holds. `None` if none lies there any more: compaction took it, or the log has
    /// begun behind it meanwhile.
    fn record_at(
        &self,
        topic: &str,
        partition: Partition,
        offset: Offset,
    ) -> Result<Option<Fingerprint>, LogError> {
        identity::record_at(self.reader(topic, partition, offset), topic, partition, offset)
    }

    /// What tells this topic from another that had its name before; `None` where the log does not say.
    fn topic_id(&self, _topic: &str) -> Result<Option<TopicId>, LogError> {
        Ok(None)
    }

    /// The topic's `cleanup.policy`; `None` where the log does not say.
    fn cleanup_policy(&self, _topic: &str) -> Result<Option<String>, LogError> {
        Ok(None)
    }
}

/// Refuses bounds that lack a partition which was seen before.
pub fn refuse_fewer(
    topic: &str,
    mut seen: impl Iterator<Item = Partition>,
    bounds: &[(Partition, OffsetRange)],
) -> Result<(), LogError> {
    match seen.find(|partition| bounds.iter().all(|(shown, _)| shown != partition)) {
        Some(partition) => Err(LogError::PartitionMissing { topic: topic.to_string(), partition }),
        None => Ok(()),
    }
}

/// Reads one partition forward.
pub trait Reader: Send {
    /// The next records (at most `max_records`, at least one unless `timeout` passed). An empty result
    /// may still have moved `position` over holes.
    fn next(&mut self, max_records: usize, timeout: Duration) -> Result<Records, LogError>;

    /// The next offset to be examined.
    fn position(&self) -> Offset;
}

/// What a member of a consumer group hears.
#[derive(Debug)]
pub enum Delivery {
    /// Consecutive records of partitions, of each at most one run, which begins where the one before ended, or where the
    /// partition was started. An empty run only moves the position, over offsets that hold no records.
    Records(Vec<Records>),
    /// These partitions are now ours; nothing of them arrives until [`Subscription::start`] names where to begin.
    Assigned(Vec<Partition>),
    /// These partitions are no longer ours.
    Revoked(Vec<Partition>),
    /// Nothing within the timeout.
    Idle,
}

/// A member of a consumer group over one topic.
pub trait Subscription: Send {
    /// What comes next, at most `max_records` of all partitions together.
    fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Delivery, LogError>;

    /// Begins to deliver an assigned partition at an offset; of one that was begun, the position moves there.
    fn start(&mut self, positions: &Offsets) -> Result<(), LogError>;
}
