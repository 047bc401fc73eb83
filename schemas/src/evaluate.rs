//! Scalars of a view over a run of events.

use std::rc::Rc;

use polars::prelude::{BooleanChunked, Column, DataFrame, Expr, IntoLazy, PolarsResult, Series};

use crate::coding::{Codes, Run};
use crate::columns::{self, Class};
use crate::expr::Scalar;

/// The values of a scalar by event.
pub(crate) struct Values {
    pub series: Series,
    /// The same where they are texts that come again.
    pub codes: Option<Rc<Codes>>,
}

/// As [`scalars`], with their codes.
pub(crate) fn values(run: &Run, asked: &[&Scalar]) -> PolarsResult<Vec<Values>> {
    let series = scalars(run.events(), asked)?;
    let coded = |(scalar, series): (&&Scalar, Series)| {
        let codes = match &scalar.expr {
            _ if Class::of(&scalar.data_type) != Class::Text => None,
            Expr::Column(field) => run.codes(field, &series)?,
            _ => Codes::of(columns::texts(&series)?).map(Rc::new),
        };
        Ok(Values { series, codes })
    };
    asked.iter().zip(series).map(coded).collect()
}

/// The scalars' values, each of its declared type and as long as `events`.
pub(crate) fn scalars(events: &DataFrame, scalars: &[&Scalar]) -> PolarsResult<Vec<Series>> {
    let mut values: Vec<Option<Series>> = Vec::with_capacity(scalars.len());
    let mut computed: Vec<Expr> = Vec::new();
    for (index, scalar) in scalars.iter().enumerate() {
        // A plain field needs no plan.
        if let Expr::Column(field) = &scalar.expr {
            values.push(Some(columns::typed(events.column(field)?, &scalar.data_type)?));
        } else {
            values.push(None);
            computed.push(scalar.expr.clone().alias(index.to_string()));
        }
    }
    if !computed.is_empty() {
        let computed = events.clone().lazy().without_optimizations().select(computed).collect()?;
        for (index, value) in values.iter_mut().enumerate() {
            if value.is_none() {
                let column = computed.column(&index.to_string())?;
                *value =
                    Some(columns::typed(&stretched(column, events.height()), &scalars[index].data_type)?);
            }
        }
    }
    Ok(values.into_iter().flatten().collect())
}

/// Where a predicate is true.
pub(crate) fn mask(predicate: &Series) -> PolarsResult<&BooleanChunked> {
    predicate.bool()
}

/// An expression without a field in it has one row.
fn stretched(column: &Column, height: usize) -> Column {
    if column.len() == height { column.clone() } else { column.new_from_index(0, height) }
}
