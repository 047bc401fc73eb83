//! `min` and `max`. Doubles are ordered with NaN above every other number.

use std::any::Any;

use arrow::array::ArrayRef;

use crate::columns;
use crate::measure::physical::Physical;
use crate::measure::{self, Input, Part, States, operand, same};
use crate::types::DataType;
use crate::value::Value;

/// Which end of the order is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Least,
    Greatest,
}

#[derive(Clone, Debug)]
pub struct Extreme<P: Physical> {
    argument: DataType,
    end: End,
    values: Vec<Option<P::Owned>>,
}

impl<P: Physical> Extreme<P> {
    pub fn new(argument: DataType, end: End) -> Self {
        Extreme { argument, end, values: Vec::new() }
    }

    fn offer(&mut self, row: u32, value: P::Borrowed<'_>) {
        let held = &mut self.values[row as usize];
        let better = match held {
            None => true,
            Some(held) => match self.end {
                End::Least => P::order(value, P::borrow(held)).is_lt(),
                End::Greatest => P::order(value, P::borrow(held)).is_gt(),
            },
        };
        if better {
            *held = Some(P::own(value));
        }
    }
}

impl<P: Physical> States for Extreme<P> {
    fn len(&self) -> usize {
        self.values.len()
    }

    fn resize(&mut self, rows: usize) {
        self.values.resize(rows, None);
    }

    fn update(&mut self, rows: &[u32], input: &Input<'_>) {
        P::visit(operand(input), |index, value| self.offer(rows[index], value));
    }

    fn merge(&mut self, into: &[u32], other: &dyn States, from: &[u32]) {
        let other: &Self = same(other);
        for (into, from) in into.iter().zip(from) {
            if let Some(value) = &other.values[*from as usize] {
                self.offer(*into, P::borrow(value));
            }
        }
    }

    fn parts(&self) -> Vec<Part> {
        vec![Part::optional("value", self.argument.arrow())]
    }

    fn columns(&self, rows: &[u32]) -> Vec<ArrayRef> {
        let values = rows.iter().map(|row| self.values[*row as usize].as_ref());
        vec![columns::build(values.map(|value| value.map_or(columns::Part::Null, P::part)), &self.argument)]
    }

    fn load(&mut self, columns: &[ArrayRef]) -> Result<(), String> {
        self.values.clear();
        columns::visit_array(&columns[0], &self.argument, |part| self.values.push(P::read(part)));
        Ok(())
    }

    fn finish(&self, row: u32) -> Value {
        let value = self.values[row as usize].as_ref();
        value.map_or(Value::Null, |value| P::part(value).value(&self.argument))
    }

    fn keep(&mut self, rows: &[u32]) {
        measure::keep(&mut self.values, rows);
    }

    fn bytes(&self) -> usize {
        let heap = self.values.iter().flatten().map(P::heap).sum::<usize>();
        self.values.len() * size_of::<Option<P::Owned>>() + heap
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn boxed_clone(&self) -> Box<dyn States> {
        Box::new(self.clone())
    }
}
