//! `+ - * / // %` and the sign, checked: what does not fit its type is NULL.

use polars::prelude::Expr;
use sqlparser::ast::BinaryOperator;
use sqlparser::tokenizer::Span;

use super::kernel::{binary, unary};
use super::typed::{Typed, digits, unify};
use super::{Fault, cast, sql_type};
use crate::types::DataType;

/// Powers up to 10^38; decimals have no more digits.
pub(super) fn power_of_ten(exponent: u8) -> i128 {
    10i128.pow(u32::from(exponent.min(38)))
}

/// An unscaled decimal at another scale, rounded half away from zero; `None` beyond 38 digits.
pub(super) fn rescaled(value: i128, from: u8, to: u8) -> Option<i128> {
    if to >= from {
        return value.checked_mul(power_of_ten(to - from));
    }
    let divisor = power_of_ten(from - to);
    let (quotient, remainder) = (value / divisor, value % divisor);
    // A remainder is below 10^38: twice it could overflow, its distance to the divisor cannot.
    let up = remainder.abs() >= divisor - remainder.abs();
    Some(if up { quotient + value.signum() } else { quotient })
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    IntegerDivide,
    Remainder,
}

impl Arithmetic {
    pub fn of(operator: &BinaryOperator) -> Option<Arithmetic> {
        Some(match operator {
            BinaryOperator::Plus => Arithmetic::Add,
            BinaryOperator::Minus => Arithmetic::Subtract,
            BinaryOperator::Multiply => Arithmetic::Multiply,
            BinaryOperator::Divide => Arithmetic::Divide,
            BinaryOperator::DuckIntegerDivide => Arithmetic::IntegerDivide,
            BinaryOperator::Modulo => Arithmetic::Remainder,
            _ => return None,
        })
    }

    fn sign(self) -> &'static str {
        match self {
            Arithmetic::Add => "+",
            Arithmetic::Subtract => "-",
            Arithmetic::Multiply => "*",
            Arithmetic::Divide => "/",
            Arithmetic::IntegerDivide => "//",
            Arithmetic::Remainder => "%",
        }
    }

    fn integers(self, left: i64, right: i64) -> Option<i64> {
        i64::try_from(self.wholes(i128::from(left), i128::from(right))?).ok()
    }

    /// Over integers, and over decimals' unscaled values: of one scale, except for products.
    fn wholes(self, left: i128, right: i128) -> Option<i128> {
        match self {
            Arithmetic::Add => left.checked_add(right),
            Arithmetic::Subtract => left.checked_sub(right),
            Arithmetic::Multiply => left.checked_mul(right),
            Arithmetic::Divide | Arithmetic::IntegerDivide => left.checked_div(right),
            Arithmetic::Remainder => left.checked_rem(right),
        }
    }

    fn doubles(self, left: f64, right: f64) -> Option<f64> {
        match self {
            Arithmetic::Add => Some(left + right),
            Arithmetic::Subtract => Some(left - right),
            Arithmetic::Multiply => Some(left * right),
            Arithmetic::Divide | Arithmetic::IntegerDivide => (right != 0.0).then(|| left / right),
            Arithmetic::Remainder => (right != 0.0).then(|| left % right),
        }
    }
}

pub(super) fn arithmetic(
    operator: Arithmetic,
    left: &Typed,
    right: &Typed,
    span: Span,
) -> Result<Typed, Fault> {
    if let Some(typed) = of_dates(operator, left, right, span)? {
        return Ok(typed);
    }
    for side in [left, right] {
        if !side.data_type.as_ref().is_none_or(DataType::is_numeric) {
            let sign = operator.sign();
            return Err(Fault::new(side.span, format!("{sign} wants numbers, found {}", side.type_name())));
        }
    }
    let Some(common) = operand_type(operator, left, right)? else {
        return Err(Fault::new(span, "NULL has no type here; write CAST(NULL AS …)"));
    };
    match (&common, operator) {
        (DataType::Double, Arithmetic::IntegerDivide)
        | (DataType::Decimal { .. }, Arithmetic::IntegerDivide) => {
            Err(Fault::new(span, format!("// divides integers, found {common}; use /, or round and cast")))
        }
        (_, Arithmetic::Divide) | (DataType::Double, _) => of_doubles(operator, left, right, span),
        (DataType::Decimal { .. }, _) => of_decimals(operator, left, right, span),
        (common, _) => of_integers(operator, left, right, common, span),
    }
}

