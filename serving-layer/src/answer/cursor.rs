//! Where a page begins: the sort key of the row before it, as opaque text.

use sha2::{Digest as _, Sha256};
use watershed_schemas::value::Value;

use super::order;
use crate::plan::Plan;
use crate::refusal::Refusal;

/// Bytes of the question's fingerprint that lead a cursor.
const FINGERPRINT: usize = 8;

pub fn write(plan: &Plan, key: &[Value]) -> String {
    let mut bytes = fingerprint(plan).to_vec();
    for value in key {
        write_value(&mut bytes, value);
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn read(plan: &Plan, text: &str) -> Result<Vec<Value>, Refusal> {
    let wrong = || {
        let detail =
            "the cursor is not one that this question gave: ask with the next_cursor of the page before";
        Refusal::wrong_at("cursor", text, detail)
    };
    let bytes = hex(text).ok_or_else(wrong)?;
    let (print, mut rest) = bytes.split_at_checked(FINGERPRINT).ok_or_else(wrong)?;
    if print != fingerprint(plan) {
        return Err(wrong());
    }
    let mut key = Vec::new();
    while !rest.is_empty() {
        let (value, after) = read_value(rest).ok_or_else(wrong)?;
        key.push(value);
        rest = after;
    }
    if key.len() == order::columns(plan).len() { Ok(key) } else { Err(wrong()) }
}

/// What a cursor is bound to: the view, the rows and their order. The page's size may change.
fn fingerprint(plan: &Plan) -> [u8; FINGERPRINT] {
    let Plan { view, dimensions, conditions, from, to, buckets, fill, .. } = plan;
    let order = order::columns(plan);
    let text =
        format!("{} {dimensions:?} {conditions:?} {from} {to} {buckets:?} {fill:?} {order:?}", view.hash);
    let mut print = [0; FINGERPRINT];
    print.copy_from_slice(&Sha256::digest(text)[..FINGERPRINT]);
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
