//! The second path: what Polars' streaming engine and the fold both know must be the same, bit for bit.
//!
//! Compared are events, cells, and every measure that is exact in both: counts, sums of integers and
//! decimals, minima, maxima, first and last. Sums and means of doubles depend on the order of
//! additions; sketches are compared with a bound, in the accuracy ledger.

use polars::prelude::DataFrame;
use watershed_schemas::columns;
use watershed_schemas::states::StateTable;
use watershed_schemas::types::DataType;
use watershed_schemas::value::Value;
use watershed_schemas::view::{Aggregate, Measure, View};

use crate::BatchError;

/// The name of the column in which exact values carry the number of events of their cell.
const ROWS: &str = "_rows";

/// As many events went into the exact values as were folded.
pub(crate) fn rows(view: &View, exact: &DataFrame, folded: u64) -> Result<(), BatchError> {
    let broken = |source| BatchError::Compute { view: view.name.clone(), source };
    let counts = exact.column(ROWS).map_err(broken)?.as_materialized_series();
    let counts = columns::values(counts, &DataType::BigInt).map_err(broken)?;
    let counted: i64 =
        counts.iter().map(|count| if let Value::Integer(count) = count { *count } else { 0 }).sum();
    agree(view, "events", counted, folded as i64)
}

/// There are as many cells on both sides.
pub(crate) fn cells(view: &View, exact: usize, folded: usize) -> Result<(), BatchError> {
    agree(view, "cells", exact as i64, folded as i64)
}

/// Every measure that is exact in both has the same value in every cell. Row `i` of `exact` is the cell `order[i]`.
pub(crate) fn measures(
    view: &View,
    exact: &DataFrame,
    states: &StateTable,
    order: &[u32],
) -> Result<(), BatchError> {
    let broken = |source| BatchError::Compute { view: view.name.clone(), source };
    for (index, measure) in view.measures.iter().enumerate() {
        if !is_comparable(measure) {
            continue;
        }
        let series = exact.column(&measure.name).map_err(broken)?.as_materialized_series();
        let values = columns::values(series, &measure.result_type).map_err(broken)?;
        for (found, row) in values.iter().zip(order) {
            let expected = states.measures[index].finish(*row);
            if !same(found, &expected) {
                return Err(BatchError::SecondPath {
                    view: view.name.clone(),
                    what: format!("measure {}", measure.name),
                    found: format!("{found:?}"),
                    expected: format!("{expected:?}"),
                });
            }
        }
    }
    Ok(())
}

fn is_comparable(measure: &Measure) -> bool {
    match measure.aggregate {
        Aggregate::Count | Aggregate::Min | Aggregate::Max | Aggregate::First | Aggregate::Last => true,
        Aggregate::Sum => measure.result_type != DataType::Double,
        _ => false,
    }
}

/// Equal, where any NaN equals any other.
fn same(found: &Value, expected: &Value) -> bool {
    match (found, expected) {
        (Value::Double(found), Value::Double(expected)) if found.is_nan() => expected.is_nan(),
        _ => found == expected,
    }
}

fn agree(view: &View, what: &str, found: i64, expected: i64) -> Result<(), BatchError> {
    if found == expected {
        return Ok(());
    }
    let (view, what) = (view.name.clone(), what.to_string());
    Err(BatchError::SecondPath { view, what, found: found.to_string(), expected: expected.to_string() })
}
