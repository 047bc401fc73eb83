//! Recomputation in bounded pieces: which dates of a view go together, and which event files they need.
//!
//! A view's files are cut by the date of window starts, events by their own date. A window that reaches
//! over midnight needs the events of several dates, so the two are matched here and nowhere else.

use std::collections::{BTreeMap, BTreeSet};

use watershed_schemas::manifest::EventFile;
use watershed_schemas::window::Window;

use crate::encode::DAY_MICROS;
use crate::touched::Touched;

/// Dates of one view that are recomputed together.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Group {
    /// Dates of window starts, ascending. No window that is recomputed starts between them on another date.
    pub dates: Vec<i32>,
    pub select: Select,
    /// Every event file that can hold an event of the selected windows.
    pub events: Vec<EventFile>,
}

/// Which windows a group recomputes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Select {
    /// All that the files' events fall into.
    All,
    /// Those that start in `[from, until)`, in microseconds.
    Between { from: i64, until: i64 },
    /// Those that start at these times.
    Starts(BTreeSet<i64>),
}

/// No group is smaller for the sake of others: each takes some time of its own.
const LEAST_BYTES: u64 = 1 << 20;
/// No group is larger though it might: what it holds is several times as large when it is read.
const MOST_BYTES: u64 = 16 << 20;
/// The groups that each of those worked on at once is followed by, so that all cores end at about the same time.
const ROUNDS: u64 = 6;

/// Cuts the touched windows into groups, of which `at_once` together read about `max_bytes` of event files at most
/// (a single date may need more).
pub(crate) fn groups(
    window: Window,
    touched: &Touched,
    events: &[EventFile],
    max_bytes: u64,
    at_once: usize,
) -> Vec<Group> {
    let mut by_date: BTreeMap<i32, Vec<&EventFile>> = BTreeMap::new();
    for file in events {
        by_date.entry(file.date).or_default().push(file);
    }
    let needs = needs(window, touched, &by_date);
    let all: BTreeSet<i32> = needs.values().flatten().copied().collect();
    let at_once = at_once.max(1) as u64;
    let even = bytes(&by_date, &all) / (at_once * ROUNDS);
    let max_bytes = even.clamp(LEAST_BYTES, MOST_BYTES).min(max_bytes / at_once);
    let mut groups = Vec::new();
    let mut dates: Vec<i32> = Vec::new();
    let mut needed: BTreeSet<i32> = BTreeSet::new();
    for (date, event_dates) in &needs {
        let grown: BTreeSet<i32> = needed.union(event_dates).copied().collect();
        if !dates.is_empty() && bytes(&by_date, &grown) > max_bytes {
            groups.push(group(window, touched, &by_date, std::mem::take(&mut dates), &needed));
            needed = event_dates.clone();
        } else {
            needed = grown;
        }
        dates.push(*date);
    }
    if !dates.is_empty() {
        groups.push(group(window, touched, &by_date, dates, &needed));
    }
    groups
}

/// For each date of window starts, the dates of the events that its windows can hold.
fn needs(
    window: Window,
    touched: &Touched,
    by_date: &BTreeMap<i32, Vec<&EventFile>>,
) -> BTreeMap<i32, BTreeSet<i32>> {
    let mut needs: BTreeMap<i32, BTreeSet<i32>> = BTreeMap::new();
    match touched {
        Touched::All => {
            for event_date in by_date.keys() {
                // A day's events lie in the window that is open when it begins, the one open when it ends,
                // and shorter ones between, which start on that very day.
                for time in ends_of(*event_date) {
                    needs.entry(date_of(window.start(time))).or_default().insert(*event_date);
                }
            }
        }
        Touched::Windows(starts) => {
            for start in starts {
                let span = date_of(*start)..=date_of(window.end(*start) - 1);
                let held = by_date.range(span).map(|(date, _)| *date);
                needs.entry(date_of(*start)).or_default().extend(held);
            }
        }
    }
    needs
}

fn group(
    window: Window,
    touched: &Touched,
    by_date: &BTreeMap<i32, Vec<&EventFile>>,
    dates: Vec<i32>,
    needed: &BTreeSet<i32>,
) -> Group {
    let from = dates.first().map_or(0, |date| i64::from(*date) * DAY_MICROS);
    let until = dates.last().map_or(0, |date| (i64::from(*date) + 1) * DAY_MICROS);
    let within = |event_date: &i32| {
        ends_of(*event_date).iter().all(|time| (from..until).contains(&window.start(*time)))
    };
    let select = match touched {
        Touched::All if needed.iter().all(within) => Select::All,
        Touched::All => Select::Between { from, until },
        Touched::Windows(starts) => Select::Starts(starts.range(from..until).copied().collect()),
    };
    let events = needed.iter().filter_map(|date| by_date.get(date)).flatten();
    Group { dates, select, events: events.map(|file| (*file).clone()).collect() }
}

fn bytes(by_date: &BTreeMap<i32, Vec<&EventFile>>, dates: &BTreeSet<i32>) -> u64 {
    dates.iter().filter_map(|date| by_date.get(date)).flatten().map(|file| file.file.bytes).sum()
}

/// The first and the last moment of a date.
fn ends_of(date: i32) -> [i64; 2] {
    let midnight = i64::from(date) * DAY_MICROS;
    [midnight, midnight + DAY_MICROS - 1]
}

/// The date (days since 1970-01-01) of a time in microseconds.
pub(crate) fn date_of(time: i64) -> i32 {
    time.div_euclid(DAY_MICROS) as i32
}
