//! Which cells of a view, or which events of a stream, somebody may see.
//!
//! A predicate is written in the language of views (invariant `ONE_DEFINITION`): over a view it names dimensions, over a
//! stream its fields. A row passes where the predicate is true, and only there: NULL does not pass.

use std::collections::BTreeMap;
use std::fmt;

use arrow::record_batch::RecordBatch;
use polars::prelude::{
    AnyValue, BooleanChunked, Column, DataFrame, Expr, IntoLazy, PolarsError, PolarsResult, Series, lit,
};

use crate::columns::array_values;
use crate::expr::Scalar;
use crate::keys::Keys;
use crate::problem::Problem;
use crate::sql::condition::{self, Columns};
use crate::stream::{Field, Stream, TimestampFormat};
use crate::types::DataType;
use crate::value::Value;
use crate::view::View;

/// A compiled predicate: all of its conjuncts must be true.
#[derive(Clone, Debug)]
pub struct Predicate {
    text: String,
    conjuncts: Vec<Scalar>,
}

/// Why a text is no predicate over a view or a stream.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct PredicateError(pub Vec<Problem>);

impl fmt::Display for PredicateError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            write!(out, "{}{problem}", if index > 0 { "; " } else { "" })?;
        }
        Ok(())
    }
}

/// What passes of one table of cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mask {
    /// By code of one dimension.
    Codes(usize, Vec<bool>),
    /// By row.
    Rows(Vec<bool>),
}

impl Mask {
    /// True where a row passes that has these codes; what was not kept never does.
    pub fn passes(&self, row: u32, codes: &[u32]) -> bool {
        match self {
            Mask::Codes(dimension, codes_pass) => {
                codes_pass.get(codes[*dimension] as usize).copied().unwrap_or(false)
            }
            Mask::Rows(rows) => rows[row as usize],
        }
    }
}

/// What messages call the text of a predicate.
const PLACE: &str = "where";

impl Predicate {
    /// Over a view's cells: names its dimensions.
    pub fn over_view(view: &View, text: &str) -> Result<Predicate, PredicateError> {
        let field = |dimension: &crate::view::Dimension| Field {
            name: dimension.name.clone(),
            data_type: dimension.scalar.data_type.clone(),
            not_null: false,
            timestamp_format: TimestampFormat::default(),
        };
        let fields: Vec<Field> = view.dimensions.iter().map(field).collect();
        Predicate::compile(text, Columns { owner: "view", name: &view.name, fields: &fields })
    }

    /// Over a stream's events: names its fields.
    pub fn over_stream(stream: &Stream, text: &str) -> Result<Predicate, PredicateError> {
        Predicate::compile(text, Columns { owner: "stream", name: &stream.name, fields: &stream.fields })
    }

    fn compile(text: &str, columns: Columns<'_>) -> Result<Predicate, PredicateError> {
        let conjuncts = condition::conjuncts(PLACE, text, columns).map_err(PredicateError)?;
        Ok(Predicate { text: text.to_string(), conjuncts })
    }

    /// As it was written.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The fields or dimensions that it names.
    pub fn names(&self) -> Vec<&str> {
        let names = self.conjuncts.iter().flat_map(|conjunct| &conjunct.fields).map(String::as_str);
        names.collect::<std::collections::BTreeSet<_>>().into_iter().collect()
    }

    /// Which events pass; their columns are named as the stream's fields.
    pub fn events(&self, events: &DataFrame) -> PolarsResult<Vec<bool>> {
        let mut pass = vec![true; events.height()];
        for conjunct in &self.conjuncts {
            for (pass, holds) in pass.iter_mut().zip(evaluate(conjunct, events.clone())?) {
                *pass &= holds;
            }
        }
        Ok(pass)
    }

    /// Which rows of an Arrow batch of the stream's events pass. A field that the batch lacks is NULL in all of them.
    pub fn rows(&self, stream: &Stream, batch: &RecordBatch) -> PolarsResult<Vec<bool>> {
        let mut columns = Vec::new();
        for field in stream.fields.iter().filter(|field| self.names().contains(&field.name.as_str())) {
            let values = match batch.column_by_name(&field.name) {
                Some(array) => array_values(array, &field.data_type)
                    .map_err(|error| PolarsError::ComputeError(error.to_string().into()))?,
                None => vec![Value::Null; batch.num_rows()],
            };
            columns.push(named(&field.name, &field.data_type, values.iter())?);
        }
        self.events(&DataFrame::new(batch.num_rows(), columns)?)
    }

