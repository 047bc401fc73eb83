//! Records to events: bytes to columns.
//!
//! Every record becomes exactly one row of events or one dead letter (invariant `NOTHING_VANISHES`).
//!
//! A payload is one JSON object. Keys that no field has are ignored; of a key that occurs twice the
//! last value counts, and both must be valid. `null` and an absent key are NULL.
//!
//! | type | written as |
//! | --- | --- |
//! | BOOLEAN | `true`, `false` |
//! | INTEGER, BIGINT | a number without fraction or exponent: `3.0` is the wrong type |
//! | DOUBLE | a number; the nearest double counts, one beyond the largest is out of range |
//! | DECIMAL(p,s) | a number or a string with one; out of range if it has more digits than fit, zeros aside |
//! | TEXT | a string |
//! | DATE | `"YYYY-MM-DD"` |
//! | TIMESTAMP | as [`TimestampFormat`](crate::stream::TimestampFormat) says; without an offset it is UTC, digits behind the microseconds are dropped |
//!
//! A record that is not JSON is malformed whatever its fields hold; else its first faulty field decides.

mod array;
mod columns;
mod field;
mod number;
mod record;
mod scan;
mod stop;
mod text;
mod time;

use polars::prelude::{
    ChunkedArray, Column, DataFrame, Int64Chunked, IntoColumn, NamedFrom, PlSmallStr, Series, TimeUnit,
};

use crate::log::Records;
use crate::stream::{OFFSET_COLUMN, PARTITION_COLUMN, Stream, TIMESTAMP_COLUMN};
pub use array::{NotAnArray, elements};
use columns::Builder;
use field::Fault;
use record::RecordReader;

/// What became of a run of records.
#[derive(Debug)]
pub struct Decoded {
    /// One row per event, in offset order: the wanted fields in the stream's order, then `_partition`
    /// (INTEGER), `_offset` (BIGINT), `_timestamp` (TIMESTAMP; NULL where the record has none).
    pub events: DataFrame,
    /// In offset order.
    pub dead_letters: Vec<DeadLetter>,
}

/// A record that could not become an event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// The record's index among the records decoded: its offset, timestamp and bytes are there.
    pub index: usize,
    pub kind: DeadLetterKind,
    /// A sentence: what was found, what was expected, and where.
    pub reason: String,
}

/// Why, in one word that can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum DeadLetterKind {
    Tombstone,
    Empty,
    Malformed,
    MissingField,
    WrongType,
    OutOfRange,
    FutureEventTime,
}

impl DeadLetterKind {
    /// `tombstone`, `empty`, `malformed`, `missing_field`, `wrong_type`, `out_of_range`, `future_event_time`.
    pub fn name(self) -> &'static str {
        match self {
            DeadLetterKind::Tombstone => "tombstone",
            DeadLetterKind::Empty => "empty",
            DeadLetterKind::Malformed => "malformed",
            DeadLetterKind::MissingField => "missing_field",
            DeadLetterKind::WrongType => "wrong_type",
            DeadLetterKind::OutOfRange => "out_of_range",
            DeadLetterKind::FutureEventTime => "future_event_time",
        }
    }
}

/// Decodes a stream's payloads. One decoder serves one thread; it keeps scratch space between calls.
pub struct Decoder {
    reader: RecordReader,
}

impl Decoder {
    /// A decoder that yields the fields in `wanted` (event time is always among them; names that the
    /// stream does not have are ignored). All fields of the schema are validated alike whatever is
    /// wanted, so that every layer agrees on which records are dead letters.
    pub fn new(stream: &Stream, wanted: &[&str]) -> Self {
        Decoder { reader: RecordReader::new(stream, wanted) }
    }

    pub fn decode(&mut self, records: &Records) -> Decoded {
        let mut builders: Vec<(usize, Builder)> = (self.reader.fields.iter().enumerate())
            .filter(|(_, reader)| reader.wanted)
            .map(|(index, reader)| {
                (index, Builder::new(&reader.field.name, &reader.field.data_type, records.len()))
            })
            .collect();
        let mut events = Vec::with_capacity(records.len());
        let mut dead_letters = Vec::new();
        for index in 0..records.len() {
            let read = payload(records, index)
                .and_then(|payload| self.reader.read(payload, records.timestamps[index]).map(|()| payload));
            match read {
                Ok(payload) => {
                    for (field, builder) in &mut builders {
                        builder.push(self.reader.cells[*field], payload, &self.reader.unescaped);
                    }
                    events.push(index);
                }
                Err(Fault { kind, reason }) => dead_letters.push(DeadLetter { index, kind, reason }),
            }
        }
        let mut columns: Vec<Column> = builders.into_iter().map(|(_, builder)| builder.finish()).collect();
        columns.extend(positions(records, &events));
        let events = DataFrame::new(events.len(), columns).expect(
            "a stream's field names differ and do not begin with '_'; all columns have a row per event",
        );
        Decoded { events, dead_letters }
    }
}

/// A record's payload as text.
#[inline]
fn payload(records: &Records, index: usize) -> Result<&str, Fault> {
    let payload = records.payload(index);
    match simdutf8::basic::from_utf8(payload) {
        Ok(payload) if !payload.is_empty() => Ok(payload),
        Ok(_) if records.tombstones[index] => Err(no_payload(DeadLetterKind::Tombstone)),
        Ok(_) => Err(no_payload(DeadLetterKind::Empty)),
        Err(_) => Err(not_utf8(payload)),
    }
}

#[cold]
fn no_payload(kind: DeadLetterKind) -> Fault {
    let found = if kind == DeadLetterKind::Tombstone { "a tombstone" } else { "an empty record" };
    Fault { kind, reason: format!("expected a JSON object, found {found}") }
}

#[cold]
fn not_utf8(payload: &[u8]) -> Fault {
    let at = str::from_utf8(payload).map_or_else(|error| error.valid_up_to(), str::len);
    Fault {
        kind: DeadLetterKind::Malformed,
        reason: format!("malformed JSON at byte {at}: expected UTF-8, found another encoding"),
    }
}

/// The columns `_partition`, `_offset` and `_timestamp` of the records with these indices, which ascend.
fn positions(records: &Records, indices: &[usize]) -> [Column; 3] {
    let chosen = |values: &[i64]| match indices.len() == values.len() {
        true => values.to_vec(),
        false => indices.iter().map(|index| values[*index]).collect(),
    };
    let micros =
        |millis: i64| millis.checked_mul(1000).filter(|micros| millis >= 0 && time::is_in_range(*micros));
    let millis = chosen(&records.timestamps);
    let timestamps: Int64Chunked = match millis.iter().all(|millis| micros(*millis).is_some()) {
        true => {
            ChunkedArray::from_vec(PlSmallStr::EMPTY, millis.iter().map(|millis| millis * 1000).collect())
        }
        false => millis.iter().map(|millis| micros(*millis)).collect(),
    };
    let timestamps = timestamps.with_name(TIMESTAMP_COLUMN.into());
    [
        Series::new(PARTITION_COLUMN.into(), vec![records.partition; indices.len()]).into_column(),
        Series::new(OFFSET_COLUMN.into(), chosen(&records.offsets)).into_column(),
        timestamps.into_datetime(TimeUnit::Microseconds, None).into_column(),
    ]
}
