//! Records to events: bytes to columns.
//!
//! Every record becomes exactly one row of events or one dead letter (invariant `NOTHING_VANISHES`).

use polars::prelude::DataFrame;

use crate::log::Records;
use crate::stream::Stream;

/// What became of a run of records.
#[derive(Debug)]
pub struct Decoded {
    /// One row per event, in offset order: the wanted fields, then `_partition` (INTEGER), `_offset` (BIGINT), `_timestamp` (TIMESTAMP).
    pub events: DataFrame,
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
pub struct Decoder {}

impl Decoder {
    /// A decoder that yields the fields in `wanted` (event time is always among them). All fields of
    /// the schema are validated alike whatever is wanted, so that every layer agrees on which
    /// records are dead letters.
    pub fn new(_stream: &Stream, _wanted: &[&str]) -> Self {
        todo!()
    }

    pub fn decode(&mut self, _records: &Records) -> Decoded {
        todo!()
    }
}