    /// What passes of each of some tables of the view's cells, by conjunct. Each conjunct is evaluated once for all tables:
    /// one of a single dimension over the values that there are, another over the rows.
    pub fn cells(&self, view: &View, tables: &[&Keys]) -> PolarsResult<Vec<Vec<Mask>>> {
        let mut masks: Vec<Vec<Mask>> = vec![Vec::with_capacity(self.conjuncts.len()); tables.len()];
        for conjunct in &self.conjuncts {
            let dimensions: Vec<usize> =
                conjunct.fields.iter().filter_map(|name| view.dimension(name)).collect();
            let lengths = |keys: &&Keys| match dimensions.as_slice() {
                [dimension] => keys.dictionary(*dimension).len(),
                _ => keys.len(),
            };
            let lengths: Vec<usize> = tables.iter().map(lengths).collect();
            let mut columns = Vec::with_capacity(dimensions.len());
            for dimension in &dimensions {
                columns.push(match dimensions.len() {
                    1 => {
                        column(view, *dimension, tables.iter().flat_map(|keys| keys.dictionary(*dimension)))?
                    }
                    _ => {
                        let rows = |keys: &&Keys| 0..keys.len() as u32;
                        let values =
                            tables.iter().flat_map(|keys| rows(keys).map(|row| keys.value(row, *dimension)));
                        column(view, *dimension, values)?
                    }
                });
            }
            let height = lengths.iter().sum();
            let mut holds = evaluate(conjunct, DataFrame::new(height, columns)?)?.into_iter();
            for (masks, length) in masks.iter_mut().zip(lengths) {
                let own = holds.by_ref().take(length).collect();
                masks.push(match dimensions.as_slice() {
                    [dimension] => Mask::Codes(*dimension, own),
                    _ => Mask::Rows(own),
                });
            }
        }
        Ok(masks)
    }

    /// The same over the events that a view's cells are made of: its dimensions' own expressions in place of their names.
    pub fn over_events(&self, view: &View) -> Expr {
        let scalars: BTreeMap<&str, &Scalar> =
            (view.dimensions.iter()).map(|dimension| (dimension.name.as_str(), &dimension.scalar)).collect();
        let dimension = |expr| match &expr {
            Expr::Column(name) => match scalars.get(name.as_str()) {
                Some(scalar) => scalar.expr.clone().cast(scalar.data_type.polars()),
                None => expr,
            },
            _ => expr,
        };
        let conjuncts = self.conjuncts.iter().map(|conjunct| conjunct.expr.clone().map_expr(dimension));
        conjuncts.fold(lit(true), |all, conjunct| all.and(conjunct.fill_null(lit(false))))
    }
}

fn column<'a>(
    view: &View,
    dimension: usize,
    values: impl Iterator<Item = &'a Value>,
) -> PolarsResult<Column> {
    let dimension = &view.dimensions[dimension];
    named(&dimension.name, &dimension.scalar.data_type, values)
}

fn named<'a>(
    name: &str,
    data_type: &DataType,
    values: impl Iterator<Item = &'a Value>,
) -> PolarsResult<Column> {
    let values: Vec<AnyValue<'static>> = values.map(|value| data_type.polars_value(value)).collect();
    Ok(Series::from_any_values_and_dtype(name.into(), &values, &data_type.polars(), true)?.into())
}

/// Where a condition is true; it names at least one column, so it is as long as they are.
fn evaluate(conjunct: &Scalar, rows: DataFrame) -> PolarsResult<Vec<bool>> {
    let height = rows.height();
    let holds =
        rows.lazy().without_optimizations().select([conjunct.expr.clone().alias("holds")]).collect()?;
    let holds = holds.column("holds")?.as_materialized_series().clone();
    let holds: &BooleanChunked = holds.bool()?;
    assert_eq!(holds.len(), height, "a condition is elementwise");
    Ok(holds.iter().map(|holds| holds == Some(true)).collect())
}
