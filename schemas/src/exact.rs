//! Exact values of a view's measures, by Polars, from events.
//!
//! The batch layer publishes them; the serving layer asks for them when a question wants exact
//! numbers at a grain of its own. NULL arguments are ignored, an aggregate of nothing is NULL (a count 0),
//! sums of integers and decimals are taken in 128 bits, quantiles are interpolated linearly, and the most
//! frequent values come with ties in the order of the values. Either Polars engine gives the same.

use polars::prelude::*;

use crate::columns;
use crate::expr::Scalar;
use crate::states::WINDOW_START;
use crate::stream::{OFFSET_COLUMN, PARTITION_COLUMN};
use crate::types::DataType;
use crate::view::{Aggregate, Measure, View};

/// The number of events in each group.
const ROWS: &str = "_rows";

// The plan's own columns: views may give theirs any name that does not begin with `_`.
const TIME: &str = "_time";
const EVERYTHING: &str = "_everything";
const ITEM: &str = "value";
const OCCURRENCES: &str = "count";

/// What a recomputation groups by.
#[derive(Clone, Debug)]
pub struct Grouping {
    /// The start of each event's bucket, a TIMESTAMP named `window_start`, over the stream's event time; `None` folds time away.
    pub bucket: Option<Expr>,
    /// Indices into the view's dimensions.
    pub dimensions: Vec<usize>,
    /// Indices into the view's measures.
    pub measures: Vec<usize>,
}

impl Grouping {
    /// The view's own grain.
    pub fn of(view: &View) -> Self {
        Grouping {
            bucket: Some(window_start(view)),
            dimensions: (0..view.dimensions.len()).collect(),
            measures: (0..view.measures.len()).collect(),
        }
    }
}

/// A plan over events (columns as the master dataset has them) that applies the view's filter and gives
/// `window_start` (when grouped by it), the dimensions and the measures, each with the view's name and type,
/// and `_rows`, the number of events in each group. Groups come in no particular order; no events, no groups.
pub fn exact(view: &View, events: LazyFrame, grouping: &Grouping) -> LazyFrame {
    let measures: Vec<&Measure> = grouping.measures.iter().map(|index| &view.measures[*index]).collect();
    let events = prepared(view, events, grouping, &measures);
    let keys = keys(grouping);
    let mut groups = aggregated(events.clone(), &keys, &measures);
    for (index, measure) in measures.iter().enumerate() {
        if let Aggregate::TopK(k) = measure.aggregate {
            let most = most_frequent(events.clone(), &keys, index, k);
            groups = groups.join_builder().with(most).on(&keys).how(JoinType::Left).join_nulls(true).finish();
        }
    }
    groups.select(named(view, grouping, &measures))
}

/// The start of the view's window as an expression over its event time.
pub fn window_start(view: &View) -> Expr {
    let window = view.window.window;
    let starts = move |times: Column| {
        let times = columns::typed(&times, &DataType::Timestamp)?;
        let starts = columns::wholes(&times)?.apply_values(|time| window.start(time));
        Ok(starts.into_datetime(TimeUnit::Microseconds, None).into_column())
    };
    let timestamp =
        |_: &Schema, field: &Field| Ok(Field::new(field.name().clone(), DataType::Timestamp.polars()));
    col(view.stream.event_time().name.as_str()).map(starts, timestamp)
}

fn dimension(index: usize) -> String {
    format!("_dimension_{index}")
}

fn argument(index: usize) -> String {
    format!("_argument_{index}")
}

/// For `count(*)`: whether an event counts.
fn counted(index: usize) -> String {
    format!("_counted_{index}")
}

fn result(index: usize) -> String {
    format!("_result_{index}")
}

/// A scalar's values as the fold reads them: `-0.0` is `0.0`.
fn evaluated(scalar: &Scalar) -> Expr {
    let value = scalar.expr.clone().cast(scalar.data_type.polars());
    if scalar.data_type != DataType::Double {
        return value;
    }
    // A plain `+ 0.0` would be optimised away.
    let unsigned_zero = |values: Column| Ok(values.f64()?.apply_values(|value| value + 0.0).into_column());
    value.map(unsigned_zero, |_, field| Ok(field.clone()))
}

/// The events that pass the view's filter, as keys and arguments; an argument that its measure's filter leaves out is NULL.
fn prepared(view: &View, events: LazyFrame, grouping: &Grouping, measures: &[&Measure]) -> LazyFrame {
    let events = match &view.filter {
        Some(filter) => events.filter(filter.expr.clone()),
        None => events,
    };
    // Event time is always taken: a plan of literals alone would have one row whatever the events are.
    let mut taken = vec![col(view.stream.event_time().name.as_str()).alias(TIME), lit(0).alias(EVERYTHING)];
    if measures.iter().any(|measure| matches!(measure.aggregate, Aggregate::First | Aggregate::Last)) {
        taken.extend([col(PARTITION_COLUMN), col(OFFSET_COLUMN)]);
    }
    taken.extend(grouping.bucket.clone().map(|bucket| bucket.alias(WINDOW_START)));
    for index in &grouping.dimensions {
        taken.push(evaluated(&view.dimensions[*index].scalar).alias(dimension(*index)));
    }
    for (index, measure) in measures.iter().enumerate() {
        let filter = measure.filter.as_ref().map(|filter| filter.expr.clone());
        taken.extend(match (&measure.argument, filter) {
            (Some(scalar), Some(filter)) => {
                Some(when(filter).then(evaluated(scalar)).otherwise(lit(NULL)).alias(argument(index)))
            }
            (Some(scalar), None) => Some(evaluated(scalar).alias(argument(index))),
            (None, Some(filter)) => Some(filter.alias(counted(index))),
            (None, None) => None,
        });
    }
    events.select(taken)
}

