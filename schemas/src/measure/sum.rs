//! `sum` and `avg`: a sum and the number of values, so that the sum of nothing is NULL.
//!
//! Integers and decimals are summed exactly in 128 bits: a BIGINT sum cannot leave them in any log,
//! a DECIMAL sum is exact while it keeps within 38 digits. Doubles are summed in twice their precision.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, Decimal128Array, Float64Array};
use arrow::datatypes::{DataType as ArrowType, Decimal128Type, Float64Type};

use crate::columns::decimals;
use crate::measure::count::{counts, read_counts};
use crate::measure::double_double::DoubleDouble;
use crate::measure::operand::{each, scale_of};
use crate::measure::{self, Input, Part, States, operand, same};
use crate::types::DataType;
use crate::value::Value;

/// What is made of a sum and a count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    Sum,
    Average,
}

/// Sums of integers or decimals.
#[derive(Clone, Debug)]
pub struct ExactSum {
    argument: DataType,
    result: DataType,
    finish: Finish,
    sums: Vec<i128>,
    counts: Vec<u64>,
}

impl ExactSum {
    pub fn new(argument: DataType, result: DataType, finish: Finish) -> Self {
        ExactSum { argument, result, finish, sums: Vec::new(), counts: Vec::new() }
    }

    fn add(&mut self, row: u32, value: i128) {
        let row = row as usize;
        self.sums[row] = self.sums[row].wrapping_add(value);
        self.counts[row] += 1;
    }
}

impl States for ExactSum {
    fn len(&self) -> usize {
        self.sums.len()
    }

    fn resize(&mut self, rows: usize) {
        self.sums.resize(rows, 0);
        self.counts.resize(rows, 0);
    }

    fn update(&mut self, rows: &[u32], input: &Input<'_>) {
        let values = operand(input);
        match self.argument {
            DataType::Decimal { .. } => each(values.wides(), |index, value| self.add(rows[index], value)),
            _ => each(values.wholes(), |index, value| self.add(rows[index], i128::from(value))),
        }
    }

    fn merge(&mut self, into: &[u32], other: &dyn States, from: &[u32]) {
        let other: &Self = same(other);
        for (into, from) in into.iter().zip(from) {
            let (into, from) = (*into as usize, *from as usize);
            self.sums[into] = self.sums[into].wrapping_add(other.sums[from]);
            self.counts[into] += other.counts[from];
        }
    }

    fn parts(&self) -> Vec<Part> {
        let wide = ArrowType::Decimal128(38, scale_of(&self.argument) as i8);
        vec![Part::required("sum", wide), Part::required("count", ArrowType::Int64)]
    }

    fn columns(&self, rows: &[u32]) -> Vec<ArrayRef> {
        let sums: Decimal128Array = rows.iter().map(|row| Some(self.sums[*row as usize])).collect();
        let count = counts(rows.iter().map(|row| self.counts[*row as usize]));
        vec![Arc::new(decimals(sums, 38, scale_of(&self.argument))), count]
    }

    fn load(&mut self, columns: &[ArrayRef]) -> Result<(), String> {
        self.sums = columns[0].as_primitive::<Decimal128Type>().values().to_vec();
        self.counts = read_counts(&columns[1])?;
        Ok(())
    }

    fn finish(&self, row: u32) -> Value {
        let (sum, count) = (self.sums[row as usize], self.counts[row as usize]);
        if count == 0 {
            return Value::Null;
        }
        match (self.finish, &self.result) {
            (Finish::Average, _) => {
                let one = 10f64.powi(i32::from(scale_of(&self.argument)));
                Value::Double(sum as f64 / one / count as f64)
            }
            (Finish::Sum, DataType::Decimal { scale, .. }) => {
                let fits = sum.unsigned_abs() < 10u128.pow(38);
                if fits { Value::Decimal(sum, *scale) } else { Value::Null }
            }
            (Finish::Sum, _) => i64::try_from(sum).map_or(Value::Null, Value::Integer),
        }
    }