/// Products need no common scale, so their operands need not fit one type.
fn operand_type(operator: Arithmetic, left: &Typed, right: &Typed) -> Result<Option<DataType>, Fault> {
    let either = |wanted: fn(&DataType) -> bool| {
        [left, right].into_iter().find_map(|side| side.data_type.clone().filter(wanted))
    };
    if operator == Arithmetic::Divide {
        return Ok(either(|_| true).map(|_| DataType::Double));
    }
    if let Some(double) = either(|data_type| *data_type == DataType::Double) {
        return Ok(Some(double));
    }
    match either(|data_type| matches!(data_type, DataType::Decimal { .. })) {
        Some(decimal) => Ok(Some(decimal)),
        None => unify(&[left, right]),
    }
}

fn of_integers(
    operator: Arithmetic,
    left: &Typed,
    right: &Typed,
    result: &DataType,
    span: Span,
) -> Result<Typed, Fault> {
    let (left, right) = (left.coerced(result)?, right.coerced(result)?);
    let narrow = *result == DataType::Integer;
    let expr = integers(&left, &right, result, move |left, right| {
        // DuckDB refuses the one quotient (and its remainder) that leaves the type.
        let lowest = if narrow { i64::from(i32::MIN) } else { i64::MIN };
        match operator {
            Arithmetic::Remainder | Arithmetic::IntegerDivide if left == lowest && right == -1 => None,
            _ => operator.integers(left, right),
        }
    });
    let sql = checked(&format!("{} {} {}", left.sql, operator.sign(), right.sql), result);
    Ok(Typed::computed(&[&left, &right], result.clone(), expr, sql, span))
}

fn integers(
    left: &Typed,
    right: &Typed,
    result: &DataType,
    function: impl Fn(i64, i64) -> Option<i64> + Send + Sync + 'static,
) -> Expr {
    binary::<i64, i64, i64>((left.expr.clone(), right.expr.clone()), result, function)
}

fn of_doubles(operator: Arithmetic, left: &Typed, right: &Typed, span: Span) -> Result<Typed, Fault> {
    let result = DataType::Double;
    let (left, right) = (left.coerced(&result)?, right.coerced(&result)?);
    let expr = match operator {
        Arithmetic::Add => left.expr.clone() + right.expr.clone(),
        Arithmetic::Subtract => left.expr.clone() - right.expr.clone(),
        Arithmetic::Multiply => left.expr.clone() * right.expr.clone(),
        _ => binary::<f64, f64, f64>((left.expr.clone(), right.expr.clone()), &result, move |left, right| {
            operator.doubles(left, right)
        }),
    };
    let sql = match operator {
        Arithmetic::Divide | Arithmetic::Remainder => {
            format!("({} {} NULLIF({}, CAST(0 AS DOUBLE)))", left.sql, operator.sign(), right.sql)
        }
        _ => format!("({} {} {})", left.sql, operator.sign(), right.sql),
    };
    Ok(Typed::computed(&[&left, &right], result, expr, sql, span))
}

/// Sums have one digit more than their operands, products as many as both; at most 38, beyond which a value is NULL.
fn of_decimals(operator: Arithmetic, left: &Typed, right: &Typed, span: Span) -> Result<Typed, Fault> {
    let types = [left, right].map(|side| match &side.data_type {
        Some(DataType::Decimal { precision, scale }) => (*precision, *scale),
        Some(other) if side.literal.is_some() => literal_digits(side).unwrap_or(digits(other)),
        Some(other) => digits(other),
        None => (1, 0),
    });
    let [(left_precision, left_scale), (right_precision, right_scale)] = types;
    let scale = left_scale.max(right_scale);
    let whole = (left_precision - left_scale).max(right_precision - right_scale);
    let (precision, scale, left_scale, right_scale) = match operator {
        Arithmetic::Multiply if left_scale + right_scale > 38 => {
            let needed = left_scale + right_scale;
            let message =
                format!("the product needs {needed} digits behind the point, more than 38; cast to fewer");
            return Err(Fault::new(span, message));
        }
        Arithmetic::Multiply => {
            ((left_precision + right_precision).min(38), left_scale + right_scale, left_scale, right_scale)
        }
        Arithmetic::Remainder => ((whole + scale).min(38), scale, scale, scale),
        _ => ((whole + scale + 1).min(38), scale, scale, scale),
    };
    let left = left.coerced(&DataType::Decimal { precision: 38, scale: left_scale })?;
    let right = right.coerced(&DataType::Decimal { precision: 38, scale: right_scale })?;
    let result = DataType::Decimal { precision, scale };
    let limit = power_of_ten(38);
    let expr =
        binary::<i128, i128, i128>((left.expr.clone(), right.expr.clone()), &result, move |left, right| {
            operator.wholes(left, right).filter(|value| value.abs() < limit)
        });
    let sql = checked(&format!("{} {} {}", left.sql, operator.sign(), right.sql), &result);
    Ok(Typed::computed(&[&left, &right], result, expr, sql, span))
}

