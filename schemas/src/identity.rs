//! Which log was folded, and how another one under the same name is told from it.
//!
//! A name and an offset do not say which record is meant: a topic may be deleted and created anew, or lose its end
//! to an unclean election and fill it again. So a version remembers the topic's id and the last record that
//! was read of each partition. A log is another one when its id differs, or when that record is there and is
//! another. A record that retention has taken tells nothing, and is no reason to refuse
//! (invariant `NOTHING_VANISHES`: what is refused here is a log whose records would be taken for others).

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::log::{LogError, Reader, Records};
use crate::offsets::{Offset, OffsetRange, Partition};

/// What to do about a log that is another one.
pub const REPAIR: &str = "if it should be the old one, restore it with the same records at the same offsets and run a batch \
                          run once with --accept-topic, which compares what is known of them; if it is new, begin anew \
                          under another stream name or store.url";

/// How long, and how often, a record that the log holds is waited for.
const READ_TIMEOUT: Duration = Duration::from_millis(500);
const READS: usize = 20;

/// What the brokers call a topic among all that ever had its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicId(pub String);

impl fmt::Display for TopicId {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A record by what is folded of it: where it lies, when it was written, and what it says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fingerprint {
    pub offset: Offset,
    /// Milliseconds since 1970-01-01.
    pub timestamp: i64,
    /// SHA-256 of the payload in hex; none of a tombstone.
    pub payload_sha256: Option<String>,
}

impl Fingerprint {
    /// Of record `index`.
    pub fn of(records: &Records, index: usize) -> Fingerprint {
        let hash =
            || Sha256::digest(records.payload(index)).iter().map(|byte| format!("{byte:02x}")).collect();
        Fingerprint {
            offset: Offset(records.offsets[index]),
            timestamp: records.timestamps[index],
            payload_sha256: (!records.tombstones[index]).then(hash),
        }
    }

    /// Of the last of these records.
    pub fn of_last(records: &Records) -> Option<Fingerprint> {
        records.len().checked_sub(1).map(|last| Fingerprint::of(records, last))
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hash = self.payload_sha256.as_deref().map_or("none", |hash| hash.get(..8).unwrap_or(hash));
        write!(out, "offset {}, timestamp {}, payload {hash}", self.offset, self.timestamp)
    }
}

/// What a fold remembers of the log that it was made from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogIdentity {
    /// None where the brokers do not tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub topic_id: Option<TopicId>,
    /// The last record that was read of each partition; none of partitions that had none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub last_records: BTreeMap<Partition, Fingerprint>,
}

/// How a log differs from the one that was folded.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OtherLog {
    #[error("found topic id {found}, expected {expected}: the topic was deleted and created anew")]
    Topic { expected: TopicId, found: TopicId },
    #[error(
        "partition {partition} holds another record: found {found}, expected {expected}; the topic was created anew, or \
         an unclean election truncated it"
    )]
    Record { partition: Partition, expected: Fingerprint, found: Fingerprint },
}

impl LogIdentity {
    /// Compares ids, where both sides are known.
    pub fn check_topic(&self, found: Option<&TopicId>) -> Result<(), OtherLog> {
        match (&self.topic_id, found) {
            (Some(expected), Some(found)) if expected != found => {
                Err(OtherLog::Topic { expected: expected.clone(), found: found.clone() })
            }
            _ => Ok(()),
        }
    }

    /// Where the record of a partition lies that the log is recognised by, if the log still holds that offset.
    pub fn witness(&self, partition: Partition, held: OffsetRange) -> Option<Offset> {
        let offset = self.last_records.get(&partition)?.offset;
        held.contains(offset).then_some(offset)
    }

    /// Compares what the log holds at the witness' offset; nothing, where compaction took it.
    pub fn check_record(&self, partition: Partition, found: Option<&Fingerprint>) -> Result<(), OtherLog> {
        match (self.last_records.get(&partition), found) {
            (Some(expected), Some(found)) if expected != found => {
                let (expected, found) = (expected.clone(), found.clone());
                Err(OtherLog::Record { partition, expected, found })
            }
            _ => Ok(()),
        }
    }
}

/// Reads one record again, as [`Log::record_at`](crate::log::Log::record_at) is to, from a reader that was opened there.
pub fn record_at(
    opened: Result<Box<dyn Reader>, LogError>,
    topic: &str,
    partition: Partition,
    offset: Offset,
) -> Result<Option<Fingerprint>, LogError> {
    let gone = |error: &LogError| matches!(error, LogError::OutOfRange { held, .. } if offset < held.from);
    let mut reader = match opened {
        Err(error) if gone(&error) => return Ok(None),
        opened => opened?,
    };
    for _ in 0..READS {
        let records = match reader.next(1, READ_TIMEOUT) {
            Err(error) if gone(&error) => return Ok(None),
            read => read?,
        };
        if !records.is_empty() {
            return Ok((records.offsets[0] == offset.0).then(|| Fingerprint::of(&records, 0)));
        }
        if reader.position() > offset {
            return Ok(None);
        }
    }
    Err(LogError::Silent { topic: topic.to_string(), partition, offset })
}

/// True for a `cleanup.policy` that keeps only the last record of each key.
pub fn compacts(cleanup_policy: &str) -> bool {
    cleanup_policy.split(',').any(|policy| policy.trim() == "compact")
}
