//! What every file format gives: rows with the line they stand on.

use chrono::{DateTime, NaiveDateTime};
use serde_json::Value;

/// Which fields become a record's key and timestamp.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    pub key: Option<String>,
    pub timestamp: Option<String>,
}

/// A row of a file.
pub struct Row {
    /// Counted from 1; of a Parquet file, the row.
    pub line: u64,
    /// The record, or why the row cannot be one.
    pub content: Result<Content, String>,
}

/// What is sent.
pub struct Content {
    pub key: Option<Vec<u8>>,
    pub payload: Vec<u8>,
    /// Milliseconds since 1970-01-01.
    pub timestamp: Option<i64>,
}

/// Gives a file row by row. An error ends it: what follows cannot be read.
pub trait Rows {
    fn next(&mut self) -> anyhow::Result<Option<Row>>;

    /// How far this is, where reading bytes does not tell.
    fn position(&self) -> Option<u64> {
        None
    }
}

impl Wanted {
    pub fn is_nothing(&self) -> bool {
        self.key.is_none() && self.timestamp.is_none()
    }

    /// The record of a payload whose fields `field` looks up.
    pub fn content<'a>(
        &self,
        payload: Vec<u8>,
        field: impl Fn(&str) -> Option<&'a Value>,
    ) -> Result<Content, String> {
        let key = match &self.key {
            None => None,
            // A record whose key is NULL has none.
            Some(name) => match field(name) {
                None | Some(Value::Null) => None,
                Some(Value::String(text)) => Some(text.clone().into_bytes()),
                Some(other) => Some(other.to_string().into_bytes()),
            },
        };
        let timestamp = match &self.timestamp {
            None => None,
            Some(name) => {
                let value = field(name).unwrap_or(&Value::Null);
                Some(millis(value).ok_or_else(|| format!("field {name}: found {value}, expected a time"))?)
            }
        };
        Ok(Content { key, payload, timestamp })
    }
}

/// A time as text (RFC 3339 or SQL, UTC without an offset) or as milliseconds.
fn millis(value: &Value) -> Option<i64> {
    let text = match value {
        Value::Number(number) => return number.as_i64(),
        Value::String(text) => text,
        _ => return None,
    };
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Some(time.timestamp_millis());
    }
    let formats = ["%Y-%m-%d %H:%M:%S%.f", "%Y-%m-%dT%H:%M:%S%.f"];
    let time = formats.iter().find_map(|format| NaiveDateTime::parse_from_str(text, format).ok())?;
    Some(time.and_utc().timestamp_millis())
}
