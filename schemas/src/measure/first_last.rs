//! `first` and `last` by event time; ties by partition, then offset, so that no two events tie.

use std::any::Any;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, TimestampMicrosecondArray};
use arrow::datatypes::{DataType as ArrowType, Int32Type, Int64Type, TimestampMicrosecondType};

use crate::columns;
use crate::measure::physical::Physical;
use crate::measure::{self, Input, Part, States, operand, same};
use crate::types::DataType;
use crate::value::Value;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    First,
    Last,
}

/// Event time, partition, offset.
type Place = (i64, i32, i64);

#[derive(Clone, Debug)]
pub struct FirstLast<P: Physical> {
    argument: DataType,
    end: End,
    held: Vec<Option<(Place, P::Owned)>>,
}

impl<P: Physical> FirstLast<P> {
    pub fn new(argument: DataType, end: End) -> Self {
        FirstLast { argument, end, held: Vec::new() }
    }

    fn offer(&mut self, row: u32, place: Place, value: P::Borrowed<'_>) {
        let held = &mut self.held[row as usize];
        let better = match held {
            None => true,
            Some((held, _)) => match self.end {
                End::First => place < *held,
                End::Last => place > *held,
            },
        };
        if better {
            *held = Some((place, P::own(value)));
        }
    }
}

impl<P: Physical> States for FirstLast<P> {
    fn len(&self) -> usize {
        self.held.len()
    }

    fn resize(&mut self, rows: usize) {
        self.held.resize(rows, None);
    }

    fn update(&mut self, rows: &[u32], input: &Input<'_>) {
        let places = input.places;
        P::visit(operand(input), |index, value| {
            let event = input.picked.map_or(index, |picked| picked[index] as usize);
            self.offer(
                rows[index],
                (places.times[event], places.partitions[event], places.offsets[event]),
                value,
            );
        });
    }

    fn merge(&mut self, into: &[u32], other: &dyn States, from: &[u32]) {
        let other: &Self = same(other);
        for (into, from) in into.iter().zip(from) {
            if let Some((place, value)) = &other.held[*from as usize] {
                self.offer(*into, *place, P::borrow(value));
            }
        }
    }

    fn parts(&self) -> Vec<Part> {
        vec![
            Part::optional("value", self.argument.arrow()),
            Part::optional("time", DataType::Timestamp.arrow()),
            Part::optional("partition", ArrowType::Int32),
            Part::optional("offset", ArrowType::Int64),
        ]
    }

    fn columns(&self, rows: &[u32]) -> Vec<ArrayRef> {
        let held = || rows.iter().map(|row| self.held[*row as usize].as_ref());
        let place = || held().map(|held| held.map(|(place, _)| *place));
        let values = held().map(|held| held.map_or(columns::Part::Null, |(_, value)| P::part(value)));
        vec![
            columns::build(values, &self.argument),
            Arc::new(place().map(|place| place.map(|place| place.0)).collect::<TimestampMicrosecondArray>()),
            Arc::new(place().map(|place| place.map(|place| place.1)).collect::<Int32Array>()),
            Arc::new(place().map(|place| place.map(|place| place.2)).collect::<Int64Array>()),
        ]
    }

    fn load(&mut self, columns: &[ArrayRef]) -> Result<(), String> {
        let times = columns[1].as_primitive::<TimestampMicrosecondType>();
        let partitions = columns[2].as_primitive::<Int32Type>();
        let offsets = columns[3].as_primitive::<Int64Type>();
        let mut held = Vec::with_capacity(times.len());
        let mut torn = None;
        columns::visit_array(&columns[0], &self.argument, |part| {
            let row = held.len();
            let placed = times.is_valid(row) && partitions.is_valid(row) && offsets.is_valid(row);
            let value = P::read(part);
            if value.is_some() != placed {
                torn = Some(row);
            }
            let place = (times.value(row), partitions.value(row), offsets.value(row));
            held.push(value.map(|value| (place, value)));
        });
        if let Some(row) = torn {
            return Err(format!("row {row} with a value or a place, but not both"));
        }
        self.held = held;
        Ok(())
    }

    fn finish(&self, row: u32) -> Value {
        let held = self.held[row as usize].as_ref();
        held.map_or(Value::Null, |(_, value)| P::part(value).value(&self.argument))
    }

    fn keep(&mut self, rows: &[u32]) {
        measure::keep(&mut self.held, rows);
    }

    fn bytes(&self) -> usize {
        let heap = self.held.iter().flatten().map(|(_, value)| P::heap(value)).sum::<usize>();
        self.held.len() * size_of::<Option<(Place, P::Owned)>>() + heap
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn boxed_clone(&self) -> Box<dyn States> {
        Box::new(self.clone())
    }
}
