//! Exact values at a grain of the question's own, from the master dataset below the watershed.

use bytes::Bytes;
use polars::prelude::{
    AnyValue, ChunkApply as _, Column, DataFrame, DataType as PolarsType, Expr, Field, IntoColumn,
    IntoSeries, PolarsError, PolarsResult, Schema, Series, lit,
};
use watershed_schemas::events::scan;
use watershed_schemas::exact::{Grouping, exact, window_start};
use watershed_schemas::manifest::{EventFile, Manifest};
use watershed_schemas::scope::{Condition, Scope};
use watershed_schemas::states::WINDOW_START;
use watershed_schemas::types::DataType;
use watershed_schemas::value::Value;
use watershed_store::{Store, StoreError};

use crate::explain::EventsRead;
use crate::grain::Buckets;
use crate::plan::{self, Plan};
use crate::turns::Turn;

/// More event files than this are not read for one question.
const MOST_BYTES: u64 = 2 << 30;
const DAY_MICROS: i64 = 86_400_000_000;

/// Why exact values could not be recomputed.
#[derive(Debug, thiserror::Error)]
pub enum RecomputeError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("polars: {0}")]
    Polars(#[from] PolarsError),
    #[error("interrupted: {0}")]
    Interrupted(#[from] tokio::task::JoinError),
    #[error(
        "exact numbers here take reading {bytes} bytes of events, more than {MOST_BYTES}: narrow \"from\" and \"to\""
    )]
    TooLarge { bytes: u64 },
}

/// A recomputed group: its bucket, its dimension values, the plan's sketched measures.
pub struct Row {
    pub bucket: i64,
    pub dimensions: Vec<Value>,
    pub measures: Vec<Value>,
}

/// The plan's measures (indices into [`Plan::measures`]) that have to be recomputed to be exact.
pub fn needed(plan: &Plan) -> Vec<usize> {
    if plan.keeps_cells() {
        return Vec::new();
    }
    let sketched = |index: &usize| plan.view.measures[plan.measures[*index]].aggregate.is_sketched();
    (0..plan.measures.len()).filter(sketched).collect()
}

/// Reads, verified, the events that the plan's windows hold, and aggregates them. The turn ends with the work, whether or
/// not anybody waits for it.
pub async fn recompute(
    store: &Store,
    manifest: &Manifest,
    plan: &Plan,
    measures: &[usize],
    turn: Turn,
) -> Result<Vec<Row>, RecomputeError> {
    let files: Vec<&EventFile> = manifest.events.iter().filter(|file| touches(plan, file)).collect();
    let bytes = files.iter().map(|file| file.file.bytes).sum();
    if bytes > MOST_BYTES {
        return Err(RecomputeError::TooLarge { bytes });
    }
    let mut buffers = Vec::with_capacity(files.len());
    for file in files {
        buffers.push(store.read(&file.file).await?);
    }
    if buffers.is_empty() {
        return Ok(Vec::new());
    }
    let (plan, measures) = (plan.clone(), measures.to_vec());
    let aggregated = move || {
        let _turn = turn;
        Ok(aggregate(&buffers, &plan, &measures)?)
    };
    tokio::task::spawn_blocking(aggregated).await?
}

/// The event files that recomputing reads, out of how many.
pub fn reads(manifest: &Manifest, plan: &Plan) -> EventsRead {
    let read: Vec<&EventFile> = manifest.events.iter().filter(|file| touches(plan, file)).collect();
    EventsRead {
        measures: Vec::new(),
        files: manifest.events.len(),
        files_read: read.len(),
        rows_read: read.iter().map(|file| file.file.rows).sum(),
        bytes_read: read.iter().map(|file| file.file.bytes).sum(),
    }
}

/// True when events of this file's date may lie in a window that takes part.
fn touches(plan: &Plan, file: &EventFile) -> bool {
    let window = plan.view.window.window;
    let first = i64::from(file.date) * DAY_MICROS;
    plan.reaches(window.start(first), window.start(first + DAY_MICROS - 1))
}

fn aggregate(files: &[Bytes], plan: &Plan, measures: &[usize]) -> PolarsResult<Vec<Row>> {
    let view = &plan.view;
    let events = scan(&view.stream, files)?;
    let start = window_start(view);
    let mut keep = lit(true);
    let Scope { from, to, conditions, .. } = &plan.scope;
    let time = |micros: &i64| DataType::Timestamp.polars_literal(&Value::Timestamp(*micros));
    if *from != i64::MIN {
        keep = keep.and(start.clone().gt_eq(time(from)));
    }
    if *to != i64::MAX {
        keep = keep.and(start.clone().lt(time(to)));
    }
    for condition in conditions {
        keep = keep.and(holds(plan, condition)?);
    }
    if let Some(rows) = &plan.rows {
        keep = keep.and(rows.over_events(view));
    }
    let buckets = plan.buckets;
    let bucket = match buckets {
        Buckets::All => None,
        Buckets::Stored(_) => Some(start.alias(WINDOW_START)),
        Buckets::Every { .. } => {
            Some(start.map(move |starts| cut(&starts, buckets), same_type).alias(WINDOW_START))
        }
    };
    let grouping = Grouping {
        bucket,
        dimensions: plan.dimensions.clone(),
        measures: measures.iter().map(|measure| plan.measures[*measure]).collect(),
    };
    let groups = exact(view, events.filter(keep), &grouping).collect()?;
    rows(&groups, plan, measures)
}

