//! Numeric functions. Outside their domain they are NULL.

use super::{Build, Call};
use crate::expr::Fault;
use crate::expr::arithmetic::{self, Arithmetic, as_double, checked, power_of_ten, rescaled};
use crate::expr::kernel::{binary, unary};
use crate::expr::typed::Typed;
use crate::types::DataType;

pub(super) const FUNCTIONS: &[(&str, Build)] = &[
    ("abs", abs),
    ("sign", sign),
    ("round", round),
    ("floor", |call| whole(call, f64::floor, floor_of)),
    ("ceil", |call| whole(call, f64::ceil, ceil_of)),
    ("ceiling", |call| whole(call, f64::ceil, ceil_of)),
    ("sqrt", |call| real(call, |value| (value >= 0.0 || value.is_nan()).then(|| value.sqrt()), Some(">= 0"))),
    ("ln", |call| real(call, |value| (value > 0.0 || value.is_nan()).then(|| value.ln()), Some("> 0"))),
    ("log10", |call| real(call, |value| (value > 0.0 || value.is_nan()).then(|| value.log10()), Some("> 0"))),
    ("exp", |call| real(call, |value| Some(value.exp()), None)),
    ("power", power),
    ("pow", power),
    ("mod", |call| {
        let arguments = call.exactly(2)?;
        arithmetic::arithmetic(Arithmetic::Remainder, &arguments[0], &arguments[1], call.span)
    }),
];

const DOUBLE: DataType = DataType::Double;

fn number(call: &Call<'_>) -> Result<Typed, Fault> {
    call.of(0, "a number", DataType::is_numeric, &DOUBLE)
}

fn abs(call: &Call<'_>) -> Result<Typed, Fault> {
    call.exactly(1)?;
    let argument = number(call)?;
    let expr = argument.expr.clone();
    let (result, expr) = match &argument.data_type {
        Some(integer @ (DataType::Integer | DataType::BigInt)) => {
            (integer.clone(), unary::<i64, i64>(expr, integer, i64::checked_abs))
        }
        Some(decimal @ DataType::Decimal { .. }) => {
            (decimal.clone(), unary::<i128, i128>(expr, decimal, |value| Some(value.abs())))
        }
        _ => (DOUBLE, unary::<f64, f64>(expr, &DOUBLE, |value| Some(value.abs()))),
    };
    let sql = checked(&format!("abs({})", argument.sql), &result);
    Ok(call.result(&[&argument], result, expr, sql))
}

fn sign(call: &Call<'_>) -> Result<Typed, Fault> {
    call.exactly(1)?;
    let argument = number(call)?;
    let expr = argument.expr.clone();
    let result = DataType::Integer;
    let expr = match &argument.data_type {
        Some(DataType::Integer | DataType::BigInt) => {
            unary::<i64, i64>(expr, &result, |value| Some(value.signum()))
        }
        Some(DataType::Decimal { .. }) => {
            unary::<i128, i64>(expr, &result, |value| Some(value.signum() as i64))
        }
        _ => unary::<f64, i64>(expr, &result, |value| Some(i64::from(value > 0.0) - i64::from(value < 0.0))),
    };
    let sql = format!("CAST(sign({}) AS INTEGER)", argument.sql);
    Ok(call.result(&[&argument], result, expr, sql))
}

