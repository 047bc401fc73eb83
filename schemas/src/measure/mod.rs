//! Measures as mergeable states, one kind per file.
//!
//! Laws (each is a property test over every measure, invariant `FOLD`): updating a state with
//! `a ++ b` equals merging the states of `a` and `b`; merge is associative and commutative; a fresh
//! row is its identity. Counts, sums of integers and decimals, minima, maxima, first, last, distinct
//! registers and quantile buckets are bit-identical under any split and order; float sums agree
//! within 1e-12 of the sum of magnitudes; frequent items within their stated error, and bit for bit
//! while no more than [`top_k::EXACT_ITEMS`] different values were seen.

mod count;
pub(crate) mod distinct;
mod double_double;
mod extreme;
mod first_last;
pub(crate) mod operand;
mod physical;
mod quantile;
mod sum;
pub mod top_k;
mod variance;

use std::any::Any;
use std::fmt::Debug;

use arrow::array::{Array, ArrayRef};
use arrow::datatypes::{DataType as ArrowType, Field};

use crate::coding::Codes;
use crate::columns;
use crate::types::DataType;
use crate::value::Value;
use crate::view::{Aggregate, Measure};
use operand::Operand;
use physical::{FloatValues, TextValues, WholeValues, WideValues};

/// What a fold gives to a measure: one entry per event that counts for it.
pub struct Input<'a> {
    /// The argument's values (`None` for `count(*)`), of the measure's argument type.
    pub values: Option<&'a Operand>,
    /// The same as codes, where they are texts that come again.
    pub codes: Option<&'a Codes>,
    /// Where each entry's event lies in `places`; `None` when the entries are the events.
    pub picked: Option<&'a [u32]>,
    pub places: &'a Places,
}

/// Where events lie in time and in the log: for `first` and `last`, and left empty without them.
#[derive(Debug, Default)]
pub struct Places {
    /// Event times in microseconds.
    pub times: Vec<i64>,
    pub partitions: Vec<i32>,
    pub offsets: Vec<i64>,
}

/// The states of one measure for many cells, column by column. Row `i` is the state of cell `i`.
pub trait States: Send + Sync + Debug {
    fn len(&self) -> usize;

    fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Grows to `rows` rows; new rows hold the empty state.
    fn resize(&mut self, rows: usize);

    /// Folds entry `i` into row `rows[i]`.
    fn update(&mut self, rows: &[u32], input: &Input<'_>);

    /// Merges `other`'s row `from[i]` into this one's row `into[i]`. `other` is of the same measure.
    fn merge(&mut self, into: &[u32], other: &dyn States, from: &[u32]);

    /// Names, Arrow types and nullability of the state's columns.
    fn parts(&self) -> Vec<Part>;

    /// The states of `rows` as Arrow columns, as [`States::parts`] says. Equal states give equal bytes.
    fn columns(&self, rows: &[u32]) -> Vec<ArrayRef>;

    /// Replaces all rows by what [`States::columns`] wrote; on a mistake says what was found.
    fn load(&mut self, columns: &[ArrayRef]) -> Result<(), String>;

    /// The measure's value: exact for algebraic measures, the sketch's estimate otherwise.
    fn finish(&self, row: u32) -> Value;

    /// What a relative error bound is relative to where that is not the value itself.
    fn error_scale(&self, _row: u32) -> Option<f64> {
        None
    }

    /// Keeps these rows only, which ascend: row `rows[i]` becomes row `i`.
    fn keep(&mut self, rows: &[u32]);

    /// Memory in use; of columns that grow by doubling, what is filled. Sketches are looked at one by one.
    fn bytes(&self) -> usize;

    fn as_any(&self) -> &dyn Any;

    fn boxed_clone(&self) -> Box<dyn States>;
}

/// A column of a state.
#[derive(Clone, Debug)]
pub struct Part {
    pub name: &'static str,
    pub data_type: ArrowType,
    pub nullable: bool,
}

impl Part {
    fn required(name: &'static str, data_type: ArrowType) -> Part {
        Part { name, data_type, nullable: false }
    }

