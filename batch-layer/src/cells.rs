//! The cells of one group of dates, from events that are read once: exact values, and states.
//!
//! Polars groups the events by itself and computes every measure that a small state holds; the fold makes the states, and
//! from the values of each cell what only all of them tell (distinct counts, quantiles, most frequent values). The two ways
//! meet here: [`check`](crate::check) compares what both know before either is believed.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use polars::prelude::*;
use watershed_schemas::columns;
use watershed_schemas::events;
use watershed_schemas::exact::{Grouping, exact, window_start};
use watershed_schemas::keys::Keys;
use watershed_schemas::states::{StateTable, WINDOW_END, WINDOW_START, Whole};
use watershed_schemas::stream::{OFFSET_COLUMN, PARTITION_COLUMN};
use watershed_schemas::value::Value;
use watershed_schemas::view::{Aggregate, View};

use crate::accuracy::Ledger;
use crate::groups::Select;
use crate::{BatchError, check};

/// The selected windows' rows as a view file holds them: `window_start`, `window_end`, the dimensions, the exact
/// measures, the states; sorted by key. `files` are event files, verified.
pub(crate) fn compute(
    view: &Arc<View>,
    select: &Select,
    files: &[Bytes],
    ledger: &mut Ledger,
) -> Result<RecordBatch, BatchError> {
    let broken = |source| BatchError::Compute { view: view.name.clone(), source };
    let events = self::events(view, select, files).map_err(broken)?;
    let exact = by_polars(view, &events).map_err(broken)?;
    let whole = Whole::of(view, &events).map_err(broken)?;
    drop(events);
    check::rows(view, &exact, whole.states.events)?;
    let order = matched(view, &exact, &whole.states)?;
    let ordered = exact.take(&IdxCa::from_vec("order".into(), order)).map_err(broken)?;
    let sorted = whole.states.keys.sorted_rows();
    check::measures(view, &ordered, &whole.states, &sorted)?;
    ledger.compare(&whole, &sorted);
    joined(view, &ordered, &whole, &sorted).map_err(broken)
}

/// The events of the selected windows: what the view reads of them.
fn events(view: &View, select: &Select, files: &[Bytes]) -> PolarsResult<DataFrame> {
    let mut names = view.fields_read();
    let placed = |aggregate: &Aggregate| matches!(aggregate, Aggregate::First | Aggregate::Last);
    if view.measures.iter().any(|measure| placed(&measure.aggregate)) {
        names.extend([PARTITION_COLUMN, OFFSET_COLUMN]);
    }
    let Some(selected) = selected(view, select) else {
        return events::read(&view.stream, files, &names);
    };
    // A plan skips the row groups in which no such event is.
    let read: Vec<Expr> = names.into_iter().map(col).collect();
    let events = events::scan(&view.stream, files)?.filter(selected).select(read);
    events.collect_with_engine(Engine::Streaming).map(|done| done.unwrap_single())
}

/// Polars' cells, with every measure that is not sketched.
fn by_polars(view: &View, events: &DataFrame) -> PolarsResult<DataFrame> {
    let mut grouping = Grouping::of(view);
    grouping.measures.retain(|index| !view.measures[*index].aggregate.is_sketched());
    let cells = exact(view, events.clone().lazy(), &grouping);
    cells.collect_with_engine(Engine::Streaming).map(|done| done.unwrap_single())
}

const TIMESTAMP: DataType = DataType::Datetime(TimeUnit::Microseconds, None);

/// True for events of the selected windows; `None` where all are.
fn selected(view: &View, select: &Select) -> Option<Expr> {
    let time = || col(view.stream.event_time().name.as_str());
    let at = |micros: i64| lit(micros).cast(TIMESTAMP);
    let window = &view.window.window;
    Some(match select {
        Select::All => return None,
        Select::Between { from, until } => {
            let start = window_start(view);
            // The second half says nothing new, but lets whole row groups be skipped.
            start.clone().gt_eq(at(*from)).and(start.lt(at(*until))).and(time().gt_eq(at(*from)))
        }
        Select::Starts(starts) => {
            let (first, last) = (starts.first().copied(), starts.last().copied());
            let end = window.end(last.unwrap_or_default());
            let starts = Int64Chunked::from_iter_values("starts".into(), starts.iter().copied());
            let starts = starts.into_datetime(TimeUnit::Microseconds, None).into_series();
            let within = time().gt_eq(at(first.unwrap_or_default())).and(time().lt(at(end)));
            within.and(window_start(view).is_in(lit(starts).implode(true), false))
        }
    })
}

