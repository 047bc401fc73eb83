//! Measures as mergeable states, one kind per file.
//!
//! Laws (each is a property test over every measure, invariant `FOLD`): updating a state with
//! `a ++ b` equals merging the states of `a` and `b`; merge is associative and commutative; a fresh
//! row is its identity. Counts, sums of integers and decimals, minima, maxima, first, last, distinct
//! registers and quantile buckets are bit-identical under any split and order; float sums agree
//! within 1e-12 relative; frequent items within their stated error.

use std::any::Any;
use std::fmt::Debug;

use arrow::array::ArrayRef;
use arrow::datatypes::Field;
use polars::prelude::Series;

use crate::value::Value;
use crate::view::Measure;

/// What a fold gives to a measure: one entry per event.
pub struct Input<'a> {
    /// The argument's values (`None` for `count(*)`), of the measure's argument type.
    pub values: Option<&'a Series>,
    /// Where false or null, the event does not count for this measure.
    pub filter: Option<&'a polars::prelude::BooleanChunked>,
    /// Event time in microseconds, partition and offset of each event: for `first` and `last`.
    pub times: &'a [i64],
    pub partition: i32,
    pub offsets: &'a [i64],
}

/// The states of one measure for many cells, column by column. Row `i` is the state of cell `i`.
pub trait States: Send + Sync + Debug {
    fn len(&self) -> usize;

    /// Grows to `rows` rows; new rows hold the empty state.
    fn resize(&mut self, rows: usize);

    /// Folds event `i` into row `rows[i]`.
    fn update(&mut self, rows: &[u32], input: &Input<'_>);

    /// Merges `other`'s row `from[i]` into this one's row `into[i]`. `other` is of the same measure.
    fn merge(&mut self, into: &[u32], other: &dyn States, from: &[u32]);

    /// The states of `rows` as Arrow columns, as [`fields`] names and types them.
    fn columns(&self, rows: &[u32]) -> Vec<ArrayRef>;

    /// The measure's value: exact for algebraic measures, the sketch's estimate otherwise.
    fn finish(&self, row: u32) -> Value;

    fn bytes(&self) -> usize;

    fn as_any(&self) -> &dyn Any;

    fn boxed_clone(&self) -> Box<dyn States>;
}

/// How wrong a sketched measure may be.
#[derive(Clone, Debug, PartialEq)]
pub struct ErrorBound {
    /// `relative`: of the value. `count`: of an item's occurrences, as a share of all of them.
    pub kind: &'static str,
    pub bound: f64,
    pub confidence: f64,
}

/// No states yet.
pub fn empty(_measure: &Measure) -> Box<dyn States> {
    todo!()
}

/// The state columns of a measure, named `<measure>__<part>`.
pub fn fields(_measure: &Measure) -> Vec<Field> {
    todo!()
}

/// Reads back what [`States::columns`] wrote.
pub fn from_columns(_measure: &Measure, _columns: &[ArrayRef]) -> Result<Box<dyn States>, StateError> {
    todo!()
}

/// The stated bound of a sketched measure; `None` for exact ones.
pub fn error_bound(_measure: &Measure) -> Option<ErrorBound> {
    todo!()
}

/// Stored states that are not what this build writes.
#[derive(Debug, thiserror::Error)]
#[error("states of measure {measure}: found {found}, expected {expected}")]
pub struct StateError {
    pub measure: String,
    pub found: String,
    pub expected: String,
}
