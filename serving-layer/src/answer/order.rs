//! The order of rows, and which page of them is asked for.
//!
//! Window and dimensions end every order, so it is total: a page begins behind the key of the row before it. An overflow
//! group, whose dimensions are NULL for want of a value, follows the group whose dimensions are NULL indeed.

use std::cmp::Ordering;

use watershed_schemas::value::Value;

use super::{Cells, Cursor, Pin};
use crate::plan::Column;

/// The groups of the page behind `after` in order, and the cursor of the next page.
pub fn page(cells: &Cells<'_>, pin: Pin, after: Option<&[Value]>) -> (Vec<u32>, Option<String>) {
    let plan = cells.plan;
    let order = Order::new(cells);
    let mut chosen: Vec<u32> = (0..cells.groups.len() as u32).collect();
    if let Some(after) = after {
        chosen.retain(|group| order.against(*group, after).is_gt());
    }
    let mut next = None;
    match plan.limit {
        Some(0) => chosen.clear(),
        Some(limit) if limit < chosen.len() => {
            chosen.select_nth_unstable_by(limit - 1, |left, right| order.compare(*left, *right));
            chosen.truncate(limit);
            chosen.sort_unstable_by(|left, right| order.compare(*left, *right));
            next = chosen.last().map(|last| Cursor { pin, after: order.key(*last) }.write(plan));
        }
        _ => chosen.sort_unstable_by(|left, right| order.compare(*left, *right)),
    }
    (chosen, next)
}

/// The sort columns: as asked for, then window and dimensions.
pub fn columns(plan: &crate::plan::Plan) -> Vec<(Column, bool)> {
    let mut columns: Vec<(Column, bool)> = plan.order.iter().map(|key| (key.by, key.descending)).collect();
    let keys = std::iter::once(Column::Window).chain((0..plan.dimensions.len()).map(Column::Dimension));
    for column in keys {
        if columns.iter().all(|(known, _)| *known != column) {
            columns.push((column, false));
        }
    }
    columns
}

struct Order<'a> {
    cells: &'a Cells<'a>,
    columns: Vec<(Column, bool)>,
    /// Finished values of the measures that are ordered by, by their place in `columns`.
    measures: Vec<Vec<Value>>,
}

impl<'a> Order<'a> {
    fn new(cells: &'a Cells<'a>) -> Self {
        let columns = columns(cells.plan);
        let values = |(column, _): &(Column, bool)| match column {
            Column::Measure(index) => {
                (0..cells.groups.len() as u32).map(|group| cells.measure(group, *index).value).collect()
            }
            Column::Window | Column::Dimension(_) => Vec::new(),
        };
        let measures = columns.iter().map(values).collect();
        Order { cells, columns, measures }
    }

    fn compare(&self, left: u32, right: u32) -> Ordering {
        let groups = self.cells.groups;
        for (place, (column, descending)) in self.columns.iter().enumerate() {
            let ordering = match column {
                Column::Window => directed(groups.bucket(left).cmp(&groups.bucket(right)), *descending),
                Column::Dimension(index)
                    if groups.keys.code(left, *index) == groups.keys.code(right, *index) =>
                {
                    continue;
                }
                Column::Dimension(index) => {
                    ordered(groups.keys.value(left, *index), groups.keys.value(right, *index), *descending)
                }
                Column::Measure(_) => {
                    let values = &self.measures[place];
                    ordered(&values[left as usize], &values[right as usize], *descending)
                }
            };
            if ordering.is_ne() {
                return ordering;
            }
        }
        groups.is_overflow(left).cmp(&groups.is_overflow(right))
    }

    fn against(&self, group: u32, key: &[Value]) -> Ordering {
        let ordering = |((place, (_, descending)), key): ((usize, &(Column, bool)), &Value)| {
            ordered(&self.value(group, place), key, *descending)
        };
        let columns = self.columns.iter().enumerate().zip(key);
        let last = || self.is_overflow(group).order(key.last().unwrap_or(&Value::Null));
        columns.map(ordering).find(|ordering| ordering.is_ne()).unwrap_or_else(last)
    }

    fn key(&self, group: u32) -> Vec<Value> {
        let values = (0..self.columns.len()).map(|place| self.value(group, place));
        values.chain([self.is_overflow(group)]).collect()
    }

    fn is_overflow(&self, group: u32) -> Value {
        Value::Boolean(self.cells.groups.is_overflow(group))
    }

    fn value(&self, group: u32, place: usize) -> Value {
        match self.columns[place].0 {
            Column::Window => Value::Timestamp(self.cells.groups.bucket(group)),
            Column::Dimension(index) => self.cells.groups.keys.value(group, index).clone(),
            Column::Measure(_) => self.measures[place][group as usize].clone(),
        }
    }
}

/// NULL comes last in both directions.
fn ordered(left: &Value, right: &Value, descending: bool) -> Ordering {
    let ordering = left.order(right);
    if left.is_null() || right.is_null() { ordering } else { directed(ordering, descending) }
}

fn directed(ordering: Ordering, descending: bool) -> Ordering {
    if descending { ordering.reverse() } else { ordering }
}
