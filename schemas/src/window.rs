//! Event time to windows.
//!
//! Windows are half-open `[start, end)` in UTC. Today every window is one pane, the start of which
//! is a function of the event time alone.

use std::fmt;

use chrono::{DateTime, Datelike, NaiveDate};
use serde::{Deserialize, Serialize};

/// Microseconds from 1970-01-01 to Monday 2000-01-03, the origin of windows shorter than a month:
/// weeks begin on Mondays, and every length that divides a day is aligned to midnight.
const ORIGIN_MICROS: i64 = 946_857_600_000_000;
const DAY_MICROS: i64 = 86_400_000_000;

/// How event time is cut into windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Window {
    Tumble(Length),
}

/// The length of a window, a whole number of seconds or of calendar months.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    Micros(i64),
    Months(i32),
}

impl Window {
    /// The start of the window that holds an event time (microseconds).
    pub fn start(&self, time: i64) -> i64 {
        let Window::Tumble(length) = self;
        length.floor(time)
    }

    /// The end of the window that starts at `start`.
    pub fn end(&self, start: i64) -> i64 {
        let Window::Tumble(length) = self;
        length.next(start)
    }

    pub fn length(&self) -> Length {
        let Window::Tumble(length) = self;
        *length
    }
}

impl Length {
    /// The start of the bucket of this length that holds `time`.
    pub fn floor(&self, time: i64) -> i64 {
        match *self {
            Length::Micros(length) => time - (time - ORIGIN_MICROS).rem_euclid(length),
            Length::Months(length) => {
                let month = month_of(time);
                // Months count from January 2000, a multiple of twelve.
                month_start(month - (month - 24_000).rem_euclid(length))
            }
        }
    }

    /// The start of the bucket after the one that starts at `start`.
    pub fn next(&self, start: i64) -> i64 {
        match *self {
            Length::Micros(length) => start.saturating_add(length),
            Length::Months(length) => month_start(month_of(start) + length),
        }
    }

    /// True when every bucket of `self` is a union of buckets of `finer` (both in UTC).
    pub fn is_union_of(&self, finer: &Length) -> bool {
        match (*self, *finer) {
            (Length::Micros(coarse), Length::Micros(fine)) => coarse % fine == 0,
            (Length::Months(coarse), Length::Months(fine)) => coarse % fine == 0,
            (Length::Months(_), Length::Micros(fine)) => DAY_MICROS % fine == 0,
            (Length::Micros(_), Length::Months(_)) => false,
        }
    }
}

fn month_of(time: i64) -> i32 {
    let date = DateTime::from_timestamp_micros(time).unwrap_or_default();
    date.year() * 12 + date.month0() as i32
}

fn month_start(month: i32) -> i64 {
    NaiveDate::from_ymd_opt(month.div_euclid(12), month.rem_euclid(12) as u32 + 1, 1)
        .and_then(|date| date.and_hms_opt(0, 0, 0))
        .map_or(0, |start| start.and_utc().timestamp_micros())
}

impl fmt::Display for Length {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, unit) = match *self {
            Length::Months(months) if months % 12 == 0 => (i64::from(months / 12), "year"),
            Length::Months(months) => (i64::from(months), "month"),
            Length::Micros(micros) => [
                (7 * DAY_MICROS, "week"),
                (DAY_MICROS, "day"),
                (3_600_000_000, "hour"),
                (60_000_000, "minute"),
                (1_000_000, "second"),
            ]
            .into_iter()
            .find(|(length, _)| micros % length == 0)
            .map_or((micros, "microsecond"), |(length, unit)| (micros / length, unit)),
        };
        write!(out, "{count} {unit}{}", if count == 1 { "" } else { "s" })
    }
}