fn literal_digits(literal: &Typed) -> Option<(u8, u8)> {
    let Some(super::typed::Literal::Number(text)) = &literal.literal else { return None };
    let digits = text.trim_start_matches('-').trim_start_matches('0').len().max(1);
    (digits <= 38).then_some((digits as u8, 0))
}

/// Days between dates, and dates moved by days.
fn of_dates(operator: Arithmetic, left: &Typed, right: &Typed, span: Span) -> Result<Option<Typed>, Fault> {
    use DataType::{BigInt, Date, Integer, Timestamp};
    let (result, sql_right) = match (operator, &left.data_type, &right.data_type) {
        (Arithmetic::Subtract, Some(Date), Some(Date)) => (BigInt, right.sql.clone()),
        (Arithmetic::Add | Arithmetic::Subtract, Some(Date), Some(Integer)) => (Date, right.sql.clone()),
        (Arithmetic::Subtract, Some(Date | Timestamp), Some(Date | Timestamp)) => {
            let message = "the difference of two timestamps is an interval; \
                           subtract extract(epoch FROM …) of both for seconds";
            return Err(Fault::new(span, message));
        }
        _ => return Ok(None),
    };
    let expr = integers(left, right, &result, move |left, right| operator.integers(left, right));
    let sql = checked(&format!("{} {} {sql_right}", left.sql, operator.sign()), &result);
    Ok(Some(Typed::computed(&[left, right], result, expr, sql, span)))
}

pub(super) fn negated(argument: &Typed, span: Span) -> Result<Typed, Fault> {
    if let Some(super::typed::Literal::Number(text)) = &argument.literal {
        let negative = match text.strip_prefix('-') {
            Some(positive) => positive.to_string(),
            None => format!("-{text}"),
        };
        return Typed::number(&negative, span);
    }
    let expr = argument.expr.clone();
    let (result, expr) = match &argument.data_type {
        Some(DataType::Double) => {
            (DataType::Double, unary::<f64, f64>(expr, &DataType::Double, |value| Some(-value)))
        }
        Some(decimal @ DataType::Decimal { .. }) => {
            (decimal.clone(), unary::<i128, i128>(expr, decimal, |value| Some(-value)))
        }
        Some(integer @ (DataType::Integer | DataType::BigInt)) => {
            (integer.clone(), unary::<i64, i64>(expr, integer, i64::checked_neg))
        }
        _ => {
            return Err(Fault::new(
                argument.span,
                format!("- wants a number, found {}", argument.type_name()),
            ));
        }
    };
    let sql = checked(&format!("-{}", parenthesised(&argument.sql)), &result);
    Ok(Typed::computed(&[argument], result, expr, sql, span))
}

fn parenthesised(sql: &str) -> String {
    format!("({sql})")
}

/// DuckDB's words for “NULL where this fails, and of exactly this type”.
pub(super) fn checked(sql: &str, result: &DataType) -> String {
    format!("TRY(CAST({sql} AS {}))", sql_type(result))
}

/// The argument as DOUBLE, or why not.
pub(super) fn as_double(argument: &Typed, function: &str) -> Result<Typed, Fault> {
    match &argument.data_type {
        Some(data_type) if !data_type.is_numeric() => Err(Fault::new(
            argument.span,
            format!("{function} wants a number, found {}", argument.type_name()),
        )),
        Some(DataType::Double) | None => argument.coerced(&DataType::Double),
        Some(_) if argument.literal.is_some() => argument.coerced(&DataType::Double),
        Some(_) => Ok(cast::convert(argument, &DataType::Double)),
    }
}