/// The key columns; never none, because a group-by needs one.
fn keys(grouping: &Grouping) -> Vec<Expr> {
    let mut keys: Vec<Expr> = grouping.bucket.iter().map(|_| col(WINDOW_START)).collect();
    keys.extend(grouping.dimensions.iter().map(|index| col(dimension(*index))));
    if keys.is_empty() {
        keys.push(col(EVERYTHING));
    }
    keys
}

fn aggregated(events: LazyFrame, keys: &[Expr], measures: &[&Measure]) -> LazyFrame {
    let mut values = vec![len().cast(polars::prelude::DataType::Int64).alias(ROWS)];
    for (index, measure) in measures.iter().enumerate() {
        values.extend(aggregate(index, measure).map(|value| value.alias(result(index))));
    }
    events.group_by(keys).agg(values)
}

/// The measure's value in a group; `None` for the most frequent values, which take a grouping of their own.
fn aggregate(index: usize, measure: &Measure) -> Option<Expr> {
    use polars::prelude::DataType as Pl;
    let values = || col(argument(index));
    let numbers = || values().cast(Pl::Float64);
    let something = || values().count().gt(lit(0));
    let data_type = measure.argument.as_ref().map(|scalar| &scalar.data_type);
    Some(match &measure.aggregate {
        Aggregate::Count => match (&measure.argument, &measure.filter) {
            (Some(_), _) => values().count(),
            (None, Some(_)) => col(counted(index)).sum(),
            (None, None) => len(),
        }
        .cast(Pl::Int64),
        Aggregate::Sum => when(something()).then(sum(values(), data_type)).otherwise(lit(NULL)),
        Aggregate::Avg if data_type == Some(&DataType::Double) => values().mean(),
        Aggregate::Avg => {
            let mean = sum(values(), data_type).cast(Pl::Float64) / values().count().cast(Pl::Float64);
            when(something()).then(mean).otherwise(lit(NULL))
        }
        Aggregate::Min | Aggregate::Max => extreme(values(), measure.aggregate == Aggregate::Max, data_type),
        Aggregate::VarSamp => numbers().var(1),
        Aggregate::StddevSamp => numbers().std(1),
        Aggregate::CountDistinct => {
            let nulls = values().is_null().any(true).cast(Pl::Int64);
            values().n_unique().cast(Pl::Int64) - nulls
        }
        Aggregate::Quantile(q) => numbers().quantile(lit(*q), QuantileMethod::Linear),
        Aggregate::First => in_order(values()).first(),
        Aggregate::Last => in_order(values()).last(),
        Aggregate::TopK(_) => return None,
    })
}

/// The sum without overflow: integers and decimals in 128 bits.
fn sum(values: Expr, data_type: Option<&DataType>) -> Expr {
    use polars::prelude::DataType as Pl;
    match data_type {
        Some(DataType::Integer) => values.cast(Pl::Int64).sum(),
        Some(DataType::BigInt) => values.cast(Pl::Decimal(38, 0)).sum(),
        Some(DataType::Decimal { scale, .. }) => values.cast(Pl::Decimal(38, usize::from(*scale))).sum(),
        _ => values.sum(),
    }
}

/// The least or greatest value; NaN lies above every other number, where Polars would pass over it.
fn extreme(values: Expr, greatest: bool, data_type: Option<&DataType>) -> Expr {
    use polars::prelude::DataType as Pl;
    match (data_type, greatest) {
        (Some(DataType::Boolean), true) => values.cast(Pl::Int32).max(),
        (Some(DataType::Boolean), false) => values.cast(Pl::Int32).min(),
        (Some(DataType::Double), true) => {
            when(values.clone().is_nan().any(true)).then(lit(f64::NAN)).otherwise(values.max())
        }
        (_, true) => values.max(),
        (_, false) => values.min(),
    }
}

/// The values that are not NULL by event time, partition and offset.
fn in_order(values: Expr) -> Expr {
    let places = [col(TIME), col(PARTITION_COLUMN), col(OFFSET_COLUMN)];
    values.sort_by(places, SortMultipleOptions::default()).drop_nulls()
}

/// Keys, and the `k` most frequent values of a measure's argument with their counts.
fn most_frequent(events: LazyFrame, keys: &[Expr], index: usize, k: usize) -> LazyFrame {
    let items = events.filter(col(argument(index)).is_not_null());
    let with_item = keys.iter().cloned().chain([col(argument(index)).alias(ITEM)]);
    let counts = items
        .group_by(with_item.collect::<Vec<Expr>>())
        .agg([len().cast(polars::prelude::DataType::Int64).alias(OCCURRENCES)]);
    let order = SortMultipleOptions::default().with_order_descending_multi([true, false]);
    let most = as_struct(vec![col(ITEM), col(OCCURRENCES)])
        .sort_by([col(OCCURRENCES), col(ITEM)], order)
        .head(Some(k))
        .alias(result(index));
    counts.group_by(keys).agg([most])
}

/// The columns under the view's names and types.
fn named(view: &View, grouping: &Grouping, measures: &[&Measure]) -> Vec<Expr> {
    let mut columns: Vec<Expr> = grouping.bucket.iter().map(|_| col(WINDOW_START)).collect();
    for index in &grouping.dimensions {
        columns.push(col(dimension(*index)).alias(view.dimensions[*index].name.as_str()));
    }
    for (index, measure) in measures.iter().enumerate() {
        columns.push(col(result(index)).cast(measure.result_type.polars()).alias(measure.name.as_str()));
    }
    columns.push(col(ROWS));
    columns
}
