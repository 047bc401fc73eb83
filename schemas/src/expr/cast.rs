//! Conversions between types, and between values and text.
//!
//! A value that cannot be converted is NULL: `CAST` is `TRY_CAST`. Text converts by one strict grammar per type
//! (white space around numbers and dates is allowed): integers `-12`, doubles and decimals `-1.5` (doubles also `1e3`),
//! dates `2013-01-31`, timestamps `2013-01-31 05:00:00.25` (`T` for the space, `Z` behind the seconds, minutes enough),
//! booleans `true`, `t`, `yes`, `y`, `1` and their opposites. What DuckDB would guess beyond that is NULL here.

use polars::prelude::{DataType as Polars, Expr};

use super::arithmetic::{power_of_ten, rescaled};
use super::calendar::{self, DAY, HOUR, MINUTE, SECOND};
use super::kernel::unary;
use super::typed::Typed;
use super::{sql_type, text, text_literal};
use crate::types::DataType;
use crate::value::Value;

const SPACE: [char; 6] = [' ', '\t', '\n', '\x0b', '\x0c', '\r'];

/// Whether SQL knows the conversion at all.
pub(super) fn convertible(from: &DataType, to: &DataType) -> bool {
    use DataType::{BigInt, Boolean, Date, Integer, Text, Timestamp, TopK};
    match (from, to) {
        (TopK(_), _) | (_, TopK(_)) => false,
        (Text, _) | (_, Text) => true,
        (Boolean, Boolean | Integer | BigInt) | (Integer | BigInt, Boolean) => true,
        (Date | Timestamp, Date | Timestamp) => true,
        (from, to) => from.is_numeric() && to.is_numeric(),
    }
}

/// `typed` as `to`. The conversion is one that [`convertible`] knows.
pub(super) fn convert(typed: &Typed, to: &DataType) -> Typed {
    let Some(from) = typed.data_type.clone() else {
        return Typed::value(&Value::Null, to, typed.span);
    };
    if from == *to {
        return Typed { literal: None, ..typed.clone() };
    }
    let cast = format!("TRY_CAST({} AS {})", typed.sql, sql_type(to));
    let sql = match (&from, grammar(to)) {
        (DataType::Text, Some(grammar)) => {
            let bare = matches!(to, DataType::Boolean | DataType::Timestamp);
            let space = if bare { "" } else { "[ \\t\\n\\v\\f\\r]*" };
            let pattern = text_literal(&format!("{space}{grammar}{space}"));
            format!("(CASE WHEN regexp_full_match({}, {pattern}) THEN {cast} END)", typed.sql)
        }
        _ => cast,
    };
    Typed::computed(&[typed], to.clone(), converted(typed.expr.clone(), &from, to), sql, typed.span)
}

fn converted(expr: Expr, from: &DataType, to: &DataType) -> Expr {
    use DataType::{BigInt, Boolean, Date, Decimal, Double, Integer, Text, Timestamp};
    match (from, to) {
        (Text, Boolean) => unary::<String, bool>(expr, to, read_boolean),
        (Text, Integer | BigInt) => unary::<String, i64>(expr, to, read_integer),
        (Text, Double) => unary::<String, f64>(expr, to, read_double),
        (Text, Decimal { scale, .. }) => {
            let scale = *scale;
            unary::<String, i128>(expr, to, move |text| read_decimal(text, scale))
        }
        (Text, Date) => unary::<String, i64>(expr, to, read_date),
        (Text, _) => unary::<String, i64>(expr, to, read_timestamp),
        (Boolean, Text) => unary::<bool, String>(expr, to, |value| Some(value.to_string())),
        (Integer | BigInt, Text) => unary::<i64, String>(expr, to, |value| Some(value.to_string())),
        (Double, Text) => unary::<f64, String>(expr, to, |value| Some(text::double(value))),
        (Decimal { precision, scale }, _) if *to == Text => {
            let (precision, scale) = (*precision, *scale);
            unary::<i128, String>(expr, to, move |value| Some(text::decimal(value, precision, scale)))
        }
        (Date, Text) => unary::<i64, String>(expr, to, |value| Some(text::date(value))),
        (Timestamp, Text) => unary::<i64, String>(expr, to, |value| Some(text::timestamp(value))),
        (Boolean, _) => unary::<bool, i64>(expr, to, |value| Some(i64::from(value))),
        (_, Boolean) => unary::<i64, bool>(expr, to, |value| Some(value != 0)),
        (Integer, BigInt) => expr.cast(Polars::Int64),
        (Integer | BigInt, Double) => expr.cast(Polars::Float64),
        (Integer | BigInt, Decimal { scale, .. }) => {
            let scale = *scale;
            unary::<i64, i128>(expr, to, move |value| rescaled(i128::from(value), 0, scale))
        }
        (Integer | BigInt, _) => unary::<i64, i64>(expr, to, Some),
        (Double, Decimal { precision, scale }) => {
            let (precision, scale) = (*precision, *scale);
            unary::<f64, i128>(expr, to, move |value| decimal_of_double(value, precision, scale))
        }
        (Double, _) => unary::<f64, i64>(expr, to, integer_of_double),
        (Decimal { scale, .. }, Double) => {
            let scale = *scale;
            unary::<i128, f64>(expr, to, move |value| Some(double_of_decimal(value, scale)))
        }
        (Decimal { scale, .. }, Decimal { scale: wanted, .. }) => {
            let (scale, wanted) = (*scale, *wanted);
            unary::<i128, i128>(expr, to, move |value| rescaled(value, scale, wanted))
        }
        (Decimal { scale, .. }, _) => {
            let scale = *scale;
            unary::<i128, i64>(expr, to, move |value| i64::try_from(rescaled(value, scale, 0)?).ok())
        }
        (Date, _) => unary::<i64, i64>(expr, to, |days| days.checked_mul(DAY)),
        (Timestamp, _) | (DataType::TopK(_), _) => {
            unary::<i64, i64>(expr, to, |micros| Some(micros.div_euclid(DAY)))
        }
    }
}

