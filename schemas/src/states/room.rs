//! Which group each event falls into, and what that takes.

use std::rc::Rc;

use polars::prelude::PolarsResult;

use super::StateTable;
use crate::budget::{Budget, Holding, Room};
use crate::coding::Codes;
use crate::columns;
use crate::evaluate::Values;
use crate::keys::{ANY_WINDOW, UNKNOWN};
use crate::value::Value;
use crate::view::View;
use crate::window::Window;

/// States are there up to three times, headers and slack of the allocator included: as they are folded, as they are sent
/// until the next change, and while they are saved.
const COPIES: u64 = 3;

/// What a new group is taken to need before there are some to go by.
const GROUP_BYTES: u64 = 512;

/// By how much an event makes a sketch grow, in the mean of many, at most.
const GROWTH_BYTES: u64 = 128;

/// How often to look where memory is not limited.
const USUAL_BYTES: u64 = 1 << 30;

/// Memory of the states when they were last looked at. Looking takes time for every sketch, so it is not done before
/// as many events were folded as there are groups.
#[derive(Debug, Default)]
pub(super) struct Measured {
    bytes: u64,
    groups: u64,
    folded: u64,
    done: bool,
}

impl Measured {
    pub(super) fn fold(&mut self, events: usize) {
        self.folded += events as u64;
    }
}

impl StateTable {
    /// The budget that this table is under.
    pub fn budget(&self) -> Option<&std::sync::Arc<Budget>> {
        self.account.as_ref().map(|account| account.budget())
    }

    /// The row of each event, added if new and there is room.
    pub(super) fn rows(
        &mut self,
        view: &View,
        times: &[i64],
        values: &mut impl Iterator<Item = Values>,
    ) -> PolarsResult<Vec<u32>> {
        let dimensions: Vec<Values> =
            view.dimensions.iter().map(|_| values.next().expect("every dimension was evaluated")).collect();
        let events = times.len() as u64;
        let bytes = if self.account.is_some() { self.group_bytes() } else { 0 };
        let room = self.account.as_mut().map_or(Room::UNLIMITED, |account| account.take(events, bytes));
        let mut starts = Starts::of(view.window.window);
        if room.groups >= events {
            self.rows_of_all(view, times, &dimensions, &mut starts)
        } else {
            self.rows_within(view, times, &dimensions, &mut starts, room)
        }
    }

    /// The row of each event, added if new.
    fn rows_of_all(
        &mut self,
        view: &View,
        times: &[i64],
        dimensions: &[Values],
        starts: &mut Starts,
    ) -> PolarsResult<Vec<u32>> {
        let mut codes: Vec<Vec<u32>> = Vec::with_capacity(dimensions.len());
        for (index, values) in dimensions.iter().enumerate() {
            let dictionary = self.keys.dictionary_mut(index);
            codes.push(match &values.codes {
                Some(of_run) => {
                    let held: Vec<u32> = of_run.parts().map(|part| dictionary.encode(part)).collect();
                    of_run.by_event().iter().map(|code| held[*code as usize]).collect()
                }
                None => {
                    let mut column = Vec::with_capacity(values.series.len());
                    columns::visit(&values.series, &view.dimensions[index].scalar.data_type, |part| {
                        column.push(dictionary.encode(part))
                    })?;
                    column
                }
            });
        }
        let mut key = vec![0; codes.len()];
        let mut seen = Seen::of(dimensions, times.len());
        let row = |(event, time): (usize, &i64)| {
            let start = starts.start(*time);
            let mut look = || {
                for (code, column) in key.iter_mut().zip(&codes) {
                    *code = column[event];
                }
                self.keys.row(start, &key)
            };
            match seen.as_mut().and_then(|seen| seen.row(start, event)) {
                Some(row) => {
                    if *row == UNSEEN {
                        *row = look();
                    }
                    *row
                }
                None => look(),
            }
        };
        Ok(times.iter().enumerate().map(row).collect())
    }

