//! One value of a [`DataType`](crate::types::DataType), for keys, states and answers.

use std::sync::Arc;

/// A SQL value. Hot paths work on columns; a `Value` is for what is looked at one by one.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    Null,
    Boolean(bool),
    /// INTEGER and BIGINT.
    Integer(i64),
    Double(f64),
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
}
