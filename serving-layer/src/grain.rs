//! Time buckets of an answer: unions of a view's stored windows, in any time zone.

use std::collections::BTreeSet;

use chrono_tz::Tz;
use watershed_schemas::window::{Length, Window};

use crate::calendar;

const HOUR_MICROS: i64 = 3_600_000_000;
const DAY_MICROS: i64 = 24 * HOUR_MICROS;

/// The time in which zones are looked at where a question names none: 1970 to 2040.
pub const USUAL: (i64, i64) = (0, 70 * 365 * DAY_MICROS);

/// How a question wants time cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Grain {
    /// One bucket for all time.
    All,
    Every(Length),
}

/// `all`, `1 day`, `15 minutes`, `hour`, or an ISO 8601 duration of one unit (`PT1H`, `P1M`).
pub fn parse(text: &str) -> Option<Grain> {
    let text = text.trim().to_lowercase();
    if text == "all" {
        return Some(Grain::All);
    }
    if let Some(iso) = text.strip_prefix('p') {
        return parse_iso(iso);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(digits);
    length(if count.is_empty() { 1 } else { count.parse().ok()? }, unit.trim())
}

fn parse_iso(text: &str) -> Option<Grain> {
    let (time, text) = match text.strip_prefix('t') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (count, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    let unit = match (time, unit) {
        (true, "h") => "hour",
        (true, "m") => "minute",
        (true, "s") => "second",
        (false, "d") => "day",
        (false, "w") => "week",
        (false, "m") => "month",
        (false, "y") => "year",
        _ => return None,
    };
    length(count.parse().ok()?, unit)
}

fn length(count: i32, unit: &str) -> Option<Grain> {
    let micros = |unit: i64| i64::from(count).checked_mul(unit).map(Length::Micros);
    let length = match unit.strip_suffix('s').unwrap_or(unit) {
        "second" => micros(1_000_000),
        "minute" => micros(60_000_000),
        "hour" => micros(HOUR_MICROS),
        "day" => micros(DAY_MICROS),
        "week" => micros(7 * DAY_MICROS),
        "month" => Some(Length::Months(count)),
        "quarter" => count.checked_mul(3).map(Length::Months),
        "year" => count.checked_mul(12).map(Length::Months),
        _ => None,
    };
    // A bucket no longer than ten thousand years keeps all later arithmetic in range.
    length
        .filter(|length| match length {
            Length::Micros(micros) => (1..=3_652_425 * DAY_MICROS).contains(micros),
            Length::Months(months) => (1..=120_000).contains(months),
        })
        .map(Grain::Every)
}

/// Window starts to bucket starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buckets {
    /// Each stored window is a bucket.
    Stored(Window),
    All,
    /// Cut on the wall clock of a zone.
    Every {
        length: Length,
        zone: Tz,
    },
}

impl Buckets {
    /// The start of the bucket that holds the window that starts at `window`; 0 where all time is one bucket.
    pub fn start(&self, window: i64) -> i64 {
        match *self {
            Buckets::Stored(_) => window,
            Buckets::All => 0,
            Buckets::Every { length, zone: Tz::UTC } => length.floor(window),
            Buckets::Every { length, zone } => {
                let local = length.floor(calendar::local(zone, window));
                let (first, last) = calendar::instants(zone, local);
                // Where clocks were set back, an hour that is shown twice is two buckets of an hour,
                // but one day is still one day.
                if repeats(length) && last <= window { last } else { first }
            }
        }
    }

    /// The start of the bucket after the one that starts at `start`; `None` where there is no other.
    pub fn next(&self, start: i64) -> Option<i64> {
        let next = match *self {
            Buckets::Stored(window) => window.end(start),
            Buckets::All => return None,
            Buckets::Every { length, zone } => {
                let local = calendar::local(zone, start);
                let (first, last) = calendar::instants(zone, local);
                if repeats(length) && start == first && last > first {
                    last
                } else {
                    // From the wall-clock boundary: a bucket that begins where clocks skipped begins late.
                    calendar::instants(zone, length.next(length.floor(local))).0
                }
            }
        };
        (next > start).then_some(next)
    }
}

fn repeats(length: Length) -> bool {
    matches!(length, Length::Micros(micros) if micros <= HOUR_MICROS)
}

/// Why a grain cannot be answered from stored windows, as a sentence.
pub fn unserved(length: Length, zone: Tz, window: Window, from: i64, until: i64) -> Option<String> {
    let stored = window.length();
    if !length.is_union_of(&stored) {
        return Some(format!(
            "a grain of {length} is not made of whole windows: this view keeps windows of {stored}, ask a multiple of it or \"all\""
        ));
    }
    let offsets = offsets(zone, from, until);
    let misaligned = match stored {
        Length::Micros(stored) => offsets.iter().any(|offset| offset % stored != 0),
        Length::Months(_) => offsets.iter().any(|offset| *offset != 0),
    };
    misaligned.then(|| {
        let whole = match length {
            Length::Micros(length) => length,
            Length::Months(_) => DAY_MICROS,
        };
        let serving = offsets.into_iter().fold(whole, |length, offset| divisor(length, offset.abs()));
        format!(
            "buckets of {length} in {zone} do not begin where this view's windows of {stored} (UTC) begin; a view with windows of {} would serve",
            Length::Micros(serving)
        )
    })
}

/// The offsets from UTC that a zone uses in a range of time.
fn offsets(zone: Tz, from: i64, until: i64) -> BTreeSet<i64> {
    if zone == Tz::UTC {
        return BTreeSet::from([0]);
    }
    // No zone has kept an offset for less than a fortnight since 1970.
    let (from, until) = (from.clamp(-USUAL.1, 2 * USUAL.1), until.clamp(-USUAL.1, 2 * USUAL.1));
    let steps =
        (0..).map(|step| from.saturating_add(step * 14 * DAY_MICROS)).take_while(|instant| *instant < until);
    steps.chain([from, until]).map(|instant| calendar::offset(zone, instant)).collect()
}

fn divisor(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { divisor(b, a % b) }
}
