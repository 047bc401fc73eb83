//! One field: its value in a record, or why there is none.

use super::DeadLetterKind;
use super::number::{self, Excess, Misfit};
use super::scan::{Kind, Malformed, Token};
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
}

impl FieldReader {
    /// Reads a value into its cell. What is valid does not depend on whether the field is wanted.
    #[inline(always)]
    pub fn read(
        &self,
        payload: &str,
        token: Token,
        unescaped: &mut String,
        cell: &mut Cell,
    ) -> Result<(), Fault> {
        if token.kind == Kind::Escaped {
            return self.read_escaped(payload, token, unescaped, cell);
        }
        let fits = self.fill(cell, payload.as_bytes(), token);
        fits.map_err(|misfit| self.misfit(misfit, payload, token))
    }

    /// A string with escapes means what it would mean without them: some writers escape the `+` of an offset.
    #[cold]
    fn read_escaped(
        &self,
        payload: &str,
        token: Token,
        unescaped: &mut String,
        cell: &mut Cell,
    ) -> Result<(), Fault> {
        let start = unescaped.len();
        let plain = unescape(&payload[token.start..token.end], unescaped);
        match (&self.field.data_type, plain) {
            (DataType::Text, Ok(())) => {
                *cell = Cell::Unescaped(start, unescaped.len());
                Ok(())
            }
            (DataType::Text, Err(lone)) => Err(self.lone_surrogate(token, lone)),
            (_, plain) => {
                let plain = plain.map_err(|_| Misfit::WrongType);
                let token_of_it = Token { kind: Kind::Plain, start, end: unescaped.len() };
                let fits = plain.and_then(|()| self.fill(cell, unescaped.as_bytes(), token_of_it));
                fits.map_err(|misfit| self.misfit(misfit, payload, token))
            }
        }
    }

    /// Fills the cell of a token of `text`, which has no escapes. Where the cell stands, since what is written in parts and
    /// copied whole makes the processor wait.
    #[inline(always)]
    fn fill(&self, cell: &mut Cell, text: &[u8], token: Token) -> Result<(), Misfit> {
        let bytes = &text[token.start..token.end];
        match (&self.field.data_type, token.kind) {
            (_, Kind::Null) => *cell = Cell::Null,
            (DataType::Boolean, Kind::True) => *cell = Cell::Boolean(true),
            (DataType::Boolean, Kind::False) => *cell = Cell::Boolean(false),
            (DataType::Integer, Kind::Number(short)) => {
                let value = number::integer(bytes, short)?;
                i32::try_from(value).map_err(|_| Misfit::OutOfRange)?;
                *cell = Cell::Integer(value);
            }
            (DataType::BigInt, Kind::Number(short)) => *cell = Cell::Integer(number::integer(bytes, short)?),
            // A short number is in range.
            (DataType::Double, Kind::Number(Some(_))) if !self.wanted => *cell = Cell::Unread,
            (DataType::Double, Kind::Number(short)) => *cell = Cell::Double(number::double(bytes, short)?),
            (DataType::Decimal { precision, scale }, Kind::Number(short)) => {
                *cell = Cell::Decimal(number::decimal(bytes, short, *precision, *scale, Excess::Refuse)?);
            }
            (DataType::Decimal { precision, scale }, Kind::Plain) => {
                *cell = Cell::Decimal(number::decimal(bytes, None, *precision, *scale, Excess::Refuse)?);
            }
            (DataType::Text, Kind::Plain) => *cell = Cell::Text(token.start, token.end),
            (DataType::Date, Kind::Plain) => *cell = Cell::Date(time::date(bytes)?),
            (DataType::Timestamp, Kind::Plain) if self.field.timestamp_format == TimestampFormat::Text => {
                *cell = Cell::Integer(time::timestamp(bytes)?);
            }
            (DataType::Timestamp, Kind::Number(short)) => {
                *cell = Cell::Integer(time::epoch(bytes, short, self.field.timestamp_format)?);
            }
            _ => return Err(Misfit::WrongType),
        }
        Ok(())
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
        Kind::Null | Kind::True | Kind::False | Kind::Number(_) => shortened,
    }
}