/// Half to even, as C's `nearbyint`.
fn integer_of_double(value: f64) -> Option<i64> {
    let rounded = value.round_ties_even();
    (rounded >= i64::MIN as f64 && rounded < i64::MAX as f64).then_some(rounded as i64)
}

fn decimal_of_double(value: f64, precision: u8, scale: u8) -> Option<i128> {
    let rounded = (value * double_power(scale)).round();
    let limit = double_power(precision);
    (rounded > -limit && rounded < limit).then_some(rounded as i128)
}

/// The double nearest to a decimal.
pub(super) fn double_of_decimal(value: i128, scale: u8) -> f64 {
    // Both are exact below these limits, so one division rounds once.
    if value.unsigned_abs() <= 1 << 53 && scale <= 22 {
        return value as f64 / double_power(scale);
    }
    text::decimal(value, 38, scale).parse().unwrap_or(f64::NAN)
}

fn double_power(exponent: u8) -> f64 {
    power_of_ten(exponent) as f64
}

/// What text must look like to become a value of a type: a regular expression for DuckDB, and what the readers below accept.
fn grammar(to: &DataType) -> Option<&'static str> {
    Some(match to {
        DataType::Boolean => "(?i:true|t|yes|y|1|false|f|no|n|0)",
        DataType::Integer | DataType::BigInt => "[+-]?[0-9]+",
        DataType::Double => "[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)([eE][+-]?[0-9]{1,4})?",
        DataType::Decimal { .. } => "[+-]?([0-9]+([.][0-9]*)?|[.][0-9]+)",
        DataType::Date => "[0-9]{4}-[0-9]{2}-[0-9]{2}",
        DataType::Timestamp => {
            "[0-9]{4}-[0-9]{2}-[0-9]{2}([ T]([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9]([.][0-9]+)?Z?)?)?"
        }
        DataType::Text | DataType::TopK(_) => return None,
    })
}

fn read_boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "t" | "yes" | "y" | "1" => Some(true),
        "false" | "f" | "no" | "n" | "0" => Some(false),
        _ => None,
    }
}

fn read_integer(text: &str) -> Option<i64> {
    text.trim_matches(SPACE).parse().ok()
}

/// Sign, whole digits, fraction digits and exponent of a number.
fn number_parts(text: &str) -> Option<(bool, &str, &str, Option<&str>)> {
    let text = text.trim_matches(SPACE);
    let negative = text.starts_with('-');
    let text = text.strip_prefix(['-', '+']).unwrap_or(text);
    let (mantissa, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], Some(&text[at + 1..])),
        None => (text, None),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    let exponent_is_fine = exponent.is_none_or(|exponent| {
        let exponent = exponent.strip_prefix(['-', '+']).unwrap_or(exponent);
        (1..=4).contains(&exponent.len()) && digits(exponent)
    });
    let some_digit = !(whole.is_empty() && fraction.is_empty());
    (digits(whole) && digits(fraction) && some_digit && exponent_is_fine)
        .then_some((negative, whole, fraction, exponent))
}

fn read_double(text: &str) -> Option<f64> {
    number_parts(text)?;
    text.trim_matches(SPACE).parse().ok()
}

