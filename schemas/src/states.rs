//! A view's partial states: the fold that both layers run, and what they exchange.

use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use polars::prelude::{DataFrame, PolarsError};

use crate::keys::Keys;
use crate::measure::{StateError, States};
use crate::view::View;

/// Columns of every stored or sent state table beside dimensions and states.
pub const WINDOW_START: &str = "window_start";
pub const WINDOW_END: &str = "window_end";

/// The states of a set of cells of one view.
#[derive(Debug)]
pub struct StateTable {
    pub view: Arc<View>,
    pub keys: Keys,
    /// One per measure, in the view's order; every one has as many rows as `keys`.
    pub measures: Vec<Box<dyn States>>,
}

impl StateTable {
    pub fn new(_view: Arc<View>) -> Self {
        todo!()
    }

    /// Folds decoded events of one partition (the view's fields, `_partition`, `_offset`): filter, window, dimensions, measures.
    pub fn fold(&mut self, _events: &DataFrame) -> Result<(), PolarsError> {
        todo!()
    }

    /// Merges all cells of `other` into this table.
    pub fn merge(&mut self, _other: &StateTable) {
        todo!()
    }

    /// `window_start`, the dimensions, the states; rows sorted by key, so that equal states give equal bytes.
    pub fn to_record_batch(&self) -> RecordBatch {
        todo!()
    }

    /// Reads the columns that [`StateTable::to_record_batch`] writes, by name; other columns are ignored.
    pub fn from_record_batch(_view: Arc<View>, _batch: &RecordBatch) -> Result<Self, StateError> {
        todo!()
    }

    /// The schema of [`StateTable::to_record_batch`].
    pub fn schema(_view: &View) -> SchemaRef {
        todo!()
    }

    pub fn cells(&self) -> usize {
        self.keys.len()
    }

    pub fn bytes(&self) -> usize {
        self.keys.bytes() + self.measures.iter().map(|states| states.bytes()).sum::<usize>()
    }
}
