//! A literal of a question, read as its dimension's type.

use std::str::FromStr;

use chrono::{DateTime, NaiveDate};
use serde_json::Value as Json;
use watershed_schemas::types::DataType;
use watershed_schemas::value::Value;

use crate::query::Literal;
use crate::refusal::Refusal;

pub fn typed(literal: &Literal, data_type: &DataType, dimension: &str) -> Result<Value, Refusal> {
    let value = match literal {
        Literal::Null => return Ok(Value::Null),
        Literal::Text(text) => from_text(text, data_type),
        Literal::Json(Json::String(text)) => match data_type {
            // A number in quotes is a decimal (which JSON numbers cannot hold exactly) or a mistake.
            DataType::Boolean | DataType::Integer | DataType::BigInt | DataType::Double => None,
            _ => from_text(text, data_type),
        },
        Literal::Json(Json::Bool(value)) => {
            (*data_type == DataType::Boolean).then_some(Value::Boolean(*value))
        }
        Literal::Json(Json::Number(number)) => match data_type {
            _ if data_type.is_numeric() => from_text(&number.to_string(), data_type),
            _ => None,
        },
        Literal::Json(_) => None,
    };
    value.ok_or_else(|| {
        let shown = match literal {
            Literal::Null => "null".to_string(),
            Literal::Text(text) => format!("\"{text}\""),
            Literal::Json(json) => json.to_string(),
        };
        let key = format!("where.{dimension}");
        let detail = format!("{key}: found {shown}, expected {}", expected(data_type));
        let text = match literal {
            Literal::Json(Json::String(text)) | Literal::Text(text) => text.as_str(),
            _ => return Refusal::wrong(&key, detail),
        };
        Refusal::wrong_at(&key, text, detail)
    })
}

fn from_text(text: &str, data_type: &DataType) -> Option<Value> {
    match data_type {
        DataType::Boolean => text.parse().ok().map(Value::Boolean),
        DataType::Integer => text.parse::<i32>().ok().map(|value| Value::Integer(value.into())),
        DataType::BigInt => text.parse().ok().map(Value::Integer),
        DataType::Double => text.parse().ok().map(Value::Double),
        DataType::Decimal { precision, scale } => {
            let fits = |value: &i128| value.unsigned_abs() < 10_u128.pow(u32::from(*precision));
            decimal(text, *scale).filter(fits).map(|value| Value::Decimal(value, *scale))
        }
        DataType::Text => Some(Value::Text(text.into())),
        DataType::Date => {
            let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
            i32::try_from((date - NaiveDate::default()).num_days()).ok().map(Value::Date)
        }
        DataType::Timestamp => {
            DateTime::parse_from_rfc3339(text).ok().map(|time| Value::Timestamp(time.timestamp_micros()))
        }
        DataType::TopK(_) => None,
    }
}

/// The unscaled integer; digits behind the scale must be zeros.
fn decimal(text: &str, scale: u8) -> Option<i128> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let (kept, rest) = fraction.split_at_checked(usize::from(scale)).unwrap_or((fraction, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.len() + fraction.len() == 0
        || !is_digits(whole)
        || !is_digits(fraction)
        || rest.bytes().any(|d| d != b'0')
    {
        return None;
    }
    let unscaled = i128::from_str(&format!("{whole}{kept:0<width$}", width = usize::from(scale))).ok()?;
    Some(if negative { -unscaled } else { unscaled })
}

fn expected(data_type: &DataType) -> &'static str {
    match data_type {
        DataType::Boolean => "true or false",
        DataType::Integer | DataType::BigInt => "a whole number",
        DataType::Double => "a number",
        DataType::Decimal { .. } => "a decimal number such as \"12.50\"",
        DataType::Text => "a text",
        DataType::Date => "a date such as \"2013-01-31\"",
        DataType::Timestamp => "a time such as \"2013-01-01T00:00:00Z\"",
        DataType::TopK(_) => "nothing",
    }
}
