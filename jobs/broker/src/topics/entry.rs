//! How a topic is written down in the cluster's journal.

use bytes::{Buf, BufMut, Bytes};
use uuid::Uuid;

use crate::settings::TopicSettings;

pub const TOPIC_PREFIX: &[u8] = b"topic/";

pub fn topic_key(name: &str) -> Bytes {
    Bytes::from([TOPIC_PREFIX, name.as_bytes()].concat())
}

pub fn start_key(name: &str, partition: i32) -> Bytes {
    Bytes::from(format!("start/{name}/{partition}"))
}

pub fn encode_topic(id: Uuid, partitions: i32, settings: &TopicSettings) -> Bytes {
    let mut value = Vec::new();
    value.put_slice(id.as_bytes());
    value.put_i32(partitions);
    for (name, setting) in settings.iter() {
        value.put_slice(format!("{name}={setting}\n").as_bytes());
    }
    value.into()
}

pub fn decode_topic(mut value: Bytes) -> Option<(Uuid, i32, TopicSettings)> {
    let id = Uuid::from_u128(value.try_get_u128().ok()?);
    let partitions = value.try_get_i32().ok()?;
    let mut settings = TopicSettings::default();
    for line in std::str::from_utf8(&value).ok()?.lines() {
        let (name, setting) = line.split_once('=')?;
        settings.set(name, Some(setting)).ok()?;
    }
    Some((id, partitions, settings))
}
