//! A body's lines.

use polars::prelude::{DataFrame, DataType};
use watershed_schemas::decode;

use crate::refusal::{Place, Reason, Refusal};

/// One payload and where it stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line<'a> {
    /// Counted from 1.
    pub number: usize,
    pub payload: &'a [u8],
}

/// The payloads of a body: the elements of an array, else a payload per line; empty lines are none.
pub fn split(body: &[u8]) -> Result<Vec<Line<'_>>, Refusal> {
    if body.trim_ascii_start().starts_with(b"[") {
        return elements(body);
    }
    let lines = body.split(|byte| *byte == b'\n').enumerate();
    let lines = lines.map(|(index, line)| Line { number: index + 1, payload: line.trim_ascii() });
    Ok(lines.filter(|line| !line.payload.is_empty()).collect())
}

fn elements(body: &[u8]) -> Result<Vec<Line<'_>>, Refusal> {
    let text = std::str::from_utf8(body).map_err(|error| malformed(body, error.valid_up_to(), "UTF-8"))?;
    let found = decode::elements(text).map_err(|error| malformed(body, error.at, error.expected))?;
    let (mut number, mut counted) = (1, 0);
    let lines = found.into_iter().map(|element| {
        number += newlines(&body[counted..element.start]);
        counted = element.start;
        Line { number, payload: &body[element] }
    });
    Ok(lines.collect())
}

fn newlines(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte == b'\n').count()
}

fn malformed(body: &[u8], at: usize, expected: &str) -> Refusal {
    let before = &body[..at.min(body.len())];
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    let place = Place::Text { line: newlines(before) + 1, column };
    let detail = format!("malformed JSON array: expected {expected} here; nothing of it was taken");
    Refusal { place: Some(place), ..Refusal::new(Reason::WrongQuestion, detail) }
}

/// The records' keys: a field's values as text, NULL for none.
pub fn keys(events: &DataFrame, field: &str) -> Result<Vec<Option<Vec<u8>>>, Refusal> {
    let failed = |error: polars::prelude::PolarsError| Refusal::new(Reason::Failed, error.to_string());
    let column = events.column(field).map_err(failed)?;
    let texts = column.cast(&DataType::String).map_err(failed)?;
    let texts = texts.str().map_err(failed)?;
    Ok(texts.iter().map(|text| text.map(|text| text.as_bytes().to_vec())).collect())
}
