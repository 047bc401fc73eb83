//! Dates and timestamps from their text, by hand: event time is in every record.
//!
//! Years run from 0001 to 9999, as in SQL. A timestamp is finer than a microsecond only in writing:
//! further digits are dropped towards the past.

use super::number::{self, Excess, Misfit};
use super::scan::Short;
use crate::stream::TimestampFormat;

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// 0001-01-01 and 9999-12-31 in days since 1970-01-01.
const FIRST_DAY: i32 = -719_162;
const LAST_DAY: i32 = 2_932_896;

/// True for a moment in the years 0001 to 9999.
pub(super) fn is_in_range(micros: i64) -> bool {
    (FIRST_DAY as i64 * DAY..(LAST_DAY as i64 + 1) * DAY).contains(&micros)
}

/// `YYYY-MM-DD` in days since 1970-01-01.
#[inline]
pub(super) fn date(text: &[u8]) -> Result<i32, Misfit> {
    let &[y0, y1, y2, y3, b'-', m0, m1, b'-', d0, d1] = text else { return Err(Misfit::WrongType) };
    let year = two(y0, y1)? * 100 + two(y2, y3)?;
    day(year, two(m0, m1)?, two(d0, d1)?)
}

/// RFC 3339, or the same with a space for the `T`; without an offset it is UTC. In microseconds since 1970-01-01.
#[inline]
pub(super) fn timestamp(text: &[u8]) -> Result<i64, Misfit> {
    let Some((day, rest)) = text.split_at_checked(10) else { return Err(Misfit::WrongType) };
    let &[b'T' | b't' | b' ', h0, h1, b':', m0, m1, b':', s0, s1, ref rest @ ..] = rest else {
        return Err(Misfit::WrongType);
    };
    let day = date(day)?;
    let (hour, minute, second) = (two(h0, h1)?, two(m0, m1)?, two(s0, s1)?);
    let (fraction, rest) = fraction(rest)?;
    let offset = offset(rest)?;
    // Second 60 is a leap second: the first moment of the next minute.
    if hour > 23 || minute > 59 || second > 60 {
        return Err(Misfit::OutOfRange);
    }
    let seconds = i64::from(hour * 3600 + minute * 60 + second) - offset;
    in_range(i64::from(day) * DAY + seconds * SECOND + fraction)
}

/// An epoch number in microseconds since 1970-01-01. `short` is the same number, if it is.
#[inline]
pub(super) fn epoch(text: &[u8], short: Option<Short>, format: TimestampFormat) -> Result<i64, Misfit> {
    let scale = match format {
        TimestampFormat::Text => return Err(Misfit::WrongType),
        TimestampFormat::EpochSeconds => 6,
        TimestampFormat::EpochMillis => 3,
        TimestampFormat::EpochMicros => 0,
    };
    if let Ok(whole) = number::integer(text, short) {
        return in_range(whole.checked_mul(10i64.pow(scale)).ok_or(Misfit::OutOfRange)?);
    }
    let micros = number::decimal(text, short, 18, scale as u8, Excess::Floor)?;
    in_range(i64::try_from(micros).map_err(|_| Misfit::OutOfRange)?)
}

fn in_range(micros: i64) -> Result<i64, Misfit> {
    if is_in_range(micros) { Ok(micros) } else { Err(Misfit::OutOfRange) }
}

#[inline]
fn two(tens: u8, ones: u8) -> Result<i32, Misfit> {
    let (tens, ones) = (tens.wrapping_sub(b'0'), ones.wrapping_sub(b'0'));
    if tens > 9 || ones > 9 { Err(Misfit::WrongType) } else { Ok(i32::from(tens * 10 + ones)) }
}

/// Days since 1970-01-01 of a day in the Gregorian calendar, counted in years that begin in March
/// (Howard Hinnant, "chrono-compatible low-level date algorithms").
#[inline]
fn day(year: i32, month: i32, day: i32) -> Result<i32, Misfit> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let length = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 31,
    };
    if year < 1 || !(1..=12).contains(&month) || !(1..=length).contains(&day) {
        return Err(Misfit::OutOfRange);
    }
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year / 400, year % 400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Ok(era * 146_097 + day_of_era - 719_468)
}

/// An optional `.digits` in microseconds, and what follows it.
#[inline]
fn fraction(text: &[u8]) -> Result<(i64, &[u8]), Misfit> {
    let [b'.', rest @ ..] = text else { return Ok((0, text)) };
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if length == 0 {
        return Err(Misfit::WrongType);
    }
    let (digits, rest) = rest.split_at(length);
    let mut micros = 0;
    for place in 0..6 {
        micros = micros * 10 + i64::from(digits.get(place).map_or(0, |byte| byte - b'0'));
    }
    Ok((micros, rest))
}

/// `Z`, `+HH:MM`, `+HHMM`, `+HH` (databases print it so), the same with `-`, or nothing; in seconds east of UTC.
#[inline]
fn offset(text: &[u8]) -> Result<i64, Misfit> {
    let (sign, hours, minutes) = match *text {
        [] | [b'Z' | b'z'] => return Ok(0),
        [sign @ (b'+' | b'-'), h0, h1, b':', m0, m1] | [sign @ (b'+' | b'-'), h0, h1, m0, m1] => {
            (sign, two(h0, h1)?, two(m0, m1)?)
        }
        [sign @ (b'+' | b'-'), h0, h1] => (sign, two(h0, h1)?, 0),
        _ => return Err(Misfit::WrongType),
    };
    if hours > 23 || minutes > 59 {
        return Err(Misfit::OutOfRange);
    }
    let seconds = i64::from(hours * 3600 + minutes * 60);
    Ok(if sign == b'-' { -seconds } else { seconds })
}
