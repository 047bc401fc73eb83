//! A stream: a Kafka topic with a schema.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::DataType;

/// What `CREATE TABLE` declares.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stream {
    pub name: String,
    pub topic: String,
    pub format: Format,
    pub fields: Vec<Field>,
    /// The index in `fields` of the event time: a `TIMESTAMP NOT NULL`.
    pub event_time: usize,
    /// An event whose time lies further than this beyond its record's Kafka timestamp is a dead letter.
    pub max_future: Duration,
}

/// How a record's payload is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    Json,
}

/// One column of a stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    pub name: String,
    pub data_type: DataType,
    pub not_null: bool,
    /// How a TIMESTAMP is written; without meaning for other types.
    pub timestamp_format: TimestampFormat,
}

/// How timestamps are written in payloads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TimestampFormat {
    /// RFC 3339 (`2013-01-01T05:00:00Z`, any offset) or SQL (`2013-01-01 05:00:00`, read as UTC).
    #[default]
    Text,
    EpochSeconds,
    EpochMillis,
    EpochMicros,
}

/// Columns that every landed event carries beside its fields. Field names may not begin with `_`.
pub const PARTITION_COLUMN: &str = "_partition";
pub const OFFSET_COLUMN: &str = "_offset";
/// The record's Kafka timestamp.
pub const TIMESTAMP_COLUMN: &str = "_timestamp";

impl Stream {
    pub fn event_time(&self) -> &Field {
        &self.fields[self.event_time]
    }

    pub fn field(&self, name: &str) -> Option<&Field> {
        self.fields.iter().find(|field| field.name == name)
    }
}