fn holds(plan: &Plan, condition: &Condition) -> PolarsResult<Expr> {
    if condition.values.is_empty() {
        return Ok(lit(condition.negated));
    }
    let scalar = &plan.view.dimensions[condition.dimension].scalar;
    let data_type = scalar.data_type.polars();
    let values = condition.values.iter().map(|value| scalar.data_type.polars_value(value));
    let values: Vec<AnyValue<'static>> = values.collect();
    let values = Series::from_any_values_and_dtype("".into(), &values, &data_type, true)?;
    // A set: comparisons chained by OR would nest as deeply as a caller's list is long. NULL is a value like any other.
    let any = scalar.expr.clone().cast(data_type).is_in(lit(values).implode(true), true);
    Ok(if condition.negated { any.not() } else { any })
}

/// Window starts to bucket starts, by the same rule as cells are.
fn cut(starts: &Column, buckets: Buckets) -> PolarsResult<Column> {
    let starts = starts.as_materialized_series();
    let micros = starts.cast(&PolarsType::Int64)?;
    let micros = micros.i64()?.apply_values(|start| buckets.start(start));
    Ok(micros
        .with_name(starts.name().clone())
        .into_series()
        .cast(&DataType::Timestamp.polars())?
        .into_column())
}

fn same_type(_: &Schema, field: &Field) -> PolarsResult<Field> {
    Ok(field.clone())
}

fn rows(groups: &DataFrame, plan: &Plan, measures: &[usize]) -> PolarsResult<Vec<Row>> {
    let starts = match plan.buckets {
        Buckets::All => None,
        _ => Some(groups.column(WINDOW_START)?.cast(&PolarsType::Int64)?),
    };
    let column = |column: plan::Column| {
        Ok::<_, PolarsError>((groups.column(plan.name(column))?, plan.data_type(column)))
    };
    let dimensions = (0..plan.dimensions.len()).map(|index| column(plan::Column::Dimension(index)));
    let dimensions = dimensions.collect::<PolarsResult<Vec<_>>>()?;
    let measures = measures
        .iter()
        .map(|index| column(plan::Column::Measure(*index)))
        .collect::<PolarsResult<Vec<_>>>()?;
    let values = |columns: &[(&Column, &DataType)], row| {
        columns
            .iter()
            .map(|(column, data_type)| Ok(value(column.get(row)?, data_type)))
            .collect::<PolarsResult<Vec<_>>>()
    };
    let row = |row: usize| {
        let bucket = match &starts {
            Some(starts) => starts.i64()?.get(row).unwrap_or_default(),
            None => 0,
        };
        Ok(Row { bucket, dimensions: values(&dimensions, row)?, measures: values(&measures, row)? })
    };
    (0..groups.height()).map(row).collect()
}

fn value(any: AnyValue<'_>, data_type: &DataType) -> Value {
    match (any, data_type) {
        (AnyValue::Boolean(value), _) => Value::Boolean(value),
        (AnyValue::String(value), _) => Value::Text(value.into()),
        (AnyValue::StringOwned(value), _) => Value::Text(value.as_str().into()),
        (AnyValue::Float64(value), _) => Value::Double(value),
        (AnyValue::Decimal(value, _, scale), _) => Value::Decimal(value, scale as u8),
        (AnyValue::Date(value), _) => Value::Date(value),
        (AnyValue::Datetime(value, ..), _) => Value::Timestamp(value),
        (AnyValue::List(items), DataType::TopK(item)) => {
            let Ok(pairs) = items.struct_() else { return Value::Null };
            let (values, counts) = match pairs.fields_as_series().as_slice() {
                [values, counts] => (values.clone(), counts.clone()),
                _ => return Value::Null,
            };
            let pair = |row| {
                let count = counts.get(row).ok().and_then(|count| count.extract::<u64>()).unwrap_or_default();
                (values.get(row).map_or(Value::Null, |any| value(any, item)), count)
            };
            Value::TopK((0..items.len()).map(pair).collect())
        }
        (any, _) => any.extract::<i64>().map_or(Value::Null, Value::Integer),
    }
}
