//! Giving up groups that a budget has no room for: sketches that grew, or a checkpoint of a larger budget.
//!
//! A group that is given up is merged into the overflow group of its window (invariant `FOLD`), and an overflow group into
//! that of all windows. The youngest groups go first: those that were there first are told apart as long
//! as possible.

use super::StateTable;
use crate::budget::Excess;
use crate::keys::{ANY_WINDOW, UNKNOWN};
use crate::measure;
use crate::value::Value;
use crate::view::Aggregate;

/// Groups that are moved at a time: bounds the memory that moving takes.
const MOVED_AT_ONCE: usize = 4_096;

impl StateTable {
    /// Gives up groups, about as much as is too much; `bytes` is what this table holds. False if nothing is too much, or
    /// nothing is left to give up.
    pub(super) fn shed(&mut self, excess: Excess, bytes: u64) -> bool {
        if excess == Excess::default() {
            return false;
        }
        let rows = || 0..self.keys.len() as u32;
        let groups: Vec<u32> = rows().filter(|row| !self.keys.is_overflow(*row)).collect();
        let many = share(groups.len(), excess.groups, excess.bytes, bytes);
        if many > 0 {
            let given_up = &groups[groups.len() - many..];
            let into = self.overflow_groups(given_up);
            self.move_into(given_up, &into);
            return true;
        }
        let windows = rows().filter(|row| self.keys.is_overflow(*row));
        let windows: Vec<u32> =
            windows.filter(|row| self.keys.windows()[*row as usize] != ANY_WINDOW).collect();
        let many = share(windows.len(), excess.overflow_windows, excess.bytes, bytes);
        if many > 0 {
            let given_up = &windows[windows.len() - many..];
            let all = self.keys.row(ANY_WINDOW, &vec![UNKNOWN; self.keys.dimensions()]);
            self.move_into(given_up, &vec![all; many]);
        }
        many > 0
    }

    /// The row of the overflow group that each of these groups belongs to. At most half as many are added, so that
    /// fewer groups remain in any case.
    fn overflow_groups(&mut self, rows: &[u32]) -> Vec<u32> {
        let unknown = vec![UNKNOWN; self.keys.dimensions()];
        let mut may_add = if unknown.is_empty() { 0 } else { rows.len() / 2 };
        let mut into = Vec::with_capacity(rows.len());
        for row in rows {
            let window = self.keys.windows()[*row as usize];
            let held = self.keys.find(window, &unknown).filter(|_| !unknown.is_empty());
            into.push(match held {
                Some(held) => held,
                None if may_add == 0 => self.keys.row(ANY_WINDOW, &unknown),
                None => {
                    may_add -= 1;
                    self.keys.row(window, &unknown)
                }
            });
        }
        into
    }

    /// Merges rows, which ascend, into others and removes them.
    fn move_into(&mut self, rows: &[u32], into: &[u32]) {
        for (rows, into) in rows.chunks(MOVED_AT_ONCE).zip(into.chunks(MOVED_AT_ONCE)) {
            for (row, into) in rows.iter().zip(into) {
                let records = match self.overflow.get(row) {
                    Some(records) => *records,
                    None => self.records(*row),
                };
                self.overflow_by(*into, records);
            }
            let places: Vec<u32> = (0..rows.len() as u32).collect();
            for (states, measure) in self.measures.iter_mut().zip(&self.view.measures) {
                let mut moved = measure::empty(measure);
                moved.resize(rows.len());
                moved.merge(&places, &**states, rows);
                states.resize(self.keys.len());
                states.merge(into, &*moved, &places);
            }
        }
        let kept: Vec<u32> =
            (0..self.keys.len() as u32).filter(|row| rows.binary_search(row).is_err()).collect();
        self.numbering += 1;
        self.keys.keep(&kept);
        self.measures.iter_mut().for_each(|states| states.keep(&kept));
        let overflow = std::mem::take(&mut self.overflow).into_iter();
        let moved = |(row, records)| Some((kept.binary_search(&row).ok()? as u32, records));
        self.overflow = overflow.filter_map(moved).collect();
        self.overflow_records = self.overflow.values().flatten().sum();
    }

    /// How many records a group holds, if one of the measures counts them.
    fn records(&self, row: u32) -> Option<u64> {
        let counts = self.view.measures.iter().position(|measure| {
            measure.aggregate == Aggregate::Count && measure.argument.is_none() && measure.filter.is_none()
        })?;
        match self.measures[counts].finish(row) {
            Value::Integer(count) => u64::try_from(count).ok(),
            _ => None,
        }
    }
}

/// How many of `groups` groups to give up so that there are `too_many` less and `too_large` of `bytes` less.
fn share(groups: usize, too_many: u64, too_large: u64, bytes: u64) -> usize {
    let by_size = match too_large {
        0 => 0,
        _ => (groups as u128 * u128::from(too_large)).div_ceil(u128::from(bytes.max(1))),
    };
    let most = by_size.max(u128::from(too_many)).min(groups as u128);
    most as usize
}