fn read_decimal(text: &str, scale: u8) -> Option<i128> {
    let (negative, whole, fraction, exponent) = number_parts(text)?;
    if exponent.is_some() {
        return None;
    }
    let kept = fraction.len().min(usize::from(scale));
    let mut value: i128 = 0;
    for byte in whole.bytes().chain(fraction[..kept].bytes()) {
        value = value.checked_mul(10)?.checked_add(i128::from(byte - b'0'))?;
    }
    value = value.checked_mul(power_of_ten(scale - kept as u8))?;
    if fraction.as_bytes().get(kept).is_some_and(|digit| *digit >= b'5') {
        value = value.checked_add(1)?;
    }
    Some(if negative { -value } else { value })
}

fn read_date(text: &str) -> Option<i64> {
    let text = text.trim_matches(SPACE);
    (text.len() == 10).then(|| date_digits(text)).flatten()
}

fn date_digits(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    (bytes[4] == b'-' && bytes[7] == b'-').then_some(())?;
    let (year, month, day) = (digits(&bytes[..4])?, digits(&bytes[5..7])?, digits(&bytes[8..10])?);
    let valid = (1..=12).contains(&month) && (1..=calendar::days_in_month(year, month)).contains(&day);
    valid.then(|| calendar::day_number(year, month, day))
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |value, byte| byte.is_ascii_digit().then(|| value * 10 + i64::from(byte - b'0')))
}

fn read_timestamp(text: &str) -> Option<i64> {
    if text.len() < 10 || !text.is_ascii() {
        return None;
    }
    let (date, time) = text.split_at(10);
    let start = date_digits(date)? * DAY;
    if time.is_empty() {
        return Some(start);
    }
    let time = time.strip_prefix([' ', 'T'])?;
    let time = match time.strip_suffix('Z') {
        Some(time) if time.len() > 5 => time.as_bytes(),
        _ => time.as_bytes(),
    };
    let two = |at: usize, limit: i64| digits(time.get(at..at + 2)?).filter(|value| *value < limit);
    let colon = |at: usize| time.get(at) == Some(&b':');
    if !colon(2) {
        return None;
    }
    let minutes = start + two(0, 24)? * HOUR + two(3, 60)? * MINUTE;
    if time.len() == 5 {
        return Some(minutes);
    }
    if !colon(5) {
        return None;
    }
    let seconds = minutes + two(6, 60)? * SECOND;
    match time.get(8..)? {
        [] => Some(seconds),
        [b'.', fraction @ ..] if !fraction.is_empty() => {
            digits(fraction.get(..fraction.len().min(18))?)?;
            fraction.iter().all(u8::is_ascii_digit).then_some(())?;
            let kept = &fraction[..fraction.len().min(6)];
            Some(seconds + digits(kept)? * 10i64.pow(6 - kept.len() as u32))
        }
        _ => None,
    }
}

/// What a text literal spells as a value of `data_type`.
pub(super) fn read_text(text: &str, data_type: &DataType) -> Option<Value> {
    Some(match data_type {
        DataType::Boolean => Value::Boolean(read_boolean(text)?),
        DataType::Integer => Value::Integer(i64::from(i32::try_from(read_integer(text)?).ok()?)),
        DataType::BigInt => Value::Integer(read_integer(text)?),
        DataType::Double => Value::Double(read_double(text)?),
        DataType::Decimal { precision, scale } => {
            let value = read_decimal(text, *scale)?;
            (value.abs() < power_of_ten(*precision)).then_some(Value::Decimal(value, *scale))?
        }
        DataType::Text => Value::Text(text.into()),
        DataType::Date => Value::Date(i32::try_from(read_date(text)?).ok()?),
        DataType::Timestamp => Value::Timestamp(read_timestamp(text)?),
        DataType::TopK(_) => return None,
    })
}

/// What a number literal is as `data_type`, where it is exactly that.
pub(super) fn read_number(text: &str, data_type: &DataType) -> Option<Value> {
    if let DataType::Decimal { scale, .. } = data_type {
        let (_, _, fraction, _) = number_parts(text)?;
        if fraction.trim_end_matches('0').len() > usize::from(*scale) {
            return None;
        }
    }
    read_text(text, data_type)
}

/// A value as its type's grammar spells it.
pub(super) fn written(value: &Value) -> String {
    match value {
        Value::Null | Value::TopK(_) => String::new(),
        Value::Boolean(value) => value.to_string(),
        Value::Integer(value) => value.to_string(),
        Value::Double(value) => text::double(*value),
        Value::Decimal(value, scale) => text::decimal(*value, 38, *scale),
        Value::Text(text) => text.to_string(),
        Value::Date(days) => text::date(i64::from(*days)),
        Value::Timestamp(micros) => text::timestamp(*micros),
    }
}