/// For each cell of `states` in the order of their keys, the row of `exact` that has the same key.
fn matched(view: &View, exact: &DataFrame, states: &StateTable) -> Result<Vec<IdxSize>, BatchError> {
    let broken = |source| BatchError::Compute { view: view.name.clone(), source };
    let rows = rows_of_keys(view, exact, &states.keys).map_err(broken)?;
    check::cells(view, exact.height(), states.cells())?;
    let place: HashMap<u32, IdxSize> =
        rows.iter().enumerate().filter_map(|(row, of)| Some(((*of)?, row as IdxSize))).collect();
    check::cells(view, place.len(), states.cells())?;
    Ok(states.keys.sorted_rows().iter().map(|row| place[row]).collect())
}

/// For each row of `exact`, the row that its key has in `keys`.
fn rows_of_keys(view: &View, exact: &DataFrame, keys: &Keys) -> PolarsResult<Vec<Option<u32>>> {
    let mut codes: Vec<Vec<Option<u32>>> = Vec::new();
    for (index, dimension) in view.dimensions.iter().enumerate() {
        let series = exact.column(&dimension.name)?.as_materialized_series();
        let values = columns::values(series, &dimension.scalar.data_type)?;
        let mut seen: Option<(&Value, Option<u32>)> = None;
        codes.push(
            (values.iter())
                .map(|value| match seen {
                    Some((last, code)) if last == value => code,
                    _ => {
                        let code = keys.find_code(index, value);
                        seen = Some((value, code));
                        code
                    }
                })
                .collect(),
        );
    }
    let windows = exact.column(WINDOW_START)?.datetime()?.physical().clone();
    let mut key = Vec::with_capacity(codes.len());
    let row = |(row, window): (usize, Option<i64>)| {
        key.clear();
        key.extend(codes.iter().map_while(|codes| codes[row]));
        if key.len() == codes.len() { keys.find(window?, &key) } else { None }
    };
    Ok(windows.iter().enumerate().map(row).collect())
}

/// Exact values and states side by side. `exact` is in the order of the states' keys, which `sorted` has.
fn joined(view: &View, exact: &DataFrame, whole: &Whole, sorted: &[u32]) -> PolarsResult<RecordBatch> {
    let states = whole.states.to_record_batch();
    let starts = states.column(0).as_primitive::<TimestampMicrosecondType>();
    let ends: TimestampMicrosecondArray =
        starts.iter().map(|start| Some(view.window.window.end(start?))).collect();
    let (state_schema, dimensions) = (states.schema(), view.dimensions.len());
    let kept = |index: usize| (state_schema.field(index).clone(), states.column(index).clone());
    let end_field = Field::new(WINDOW_END, state_schema.field(0).data_type().clone(), false);
    let mut columns: Vec<(Field, ArrayRef)> = vec![kept(0), (end_field, Arc::new(ends))];
    columns.extend((1..=dimensions).map(kept));
    for (measure, known) in view.measures.iter().zip(&whole.exact) {
        let values = match known {
            Some(values) => {
                let values: Vec<Value> = sorted.iter().map(|row| values[*row as usize].clone()).collect();
                columns::from_values(&values, &measure.result_type)
            }
            None => {
                let series = exact.column(&measure.name)?.as_materialized_series();
                columns::array(series, &measure.result_type)?
            }
        };
        columns.push((Field::new(&measure.name, values.data_type().clone(), true), values));
    }
    columns.extend((dimensions + 1..states.num_columns()).map(kept));
    let (fields, arrays): (Vec<Field>, Vec<ArrayRef>) = columns.into_iter().unzip();
    RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)
        .map_err(|error| PolarsError::ComputeError(error.to_string().into()))
}
