//! Committed offsets: durable, one entry per group, topic and partition.
//!
//! A commit lives until its group or topic is deleted; it does not expire with time.

use bytes::{Buf, BufMut, Bytes};
use kafka_protocol::ResponseError;

use crate::BrokerError;
use crate::journal::{Change, Journal};

/// Longest text that may accompany an offset, as in Kafka.
const MAX_METADATA_BYTES: usize = 4096;

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commit {
    pub offset: i64,
    pub leader_epoch: i32,
    pub metadata: String,
}

/// Where a commit belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub topic: String,
    pub partition: i32,
}

#[derive(Debug)]
pub struct Commits {
    journal: Journal,
}

impl Commits {
    pub fn new(journal: Journal) -> Commits {
        Commits { journal }
    }

    pub fn check(commit: &Commit) -> Result<(), ResponseError> {
        if commit.metadata.len() > MAX_METADATA_BYTES {
            return Err(ResponseError::OffsetMetadataTooLarge);
        }
        Ok(())
    }

    /// Writes all of them down together.
    pub fn put(&self, group: &str, commits: &[(Place, Commit)]) -> Result<(), BrokerError> {
        let put = |(place, commit): &(Place, Commit)| Change::Put(key(group, place), encode(commit));
        self.journal.apply(commits.iter().map(put).collect())
    }

    pub fn get(&self, group: &str, place: &Place) -> Option<Commit> {
        decode(self.journal.get(&key(group, place))?)
    }

    pub fn of_group(&self, group: &str) -> Vec<(Place, Commit)> {
        let prefix = group_prefix(group);
        self.journal
            .with_prefix(&prefix)
            .into_iter()
            .filter_map(|(key, value)| Some((read_place(key.slice(prefix.len()..))?, decode(value)?)))
            .collect()
    }

    /// Names of all groups that have committed anything.
    pub fn groups(&self) -> Vec<String> {
        let mut names: Vec<String> = self
            .journal
            .with_prefix(b"")
            .into_iter()
            .filter_map(|(mut key, _)| read_text(&mut key))
            .collect();
        names.dedup();
        names
    }

    pub fn has(&self, group: &str) -> bool {
        !self.journal.with_prefix(&group_prefix(group)).is_empty()
    }

    pub fn delete(&self, group: &str, places: &[Place]) -> Result<(), BrokerError> {
        self.journal.apply(places.iter().map(|place| Change::Delete(key(group, place))).collect())
    }

    pub fn delete_group(&self, group: &str) -> Result<(), BrokerError> {
        let keys = self.journal.with_prefix(&group_prefix(group));
        self.journal.apply(keys.into_iter().map(|(key, _)| Change::Delete(key)).collect())
    }

    /// Forgets what any group committed to a topic that is no more.
    pub fn delete_topic(&self, topic: &str) -> Result<(), BrokerError> {
        let of_topic = |key: &Bytes| {
            let mut rest = key.clone();
            read_text(&mut rest);
            read_text(&mut rest).is_some_and(|found| found == topic)
        };
        let keys = self.journal.with_prefix(b"").into_iter().map(|(key, _)| key).filter(of_topic);
        self.journal.apply(keys.map(Change::Delete).collect())
    }

    pub fn sync(&self) -> Result<(), BrokerError> {
        self.journal.sync()
    }
}

fn put_text(buffer: &mut Vec<u8>, text: &str) {
    buffer.put_u32(text.len() as u32);
    buffer.put_slice(text.as_bytes());
}

fn read_text(buffer: &mut Bytes) -> Option<String> {
    let bytes = buffer.try_get_u32().ok()? as usize;
    let text = (buffer.len() >= bytes).then(|| buffer.split_to(bytes))?;
    String::from_utf8(text.into()).ok()
}

fn group_prefix(group: &str) -> Vec<u8> {
    let mut prefix = Vec::new();
    put_text(&mut prefix, group);
    prefix
}

fn key(group: &str, place: &Place) -> Bytes {
    let mut key = group_prefix(group);
    put_text(&mut key, &place.topic);
    key.put_i32(place.partition);
    key.into()
}

fn read_place(mut rest: Bytes) -> Option<Place> {
    Some(Place { topic: read_text(&mut rest)?, partition: rest.try_get_i32().ok()? })
}

fn encode(commit: &Commit) -> Bytes {
    let mut value = Vec::new();
    value.put_i64(commit.offset);
    value.put_i32(commit.leader_epoch);
    put_text(&mut value, &commit.metadata);
    value.into()
}

fn decode(mut value: Bytes) -> Option<Commit> {
    let offset = value.try_get_i64().ok()?;
    let leader_epoch = value.try_get_i32().ok()?;
    Some(Commit { offset, leader_epoch, metadata: read_text(&mut value)? })
}