    /// The row of each event: its group's, if that is there or there is room for it, else an overflow group's. Values
    /// of groups that are not added are not kept.
    fn rows_within(
        &mut self,
        view: &View,
        times: &[i64],
        dimensions: &[Values],
        starts: &mut Starts,
        mut room: Room,
    ) -> PolarsResult<Vec<u32>> {
        let mut codes: Vec<Vec<u32>> = Vec::with_capacity(dimensions.len());
        for (index, Values { series, .. }) in dimensions.iter().enumerate() {
            let keys = &self.keys;
            let mut column = Vec::with_capacity(series.len());
            columns::visit(series, &view.dimensions[index].scalar.data_type, |part| {
                column.push(keys.find_part(index, part).unwrap_or(UNKNOWN));
            })?;
            codes.push(column);
        }
        const MISSING: u32 = u32::MAX;
        let mut key = vec![0; codes.len()];
        let find = |(index, time): (usize, &i64)| {
            for (code, column) in key.iter_mut().zip(&codes) {
                *code = column[index];
            }
            if key.contains(&UNKNOWN) {
                return MISSING;
            }
            self.keys.find(starts.start(*time), &key).unwrap_or(MISSING)
        };
        let mut rows: Vec<u32> = times.iter().enumerate().map(find).collect();
        let indices = 0..rows.len() as u32;
        let missing: Vec<u32> = indices.filter(|index| rows[*index as usize] == MISSING).collect();
        if missing.is_empty() {
            return Ok(rows);
        }
        // Only while there is room values are looked at one by one.
        let values = match room.groups {
            0 => Vec::new(),
            _ => values_of(view, dimensions, &missing)?,
        };
        let mut overflow = Overflow { row: MISSING, window: 0, records: 0 };
        for (nth, index) in missing.iter().map(|index| *index as usize).enumerate() {
            let window = starts.start(times[index]);
            let group = match values.is_empty() && !dimensions.is_empty() {
                true => None,
                false => self.group(window, values.iter().map(|column| &column[nth]), &mut key, &mut room),
            };
            rows[index] = match group {
                Some(row) => row,
                None => self.overflow_group(window, &mut overflow, &mut key, &mut room),
            };
        }
        self.note(&mut overflow);
        Ok(rows)
    }

    /// The row of a group that was not there before this fold; `None` if there is no room for it.
    fn group<'v>(
        &mut self,
        window: i64,
        values: impl Iterator<Item = &'v Value> + Clone,
        key: &mut [u32],
        room: &mut Room,
    ) -> Option<u32> {
        for ((dimension, code), value) in key.iter_mut().enumerate().zip(values.clone()) {
            *code = self.keys.find_code(dimension, value).unwrap_or(UNKNOWN);
        }
        if !key.contains(&UNKNOWN)
            && let Some(row) = self.keys.find(window, key)
        {
            return Some(row);
        }
        room.groups = room.groups.checked_sub(1)?;
        for ((dimension, code), value) in key.iter_mut().enumerate().zip(values) {
            *code = self.keys.encode(dimension, value);
        }
        Some(self.keys.row(window, key))
    }

    /// The row of the overflow group of a window, or where there is no room for that, of all windows.
    fn overflow_group(&mut self, window: i64, last: &mut Overflow, key: &mut [u32], room: &mut Room) -> u32 {
        if last.records == 0 || last.window != window {
            self.note(last);
            key.fill(UNKNOWN);
            // Without dimensions, the group of a window is the window.
            let held = self.keys.find(window, key).filter(|_| !key.is_empty());
            let row = match held {
                Some(row) => row,
                None if key.is_empty() || room.overflow_windows == 0 => self.keys.row(ANY_WINDOW, key),
                None => {
                    room.overflow_windows -= 1;
                    self.keys.row(window, key)
                }
            };
            (last.row, last.window) = (row, window);
        }
        last.records += 1;
        last.row
    }

    fn note(&mut self, overflow: &mut Overflow) {
        if overflow.records > 0 {
            self.overflow_by(overflow.row, Some(overflow.records));
            overflow.records = 0;
        }
    }

    /// About what one more group takes.
    fn group_bytes(&self) -> u64 {
        let groups = self.keys.len() as u64;
        if groups < 1_024 { GROUP_BYTES } else { COPIES * self.estimated_bytes() / groups }
    }

    /// Groups that came since the states were measured are taken to be like those before.
    fn estimated_bytes(&self) -> u64 {
        let groups = self.keys.len() as u64;
        match self.measured {
            Measured { done: false, .. } => self.bytes() as u64,
            Measured { bytes, groups: measured, .. } => {
                self.keys.bytes() as u64 + bytes * groups / measured.max(1)
            }
        }
    }

    /// Tells the budget what this table holds, and folds into overflow groups what is too much.
    pub(super) fn settle(&mut self) {
        while self.account.is_some() {
            self.measure();
            let holding = self.holding();
            let Some(account) = &mut self.account else { return };
            let excess = account.settle(holding);
            if !self.shed(excess, holding.bytes) {
                return;
            }
            self.measured.done = false;
        }
    }

    /// Looks at the states again once there are twice as many, or they may have grown by a sixteenth of what is allowed.
    fn measure(&mut self) {
        let groups = self.keys.len() as u64;
        let most = self.budget().and_then(|budget| budget.limits().bytes).unwrap_or(USUAL_BYTES);
        let growth = self.measured.folded * GROWTH_BYTES * self.measures.len() as u64;
        let grown = self.measured.folded >= groups && growth >= most / 16;
        if !self.measured.done || grown || groups > 2 * self.measured.groups {
            let bytes = self.measures.iter().map(|states| states.bytes() as u64).sum();
            self.measured = Measured { bytes, groups, folded: 0, done: true };
        }
    }

    /// What this table holds, as a budget counts it.
    pub fn holding(&self) -> Holding {
        let overflow_groups = self.overflow.len() as u64;
        let rest = self.keys.find(ANY_WINDOW, &vec![UNKNOWN; self.keys.dimensions()]);
        let overflow_rests = u64::from(rest.is_some());
        Holding {
            groups: self.keys.len() as u64 - overflow_groups,
            overflow_windows: overflow_groups - overflow_rests,
            overflow_rests,
            overflow_records: self.overflow_records,
            bytes: COPIES * self.estimated_bytes(),
        }
    }
}

