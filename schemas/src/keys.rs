//! Cells' keys: (window start, dimension values) to a dense row number.

use crate::types::DataType;
use crate::value::Value;

/// A growing set of keys. Dimension values are held once per dictionary, keys as codes.
#[derive(Clone, Debug)]
pub struct Keys {}

impl Keys {
    pub fn new(_dimensions: Vec<DataType>) -> Self {
        todo!()
    }

    pub fn len(&self) -> usize {
        todo!()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Window starts in microseconds, by row.
    pub fn windows(&self) -> &[i64] {
        todo!()
    }

    /// The codes of one dimension, by row: indices into [`Keys::dictionary`]. (Shape to be decided: a slice or an accessor.)
    pub fn code(&self, _row: u32, _dimension: usize) -> u32 {
        todo!()
    }

    /// The distinct values of a dimension, by code (NULL is a value of its own).
    pub fn dictionary(&self, _dimension: usize) -> &[Value] {
        todo!()
    }

    /// The code of a value in a dimension's dictionary, added if new.
    pub fn encode(&mut self, _dimension: usize, _value: &Value) -> u32 {
        todo!()
    }

    /// The row of a key, added if new. `codes` has one code per dimension.
    pub fn row(&mut self, _window: i64, _codes: &[u32]) -> u32 {
        todo!()
    }

    /// Rows in the order of (window, dimension values); NULL comes last.
    pub fn sorted_rows(&self) -> Vec<u32> {
        todo!()
    }

    pub fn bytes(&self) -> usize {
        todo!()
    }
}
