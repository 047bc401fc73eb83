//! Functions over single values, lifted to Polars columns.
//!
//! A kernel sees the values of one row and gives one value, `None` standing for NULL. It is never called
//! with a NULL: a NULL argument makes a NULL result. Columns of one row are stretched to the length of the others.

pub(super) mod cell;

use polars::prelude::{Column, Expr, Field, PolarsResult, Series, map_multiple};

use self::cell::Cell;
use crate::types::DataType;

pub(super) fn unary<A: Cell, R: Cell>(
    argument: Expr,
    result: &DataType,
    function: impl for<'a> Fn(A::Ref<'a>) -> Option<R> + Send + Sync + 'static,
) -> Expr {
    let build = result.clone();
    lift(vec![argument], result, move |columns| {
        let series = columns[0].as_materialized_series();
        let values = A::read(series)?;
        Ok(R::write(series, values.into_iter().map(|value| value.and_then(&function)), &build))
    })
}

pub(super) fn binary<A: Cell, B: Cell, R: Cell>(
    (left, right): (Expr, Expr),
    result: &DataType,
    function: impl for<'a> Fn(A::Ref<'a>, B::Ref<'a>) -> Option<R> + Send + Sync + 'static,
) -> Expr {
    let build = result.clone();
    lift(vec![left, right], result, move |columns| {
        let rows = rows(columns);
        let (left, right) = (columns[0].as_materialized_series(), columns[1].as_materialized_series());
        let (lefts, rights) = (A::read(left)?, B::read(right)?);
        let values = (0..rows).map(|row| function(at(&lefts, row)?, at(&rights, row)?));
        Ok(R::write(left, values, &build))
    })
}

pub(super) fn ternary<A: Cell, B: Cell, C: Cell, R: Cell>(
    (first, second, third): (Expr, Expr, Expr),
    result: &DataType,
    function: impl for<'a> Fn(A::Ref<'a>, B::Ref<'a>, C::Ref<'a>) -> Option<R> + Send + Sync + 'static,
) -> Expr {
    let build = result.clone();
    lift(vec![first, second, third], result, move |columns| {
        let rows = rows(columns);
        let [first, second, third] = [0, 1, 2].map(|index| columns[index].as_materialized_series());
        let (firsts, seconds, thirds) = (A::read(first)?, B::read(second)?, C::read(third)?);
        let values = (0..rows).map(|row| function(at(&firsts, row)?, at(&seconds, row)?, at(&thirds, row)?));
        Ok(R::write(first, values, &build))
    })
}

fn lift(
    arguments: Vec<Expr>,
    result: &DataType,
    evaluate: impl Fn(&[Column]) -> PolarsResult<Series> + Send + Sync + 'static,
) -> Expr {
    let data_type = result.polars();
    map_multiple(
        move |columns: &mut [Column]| Ok(evaluate(columns)?.into()),
        arguments,
        move |_, fields| Ok(Field::new(fields[0].name().clone(), data_type.clone())),
    )
}

/// The common length of the arguments: literals arrive as columns of one row.
fn rows(columns: &[Column]) -> usize {
    columns.iter().map(|column| column.len()).find(|length| *length != 1).unwrap_or(1)
}

fn at<T: Copy>(values: &[Option<T>], row: usize) -> Option<T> {
    if values.len() == 1 { values[0] } else { values[row] }
}
