//! CSV with a header. Values are written as their fields' types want them; an empty one is NULL.

use std::io::Read;
use std::sync::Arc;

use anyhow::Context;
use csv::{ReaderBuilder, StringRecord};
use serde_json::{Number, Value};
use watershed_schemas::stream::{Stream, TimestampFormat};
use watershed_schemas::types::DataType;

use super::json;
use super::rows::{Content, Row, Rows, Wanted};

pub struct Csv<R> {
    reader: csv::Reader<R>,
    columns: Vec<(String, Kind)>,
    wanted: Wanted,
    record: StringRecord,
}

/// How a column's values are written in JSON.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    Number,
    /// As text, so that no digit is lost on the way.
    Decimal,
    Boolean,
}

impl<R: Read> Csv<R> {
    pub fn open(bytes: R, stream: &Arc<Stream>, wanted: &Wanted) -> anyhow::Result<Self> {
        let mut reader = ReaderBuilder::new().flexible(true).from_reader(bytes);
        let header = reader.headers().context("the header")?;
        let columns = header.iter().map(|name| (name.to_string(), kind(stream, name))).collect();
        Ok(Csv { reader, columns, wanted: wanted.clone(), record: StringRecord::new() })
    }

    fn content(&self) -> Result<Content, String> {
        let (found, expected) = (self.record.len(), self.columns.len());
        if found != expected {
            return Err(format!("found {found} values, expected {expected} as in the header"));
        }
        let columns = self.columns.iter().zip(&self.record);
        let values: Vec<(&str, Value)> = columns
            .map(|((name, kind), text)| {
                let value = value(*kind, text).ok_or_else(|| {
                    let expected = if *kind == Kind::Boolean { "true or false" } else { "a number" };
                    format!("column {name}: found \"{text}\", expected {expected}")
                });
                value.map(|value| (name.as_str(), value))
            })
            .collect::<Result<_, _>>()?;
        let payload = json::object(values.iter().map(|(name, value)| (*name, value)));
        self.wanted.content(payload, |name| Some(&values.iter().find(|(column, _)| *column == name)?.1))
    }
}

impl<R: Read> Rows for Csv<R> {
    fn next(&mut self) -> anyhow::Result<Option<Row>> {
        let mut record = std::mem::take(&mut self.record);
        let read = self.reader.read_record(&mut record);
        let line = record.position().map_or(0, csv::Position::line);
        self.record = record;
        match read {
            Ok(false) => Ok(None),
            Ok(true) => Ok(Some(Row { line, content: self.content() })),
            Err(error) => match error.kind() {
                csv::ErrorKind::Utf8 { pos, .. } => {
                    let line = pos.as_ref().map_or(line, csv::Position::line);
                    Ok(Some(Row { line, content: Err("it is not UTF-8".to_string()) }))
                }
                _ => Err(error.into()),
            },
        }
    }
}

fn kind(stream: &Stream, column: &str) -> Kind {
    match stream.field(column).map(|field| (&field.data_type, field.timestamp_format)) {
        Some((DataType::Integer | DataType::BigInt | DataType::Double, _)) => Kind::Number,
        Some((DataType::Decimal { .. }, _)) => Kind::Decimal,
        Some((DataType::Timestamp, format)) if format != TimestampFormat::Text => Kind::Number,
        Some((DataType::Boolean, _)) => Kind::Boolean,
        _ => Kind::Text,
    }
}

fn value(kind: Kind, text: &str) -> Option<Value> {
    if text.is_empty() {
        return Some(Value::Null);
    }
    match kind {
        Kind::Text => Some(Value::from(text)),
        Kind::Number => text.trim().parse::<Number>().ok().map(Value::Number),
        Kind::Decimal => text.trim().parse::<Number>().ok().map(|_| Value::from(text.trim())),
        Kind::Boolean => match text.trim().to_lowercase().as_str() {
            "true" | "t" | "1" => Some(Value::Bool(true)),
            "false" | "f" | "0" => Some(Value::Bool(false)),
            _ => None,
        },
    }
}
