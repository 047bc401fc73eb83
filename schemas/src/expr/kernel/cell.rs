//! How values of each kind lie in Polars columns.

use polars::prelude::{
    BooleanChunked, DataType as Polars, Float64Chunked, Int32Chunked, Int64Chunked, Int128Chunked,
    IntoSeries, NewChunkedArray, PolarsResult, Series, StringChunked,
};

use crate::types::DataType;

/// A kind of value that kernels work on.
pub trait Cell: Sized + 'static {
    type Ref<'a>: Copy;

    fn read(series: &Series) -> PolarsResult<Vec<Option<Self::Ref<'_>>>>;

    /// A column of `data_type`, named as `like` is. Values that the type cannot hold become NULL.
    fn write(like: &Series, values: impl Iterator<Item = Option<Self>>, data_type: &DataType) -> Series;
}

impl Cell for bool {
    type Ref<'a> = bool;

    fn read(series: &Series) -> PolarsResult<Vec<Option<bool>>> {
        Ok(series.bool()?.iter().collect())
    }

    fn write(like: &Series, values: impl Iterator<Item = Option<bool>>, _: &DataType) -> Series {
        BooleanChunked::from_iter_options(like.name().clone(), values).into_series()
    }
}

/// INTEGER, BIGINT, DATE (days) and TIMESTAMP (microseconds).
impl Cell for i64 {
    type Ref<'a> = i64;

    fn read(series: &Series) -> PolarsResult<Vec<Option<i64>>> {
        let physical = series.to_physical_repr();
        Ok(match physical.dtype() {
            Polars::Int32 => physical.i32()?.iter().map(|value| value.map(i64::from)).collect(),
            _ => physical.i64()?.iter().collect(),
        })
    }

    fn write(like: &Series, values: impl Iterator<Item = Option<i64>>, data_type: &DataType) -> Series {
        let name = like.name().clone();
        let narrow = |value: Option<i64>| value.and_then(|value| i32::try_from(value).ok());
        match data_type {
            DataType::Integer => Int32Chunked::from_iter_options(name, values.map(narrow)).into_series(),
            DataType::Date => Int32Chunked::from_iter_options(name, values.map(narrow))
                .into_series()
                .into_date()
                .into_series(),
            DataType::Timestamp => {
                let micros = Int64Chunked::from_iter_options(name, values);
                micros
                    .into_series()
                    .into_datetime(polars::prelude::TimeUnit::Microseconds, None)
                    .into_series()
            }
            _ => Int64Chunked::from_iter_options(name, values).into_series(),
        }
    }
}

impl Cell for f64 {
    type Ref<'a> = f64;

    fn read(series: &Series) -> PolarsResult<Vec<Option<f64>>> {
        Ok(series.f64()?.iter().collect())
    }

    fn write(like: &Series, values: impl Iterator<Item = Option<f64>>, _: &DataType) -> Series {
        Float64Chunked::from_iter_options(like.name().clone(), values).into_series()
    }
}

/// DECIMAL, unscaled.
impl Cell for i128 {
    type Ref<'a> = i128;

    fn read(series: &Series) -> PolarsResult<Vec<Option<i128>>> {
        Ok(series.decimal()?.physical().iter().collect())
    }

    fn write(like: &Series, values: impl Iterator<Item = Option<i128>>, data_type: &DataType) -> Series {
        let (precision, scale) = match data_type {
            DataType::Decimal { precision, scale } => (*precision, *scale),
            _ => (38, 0),
        };
        let limit = super::super::arithmetic::power_of_ten(precision);
        let fitting = values.map(|value| value.filter(|value| value.unsigned_abs() < limit.unsigned_abs()));
        let unscaled = Int128Chunked::from_iter_options(like.name().clone(), fitting);
        unscaled.into_decimal_unchecked(usize::from(precision), usize::from(scale)).into_series()
    }
}

impl Cell for String {
    type Ref<'a> = &'a str;

    fn read(series: &Series) -> PolarsResult<Vec<Option<&str>>> {
        Ok(series.str()?.iter().collect())
    }

    fn write(like: &Series, values: impl Iterator<Item = Option<String>>, _: &DataType) -> Series {
        StringChunked::from_iter_options(like.name().clone(), values).into_series()
    }
}
