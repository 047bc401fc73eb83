//! Exact values of a view's measures, by Polars, from events.
//!
//! The batch layer publishes them; the serving layer asks for them when a question wants exact
//! numbers at a grain of its own.

use polars::prelude::{Expr, LazyFrame};

use crate::view::View;

/// What a recomputation groups by.
#[derive(Clone, Debug)]
pub struct Grouping {
    /// The start of each event's bucket, a TIMESTAMP named `window_start`, over the stream's event time; `None` folds time away.
    pub bucket: Option<Expr>,
    /// Indices into the view's dimensions.
    pub dimensions: Vec<usize>,
    /// Indices into the view's measures.
    pub measures: Vec<usize>,
}

impl Grouping {
    /// The view's own grain.
    pub fn of(_view: &View) -> Self {
        todo!()
    }
}

/// A plan over events (columns as the master dataset has them) that applies the view's filter and gives
/// `window_start` (when grouped by it), the dimensions and the measures, each with the view's name and type,
/// and `_rows`, the number of events in each group.
pub fn exact(_view: &View, _events: LazyFrame, _grouping: &Grouping) -> LazyFrame {
    todo!()
}

/// The start of the view's window as an expression over its event time.
pub fn window_start(_view: &View) -> Expr {
    todo!()
}
