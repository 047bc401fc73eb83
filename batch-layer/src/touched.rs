//! Which windows newly landed events touch.

use std::collections::BTreeSet;

use polars::prelude::*;
use watershed_schemas::exact::window_start;
use watershed_schemas::states::WINDOW_START;
use watershed_schemas::view::View;

/// What of a view has to be made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// Every window that has events.
    All,
    /// The windows that start at these times (microseconds).
    Windows(BTreeSet<i64>),
}

/// Adds the starts of the windows that these events fall into. Events that the view's filter drops touch nothing.
pub(crate) fn add(starts: &mut BTreeSet<i64>, view: &View, events: &DataFrame) -> PolarsResult<()> {
    let mut counted = events.clone().lazy();
    if let Some(filter) = &view.filter {
        counted = counted.filter(filter.expr.clone());
    }
    let found =
        counted.select([window_start(view).alias(WINDOW_START)]).unique(None, UniqueKeepStrategy::Any);
    let found = found.collect()?;
    let found = found.column(WINDOW_START)?.datetime()?.physical();
    starts.extend(found.iter().flatten());
    Ok(())
}
