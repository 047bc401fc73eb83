//! One field: its value in a record, or why there is none.

use super::DeadLetterKind;
use super::number::{self, Excess, Misfit};
use super::scan::{Kind, Malformed, Scanner, Token};
use super::text::{LoneSurrogate, unescape};
use super::time;
use crate::stream::{Field, TimestampFormat};
use crate::types::DataType;

/// Why a record is a dead letter.
#[derive(Debug)]
pub(super) struct Fault {
    pub kind: DeadLetterKind,
    pub reason: String,
}

/// What a record holds for a field. Texts are ranges of the payload or of the unescaped scratch text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Cell {
    Missing,
    Null,
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Decimal(i128),
    Text(usize, usize),
    Unescaped(usize, usize),
    Date(i32),
    /// Valid, and not asked for.
    Unread,
}

/// A field as the decoder sees it.
#[derive(Clone, Debug)]
pub(super) struct FieldReader {
    pub field: Field,
    pub wanted: bool,
    /// The key as producers mostly write it, quotes and colon included; `None` for a name that JSON escapes.
    key: Option<Box<[u8]>>,
}

impl FieldReader {
    pub fn new(field: Field, wanted: bool) -> Self {
        let is_escaped =
            field.name.contains(|letter: char| matches!(letter, '"' | '\\') || letter.is_control());
        let key = (!is_escaped).then(|| format!("\"{}\":", field.name).into_bytes().into_boxed_slice());
        FieldReader { field, wanted, key }
    }

    /// Passes the key at the scanner's position if it is this field's, written without detours: most records cost one
    /// comparison a key.
    #[inline]
    pub fn comes(&self, scanner: &mut Scanner<'_>) -> bool {
        self.key.as_ref().is_some_and(|key| scanner.passes(key))
    }

    /// The cell of a value. What is valid does not depend on whether the field is wanted.
    #[inline]
    pub fn read(&self, payload: &str, token: Token, unescaped: &mut String) -> Result<Cell, Fault> {
        if token.kind == Kind::Escaped {
            return self.read_escaped(payload, token, unescaped);
        }
        let cell = self.cell(&payload[token.start..token.end], token);
        cell.map_err(|misfit| self.misfit(misfit, payload, token))
    }

    /// A string with escapes means what it would mean without them: some writers escape the `+` of an offset.
    #[cold]
    fn read_escaped(&self, payload: &str, token: Token, unescaped: &mut String) -> Result<Cell, Fault> {
        let start = unescaped.len();
        let plain = unescape(&payload[token.start..token.end], unescaped);
        match (&self.field.data_type, plain) {
            (DataType::Text, Ok(())) => Ok(Cell::Unescaped(start, unescaped.len())),
            (DataType::Text, Err(lone)) => Err(self.lone_surrogate(token, lone)),
            (_, plain) => {
                let plain = plain.map_err(|_| Misfit::WrongType);
                let cell =
                    plain.and_then(|()| self.cell(&unescaped[start..], Token { kind: Kind::Plain, ..token }));
                cell.map_err(|misfit| self.misfit(misfit, payload, token))
            }
        }
    }

    /// The cell of `text`, which is a token's text without escapes.
    #[inline]
    fn cell(&self, text: &str, token: Token) -> Result<Cell, Misfit> {
        let bytes = text.as_bytes();
        match (&self.field.data_type, token.kind) {
            (_, Kind::Null) => Ok(Cell::Null),
            (DataType::Boolean, Kind::True) => Ok(Cell::Boolean(true)),
            (DataType::Boolean, Kind::False) => Ok(Cell::Boolean(false)),
            (DataType::Integer, Kind::Number) => {
                number::integer(bytes).and_then(|value| match i32::try_from(value) {
                    Ok(_) => Ok(Cell::Integer(value)),
                    Err(_) => Err(Misfit::OutOfRange),
                })
            }
            (DataType::BigInt, Kind::Number) => number::integer(bytes).map(Cell::Integer),
            (DataType::Double, Kind::Number) => {
                // Without an exponent, fewer digits than the largest double has are always in range.
                let surely_in_range =
                    bytes.len() <= 300 && !bytes.iter().any(|byte| matches!(byte, b'e' | b'E'));
                if !self.wanted && surely_in_range {
                    Ok(Cell::Unread)
                } else {
                    number::double(text).map(Cell::Double)
                }
            }
            (DataType::Decimal { precision, scale }, Kind::Number | Kind::Plain) => {
                number::decimal(bytes, *precision, *scale, Excess::Refuse).map(Cell::Decimal)
            }
            (DataType::Text, Kind::Plain) => Ok(Cell::Text(token.start, token.end)),
            (DataType::Date, Kind::Plain) => time::date(bytes).map(Cell::Date),
            (DataType::Timestamp, Kind::Plain) if self.field.timestamp_format == TimestampFormat::Text => {
                time::timestamp(bytes).map(Cell::Integer)
            }
            (DataType::Timestamp, Kind::Number) => {
                time::epoch(bytes, self.field.timestamp_format).map(Cell::Integer)
            }
            _ => Err(Misfit::WrongType),
        }
    }

