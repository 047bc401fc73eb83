//! Answers as bytes: JSON, NDJSON, CSV, Arrow IPC stream, Parquet.
//!
//! JSON carries where an answer comes from in its body; the other forms in the header
//! `Watershed-Answer` (and Arrow and Parquet in their schema's metadata, so that a saved file keeps it).

mod cells;
mod columnar;
mod json;
mod meta;
mod statement;
mod text;

pub use columnar::array;
pub use json::{block, block_of, columns as meta, rows_by_key};

use utoipa::ToSchema;

use crate::answer::Answer;
use crate::refusal::{Reason, Refusal, nearest};

/// A form that an answer can take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ToSchema)]
#[schema(rename_all = "lowercase")]
pub enum Format {
    #[default]
    Json,
    Ndjson,
    Csv,
    Arrow,
    Parquet,
}

const FORMATS: [(Format, &str, &str); 5] = [
    (Format::Json, "json", "application/json"),
    (Format::Ndjson, "ndjson", "application/x-ndjson"),
    (Format::Csv, "csv", "text/csv"),
    (Format::Arrow, "arrow", "application/vnd.apache.arrow.stream"),
    (Format::Parquet, "parquet", "application/vnd.apache.parquet"),
];

impl Format {
    /// By the name that `?format=` uses.
    pub fn named(name: &str) -> Result<Format, Refusal> {
        FORMATS.iter().find(|(_, known, _)| *known == name).map(|(format, ..)| *format).ok_or_else(|| {
            let known = FORMATS.map(|(_, name, _)| name);
            let detail = format!("format \"{name}\" is unknown, expected one of: {}", known.join(", "));
            let did_you_mean = nearest(name, known);
            Refusal { did_you_mean, ..Refusal::wrong_at("format", name, detail) }
        })
    }

    /// The form that an `Accept` header likes best; JSON where it names none of ours.
    pub fn accepted(accept: &str) -> Format {
        let mut best = (Format::Json, 0.0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
            let quality =
                parts.find_map(|part| part.strip_prefix("q=")).map_or(Some(1.0), |q| q.parse().ok());
            let known = FORMATS.iter().find(|(_, _, known)| *known == media_type);
            if let (Some((format, ..)), Some(quality)) = (known, quality)
                && quality > best.1
            {
                best = (*format, quality);
            }
        }
        best.0
    }

    pub fn media_type(self) -> &'static str {
        FORMATS.iter().find(|(format, ..)| *format == self).map_or("application/json", |(_, _, media)| *media)
    }

    fn write(self, answer: &Answer) -> Result<Vec<u8>, Refusal> {
        match self {
            Format::Json => Ok(json::document(answer)),
            Format::Ndjson => Ok(json::lines(answer)),
            Format::Csv => text::csv(answer).map_err(failed),
            Format::Arrow => columnar::batch(answer).and_then(|rows| columnar::arrow(&rows)).map_err(failed),
            Format::Parquet => {
                let rows = columnar::batch(answer).map_err(failed)?;
                columnar::parquet(&rows).map_err(failed)
            }
        }
    }
}

/// What can be written in every form.
pub trait Document: Send + 'static {
    /// How many values it has, for a guess at how long writing takes.
    fn values(&self) -> usize;

    fn write(&self, format: Format) -> Result<Vec<u8>, Refusal>;

    /// What the header `Watershed-Answer` holds: JSON in ASCII alone, which every client reads alike.
    fn header(&self) -> String;
}

impl Document for Answer {
    fn values(&self) -> usize {
        self.rows * self.columns.len()
    }

    fn write(&self, format: Format) -> Result<Vec<u8>, Refusal> {
        format.write(self)
    }

    fn header(&self) -> String {
        header(self)
    }
}

fn header(answer: &Answer) -> String {
    ascii(&json::head(answer))
}

fn ascii(text: &str) -> String {
    let mut ascii = String::new();
    for unit in text.encode_utf16() {
        match u8::try_from(unit) {
            Ok(byte @ 0x20..0x7f) => ascii.push(char::from(byte)),
            _ => ascii.push_str(&format!("\\u{unit:04x}")),
        }
    }
    ascii
}

fn failed(error: impl std::fmt::Display) -> Refusal {
    Refusal::new(Reason::Failed, format!("the answer could not be written: {error}"))
}
