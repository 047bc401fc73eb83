//! An expression on its way to a [`Scalar`]: typed, or a literal that takes the type its place asks for.

use std::collections::BTreeSet;

use polars::prelude::{Expr, LiteralValue};
use sqlparser::tokenizer::Span;

use super::{Fault, Scalar, cast, sql_type, text_literal};
use crate::types::DataType;
use crate::value::Value;

#[derive(Clone, Debug)]
pub(crate) struct Typed {
    pub expr: Expr,
    /// `None` for a NULL that has no type yet.
    pub data_type: Option<DataType>,
    pub fields: BTreeSet<String>,
    pub sql: String,
    pub literal: Option<Literal>,
    pub span: Span,
}

/// What was written, where it may still become a value of another type.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Literal {
    Null,
    /// Digits with an optional sign, point and exponent.
    Number(String),
    Text(String),
}

impl Typed {
    pub fn column(name: &str, data_type: &DataType, span: Span) -> Typed {
        Typed {
            expr: polars::prelude::col(name),
            data_type: Some(data_type.clone()),
            fields: BTreeSet::from([name.to_string()]),
            sql: super::quoted(name),
            literal: None,
            span,
        }
    }

    pub fn value(value: &Value, data_type: &DataType, span: Span) -> Typed {
        Typed {
            expr: data_type.polars_literal(value),
            data_type: Some(data_type.clone()),
            fields: BTreeSet::new(),
            sql: sql_literal(value, data_type),
            literal: None,
            span,
        }
    }

    pub fn null(span: Span) -> Typed {
        Typed {
            expr: Expr::Literal(LiteralValue::untyped_null()),
            data_type: None,
            fields: BTreeSet::new(),
            sql: "NULL".to_string(),
            literal: Some(Literal::Null),
            span,
        }
    }

    pub fn text(text: &str, span: Span) -> Typed {
        let typed = Typed::value(&Value::Text(text.into()), &DataType::Text, span);
        Typed { literal: Some(Literal::Text(text.to_string())), ..typed }
    }

    /// Whole numbers are INTEGER, BIGINT or DECIMAL by size; with a point DECIMAL; with an exponent DOUBLE.
    pub fn number(text: &str, span: Span) -> Result<Typed, Fault> {
        let data_type = number_type(text).ok_or_else(|| {
            Fault::new(
                span,
                format!(
                    "number {text} has more than 38 digits; write it with an exponent to make it a double"
                ),
            )
        })?;
        let value = cast::read_number(text, &data_type)
            .ok_or_else(|| Fault::new(span, format!("cannot read number {text}")))?;
        Ok(Typed {
            literal: Some(Literal::Number(text.to_string())),
            ..Typed::value(&value, &data_type, span)
        })
    }

    /// A result computed from other expressions.
    pub fn computed(from: &[&Typed], data_type: DataType, expr: Expr, sql: String, span: Span) -> Typed {
        let fields = from.iter().flat_map(|typed| typed.fields.iter().cloned()).collect();
        Typed { expr, data_type: Some(data_type), fields, sql, literal: None, span }
    }

    pub fn is_null_literal(&self) -> bool {
        self.literal == Some(Literal::Null)
    }

    /// The type's name for messages.
    pub fn type_name(&self) -> String {
        match &self.data_type {
            Some(data_type) => data_type.to_string(),
            None => "NULL".to_string(),
        }
    }

    /// `text` is what was written.
    pub fn into_scalar(self, text: String) -> Result<Scalar, Fault> {
        let Typed { expr, fields, sql, span, .. } = self;
        match self.data_type {
            Some(data_type) => Ok(Scalar { expr, data_type, fields, text, sql }),
            None => Err(Fault::new(span, "NULL has no type here; write CAST(NULL AS …)")),
        }
    }

