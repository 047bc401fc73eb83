//! Cells to columns.

use polars::prelude as pl;
use polars::prelude::{ChunkedBuilder, IntoColumn, IntoSeries};

use super::field::Cell;
use crate::types::DataType;

/// A column under construction.
pub(super) enum Builder {
    Boolean(pl::BooleanChunkedBuilder),
    Integer(pl::PrimitiveChunkedBuilder<pl::Int32Type>),
    BigInt(pl::PrimitiveChunkedBuilder<pl::Int64Type>),
    Double(pl::PrimitiveChunkedBuilder<pl::Float64Type>),
    Decimal(pl::PrimitiveChunkedBuilder<pl::Int128Type>, usize, usize),
    Text(pl::StringChunkedBuilder),
    Date(pl::PrimitiveChunkedBuilder<pl::Int32Type>),
    Timestamp(pl::PrimitiveChunkedBuilder<pl::Int64Type>),
}

impl Builder {
    pub fn new(name: &str, data_type: &DataType, capacity: usize) -> Self {
        let name = pl::PlSmallStr::from_str(name);
        match data_type {
            DataType::Boolean => Builder::Boolean(pl::BooleanChunkedBuilder::new(name, capacity)),
            DataType::Integer => Builder::Integer(pl::PrimitiveChunkedBuilder::new(name, capacity)),
            DataType::BigInt => Builder::BigInt(pl::PrimitiveChunkedBuilder::new(name, capacity)),
            DataType::Double => Builder::Double(pl::PrimitiveChunkedBuilder::new(name, capacity)),
            DataType::Decimal { precision, scale } => {
                let values = pl::PrimitiveChunkedBuilder::new(name, capacity);
                Builder::Decimal(values, usize::from(*precision), usize::from(*scale))
            }
            // A stream's field never is a top-k; the decoder finds no text that could be one.
            DataType::Text | DataType::TopK(_) => {
                Builder::Text(pl::StringChunkedBuilder::new(name, capacity))
            }
            DataType::Date => Builder::Date(pl::PrimitiveChunkedBuilder::new(name, capacity)),
            DataType::Timestamp => Builder::Timestamp(pl::PrimitiveChunkedBuilder::new(name, capacity)),
        }
    }

    /// Appends a cell; anything that is no value of the column's type becomes NULL.
    #[inline(always)]
    pub fn push(&mut self, cell: Cell, payload: &str, unescaped: &str) {
        match (self, cell) {
            (Builder::Boolean(values), Cell::Boolean(value)) => values.append_value(value),
            (Builder::Boolean(values), _) => values.append_null(),
            (Builder::Integer(values), Cell::Integer(value)) => values.append_value(value as i32),
            (Builder::Integer(values), _) => values.append_null(),
            (Builder::BigInt(values) | Builder::Timestamp(values), Cell::Integer(value)) => {
                values.append_value(value)
            }
            (Builder::BigInt(values) | Builder::Timestamp(values), _) => values.append_null(),
            (Builder::Double(values), Cell::Double(value)) => values.append_value(value),
            (Builder::Double(values), _) => values.append_null(),
            (Builder::Decimal(values, ..), Cell::Decimal(value)) => values.append_value(value),
            (Builder::Decimal(values, ..), _) => values.append_null(),
            (Builder::Text(values), Cell::Text(start, end)) => values.append_value(&payload[start..end]),
            (Builder::Text(values), Cell::Unescaped(start, end)) => {
                values.append_value(&unescaped[start..end])
            }
            (Builder::Text(values), _) => values.append_null(),
            (Builder::Date(values), Cell::Date(value)) => values.append_value(value),
            (Builder::Date(values), _) => values.append_null(),
        }
    }

    pub fn finish(self) -> pl::Column {
        let series = match self {
            Builder::Boolean(values) => values.finish().into_series(),
            Builder::Integer(values) => values.finish().into_series(),
            Builder::BigInt(values) => values.finish().into_series(),
            Builder::Double(values) => values.finish().into_series(),
            Builder::Decimal(values, precision, scale) => {
                values.finish().into_decimal_unchecked(precision, scale).into_series()
            }
            Builder::Text(values) => values.finish().into_series(),
            Builder::Date(values) => values.finish().into_date().into_series(),
            Builder::Timestamp(values) => {
                values.finish().into_datetime(pl::TimeUnit::Microseconds, None).into_series()
            }
        };
        series.into_column()
    }
}
