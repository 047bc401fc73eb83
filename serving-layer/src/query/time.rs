//! Times and durations as questions write them.

use std::time::Duration;

use chrono::{DateTime, NaiveDate, NaiveDateTime};
use chrono_tz::Tz;

use crate::calendar;

/// RFC 3339 with any offset; without one, a date or a local time in the question's zone. Microseconds.
pub fn instant(text: &str, zone: Tz) -> Option<i64> {
    read(text, zone).filter(|instant| YEARS.contains(instant))
}

/// What RFC 3339 can name, so that every bucket between two times of a question can be computed and written.
const YEARS: std::ops::Range<i64> = -62_167_219_200_000_000..253_402_300_800_000_000;

fn read(text: &str, zone: Tz) -> Option<i64> {
    if let Some(time) = rfc3339(text) {
        return Some(time);
    }
    let local = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok().and_then(|date| date.and_hms_opt(0, 0, 0));
    let local = local.or_else(|| NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok());
    let local = local.or_else(|| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").ok())?;
    Some(calendar::instants(zone, local.and_utc().timestamp_micros()).0)
}

fn rfc3339(text: &str) -> Option<i64> {
    let parse = |text: &str| DateTime::parse_from_rfc3339(text).ok().map(|time| time.timestamp_micros());
    // In a URL an unescaped plus sign means a space.
    parse(text)
        .or_else(|| text.rsplit_once(' ').and_then(|(time, offset)| parse(&format!("{time}+{offset}"))))
}

/// `250ms`, `5s`, `2m`, `1h`.
pub fn duration(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit())?;
    let (count, unit) = text.split_at(digits);
    let millis: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return None,
    };
    count.parse::<u64>().ok()?.checked_mul(millis).map(Duration::from_millis)
}