    /// This expression as a value of `data_type`, where SQL converts by itself: numbers to wider
    /// numbers, dates to timestamps, literals to whatever they spell.
    pub fn coerced(&self, data_type: &DataType) -> Result<Typed, Fault> {
        if self.data_type.as_ref() == Some(data_type) {
            return Ok(self.clone());
        }
        match &self.literal {
            Some(Literal::Null) => return Ok(Typed::value(&Value::Null, data_type, self.span)),
            Some(Literal::Text(text)) => {
                return match cast::read_text(text, data_type) {
                    Some(value) => Ok(Typed::value(&value, data_type, self.span)),
                    None => Err(Fault::new(self.span, format!("cannot read '{text}' as {data_type}"))),
                };
            }
            Some(Literal::Number(text)) if data_type.is_numeric() => {
                if let Some(value) = cast::read_number(text, data_type) {
                    return Ok(Typed::value(&value, data_type, self.span));
                }
            }
            _ => {}
        }
        use DataType::{BigInt, Date, Decimal, Double, Integer, Timestamp};
        match (self.data_type.as_ref(), data_type) {
            (Some(Integer), BigInt | Double | Decimal { .. })
            | (Some(BigInt), Double | Decimal { .. })
            | (Some(Decimal { .. }), Double | Decimal { .. })
            | (Some(Date), Timestamp) => Ok(cast::convert(self, data_type)),
            _ => Err(Fault::new(self.span, format!("found {}, expected {data_type}", self.type_name()))),
        }
    }
}

/// The type that all of the expressions can become, `None` where every one is NULL.
pub(crate) fn unify(of: &[&Typed]) -> Result<Option<DataType>, Fault> {
    let settled = of.iter().filter(|typed| !matches!(typed.literal, Some(Literal::Null | Literal::Text(_))));
    let mut common: Option<DataType> = None;
    for typed in settled {
        let Some(data_type) = &typed.data_type else { continue };
        common = Some(match common {
            None => data_type.clone(),
            Some(common) => wider(&common, data_type, typed)?,
        });
    }
    let has_text = of.iter().any(|typed| matches!(typed.literal, Some(Literal::Text(_))));
    Ok(common.or(has_text.then_some(DataType::Text)))
}

fn wider(left: &DataType, right: &DataType, at: &Typed) -> Result<DataType, Fault> {
    use DataType::{BigInt, Date, Decimal, Double, Integer, Timestamp};
    Ok(match (left, right) {
        _ if left == right => left.clone(),
        (Double, other) | (other, Double) if other.is_numeric() => Double,
        (Integer, BigInt) | (BigInt, Integer) => BigInt,
        (Date, Timestamp) | (Timestamp, Date) => Timestamp,
        (Decimal { .. }, other) | (other, Decimal { .. }) if other.is_numeric() => {
            let (left_digits, left_scale) = digits(left);
            let (right_digits, right_scale) = digits(right);
            let (whole, scale) = (left_digits.max(right_digits), left_scale.max(right_scale));
            if whole + scale > 38 {
                return Err(Fault::new(
                    at.span,
                    format!(
                        "{left} and {right} together need {} digits, more than a decimal's 38; cast one of them",
                        whole + scale
                    ),
                ));
            }
            Decimal { precision: whole + scale, scale }
        }
        _ => return Err(Fault::new(at.span, format!("found {right} beside {left}; cast one of them"))),
    })
}

/// Digits before and behind the point.
pub(super) fn digits(data_type: &DataType) -> (u8, u8) {
    match data_type {
        DataType::Integer => (10, 0),
        DataType::BigInt => (19, 0),
        DataType::Decimal { precision, scale } => (precision - scale, *scale),
        _ => (38, 0),
    }
}

fn number_type(text: &str) -> Option<DataType> {
    if text.contains(['e', 'E']) {
        return Some(DataType::Double);
    }
    let plain = text.trim_start_matches('-');
    if !plain.contains('.') {
        if text.parse::<i32>().is_ok() {
            return Some(DataType::Integer);
        }
        if text.parse::<i64>().is_ok() {
            return Some(DataType::BigInt);
        }
    }
    let (whole, fraction) = plain.split_once('.').unwrap_or((plain, ""));
    let whole = whole.trim_start_matches('0');
    let precision = (whole.len() + fraction.len()).max(1);
    (precision <= 38).then_some(DataType::Decimal { precision: precision as u8, scale: fraction.len() as u8 })
}

fn sql_literal(value: &Value, data_type: &DataType) -> String {
    match value {
        Value::Null | Value::TopK(_) => format!("CAST(NULL AS {})", sql_type(data_type)),
        Value::Boolean(value) => value.to_string().to_uppercase(),
        Value::Text(text) => text_literal(text),
        other => format!("CAST({} AS {})", text_literal(&cast::written(other)), sql_type(data_type)),
    }
}