    fn keep(&mut self, rows: &[u32]) {
        measure::keep(&mut self.sums, rows);
        measure::keep(&mut self.counts, rows);
    }

    fn bytes(&self) -> usize {
        self.sums.len() * size_of::<i128>() + self.counts.len() * size_of::<u64>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn boxed_clone(&self) -> Box<dyn States> {
        Box::new(self.clone())
    }
}

/// Sums of doubles.
#[derive(Clone, Debug)]
pub struct FloatSum {
    finish: Finish,
    sums: Vec<DoubleDouble>,
    counts: Vec<u64>,
}

impl FloatSum {
    pub fn new(finish: Finish) -> Self {
        FloatSum { finish, sums: Vec::new(), counts: Vec::new() }
    }
}

impl States for FloatSum {
    fn len(&self) -> usize {
        self.sums.len()
    }

    fn resize(&mut self, rows: usize) {
        self.sums.resize(rows, DoubleDouble::default());
        self.counts.resize(rows, 0);
    }

    fn update(&mut self, rows: &[u32], input: &Input<'_>) {
        each(operand(input).floats(), |index, value| {
            let row = rows[index] as usize;
            self.sums[row] = self.sums[row].plus(DoubleDouble::new(value));
            self.counts[row] += 1;
        });
    }

    fn merge(&mut self, into: &[u32], other: &dyn States, from: &[u32]) {
        let other: &Self = same(other);
        for (into, from) in into.iter().zip(from) {
            let (into, from) = (*into as usize, *from as usize);
            self.sums[into] = self.sums[into].plus(other.sums[from]);
            self.counts[into] += other.counts[from];
        }
    }

    fn parts(&self) -> Vec<Part> {
        vec![
            Part::required("sum", ArrowType::Float64),
            Part::required("carry", ArrowType::Float64),
            Part::required("count", ArrowType::Int64),
        ]
    }

    fn columns(&self, rows: &[u32]) -> Vec<ArrayRef> {
        let mut columns = write_sums(rows.iter().map(|row| self.sums[*row as usize])).to_vec();
        columns.push(counts(rows.iter().map(|row| self.counts[*row as usize])));
        columns
    }

    fn load(&mut self, columns: &[ArrayRef]) -> Result<(), String> {
        self.sums = read_sums(&columns[0], &columns[1]);
        self.counts = read_counts(&columns[2])?;
        Ok(())
    }

    fn finish(&self, row: u32) -> Value {
        let (sum, count) = (self.sums[row as usize], self.counts[row as usize]);
        match self.finish {
            _ if count == 0 => Value::Null,
            Finish::Sum => Value::Double(sum.value()),
            Finish::Average => Value::Double(sum.divided_by(count as f64).value()),
        }
    }

    fn keep(&mut self, rows: &[u32]) {
        measure::keep(&mut self.sums, rows);
        measure::keep(&mut self.counts, rows);
    }

    fn bytes(&self) -> usize {
        self.sums.len() * size_of::<DoubleDouble>() + self.counts.len() * size_of::<u64>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn boxed_clone(&self) -> Box<dyn States> {
        Box::new(self.clone())
    }
}

/// The high and the low halves of sums.
pub(super) fn write_sums(sums: impl Iterator<Item = DoubleDouble>) -> [ArrayRef; 2] {
    let (high, low): (Vec<f64>, Vec<f64>) = sums.map(|sum| (sum.high, sum.low)).unzip();
    [Arc::new(Float64Array::from(high)), Arc::new(Float64Array::from(low))]
}

pub(super) fn read_sums(high: &ArrayRef, low: &ArrayRef) -> Vec<DoubleDouble> {
    let halves =
        high.as_primitive::<Float64Type>().values().iter().zip(low.as_primitive::<Float64Type>().values());
    halves.map(|(high, low)| DoubleDouble { high: *high, low: *low }).collect()
}
