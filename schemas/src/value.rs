//! One value of a [`DataType`](crate::types::DataType), for keys, states and answers.

use std::cmp::Ordering;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A SQL value. Hot paths work on columns; a `Value` is for what is looked at one by one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Value {
    Null,
    Boolean(bool),
    /// INTEGER and BIGINT.
    Integer(i64),
    /// Written as its bits: JSON has neither NaN nor infinity.
    Double(#[serde(with = "bits")] f64),
    /// The unscaled integer and the number of digits behind the point.
    Decimal(i128, u8),
    Text(Arc<str>),
    /// Days since 1970-01-01.
    Date(i32),
    /// Microseconds since 1970-01-01T00:00:00Z.
    Timestamp(i64),
    /// Most frequent first; ties in the order of the values.
    TopK(Vec<(Value, u64)>),
}

impl Value {
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    /// The order of values of one type as SQL has it: NULL last, NaN above every other number.
    pub fn order(&self, other: &Value) -> Ordering {
        use Value::*;
        match (self, other) {
            (Null, Null) => Ordering::Equal,
            (Null, _) => Ordering::Greater,
            (_, Null) => Ordering::Less,
            (Boolean(left), Boolean(right)) => left.cmp(right),
            (Integer(left), Integer(right)) | (Timestamp(left), Timestamp(right)) => left.cmp(right),
            (Double(left), Double(right)) => order_doubles(*left, *right),
            (Decimal(left, _), Decimal(right, _)) => left.cmp(right),
            (Text(left), Text(right)) => left.cmp(right),
            (Date(left), Date(right)) => left.cmp(right),
            (TopK(left), TopK(right)) => {
                let pairs = left.iter().zip(right);
                let orders = pairs.map(|((a, m), (b, n))| a.order(b).then(m.cmp(n)));
                let first = orders.into_iter().find(|order| order.is_ne());
                first.unwrap_or(left.len().cmp(&right.len()))
            }
            // A column has one type; what is never compared is equal.
            _ => Ordering::Equal,
        }
    }
}

/// The order of doubles: `-0.0` equals `0.0`, NaN equals NaN and lies above every other number.
pub fn order_doubles(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or_else(|| left.is_nan().cmp(&right.is_nan()))
}

/// A decimal written with all digits of its scale: `(-1205, 2)` is `-12.05`.
pub struct DecimalText(pub i128, pub u8);

impl fmt::Display for DecimalText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let DecimalText(unscaled, scale) = *self;
        if scale == 0 {
            return write!(out, "{unscaled}");
        }
        let sign = if unscaled < 0 { "-" } else { "" };
        let one = 10u128.pow(u32::from(scale));
        let magnitude = unscaled.unsigned_abs();
        write!(out, "{sign}{}.{:0width$}", magnitude / one, magnitude % one, width = usize::from(scale))
    }
}

mod bits {
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u64(value.to_bits())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
        u64::deserialize(deserializer).map(f64::from_bits)
    }
}
