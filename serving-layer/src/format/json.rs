//! JSON, written straight into a buffer: no tree per row.

use std::collections::BTreeMap;
use std::io::Write as _;

use chrono::{DateTime, Offset as _, TimeZone as _};
use chrono_tz::Tz;
use serde::Serialize;
use watershed_schemas::layout::date_text;
use watershed_schemas::value::{DecimalText, Value};

use super::meta::{Meta, MetaError};
use crate::answer::{Answer, AnswerColumn, Block, Found};

pub fn document(answer: &Answer) -> Vec<u8> {
    let found = answer.json.get_or_init(|| found(answer));
    let mut out = Vec::with_capacity(found.len() + 1_024);
    out.extend_from_slice(found);
    out.extend_from_slice(b",\"answer\":");
    json(&mut out, &answer.block);
    out.extend_from_slice(b",\"statistics\":");
    json(&mut out, &answer.statistics);
    if let Some(explanation) = &answer.explanation {
        out.extend_from_slice(b",\"explain\":");
        json(&mut out, explanation);
    }
    out.push(b'}');
    out
}

/// A document up to where it says what it is made of.
fn found(found: &Found) -> Vec<u8> {
    let mut out = Vec::with_capacity(256 + found.values() * 24);
    out.extend_from_slice(b"{\"meta\":");
    json(&mut out, &metas(found));
    out.extend_from_slice(b",\"data\":[");
    rows(&mut out, found, b"", b",");
    out.extend_from_slice(b"],\"rows\":");
    json(&mut out, &found.rows);
    out.extend_from_slice(b",\"next_cursor\":");
    json(&mut out, &found.next_cursor);
    out
}

/// One object per line.
pub fn lines(answer: &Answer) -> Vec<u8> {
    let mut out = Vec::with_capacity(answer.rows * answer.columns.len() * 24);
    rows(&mut out, answer, b"\n", b"");
    out
}

/// Everything but the rows.
pub fn head(answer: &Answer) -> String {
    #[derive(Serialize)]
    struct Head<'a> {
        meta: Vec<Meta<'a>>,
        rows: usize,
        next_cursor: &'a Option<String>,
        answer: &'a Block,
        statistics: &'a crate::answer::Statistics,
        #[serde(skip_serializing_if = "Option::is_none")]
        explain: &'a Option<crate::explain::Explanation>,
    }
    let Answer { found, block, statistics } = answer;
    let Found { rows, next_cursor, explanation, .. } = found.as_ref();
    let head = Head {
        meta: metas(answer),
        rows: *rows,
        next_cursor,
        answer: block,
        statistics,
        explain: explanation,
    };
    serde_json::to_string(&head).expect("strings, numbers and maps with integer keys have a JSON form")
}

/// Each row, by the object of its window and dimensions.
pub fn rows_by_key(answer: &Answer) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let keys: Vec<&AnswerColumn> = answer.columns.iter().filter(|column| column.exact.is_none()).collect();
    let key = |row: usize| {
        let mut key = b"{".to_vec();
        for (index, column) in keys.iter().enumerate() {
            if index > 0 {
                key.push(b',');
            }
            json(&mut key, &column.name);
            key.push(b':');
            value(&mut key, &column.values[row], answer.zone);
        }
        // Its dimensions are NULL, as those of another row may be.
        if answer.overflow.as_ref().is_some_and(|overflow| overflow[row]) {
            key.extend_from_slice(if keys.is_empty() {
                b"\"_overflow\":true"
            } else {
                b",\"_overflow\":true"
            });
        }
        key.push(b'}');
        key
    };
    let text = lines(answer);
    text.split(|byte| *byte == b'\n')
        .take(answer.rows)
        .enumerate()
        .map(|(row, line)| (key(row), line.to_vec()))
        .collect()
}

/// The columns, and the answer block.
pub fn columns(answer: &Answer) -> String {
    serde_json::to_string(&metas(answer)).expect("strings, numbers and booleans have a JSON form")
}

pub fn block(answer: &Answer) -> String {
    block_of(&answer.block)
}

pub fn block_of(block: &Block) -> String {
    serde_json::to_string(block).expect("strings, numbers and maps with integer keys have a JSON form")
}

fn metas(answer: &Found) -> Vec<Meta<'_>> {
    answer.columns.iter().map(meta).collect()
}

