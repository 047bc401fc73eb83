//! `count(*)` and `count(x)`: how many events, or how many values that are not NULL.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Int64Array};
use arrow::datatypes::{DataType as ArrowType, Int64Type};

use crate::measure::{self, Input, Part, States, same};
use crate::value::Value;

#[derive(Clone, Debug, Default)]
pub struct CountStates {
    counts: Vec<u64>,
}

impl States for CountStates {
    fn len(&self) -> usize {
        self.counts.len()
    }

    fn resize(&mut self, rows: usize) {
        self.counts.resize(rows, 0);
    }

    fn update(&mut self, rows: &[u32], input: &Input<'_>) {
        match input.values {
            None => rows.iter().for_each(|row| self.counts[*row as usize] += 1),
            Some(values) => values.each_valid(|index| self.counts[rows[index] as usize] += 1),
        }
    }

    fn merge(&mut self, into: &[u32], other: &dyn States, from: &[u32]) {
        let other: &Self = same(other);
        for (into, from) in into.iter().zip(from) {
            self.counts[*into as usize] += other.counts[*from as usize];
        }
    }

    fn parts(&self) -> Vec<Part> {
        vec![Part::required("count", ArrowType::Int64)]
    }

    fn columns(&self, rows: &[u32]) -> Vec<ArrayRef> {
        vec![counts(rows.iter().map(|row| self.counts[*row as usize]))]
    }

    fn load(&mut self, columns: &[ArrayRef]) -> Result<(), String> {
        self.counts = read_counts(&columns[0])?;
        Ok(())
    }

    fn finish(&self, row: u32) -> Value {
        Value::Integer(self.counts[row as usize] as i64)
    }

    fn keep(&mut self, rows: &[u32]) {
        measure::keep(&mut self.counts, rows);
    }

    fn bytes(&self) -> usize {
        self.counts.len() * size_of::<u64>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn boxed_clone(&self) -> Box<dyn States> {
        Box::new(self.clone())
    }
}

/// Counts as a column; no log holds more than 2^63 records.
pub(super) fn counts(counts: impl Iterator<Item = u64>) -> ArrayRef {
    Arc::new(counts.map(|count| Some(count as i64)).collect::<Int64Array>())
}

pub(super) fn read_counts(column: &ArrayRef) -> Result<Vec<u64>, String> {
    let counts = column.as_primitive::<Int64Type>().values().iter();
    counts.map(|count| u64::try_from(*count).map_err(|_| format!("count {count}"))).collect()
}
