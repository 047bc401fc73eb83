//! The accuracy ledger: how far sketches were from the truth where both are known.

use watershed_schemas::manifest::Accuracy;
use watershed_schemas::measure::top_k::TopKStates;
use watershed_schemas::measure::{self, ErrorBound, States};
use watershed_schemas::states::Whole;
use watershed_schemas::value::Value;
use watershed_schemas::view::View;

/// The ledger of one view and run, filled group by group.
#[derive(Debug, Default)]
pub struct Ledger {
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

    /// Adds the cells of a table, in this order of its rows.
    pub(crate) fn compare(&mut self, whole: &Whole, order: &[u32]) {
        for line in &mut self.lines {
            let Some(truths) = &whole.exact[line.index] else { continue };
            let states = whole.states.measures[line.index].as_ref();
            for row in order {
                if let Some(error) = error(&truths[*row as usize], states, *row) {
                    line.add(error);
                }
            }
        }
    }

    /// Adds what another ledger of the same view holds.
    pub(crate) fn add(&mut self, other: Ledger) {
        for (line, more) in self.lines.iter_mut().zip(other.lines) {
            line.cells += more.cells;
            line.sum += more.sum;
            line.max = line.max.max(more.max);
            line.beyond += more.beyond;
        }
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

/// How far a cell's estimate is off: numbers relative to the state's own scale or else to the truth, top-k counts
/// as a share of all occurrences (NULLs, and what the measure's filter leaves out, are none). `None` where there is
/// nothing to estimate.
fn error(truth: &Value, states: &dyn States, row: u32) -> Option<f64> {
    if let (Value::TopK(truth), Some(items)) = (truth, states.as_any().downcast_ref::<TopKStates>()) {
        // A frequent item is compared with its own estimate: at the edge of the list another may stand in its place
        // although both counts are within the bound.
        let off = truth.iter().map(|(value, count)| count.abs_diff(items.estimate(row, value)));
        return Some(off.max()? as f64 / items.occurrences(row).max(1) as f64);
    }
    let (truth, estimate, scale) = (number(truth)?, number(&states.finish(row))?, states.error_scale(row));
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