fn meta(column: &AnswerColumn) -> Meta<'_> {
    let AnswerColumn { name, data_type, exact, error, .. } = column;
    Meta { name, r#type: data_type.to_string(), exact: *exact, error: error.as_ref().map(MetaError::of) }
}

fn rows(out: &mut Vec<u8>, answer: &Found, end: &[u8], between: &[u8]) {
    let names: Vec<Vec<u8>> = (answer.columns.iter().enumerate())
        .map(|(index, column)| {
            let mut name = if index == 0 { Vec::new() } else { vec![b','] };
            json(&mut name, &column.name);
            name.push(b':');
            name
        })
        .collect();
    for row in 0..answer.rows {
        if row > 0 {
            out.extend_from_slice(between);
        }
        out.push(b'{');
        for (name, column) in names.iter().zip(&answer.columns) {
            out.extend_from_slice(name);
            value(out, &column.values[row], answer.zone);
        }
        if let Some(live) = &answer.provenance {
            if !names.is_empty() {
                out.push(b',');
            }
            out.extend_from_slice(if live[row] { b"\"_live\":true" } else { b"\"_live\":false" });
        }
        if answer.overflow.as_ref().is_some_and(|overflow| overflow[row]) {
            out.extend_from_slice(b",\"_overflow\":true");
        }
        out.push(b'}');
        out.extend_from_slice(end);
    }
}

/// Decimals are texts, NaN and infinities null.
pub fn value(out: &mut Vec<u8>, value: &Value, zone: Tz) {
    match value {
        Value::Null => out.extend_from_slice(b"null"),
        Value::Boolean(true) => out.extend_from_slice(b"true"),
        Value::Boolean(false) => out.extend_from_slice(b"false"),
        Value::Integer(number) => json(out, number),
        Value::Double(number) => json(out, number),
        Value::Decimal(unscaled, scale) => {
            out.push(b'"');
            decimal(out, *unscaled, *scale);
            out.push(b'"');
        }
        Value::Text(text) => json(out, text.as_ref()),
        Value::Date(day) => {
            out.push(b'"');
            out.extend_from_slice(date_text(*day).as_bytes());
            out.push(b'"');
        }
        Value::Timestamp(micros) => {
            out.push(b'"');
            timestamp(out, *micros, zone);
            out.push(b'"');
        }
        Value::TopK(items) => {
            out.push(b'[');
            for (index, (item, count)) in items.iter().enumerate() {
                out.extend_from_slice(if index == 0 { b"{\"value\":" } else { b",{\"value\":" });
                self::value(out, item, zone);
                out.extend_from_slice(b",\"count\":");
                json(out, count);
                out.push(b'}');
            }
            out.push(b']');
        }
    }
}

/// RFC 3339 in the zone; fractions of a second only where there are any.
pub fn timestamp(out: &mut Vec<u8>, micros: i64, zone: Tz) {
    let Some(utc) = DateTime::from_timestamp_micros(micros) else {
        // Beyond the calendar: RFC 3339 has no name for it.
        return write(out, format_args!("{micros}"));
    };
    let offset = zone.offset_from_utc_datetime(&utc.naive_utc()).fix().local_minus_utc();
    let local = utc.naive_utc().checked_add_signed(chrono::TimeDelta::seconds(offset.into()));
    let Some(local) = local else { return write(out, format_args!("{micros}")) };
    use chrono::{Datelike as _, Timelike as _};
    let (year, month, day) = (local.year(), local.month(), local.day());
    let (hour, minute, second) = (local.hour(), local.minute(), local.second());
    write(out, format_args!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}"));
    let fraction = local.nanosecond() / 1_000;
    if !fraction.is_multiple_of(1_000) {
        write(out, format_args!(".{fraction:06}"));
    } else if fraction != 0 {
        write(out, format_args!(".{:03}", fraction / 1_000));
    }
    if zone == Tz::UTC {
        out.push(b'Z');
    } else {
        let (sign, minutes) = (if offset < 0 { '-' } else { '+' }, offset.abs() / 60);
        write(out, format_args!("{sign}{:02}:{:02}", minutes / 60, minutes % 60));
    }
}

pub fn decimal(out: &mut Vec<u8>, unscaled: i128, scale: u8) {
    write(out, format_args!("{}", DecimalText(unscaled, scale)));
}

fn json<T: Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("strings, numbers and maps with integer keys have a JSON form");
}

fn write(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("writing to a buffer in memory cannot fail");
}
