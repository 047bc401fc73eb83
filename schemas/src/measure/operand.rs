//! The argument of a measure for a run of events, in one of four physical classes.

use polars::prelude::{
    ChunkedArray, Float64Chunked, Int64Chunked, Int128Chunked, PolarsNumericType, PolarsResult, Series,
    StringChunked,
};

use crate::columns::{self, Class};
use crate::types::DataType;

/// An argument's values.
#[derive(Clone, Debug)]
pub enum Operand {
    /// Booleans, integers, days, microseconds.
    Whole(Int64Chunked),
    /// Unscaled decimals.
    Wide(Int128Chunked),
    Float(Float64Chunked),
    Text(StringChunked),
}

impl Operand {
    /// `series` is of the Polars type of `data_type`.
    pub fn new(series: &Series, data_type: &DataType) -> PolarsResult<Operand> {
        Ok(match Class::of(data_type) {
            Class::Whole => Operand::Whole(columns::wholes(series)?),
            Class::Wide => Operand::Wide(columns::wides(series)?),
            Class::Float => Operand::Float(columns::floats(series)?),
            Class::Text => Operand::Text(columns::texts(series)?.clone()),
        })
    }

    pub(super) fn wholes(&self) -> &Int64Chunked {
        match self {
            Operand::Whole(values) => values,
            other => unreachable!("an argument of a whole type is held as {other:?}"),
        }
    }

    pub(super) fn wides(&self) -> &Int128Chunked {
        match self {
            Operand::Wide(values) => values,
            other => unreachable!("a decimal argument is held as {other:?}"),
        }
    }

    pub(super) fn floats(&self) -> &Float64Chunked {
        match self {
            Operand::Float(values) => values,
            other => unreachable!("a double argument is held as {other:?}"),
        }
    }

    pub(super) fn texts(&self) -> &StringChunked {
        match self {
            Operand::Text(values) => values,
            other => unreachable!("a text argument is held as {other:?}"),
        }
    }

    /// Visits the index of every value that is not NULL.
    pub(super) fn each_valid(&self, mut visit: impl FnMut(usize)) {
        match self {
            Operand::Whole(values) => each(values, |index, _| visit(index)),
            Operand::Wide(values) => each(values, |index, _| visit(index)),
            Operand::Float(values) => each(values, |index, _| visit(index)),
            Operand::Text(values) => each_text(values, |index, _| visit(index)),
        }
    }

    /// Visits every number that is not NULL as a double; a decimal of `scale` digits is divided out.
    pub(super) fn each_double(&self, scale: u8, mut visit: impl FnMut(usize, f64)) {
        match self {
            Operand::Whole(values) => each(values, |index, value| visit(index, value as f64)),
            Operand::Wide(values) => {
                let one = 10f64.powi(i32::from(scale));
                each(values, |index, value| visit(index, value as f64 / one));
            }
            Operand::Float(values) => each(values, visit),
            Operand::Text(_) => unreachable!("numbers are asked of text"),
        }
    }
}

/// The digits behind the point of a type's values.
pub(super) fn scale_of(data_type: &DataType) -> u8 {
    if let DataType::Decimal { scale, .. } = data_type { *scale } else { 0 }
}

/// Visits every value that is not NULL.
pub(crate) fn each<T: PolarsNumericType>(values: &ChunkedArray<T>, mut visit: impl FnMut(usize, T::Native)) {
    if values.null_count() == 0 {
        let chunks = values.downcast_iter().flat_map(|chunk| chunk.values_iter());
        chunks.enumerate().for_each(|(index, value)| visit(index, *value));
    } else {
        let valid = values.iter().enumerate().filter_map(|(index, value)| Some((index, value?)));
        valid.for_each(|(index, value)| visit(index, value));
    }
}

/// Visits every text that is not NULL.
pub(super) fn each_text<'a>(values: &'a StringChunked, mut visit: impl FnMut(usize, &'a str)) {
    if values.null_count() == 0 {
        let chunks = values.downcast_iter().flat_map(|chunk| chunk.values_iter());
        chunks.enumerate().for_each(|(index, text)| visit(index, text));
    } else {
        let valid = values.iter().enumerate().filter_map(|(index, text)| Some((index, text?)));
        valid.for_each(|(index, text)| visit(index, text));
    }
}