    #[cold]
    fn misfit(&self, misfit: Misfit, payload: &str, token: Token) -> Fault {
        let (name, expected, found) = (&self.field.name, self.expected(), shown(payload, token));
        match misfit {
            Misfit::WrongType => Fault {
                kind: DeadLetterKind::WrongType,
                reason: format!("field {name}: expected {expected}, found {found} at byte {}", token.start),
            },
            Misfit::OutOfRange => Fault {
                kind: DeadLetterKind::OutOfRange,
                reason: format!(
                    "field {name}: {found} at byte {} is out of range for {expected}",
                    token.start
                ),
            },
        }
    }

    #[cold]
    fn lone_surrogate(&self, token: Token, lone: LoneSurrogate) -> Fault {
        let (name, at) = (&self.field.name, token.start + lone.at);
        Fault {
            kind: DeadLetterKind::Malformed,
            reason: format!("field {name}: expected text, found half of a surrogate pair at byte {at}"),
        }
    }

    /// The fault of a required field without a value.
    #[cold]
    pub fn missing(&self, cell: Cell) -> Fault {
        let found = if matches!(cell, Cell::Null) { "null" } else { "nothing" };
        Fault {
            kind: DeadLetterKind::MissingField,
            reason: format!("field {}: expected {}, found {found}", self.field.name, self.expected()),
        }
    }

    fn expected(&self) -> String {
        match (&self.field.data_type, self.field.timestamp_format) {
            (DataType::Date, _) => "date (YYYY-MM-DD)".to_string(),
            (DataType::Timestamp, TimestampFormat::Text) => "timestamp (RFC 3339 or SQL text)".to_string(),
            (DataType::Timestamp, TimestampFormat::EpochSeconds) => "timestamp (epoch seconds)".to_string(),
            (DataType::Timestamp, TimestampFormat::EpochMillis) => {
                "timestamp (epoch milliseconds)".to_string()
            }
            (DataType::Timestamp, TimestampFormat::EpochMicros) => {
                "timestamp (epoch microseconds)".to_string()
            }
            (data_type, _) => data_type.to_string(),
        }
    }
}

/// The fault of a payload that is not a JSON object.
#[cold]
pub(super) fn malformed(payload: &str, Malformed { at, expected }: Malformed) -> Fault {
    let found = match payload[at..].chars().next() {
        None => "the end of the record".to_string(),
        Some('\u{feff}') if at == 0 => "a byte order mark".to_string(),
        Some(character) => format!("{character:?}"),
    };
    Fault {
        kind: DeadLetterKind::Malformed,
        reason: format!("malformed JSON at byte {at}: expected {expected}, found {found}"),
    }
}

/// A value as a reason quotes it.
fn shown(payload: &str, token: Token) -> String {
    const LONGEST: usize = 40;
    let text = &payload[token.start..token.end];
    let shortened = match text.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    };
    match token.kind {
        Kind::Array => "an array".to_string(),
        Kind::Object => "an object".to_string(),
        Kind::Plain | Kind::Escaped => format!("\"{shortened}\""),
        Kind::Null | Kind::True | Kind::False | Kind::Number => shortened,
    }
}
