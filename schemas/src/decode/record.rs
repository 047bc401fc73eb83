//! One payload to cells: a value for each field, or why the record is a dead letter.

use chrono::{DateTime, SecondsFormat};
use hashbrown::HashMap;

use super::DeadLetterKind;
use super::field::{Cell, Fault, FieldReader, malformed};
use super::scan::{Kind, Malformed, Phrase, Scanner};
use super::text;
use crate::stream::Stream;

/// Keys of no field that are remembered, so that passing them costs no look-up; and how long what is remembered may be.
const REMEMBERED: usize = 64;
const LONGEST: usize = 256;

/// Reads payloads of a stream, one after the other. What one record holds is there until the next is read.
pub(super) struct RecordReader {
    pub fields: Vec<FieldReader>,
    /// The fields that a record must have.
    required: Vec<usize>,
    keys: Keys,
    event_time: usize,
    max_future_micros: i128,
    /// By field, what the record at hand holds.
    pub cells: Vec<Cell>,
    /// What its texts with escapes stand for.
    pub unescaped: String,
    open: Vec<u8>,
}

/// The keys that records have. Producers rarely change their order or how they write them, so what came between two
/// values the last time is tried first.
struct Keys {
    /// By key, its field; those of fields come first, in the stream's order.
    fields: Vec<Option<usize>>,
    /// How many are remembered at the most.
    most: usize,
    by_name: HashMap<String, usize>,
    /// What came last at the beginning of a record, then by key, what came behind its value.
    links: Vec<Link>,
}

/// All that lies between two values, a key among it.
#[derive(Clone, Default)]
struct Link {
    written: Phrase,
    key: usize,
}

/// What follows a value, or the beginning of a record.
enum Next {
    /// A key; `None` for one that is not remembered.
    Key(Option<usize>),
    End,
}

impl RecordReader {
    /// As [`Decoder::new`](super::Decoder::new).
    pub fn new(stream: &Stream, wanted: &[&str]) -> Self {
        let fields: Vec<FieldReader> = (stream.fields.iter().enumerate())
            .map(|(index, field)| FieldReader {
                field: field.clone(),
                wanted: index == stream.event_time || wanted.contains(&field.name.as_str()),
            })
            .collect();
        RecordReader {
            required: (0..fields.len()).filter(|index| fields[*index].field.not_null).collect(),
            keys: Keys::of(fields.iter().map(|reader| reader.field.name.as_str())),
            event_time: stream.event_time,
            max_future_micros: stream.max_future.as_micros() as i128,
            cells: vec![Cell::Missing; fields.len()],
            unescaped: String::new(),
            open: Vec::new(),
            fields,
        }
    }

    /// Fills `cells` from a payload. `timestamp` is the record's own, in milliseconds; negative where it has none.
    #[inline]
    pub fn read(&mut self, payload: &str, timestamp: i64) -> Result<(), Fault> {
        let RecordReader { fields, required, keys, cells, unescaped, open, .. } = self;
        cells.fill(Cell::Missing);
        unescaped.clear();
        let mut fault = None;
        let mut scanner = Scanner::new(payload);
        let not_json = |found| malformed(payload, found);
        let mut place = Some(BEGINNING);
        while let Next::Key(key) = keys.pass(&mut scanner, payload, place).map_err(not_json)? {
            let value = scanner.value(open).map_err(not_json)?;
            place = key.map(behind);
            let Some(field) = key.and_then(|key| keys.fields[key]) else { continue };
            if let Err(found) = fields[field].read(payload, value, unescaped, &mut cells[field]) {
                fault = fault.or(Some(found));
            }
        }
        scanner.finish().map_err(not_json)?;
        if let Some(fault) = fault {
            return Err(fault);
        }
        for field in required.iter().copied() {
            if matches!(cells[field], Cell::Missing | Cell::Null) {
                return Err(fields[field].missing(cells[field]));
            }
        }
        self.check_event_time(timestamp)
    }

    /// An event must not lie further in the future of its own record than the stream allows. A record
    /// without a Kafka timestamp has no future.
    #[inline]
    fn check_event_time(&self, timestamp: i64) -> Result<(), Fault> {
        let Cell::Integer(event_time) = self.cells[self.event_time] else { return Ok(()) };
        let latest = i128::from(timestamp) * 1000 + self.max_future_micros;
        if timestamp < 0 || i128::from(event_time) <= latest {
            return Ok(());
        }
        Err(self.future(event_time, timestamp))
    }

    #[cold]
    fn future(&self, event_time: i64, timestamp: i64) -> Fault {
        let name = &self.fields[self.event_time].field.name;
        let text = |micros: i64| match DateTime::from_timestamp_micros(micros) {
            Some(time) => time.to_rfc3339_opts(SecondsFormat::AutoSi, true),
            None => micros.to_string(),
        };
        let (found, kafka) = (text(event_time), text(timestamp.saturating_mul(1000)));
        let seconds = self.max_future_micros / 1_000_000;
        Fault {
            kind: DeadLetterKind::FutureEventTime,
            reason: format!(
                "field {name}: {found} is in the future of the record's Kafka timestamp {kafka} by more than {seconds} seconds"
            ),
        }
    }
}

/// Where a link lies: at the beginning of a record, or behind a key's value.
const BEGINNING: usize = 0;

fn behind(key: usize) -> usize {
    key + 1
}

impl Keys {
    fn of<'a>(fields: impl Iterator<Item = &'a str>) -> Keys {
        let by_name: HashMap<String, usize> = fields.map(str::to_string).zip(0..).collect();
        let count = by_name.len();
        Keys {
            fields: (0..count).map(Some).collect(),
            most: count + REMEMBERED,
            by_name,
            links: vec![Link::default(); behind(count)],
        }
    }

    /// Passes what lies between a place and the next value.
    #[inline]
    fn pass(
        &mut self,
        scanner: &mut Scanner<'_>,
        payload: &str,
        place: Option<usize>,
    ) -> Result<Next, Malformed> {
        match place.map(|place| &self.links[place]) {
            Some(link) if scanner.passes(&link.written) => Ok(Next::Key(Some(link.key))),
            _ => self.pass_other(scanner, payload, place),
        }
    }

    /// As `pass`, where something else comes than the last time, which is remembered.
    fn pass_other(
        &mut self,
        scanner: &mut Scanner<'_>,
        payload: &str,
        place: Option<usize>,
    ) -> Result<Next, Malformed> {
        let start = scanner.at();
        let first = start == 0;
        if first {
            scanner.enter()?;
        }
        if !scanner.advance(first)? {
            return Ok(Next::End);
        }
        let token = scanner.key()?;
        // White space behind the colon belongs to it.
        scanner.peek();
        let written = scanner.since(start);
        let key = self.key(&payload[token.start..token.end], token.kind);
        if let (Some(place), Some(key)) = (place, key)
            && written.len() <= LONGEST
        {
            self.links[place].written.learn(written);
            self.links[place].key = key;
        }
        Ok(Next::Key(key))
    }

    fn key(&mut self, written: &str, kind: Kind) -> Option<usize> {
        if kind == Kind::Escaped {
            let mut name = String::new();
            text::unescape(written, &mut name).ok()?;
            return self.by_name.get(&name).copied();
        }
        if let Some(key) = self.by_name.get(written) {
            return Some(*key);
        }
        if self.fields.len() == self.most || written.len() > LONGEST {
            return None;
        }
        let key = self.fields.len();
        self.by_name.insert(written.to_string(), key);
        self.fields.push(None);
        self.links.push(Link::default());
        Some(key)
    }
}
