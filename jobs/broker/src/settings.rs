//! Settings a topic may have of its own, under Kafka's names; what is not set follows the broker.
//!
//! A setting this broker could not honour is refused rather than stored and ignored.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::BrokerConfig;
use crate::log::Limits;

/// Kafka's code for the type of a setting, told by DescribeConfigs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Text = 2,
    Int = 3,
    Long = 5,
    List = 7,
}

/// One setting as told by DescribeConfigs.
#[derive(Debug)]
pub struct Described {
    pub name: &'static str,
    pub value: String,
    pub kind: Kind,
    pub of_topic: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingFault {
    #[error("unknown or unsupported setting {name}; this broker knows {}", NAMES.join(", "))]
    Unknown { name: String },
    #[error("{name}: found {found:?}, expected {expected}")]
    Value { name: &'static str, found: String, expected: &'static str },
}

/// Checked values by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TopicSettings {
    values: BTreeMap<&'static str, String>,
}

const RETENTION_MS: &str = "retention.ms";
const RETENTION_BYTES: &str = "retention.bytes";
const SEGMENT_BYTES: &str = "segment.bytes";
const MAX_MESSAGE_BYTES: &str = "max.message.bytes";
const CLEANUP_POLICY: &str = "cleanup.policy";
const COMPRESSION_TYPE: &str = "compression.type";
const TIMESTAMP_TYPE: &str = "message.timestamp.type";
const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";
const NAMES: [&str; 8] = [
    CLEANUP_POLICY,
    COMPRESSION_TYPE,
    MAX_MESSAGE_BYTES,
    TIMESTAMP_TYPE,
    MIN_INSYNC_REPLICAS,
    RETENTION_BYTES,
    RETENTION_MS,
    SEGMENT_BYTES,
];

impl TopicSettings {
    /// Sets `name`, or with `None` returns it to the broker's own value.
    pub fn set(&mut self, name: &str, value: Option<&str>) -> Result<(), SettingFault> {
        let name = *NAMES
            .iter()
            .find(|known| **known == name)
            .ok_or_else(|| SettingFault::Unknown { name: name.to_owned() })?;
        match value {
            None => {
                self.values.remove(name);
            }
            Some(value) => {
                check(name, value)?;
                self.values.insert(name, value.to_owned());
            }
        }
        Ok(())
    }

    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&'static str, &str)> {
        self.values.iter().map(|(name, value)| (*name, value.as_str()))
    }

    fn number(&self, name: &str) -> Option<i64> {
        self.values.get(name)?.parse().ok()
    }

    pub fn limits(&self, config: &BrokerConfig) -> Limits {
        let unless_negative = |number: i64| u64::try_from(number).ok();
        Limits {
            segment_bytes: self.number(SEGMENT_BYTES).map_or(config.segment_bytes, |bytes| bytes as u64),
            retention_bytes: self.number(RETENTION_BYTES).map_or(config.retention_bytes, unless_negative),
            retention: self
                .number(RETENTION_MS)
                .map_or(config.retention, |ms| unless_negative(ms).map(Duration::from_millis)),
        }
    }

    pub fn max_message_bytes(&self, config: &BrokerConfig) -> usize {
        let own = self.number(MAX_MESSAGE_BYTES).map_or(config.max_message_bytes, |bytes| bytes as usize);
        own.min(config.max_message_bytes)
    }

    /// Every setting with the value in force.
    pub fn describe(&self, config: &BrokerConfig) -> Vec<Described> {
        let limits = self.limits(config);
        let or_forever = |number: Option<u128>| number.map_or("-1".to_owned(), |number| number.to_string());
        NAMES
            .iter()
            .map(|&name| {
                let (value, kind) = match name {
                    CLEANUP_POLICY => ("delete".to_owned(), Kind::List),
                    COMPRESSION_TYPE => ("producer".to_owned(), Kind::Text),
                    TIMESTAMP_TYPE => ("CreateTime".to_owned(), Kind::Text),
                    MIN_INSYNC_REPLICAS => ("1".to_owned(), Kind::Int),
                    MAX_MESSAGE_BYTES => (self.max_message_bytes(config).to_string(), Kind::Int),
                    SEGMENT_BYTES => (limits.segment_bytes.to_string(), Kind::Int),
                    RETENTION_BYTES => (or_forever(limits.retention_bytes.map(u128::from)), Kind::Long),
                    _ => (or_forever(limits.retention.map(|age| age.as_millis())), Kind::Long),
                };
                Described { name, value, kind, of_topic: self.values.contains_key(name) }
            })
            .collect()
    }
}

fn check(name: &'static str, value: &str) -> Result<(), SettingFault> {
    let number_from =
        |least: i64| value.parse::<i64>().is_ok_and(|number| (least..=i64::from(i32::MAX)).contains(&number));
    let (sound, expected) = match name {
        RETENTION_MS | RETENTION_BYTES => {
            (value.parse::<i64>().is_ok_and(|number| number >= -1), "a number, or -1 for no limit")
        }
        SEGMENT_BYTES => (number_from(1024), "1024 to 2147483647"),
        MAX_MESSAGE_BYTES => (number_from(0), "0 to 2147483647"),
        CLEANUP_POLICY => (value == "delete", "delete, for this broker does not compact logs"),
        COMPRESSION_TYPE => (value == "producer", "producer, for batches are stored as they were sent"),
        TIMESTAMP_TYPE => (value == "CreateTime", "CreateTime, for batches are stored as they were sent"),
        _ => (value == "1", "1, for there is one replica"),
    };
    if sound {
        return Ok(());
    }
    Err(SettingFault::Value { name, found: value.to_owned(), expected })
}
