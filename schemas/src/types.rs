//! The SQL types of fields, dimensions and measures, and how each is laid out in columns.

use std::fmt;

use polars::prelude::{AnyValue, Expr, LiteralValue, Scalar, TimeUnit};
use serde::{Deserialize, Serialize};

use crate::value::Value;

/// A SQL type. Timestamps are microseconds since 1970-01-01 in UTC, without a zone of their own.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DataType {
    Boolean,
    Integer,
    BigInt,
    Double,
    Decimal {
        precision: u8,
        scale: u8,
    },
    Text,
    Date,
    Timestamp,
    /// The result of `approx_top_k`: the most frequent values with their counts. Never a field's type.
    TopK(Box<DataType>),
}

impl DataType {
    pub fn is_numeric(&self) -> bool {
        use DataType::*;
        matches!(self, Integer | BigInt | Double | Decimal { .. })
    }

    /// The Polars type of a column of this type.
    pub fn polars(&self) -> polars::prelude::DataType {
        use polars::prelude as pl;
        match self {
            DataType::Boolean => pl::DataType::Boolean,
            DataType::Integer => pl::DataType::Int32,
            DataType::BigInt => pl::DataType::Int64,
            DataType::Double => pl::DataType::Float64,
            DataType::Decimal { precision, scale } => {
                pl::DataType::Decimal(usize::from(*precision), usize::from(*scale))
            }
            DataType::Text => pl::DataType::String,
            DataType::Date => pl::DataType::Date,
            DataType::Timestamp => pl::DataType::Datetime(pl::TimeUnit::Microseconds, None),
            DataType::TopK(value) => pl::DataType::List(Box::new(pl::DataType::Struct(vec![
                pl::Field::new("value".into(), value.polars()),
                pl::Field::new("count".into(), pl::DataType::Int64),
            ]))),
        }
    }

    /// A value as Polars holds it in a column of this type; NULL where a value of another type is given.
    pub fn polars_value(&self, value: &Value) -> AnyValue<'static> {
        match (value, self) {
            (Value::Boolean(value), _) => AnyValue::Boolean(*value),
            (Value::Integer(value), DataType::Integer) => AnyValue::Int32(*value as i32),
            (Value::Integer(value), _) => AnyValue::Int64(*value),
            (Value::Double(value), _) => AnyValue::Float64(*value),
            (Value::Decimal(value, scale), DataType::Decimal { precision, .. }) => {
                AnyValue::Decimal(*value, usize::from(*precision), usize::from(*scale))
            }
            (Value::Text(value), _) => AnyValue::StringOwned(value.as_ref().into()),
            (Value::Date(value), _) => AnyValue::Date(*value),
            (Value::Timestamp(value), _) => AnyValue::Datetime(*value, TimeUnit::Microseconds, None),
            (Value::Null | Value::TopK(_) | Value::Decimal(..), _) => AnyValue::Null,
        }
    }

    /// A value of this type as a constant in a Polars expression.
    pub fn polars_literal(&self, value: &Value) -> Expr {
        Expr::Literal(LiteralValue::Scalar(Scalar::new(self.polars(), self.polars_value(value))))
    }

    /// The Arrow type of a column of this type.
    pub fn arrow(&self) -> arrow::datatypes::DataType {
        use arrow::datatypes as ar;
        match self {
            DataType::Boolean => ar::DataType::Boolean,
            DataType::Integer => ar::DataType::Int32,
            DataType::BigInt => ar::DataType::Int64,
            DataType::Double => ar::DataType::Float64,
            DataType::Decimal { precision, scale } => ar::DataType::Decimal128(*precision, *scale as i8),
            DataType::Text => ar::DataType::Utf8,
            DataType::Date => ar::DataType::Date32,
            DataType::Timestamp => ar::DataType::Timestamp(ar::TimeUnit::Microsecond, None),
            DataType::TopK(value) => ar::DataType::List(std::sync::Arc::new(ar::Field::new(
                "item",
                ar::DataType::Struct(
                    vec![
                        ar::Field::new("value", value.arrow(), true),
                        ar::Field::new("count", ar::DataType::Int64, true),
                    ]
                    .into(),
                ),
                true,
            ))),
        }
    }
}

/// The type's SQL name in lower case, as answers and error messages show it.
impl fmt::Display for DataType {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DataType::Boolean => out.write_str("boolean"),
            DataType::Integer => out.write_str("integer"),
            DataType::BigInt => out.write_str("bigint"),
            DataType::Double => out.write_str("double"),
            DataType::Decimal { precision, scale } => write!(out, "decimal({precision},{scale})"),
            DataType::Text => out.write_str("text"),
            DataType::Date => out.write_str("date"),
            DataType::Timestamp => out.write_str("timestamp"),
            DataType::TopK(value) => write!(out, "top_k({value})"),
        }
    }
}
