//! Functions of dates and timestamps. Everything is UTC.

use super::{Build, Call};
use crate::expr::Fault;
use crate::expr::arithmetic::{as_double, checked};
use crate::expr::calendar::{PARTS, Part, UNITS};
use crate::expr::cast;
use crate::expr::kernel::unary;
use crate::expr::typed::Typed;
use crate::types::DataType;

pub(super) const FUNCTIONS: &[(&str, Build)] = &[
    ("date_part", date_part),
    ("datepart", date_part),
    ("date_trunc", date_trunc),
    ("datetrunc", date_trunc),
    ("to_timestamp", to_timestamp),
    ("year", |call| named_part(call, Part::Year)),
    ("quarter", |call| named_part(call, Part::Quarter)),
    ("month", |call| named_part(call, Part::Month)),
    ("week", |call| named_part(call, Part::Week)),
    ("day", |call| named_part(call, Part::Day)),
    ("dayofyear", |call| named_part(call, Part::DayOfYear)),
    ("dayofweek", |call| named_part(call, Part::DayOfWeek)),
    ("isodow", |call| named_part(call, Part::IsoDayOfWeek)),
    ("hour", |call| named_part(call, Part::Hour)),
    ("minute", |call| named_part(call, Part::Minute)),
    ("second", |call| named_part(call, Part::Second)),
];

/// The argument as TIMESTAMP.
fn moment(call: &Call<'_>, index: usize) -> Result<Typed, Fault> {
    let fits = |data_type: &DataType| matches!(data_type, DataType::Date | DataType::Timestamp);
    let argument = call.of(index, "a date or timestamp", fits, &DataType::Timestamp)?;
    Ok(cast::convert(&argument, &DataType::Timestamp))
}

fn named_part(call: &Call<'_>, part: Part) -> Result<Typed, Fault> {
    call.exactly(1)?;
    Ok(part_of(call, &moment(call, 0)?, part))
}

/// `date_part('hour', x)` and `extract(hour FROM x)`.
fn date_part(call: &Call<'_>) -> Result<Typed, Fault> {
    call.exactly(2)?;
    let word = call.word(0);
    let argument = moment(call, 1)?;
    let word = word?;
    if word == "epoch" {
        let result = DataType::Double;
        let expr =
            unary::<i64, f64>(argument.expr.clone(), &result, |micros| Some(micros as f64 / 1_000_000.0));
        return Ok(call.result(&[&argument], result, expr, format!("epoch({})", argument.sql)));
    }
    let singular = word.strip_suffix('s').unwrap_or(&word);
    match PARTS.iter().find(|(name, _)| *name == singular) {
        Some((_, part)) => Ok(part_of(call, &argument, *part)),
        None => {
            let known = PARTS.iter().map(|(name, _)| *name).chain(["epoch"]);
            Err(Fault::unknown(call.arguments[0].span, format!("unknown date part \"{word}\""), &word, known))
        }
    }
}

fn part_of(call: &Call<'_>, argument: &Typed, part: Part) -> Typed {
    let result = DataType::BigInt;
    let expr = unary::<i64, i64>(argument.expr.clone(), &result, move |micros| Some(part.of(micros)));
    let name = PARTS.iter().find(|(_, known)| *known == part).map_or("", |(name, _)| *name);
    call.result(&[argument], result, expr, format!("CAST(date_part('{name}', {}) AS BIGINT)", argument.sql))
}

fn date_trunc(call: &Call<'_>) -> Result<Typed, Fault> {
    call.exactly(2)?;
    let word = call.word(0);
    let argument = moment(call, 1)?;
    let word = word?;
    let singular = word.strip_suffix('s').unwrap_or(&word);
    let Some((name, unit)) = UNITS.iter().find(|(name, _)| *name == singular) else {
        let known = UNITS.iter().map(|(name, _)| *name);
        return Err(Fault::unknown(call.arguments[0].span, format!("unknown unit \"{word}\""), &word, known));
    };
    let result = DataType::Timestamp;
    let expr = unary::<i64, i64>(argument.expr.clone(), &result, |micros| unit.truncate(micros));
    let sql = checked(&format!("date_trunc('{name}', {})", argument.sql), &result);
    Ok(call.result(&[&argument], result, expr, sql))
}

/// Seconds since 1970 to a TIMESTAMP, to the nearest microsecond.
fn to_timestamp(call: &Call<'_>) -> Result<Typed, Fault> {
    call.exactly(1)?;
    let argument = call.of(0, "a number", DataType::is_numeric, &DataType::Double)?;
    let result = DataType::Timestamp;
    if matches!(argument.data_type, Some(DataType::Integer | DataType::BigInt)) {
        let micros = |seconds: i64| seconds.checked_mul(1_000_000);
        let expr = unary::<i64, i64>(argument.expr.clone(), &result, micros);
        let sql = checked(&format!("make_timestamp(CAST({} AS BIGINT) * 1000000)", argument.sql), &result);
        return Ok(call.result(&[&argument], result, expr, sql));
    }
    let argument = as_double(&argument, "to_timestamp()")?;
    let expr = unary::<f64, i64>(argument.expr.clone(), &result, |seconds| {
        let micros = (seconds * 1_000_000.0).round();
        // Beyond this, microseconds are no timestamp.
        (micros.abs() < 9e18).then_some(micros as i64)
    });
    let micros = format!("round({} * CAST(1000000 AS DOUBLE))", argument.sql);
    let sql = format!("CASE WHEN abs({micros}) < 9e18 THEN make_timestamp(CAST({micros} AS BIGINT)) END");
    Ok(call.result(&[&argument], result.clone(), expr, checked(&sql, &result)))
}
