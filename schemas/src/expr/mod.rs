//! The one place where a scalar SQL expression becomes something that can be evaluated.
//!
//! A [`Scalar`] is compiled once and evaluated by Polars in every layer (invariant `ONE_DEFINITION`).
//! Every expression is elementwise: a row's value depends on that row alone, so it may be evaluated
//! in slices, in any order, by either Polars engine.
//!
//! Meaning follows DuckDB, with one rule of our own, because a stream cannot be stopped by a value:
//! **what DuckDB would raise as an error for a row is NULL for that row.** That covers casts that cannot convert,
//! integers and decimals that overflow, and dates out of range. Division and remainder by zero, and roots
//! and logarithms outside their domain, are NULL as well. `/` divides as DOUBLE, `//` divides integers.
//! [`Scalar::sql`] says the same in DuckDB's words (`TRY`, `TRY_CAST`, `NULLIF`), so that it can be checked.

mod arithmetic;
mod calendar;
mod cast;
mod compile;
mod conditional;
mod functions;
mod interval;
mod kernel;
mod like;
mod text;
mod typed;

use std::collections::BTreeSet;

use sqlparser::tokenizer::Span;

use crate::types::DataType;

pub(crate) use calendar::{UNITS, Unit};
pub(crate) use compile::{AGGREGATES, Compiler, SYNONYMS, Scope, is_aggregate, names, sql_data_type};
pub(crate) use interval::Interval;

/// A compiled scalar expression over a stream's fields.
#[derive(Clone, Debug)]
pub struct Scalar {
    /// Over columns named as the stream's fields. Without a field in it (`fields` is empty) it has one row.
    pub expr: polars::prelude::Expr,
    pub data_type: DataType,
    /// The fields it reads.
    pub fields: BTreeSet<String>,
    /// As the view writes it.
    pub text: String,
    /// The same expression in DuckDB's SQL, with quoted identifiers, for verification by other means.
    pub sql: String,
}

/// A mistake in an expression, at its place in the text.
#[derive(Debug)]
pub(crate) struct Fault {
    pub span: Span,
    pub message: String,
    pub did_you_mean: Option<String>,
}

impl Fault {
    pub fn new(span: Span, message: impl Into<String>) -> Fault {
        Fault { span, message: message.into(), did_you_mean: None }
    }

    pub fn unknown<'a>(
        span: Span,
        message: impl Into<String>,
        name: &str,
        known: impl IntoIterator<Item = &'a str>,
    ) -> Fault {
        Fault { span, message: message.into(), did_you_mean: crate::problem::nearest(name, known) }
    }
}

/// An identifier as DuckDB reads it exactly.
pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text literal.
pub(crate) fn text_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// A type's name in DuckDB.
pub(crate) fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Text => "VARCHAR".to_string(),
        DataType::Decimal { precision, scale } => format!("DECIMAL({precision},{scale})"),
        other => other.to_string().to_uppercase(),
    }
}