/// Half away from zero.
fn round(call: &Call<'_>) -> Result<Typed, Fault> {
    let has_places = call.between(1, 2)?.len() == 2;
    let places = if has_places { call.whole_number(1)? } else { 0 };
    let argument = number(call)?;
    let expr = argument.expr.clone();
    match argument.data_type.clone() {
        Some(DataType::Decimal { .. } | DataType::Integer | DataType::BigInt) if places < 0 => {
            let message = "round() to tens is for doubles; cast the argument to DOUBLE";
            Err(Fault::new(argument.span, message))
        }
        Some(DataType::Integer | DataType::BigInt) => Ok(argument),
        Some(DataType::Decimal { precision, scale }) => {
            let kept = places.min(i64::from(scale)) as u8;
            let result = DataType::Decimal { precision, scale: kept };
            let expr = unary::<i128, i128>(expr, &result, move |value| rescaled(value, scale, kept));
            let sql = checked(&format!("round({}, {kept})", argument.sql), &result);
            Ok(call.result(&[&argument], result, expr, sql))
        }
        _ if !(-300..=300).contains(&places) => {
            Err(Fault::new(call.span, "round() wants places between -300 and 300"))
        }
        _ => {
            let argument = as_double(&argument, "round()")?;
            let expr =
                unary::<f64, f64>(argument.expr.clone(), &DOUBLE, move |value| Some(rounded(value, places)));
            let sql = if has_places {
                format!("round({}, {places})", argument.sql)
            } else {
                format!("round({})", argument.sql)
            };
            Ok(call.result(&[&argument], DOUBLE, expr, sql))
        }
    }
}

/// By way of a power of ten, as DuckDB does, so that the last digits agree.
fn rounded(value: f64, places: i64) -> f64 {
    let power = 10f64.powf(places.unsigned_abs() as f64);
    let rounded = match places {
        0 => value.round(),
        1.. => (value * power).round() / power,
        _ => (value / power).round() * power,
    };
    if rounded.is_finite() { rounded } else { value }
}

/// `floor` and `ceil`: decimals stay decimals, everything else becomes DOUBLE.
fn whole(call: &Call<'_>, function: fn(f64) -> f64, unscaled: fn(i128, u8) -> i128) -> Result<Typed, Fault> {
    call.exactly(1)?;
    let argument = number(call)?;
    if let Some(DataType::Decimal { precision, scale }) = argument.data_type {
        let result = DataType::Decimal { precision, scale: 0 };
        let expr =
            unary::<i128, i128>(argument.expr.clone(), &result, move |value| Some(unscaled(value, scale)));
        let sql = checked(&format!("{}({})", call.name, argument.sql), &result);
        return Ok(call.result(&[&argument], result, expr, sql));
    }
    let argument = as_double(&argument, call.name)?;
    let expr = unary::<f64, f64>(argument.expr.clone(), &DOUBLE, move |value| Some(function(value)));
    Ok(call.result(&[&argument], DOUBLE, expr, format!("{}({})", call.name, argument.sql)))
}

fn floor_of(value: i128, scale: u8) -> i128 {
    value.div_euclid(power_of_ten(scale))
}

fn ceil_of(value: i128, scale: u8) -> i128 {
    -((-value).div_euclid(power_of_ten(scale)))
}

/// A function of doubles; `domain` is the SQL condition on its argument.
fn real(call: &Call<'_>, function: fn(f64) -> Option<f64>, domain: Option<&str>) -> Result<Typed, Fault> {
    call.exactly(1)?;
    let argument = as_double(&number(call)?, call.name)?;
    let expr = unary::<f64, f64>(argument.expr.clone(), &DOUBLE, function);
    let sql = match domain {
        Some(domain) => format!("(CASE WHEN {0} {domain} THEN {1}({0}) END)", argument.sql, call.name),
        None => format!("{}({})", call.name, argument.sql),
    };
    Ok(call.result(&[&argument], DOUBLE, expr, sql))
}

fn power(call: &Call<'_>) -> Result<Typed, Fault> {
    call.exactly(2)?;
    let base = as_double(&number(call)?, "power()")?;
    let exponent = as_double(&call.of(1, "a number", DataType::is_numeric, &DOUBLE)?, "power()")?;
    let exprs = (base.expr.clone(), exponent.expr.clone());
    let expr = binary::<f64, f64, f64>(exprs, &DOUBLE, |base, exponent| Some(base.powf(exponent)));
    let sql = format!("power({}, {})", base.sql, exponent.sql);
    Ok(call.result(&[&base, &exponent], DOUBLE, expr, sql))
}
