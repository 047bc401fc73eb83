//! The one place where a scalar SQL expression becomes something that can be evaluated.
//!
//! A [`Scalar`] is compiled once and evaluated by Polars in every layer (invariant `ONE_DEFINITION`).

use std::collections::BTreeSet;

use crate::types::DataType;

/// A compiled scalar expression over a stream's fields.
#[derive(Clone, Debug)]
pub struct Scalar {
    /// Over columns named as the stream's fields.
    pub expr: polars::prelude::Expr,
    pub data_type: DataType,
    /// The fields it reads.
    pub fields: BTreeSet<String>,
    /// The same expression in DuckDB's SQL, with quoted identifiers, for verification by other means.
    pub sql: String,
}