/// The values of some events' dimensions, column by column.
fn values_of(view: &View, dimensions: &[Values], events: &[u32]) -> PolarsResult<Vec<Vec<Value>>> {
    let columns = dimensions.iter().zip(&view.dimensions);
    let values = |(values, dimension): (&Values, &crate::view::Dimension)| {
        columns::values(&values.series.take_slice(events)?, &dimension.scalar.data_type)
    };
    columns.map(values).collect()
}

/// The overflow group that records were last counted for, not yet noted.
struct Overflow {
    row: u32,
    window: i64,
    records: u64,
}

/// Window starts of times that mostly fall into the window of the one before.
struct Starts {
    window: Window,
    start: i64,
    end: i64,
}

impl Starts {
    fn of(window: Window) -> Self {
        Starts { window, start: 0, end: 0 }
    }

    fn start(&mut self, time: i64) -> i64 {
        if time < self.start || time >= self.end {
            self.start = self.window.start(time);
            self.end = self.window.end(self.start);
        }
        self.start
    }
}

/// A row that was not looked up yet.
const UNSEEN: u32 = u32::MAX;

/// Rows that the events of a run have already led to, by window and the codes of all dimensions: most events fall into few.
struct Seen {
    /// Each dimension's codes, and how many values the dimensions behind it make together.
    dimensions: Vec<(Rc<Codes>, usize)>,
    /// How many keys a window may have.
    keys: usize,
    windows: Vec<i64>,
    last: usize,
    rows: Vec<u32>,
}

impl Seen {
    /// Windows that are told apart; events of others are looked up one by one.
    const WINDOWS: usize = 16;

    /// `None` if not all dimensions have codes, or there are more keys than events.
    fn of(dimensions: &[Values], events: usize) -> Option<Seen> {
        let codes: Vec<Rc<Codes>> =
            dimensions.iter().map(|values| values.codes.clone()).collect::<Option<_>>()?;
        let mut keys = 1usize;
        let mut dimensions = Vec::with_capacity(codes.len());
        for codes in codes.into_iter().rev() {
            let behind = keys;
            keys = keys.checked_mul(codes.values()).filter(|keys| *keys <= events)?;
            dimensions.push((codes, behind));
        }
        Some(Seen { dimensions, keys, windows: Vec::new(), last: 0, rows: Vec::new() })
    }

    /// Where the row of an event's key stands.
    fn row(&mut self, window: i64, event: usize) -> Option<&mut u32> {
        if self.windows.get(self.last) != Some(&window) {
            self.last = self.windows.iter().position(|seen| *seen == window).unwrap_or(self.windows.len());
            if self.last == Seen::WINDOWS {
                return None;
            }
            if self.last == self.windows.len() {
                self.windows.push(window);
                self.rows.resize(self.windows.len() * self.keys, UNSEEN);
            }
        }
        let codes = self.dimensions.iter().map(|(codes, behind)| codes.by_event()[event] as usize * behind);
        self.rows.get_mut(self.last * self.keys + codes.sum::<usize>())
    }
}
