//! The accuracy ledger: how far sketches were from the truth where both are known.

use std::collections::HashMap;

use polars::prelude::{DataFrame, PolarsResult};
use watershed_schemas::columns;
use watershed_schemas::manifest::Accuracy;
use watershed_schemas::measure::{self, ErrorBound};
use watershed_schemas::states::StateTable;
use watershed_schemas::types::DataType;
use watershed_schemas::value::Value;
use watershed_schemas::view::View;

use crate::check::ROWS;

/// The ledger of one view and run, filled group by group.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    /// The measure's index in the view.
    index: usize,
    measure: String,
    bound: ErrorBound,
    cells: u64,
    sum: f64,
    max: f64,
    beyond: u64,
}

impl Ledger {
    /// One line per sketched measure.
    pub(crate) fn new(view: &View) -> Self {
        let sketched =
            view.measures.iter().enumerate().filter(|(_, measure)| measure.aggregate.is_sketched());
        let line = |(index, of): (usize, &watershed_schemas::view::Measure)| {
            let bound = measure::error_bound(of)?;
            Some(Line { index, measure: of.name.clone(), bound, cells: 0, sum: 0.0, max: 0.0, beyond: 0 })
        };
        Ledger { lines: sketched.filter_map(line).collect() }
    }

    /// Adds the cells of `exact` (row `i` is the cell `order[i]` of `states`).
    pub(crate) fn compare(
        &mut self,
        view: &View,
        exact: &DataFrame,
        states: &StateTable,
        order: &[u32],
    ) -> PolarsResult<()> {
        let rows = columns::values(exact.column(ROWS)?.as_materialized_series(), &DataType::BigInt)?;
        for line in &mut self.lines {
            let measure = &view.measures[line.index];
            let truths =
                columns::values(exact.column(&measure.name)?.as_materialized_series(), &measure.result_type)?;
            for ((truth, row), events) in truths.iter().zip(order).zip(&rows) {
                let states = states.measures[line.index].as_ref();
                let (estimate, scale) = (states.finish(*row), states.error_scale(*row));
                if let Some(error) = error(truth, &estimate, scale, number(events).unwrap_or_default()) {
                    line.add(error);
                }
            }
        }
        Ok(())
    }

    pub(crate) fn finish(self) -> Vec<Accuracy> {
        self.lines.into_iter().map(Line::finish).collect()
    }
}

impl Line {
    fn add(&mut self, error: f64) {
        self.cells += 1;
        self.sum += error;
        self.max = self.max.max(error);
        // A bound is met up to the rounding of the division that measures it.
        if error > self.bound.bound * (1.0 + 1e-9) {
            self.beyond += 1;
        }
    }

    fn finish(self) -> Accuracy {
        let Line { measure, bound, cells, sum, max, beyond, .. } = self;
        Accuracy {
            measure,
            kind: bound.kind.to_string(),
            bound: bound.bound,
            confidence: bound.confidence,
            cells,
            mean_error: if cells == 0 { 0.0 } else { rounded(sum / cells as f64) },
            max_error: rounded(max),
            beyond_bound: beyond,
        }
    }
}

/// Six digits, which every reader of JSON reads back as they were written.
fn rounded(error: f64) -> f64 {
    format!("{error:.5e}").parse().unwrap_or(error)
}

/// How far an estimate is off: numbers relative to `scale` or else to the truth, top-k counts as a share of
/// the cell's events. `None` where there is nothing to estimate.
fn error(truth: &Value, estimate: &Value, scale: Option<f64>, events: f64) -> Option<f64> {
    if let (Value::TopK(truth), Value::TopK(estimate)) = (truth, estimate) {
        let estimated: HashMap<String, u64> =
            estimate.iter().map(|(value, count)| (format!("{value:?}"), *count)).collect();
        let off = truth.iter().map(|(value, count)| {
            let found = estimated.get(&format!("{value:?}")).copied().unwrap_or_default();
            count.abs_diff(found) as f64 / events.max(1.0)
        });
        return off.reduce(f64::max);
    }
    let (truth, estimate) = (number(truth)?, number(estimate)?);
    let off = (truth - estimate).abs();
    if off == 0.0 {
        return Some(0.0);
    }
    let scale = scale.unwrap_or(truth.abs());
    Some(if scale == 0.0 { off } else { off / scale })
}

fn number(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(value) => Some(*value as f64),
        Value::Double(value) if value.is_finite() => Some(*value),
        _ => None,
    }
}