    fn optional(name: &'static str, data_type: ArrowType) -> Part {
        Part { name, data_type, nullable: true }
    }
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
pub fn empty(measure: &Measure) -> Box<dyn States> {
    use DataType::{Decimal, Double, Text};
    let argument = measure.argument.as_ref().map_or(DataType::Boolean, |scalar| scalar.data_type.clone());
    let result = measure.result_type.clone();
    match (&measure.aggregate, &argument) {
        (Aggregate::Count, _) => Box::new(count::CountStates::default()),
        (Aggregate::Sum, Double) => Box::new(sum::FloatSum::new(sum::Finish::Sum)),
        (Aggregate::Avg, Double) => Box::new(sum::FloatSum::new(sum::Finish::Average)),
        (Aggregate::Sum, _) => Box::new(sum::ExactSum::new(argument, result, sum::Finish::Sum)),
        (Aggregate::Avg, _) => Box::new(sum::ExactSum::new(argument, result, sum::Finish::Average)),
        (Aggregate::VarSamp, _) => {
            Box::new(variance::VarianceStates::new(argument, variance::Finish::Variance))
        }
        (Aggregate::StddevSamp, _) => {
            Box::new(variance::VarianceStates::new(argument, variance::Finish::Deviation))
        }
        (Aggregate::CountDistinct, _) => Box::new(distinct::DistinctStates::new(argument)),
        (Aggregate::Quantile(q), _) => Box::new(quantile::QuantileStates::new(argument, *q)),
        (Aggregate::TopK(k), _) => Box::new(top_k::TopKStates::new(argument, *k)),
        (Aggregate::Min | Aggregate::Max, kind) => {
            let end = if measure.aggregate == Aggregate::Min {
                extreme::End::Least
            } else {
                extreme::End::Greatest
            };
            match kind {
                Double => Box::new(extreme::Extreme::<FloatValues>::new(argument, end)),
                Text => Box::new(extreme::Extreme::<TextValues>::new(argument, end)),
                Decimal { .. } => Box::new(extreme::Extreme::<WideValues>::new(argument, end)),
                _ => Box::new(extreme::Extreme::<WholeValues>::new(argument, end)),
            }
        }
        (Aggregate::First | Aggregate::Last, kind) => {
            let end = if measure.aggregate == Aggregate::First {
                first_last::End::First
            } else {
                first_last::End::Last
            };
            match kind {
                Double => Box::new(first_last::FirstLast::<FloatValues>::new(argument, end)),
                Text => Box::new(first_last::FirstLast::<TextValues>::new(argument, end)),
                Decimal { .. } => Box::new(first_last::FirstLast::<WideValues>::new(argument, end)),
                _ => Box::new(first_last::FirstLast::<WholeValues>::new(argument, end)),
            }
        }
    }
}

/// The state columns of a measure, named `<measure>__<part>`.
pub fn fields(measure: &Measure) -> Vec<Field> {
    let parts = empty(measure).parts();
    let named =
        |part: Part| Field::new(format!("{}__{}", measure.name, part.name), part.data_type, part.nullable);
    parts.into_iter().map(named).collect()
}

/// Reads back what [`States::columns`] wrote; other writers' forms of the same columns are accepted.
pub fn from_columns(measure: &Measure, columns: &[ArrayRef]) -> Result<Box<dyn States>, StateError> {
    let mut states = empty(measure);
    let parts = states.parts();
    let error =
        |found: String, expected: String| StateError { measure: measure.name.clone(), found, expected };
    if columns.len() != parts.len() {
        return Err(error(format!("{} columns", columns.len()), format!("{}", parts.len())));
    }
    let mut cast = Vec::with_capacity(columns.len());
    for (part, column) in parts.iter().zip(columns) {
        let expected = || format!("column {}__{} of type {}", measure.name, part.name, part.data_type);
        let column =
            columns::cast(column, &part.data_type).map_err(|reason| error(reason.to_string(), expected()))?;
        if !part.nullable && column.null_count() > 0 {
            return Err(error(format!("{} nulls", column.null_count()), expected()));
        }
        cast.push(column);
    }
    states.load(&cast).map_err(|found| error(found, "states as this build writes them".to_string()))?;
    Ok(states)
}

/// The stated bound of a sketched measure; `None` for exact ones.
pub fn error_bound(measure: &Measure) -> Option<ErrorBound> {
    match measure.aggregate {
        Aggregate::CountDistinct => Some(distinct::BOUND),
        Aggregate::Quantile(_) => Some(quantile::BOUND),
        Aggregate::TopK(_) => Some(top_k::BOUND),
        _ => None,
    }
}

/// Stored states that are not what this build writes.
#[derive(Debug, thiserror::Error)]
#[error("states of measure {measure}: found {found}, expected {expected}")]
pub struct StateError {
    pub measure: String,
    pub found: String,
    pub expected: String,
}

/// The other side of a merge.
fn same<S: 'static>(other: &dyn States) -> &S {
    other.as_any().downcast_ref().expect("states of one measure are of one kind")
}

/// [`States::keep`] of one column.
fn keep<T>(items: &mut Vec<T>, rows: &[u32]) {
    for (row, from) in rows.iter().enumerate() {
        items.swap(row, *from as usize);
    }
    items.truncate(rows.len());
    items.shrink_to_fit();
}

/// Memory that an allocation of so many bytes takes: allocators add a header and round up to 16 bytes, 32 at least.
pub(crate) fn allocation(bytes: usize) -> usize {
    if bytes == 0 { 0 } else { (bytes + 8).next_multiple_of(16).max(32) }
}

/// The argument's values; every aggregate but `count(*)` has them.
fn operand<'a>(input: &Input<'a>) -> &'a Operand {
    input.values.expect("only count(*) has no argument")
}
