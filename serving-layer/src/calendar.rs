//! Wall-clock time in a zone, and back.
//!
//! Everything is microseconds: an instant since 1970-01-01T00:00:00Z, or a local time since
//! 1970-01-01T00:00:00 on the zone's own clock.

use chrono::{DateTime, LocalResult, NaiveDateTime, Offset as _, TimeZone as _};
use chrono_tz::Tz;

const DAY_MICROS: i64 = 86_400_000_000;

/// The zone's offset from UTC at an instant, in microseconds. Instants beyond the calendar count as UTC.
pub fn offset(zone: Tz, instant: i64) -> i64 {
    if zone == Tz::UTC {
        return 0;
    }
    let utc = DateTime::from_timestamp_micros(instant).unwrap_or_default().naive_utc();
    i64::from(zone.offset_from_utc_datetime(&utc).fix().local_minus_utc()) * 1_000_000
}

/// What the zone's clock shows at an instant.
pub fn local(zone: Tz, instant: i64) -> i64 {
    instant.saturating_add(offset(zone, instant))
}

/// The instants at which the zone's clock shows a local time: first and last (the same but where
/// clocks were set back). A local time that clocks skipped is the instant at which they skipped it.
pub fn instants(zone: Tz, local: i64) -> (i64, i64) {
    match naive(local).map(|local| zone.from_local_datetime(&local)) {
        None => (local, local),
        Some(LocalResult::Single(instant)) => (instant.timestamp_micros(), instant.timestamp_micros()),
        Some(LocalResult::Ambiguous(first, last)) => (first.timestamp_micros(), last.timestamp_micros()),
        Some(LocalResult::None) => {
            let skipped = skip(zone, local);
            (skipped, skipped)
        }
    }
}

/// The instant at which clocks were set forward past `local`.
fn skip(zone: Tz, local_time: i64) -> i64 {
    let (mut before, mut after) = (local_time - DAY_MICROS, local_time + DAY_MICROS);
    // The clock shows less than `local_time` at `before` and more at `after`.
    while after - before > 1 {
        let middle = before + (after - before) / 2;
        if local(zone, middle) < local_time { before = middle } else { after = middle }
    }
    after
}

fn naive(local: i64) -> Option<NaiveDateTime> {
    DateTime::from_timestamp_micros(local).map(|time| time.naive_utc())
}
