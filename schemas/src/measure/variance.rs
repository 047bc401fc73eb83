//! `var_samp` and `stddev_samp`: count, sum and sum of squares in twice the precision of a double.
//!
//! With 106 bits the difference of the two large terms keeps full double precision unless the mean
//! is more than about 10⁸ times the deviation.

use std::any::Any;

use arrow::array::ArrayRef;
use arrow::datatypes::DataType as ArrowType;

use crate::measure::count::{counts, read_counts};
use crate::measure::double_double::DoubleDouble;
use crate::measure::operand::scale_of;
use crate::measure::sum::{read_sums, write_sums};
use crate::measure::{self, Input, Part, States, operand, same};
use crate::types::DataType;
use crate::value::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finish {
    Variance,
    Deviation,
}

#[derive(Clone, Debug)]
pub struct VarianceStates {
    argument: DataType,
    finish: Finish,
    moments: Vec<Moments>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Moments {
    count: u64,
    sum: DoubleDouble,
    squares: DoubleDouble,
}

impl VarianceStates {
    pub fn new(argument: DataType, finish: Finish) -> Self {
        VarianceStates { argument, finish, moments: Vec::new() }
    }
}

impl Moments {
    fn merge(&mut self, other: &Moments) {
        self.count += other.count;
        self.sum = self.sum.plus(other.sum);
        self.squares = self.squares.plus(other.squares);
    }

    /// `(Σx² − (Σx)²/n) / (n − 1)`, never below zero.
    fn variance(&self) -> f64 {
        let count = self.count as f64;
        let mean_square = self.sum.times(self.sum).divided_by(count);
        let variance = self.squares.minus(mean_square).divided_by(count - 1.0).value();
        if variance < 0.0 { 0.0 } else { variance }
    }
}

impl States for VarianceStates {
    fn len(&self) -> usize {
        self.moments.len()
    }

    fn resize(&mut self, rows: usize) {
        self.moments.resize(rows, Moments::default());
    }

    fn update(&mut self, rows: &[u32], input: &Input<'_>) {
        operand(input).each_double(scale_of(&self.argument), |index, value| {
            let one =
                Moments { count: 1, sum: DoubleDouble::new(value), squares: DoubleDouble::square(value) };
            self.moments[rows[index] as usize].merge(&one);
        });
    }

    fn merge(&mut self, into: &[u32], other: &dyn States, from: &[u32]) {
        let other: &Self = same(other);
        for (into, from) in into.iter().zip(from) {
            self.moments[*into as usize].merge(&other.moments[*from as usize]);
        }
    }

    fn parts(&self) -> Vec<Part> {
        let sums = ["sum", "carry", "squares", "squares_carry"];
        let mut parts: Vec<Part> =
            sums.into_iter().map(|name| Part::required(name, ArrowType::Float64)).collect();
        parts.push(Part::required("count", ArrowType::Int64));
        parts
    }

    fn columns(&self, rows: &[u32]) -> Vec<ArrayRef> {
        let moments = || rows.iter().map(|row| self.moments[*row as usize]);
        let mut columns = write_sums(moments().map(|moments| moments.sum)).to_vec();
        columns.extend(write_sums(moments().map(|moments| moments.squares)));
        columns.push(counts(moments().map(|moments| moments.count)));
        columns
    }

    fn load(&mut self, columns: &[ArrayRef]) -> Result<(), String> {
        let sums = read_sums(&columns[0], &columns[1]).into_iter().zip(read_sums(&columns[2], &columns[3]));
        let counts = read_counts(&columns[4])?;
        let moments = counts.into_iter().zip(sums);
        self.moments = moments.map(|(count, (sum, squares))| Moments { count, sum, squares }).collect();
        Ok(())
    }

    fn finish(&self, row: u32) -> Value {
        let moments = &self.moments[row as usize];
        match self.finish {
            _ if moments.count < 2 => Value::Null,
            Finish::Variance => Value::Double(moments.variance()),
            Finish::Deviation => Value::Double(moments.variance().sqrt()),
        }
    }

    fn keep(&mut self, rows: &[u32]) {
        measure::keep(&mut self.moments, rows);
    }

    fn bytes(&self) -> usize {
        self.moments.len() * size_of::<Moments>()
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn boxed_clone(&self) -> Box<dyn States> {
        Box::new(self.clone())
    }
}
