//! Where a page begins: the sort key of the row before it and which records it was made of, as opaque text.

use sha2::{Digest as _, Sha256};
use watershed_schemas::manifest::Version;
use watershed_schemas::scope::Scope;
use watershed_schemas::value::Value;

use super::{Block, order};
use crate::plan::Plan;
use crate::refusal::Refusal;

/// The first bytes of a hash: of a question, or of what an answer is a fold of.
type Print = [u8; 8];

/// Which records an answer is a fold of (invariant `COVER`): two answers with one pin are made of the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pin {
    version: Version,
    offsets: Print,
}

/// A page's beginning.
#[derive(Clone, Debug, PartialEq)]
pub struct Cursor {
    pub pin: Pin,
    /// The sort key of the last row of the page before; at its end, whether that is an overflow group.
    pub after: Vec<Value>,
}

impl Pin {
    pub fn of(block: &Block) -> Pin {
        let Block { stream, version, watershed, live, .. } = block;
        Pin {
            version: Version(version.unwrap_or_default()),
            offsets: print(&format!("{stream} {watershed} {live}")),
        }
    }

    /// `None` where there was no version yet.
    pub fn version(&self) -> Option<Version> {
        (self.version != Version::default()).then_some(self.version)
    }
}

impl Cursor {
    pub fn write(&self, plan: &Plan) -> String {
        let mut bytes = fingerprint(plan).to_vec();
        bytes.extend(self.pin.version.0.to_be_bytes());
        bytes.extend(self.pin.offsets);
        for value in &self.after {
            write_value(&mut bytes, value);
        }
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    pub fn read(plan: &Plan, text: &str) -> Result<Cursor, Refusal> {
        let cursor = hex(text).and_then(|bytes| parse(plan, &bytes));
        cursor.ok_or_else(|| {
            let detail =
                "the cursor is not one that this question gave: ask with the next_cursor of the page before";
            Refusal::wrong_at("cursor", text, detail)
        })
    }
}

fn parse(plan: &Plan, bytes: &[u8]) -> Option<Cursor> {
    let (question, rest) = fixed(bytes, |print: Print| print)?;
    let (version, rest) = fixed(rest, |bytes| Version(u64::from_be_bytes(bytes)))?;
    let (offsets, mut rest) = fixed(rest, |print: Print| print)?;
    let mut after = Vec::new();
    while !rest.is_empty() {
        let (value, behind) = read_value(rest)?;
        after.push(value);
        rest = behind;
    }
    let fits = question == fingerprint(plan) && after.len() == order::columns(plan).len() + 1;
    fits.then_some(Cursor { pin: Pin { version, offsets }, after })
}

/// What a cursor is bound to beside its pin: the view, the rows and their order. The page's size may change.
fn fingerprint(plan: &Plan) -> Print {
    let Plan { view, dimensions, scope, rows, buckets, fill, accuracy, as_of, .. } = plan;
    let Scope { from, to, conditions, .. } = scope;
    let rows = rows.as_ref().map(|rows| rows.text());
    let order = order::columns(plan);
    print(&format!(
        "{} {dimensions:?} {conditions:?} {rows:?} {from} {to} {buckets:?} {fill:?} {accuracy:?} {as_of:?} {order:?}",
        view.hash
    ))
}

fn print(text: &str) -> Print {
    let mut print = Print::default();
    let length = print.len();
    print.copy_from_slice(&Sha256::digest(text)[..length]);
    print
}

fn write_value(out: &mut Vec<u8>, value: &Value) {
    match value {
        // A list is never ordered by.
        Value::Null | Value::TopK(_) => out.push(0),
        Value::Boolean(value) => out.extend([1, u8::from(*value)]),
        Value::Integer(value) => write_fixed(out, 2, &value.to_be_bytes()),
        Value::Double(value) => write_fixed(out, 3, &value.to_be_bytes()),
        Value::Decimal(value, scale) => {
            write_fixed(out, 4, &value.to_be_bytes());
            out.push(*scale);
        }
        Value::Text(value) => {
            write_fixed(out, 5, &(value.len() as u32).to_be_bytes());
            out.extend_from_slice(value.as_bytes());
        }
        Value::Date(value) => write_fixed(out, 6, &value.to_be_bytes()),
        Value::Timestamp(value) => write_fixed(out, 7, &value.to_be_bytes()),
    }
}

fn write_fixed(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

fn read_value(bytes: &[u8]) -> Option<(Value, &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    Some(match tag {
        0 => (Value::Null, rest),
        1 => (Value::Boolean(*rest.first()? != 0), &rest[1..]),
        2 => fixed(rest, |bytes| Value::Integer(i64::from_be_bytes(bytes)))?,
        3 => fixed(rest, |bytes| Value::Double(f64::from_be_bytes(bytes)))?,
        4 => {
            let (value, rest) = fixed(rest, i128::from_be_bytes)?;
            (Value::Decimal(value, *rest.first()?), &rest[1..])
        }
        5 => {
            let (length, rest) = fixed(rest, u32::from_be_bytes)?;
            let (text, rest) = rest.split_at_checked(length as usize)?;
            (Value::Text(std::str::from_utf8(text).ok()?.into()), rest)
        }
        6 => fixed(rest, |bytes| Value::Date(i32::from_be_bytes(bytes)))?,
        7 => fixed(rest, |bytes| Value::Timestamp(i64::from_be_bytes(bytes)))?,
        _ => return None,
    })
}

fn fixed<T, const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> T) -> Option<(T, &[u8])> {
    let (value, rest) = bytes.split_first_chunk::<N>()?;
    Some((read(*value), rest))
}

fn hex(text: &str) -> Option<Vec<u8>> {
    if !text.is_ascii() || !text.len().is_multiple_of(2) {
        return None;
    }
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).ok()).collect()
}
