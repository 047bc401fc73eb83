//! A view's partial states: the fold that both layers run, and what they exchange.
//!
//! Folding the same events in any split gives the same states (invariants `FOLD` and `REPLAY`), and
//! equal states give equal bytes: rows are written in the order of their keys.

use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatchOptions, TimestampMicrosecondArray};
use arrow::datatypes::{Field, Schema, SchemaRef, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use polars::prelude::{DataFrame, PolarsResult, Series};

use crate::columns::{self, Part};
use crate::evaluate;
use crate::expr::Scalar;
use crate::keys::Keys;
use crate::measure::operand::Operand;
use crate::measure::{self, Input, Places, StateError, States};
use crate::stream::{OFFSET_COLUMN, PARTITION_COLUMN};
use crate::types::DataType;
use crate::view::{Aggregate, Measure, View};
use crate::window::Window;

/// Columns of every stored or sent state table beside dimensions and states.
pub const WINDOW_START: &str = "window_start";
pub const WINDOW_END: &str = "window_end";

/// The states of a set of cells of one view.
#[derive(Debug)]
pub struct StateTable {
    pub view: Arc<View>,
    pub keys: Keys,
    /// One per measure, in the view's order; every one has as many rows as `keys`.
    pub measures: Vec<Box<dyn States>>,
    /// Events that were folded here or in what was merged: those that passed the view's filter. Not stored.
    pub events: u64,
}

impl Clone for StateTable {
    fn clone(&self) -> Self {
        StateTable {
            view: self.view.clone(),
            keys: self.keys.clone(),
            measures: self.measures.iter().map(|states| states.boxed_clone()).collect(),
            events: self.events,
        }
    }
}

impl StateTable {
    pub fn new(view: Arc<View>) -> Self {
        let dimensions = view.dimensions.iter().map(|dimension| dimension.scalar.data_type.clone()).collect();
        let measures = view.measures.iter().map(measure::empty).collect();
        StateTable { keys: Keys::new(dimensions), measures, view, events: 0 }
    }

    /// Folds decoded events: filter, window, dimensions, measures. `events` has the view's fields and, for views with
    /// `first` or `last`, `_partition` and `_offset`. Gives the row of every event that passed the filter: no other
    /// row has changed.
    pub fn fold(&mut self, events: &DataFrame) -> PolarsResult<Vec<u32>> {
        let view = self.view.clone();
        let filtered = match &view.filter {
            Some(filter) => {
                let predicate = evaluate::scalars(events, &[filter])?;
                &events.filter(evaluate::mask(&predicate[0])?)?
            }
            None => events,
        };
        if filtered.height() == 0 {
            return Ok(Vec::new());
        }
        let places = places(&view, filtered)?;
        let mut values = evaluate::scalars(filtered, &scalars(&view))?.into_iter();
        let rows = self.rows(&view, &places.times, &mut values)?;
        for (index, measure) in view.measures.iter().enumerate() {
            let argument =
                measure.argument.as_ref().and_then(|scalar| Some((values.next()?, &scalar.data_type)));
            let filter = measure.filter.as_ref().and_then(|_| values.next());
            self.measures[index].resize(self.keys.len());
            update(&mut *self.measures[index], &rows, argument, filter, &places)?;
        }
        self.events += filtered.height() as u64;
        Ok(rows)
    }

    /// The row of each event, added if new.
    fn rows(
        &mut self,
        view: &View,
        times: &[i64],
        values: &mut impl Iterator<Item = Series>,
    ) -> PolarsResult<Vec<u32>> {
        let mut codes: Vec<Vec<u32>> = Vec::with_capacity(view.dimensions.len());
        for (index, dimension) in view.dimensions.iter().enumerate() {
            let series = values.next().expect("every dimension was evaluated");
            let dictionary = self.keys.dictionary_mut(index);
            let mut column = Vec::with_capacity(series.len());
            columns::visit(&series, &dimension.scalar.data_type, |part| {
                column.push(dictionary.encode(part))
            })?;
            codes.push(column);
        }
        let mut starts = Starts::of(view.window.window);
        let mut key = vec![0; codes.len()];
        let row = |(index, time): (usize, &i64)| {
            for (code, column) in key.iter_mut().zip(&codes) {
                *code = column[index];
            }
            self.keys.row(starts.start(*time), &key)
        };
        Ok(times.iter().enumerate().map(row).collect())
    }

    /// Merges all cells of `other` into this table.
    pub fn merge(&mut self, other: &StateTable) {
        let into = self.keys.absorb(&other.keys);
        let rows: Vec<u32> = (0..other.keys.len() as u32).collect();
        self.absorb(other, &rows, &into);
    }

    /// Merges `other`'s row `rows[i]` into this table's row `into[i]`, a row that `keys` holds: what
    /// [`Keys::regroup`] gives. `other` is a table of the same measures.
    pub fn absorb(&mut self, other: &StateTable, rows: &[u32], into: &[u32]) {
        for (states, others) in self.measures.iter_mut().zip(&other.measures) {
            states.resize(self.keys.len());
            states.merge(into, &**others, rows);
        }
        self.events += other.events;
    }

    /// `window_start`, the dimensions, the states; rows sorted by key, so that equal states give equal bytes.
    pub fn to_record_batch(&self) -> RecordBatch {
        self.rows_to_record_batch(&self.keys.sorted_rows())
    }

    /// The same with rows as they lie here, in the order of first sight: for those who put no question to the order,
    /// since sorting takes longer than all else.
    pub fn to_unsorted_record_batch(&self) -> RecordBatch {
        self.rows_to_record_batch(&(0..self.keys.len() as u32).collect::<Vec<u32>>())
    }

    fn rows_to_record_batch(&self, rows: &[u32]) -> RecordBatch {
        let mut arrays = self.key_columns(rows);
        arrays.extend(self.state_columns(rows));
        record_batch(Self::schema(&self.view), arrays, rows.len())
    }

    /// `window_start` and the dimensions of the given rows.
    pub(crate) fn key_columns(&self, rows: &[u32]) -> Vec<ArrayRef> {
        let windows = rows.iter().map(|row| Some(self.keys.windows()[*row as usize]));
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(windows.collect::<TimestampMicrosecondArray>())];
        for (index, dimension) in self.view.dimensions.iter().enumerate() {
            let parts = rows.iter().map(|row| Part::of(self.keys.value(*row, index)));
            arrays.push(columns::build(parts, &dimension.scalar.data_type));
        }
        arrays
    }

    pub(crate) fn state_columns(&self, rows: &[u32]) -> Vec<ArrayRef> {
        self.measures.iter().flat_map(|states| states.columns(rows)).collect()
    }

    /// Reads the columns that [`StateTable::to_record_batch`] writes, by name; other columns are ignored, and views, large
    /// and dictionary-encoded forms of the same types are accepted. Rows of the same key are merged.
    pub fn from_record_batch(view: Arc<View>, batch: &RecordBatch) -> Result<Self, StateError> {
        let mut table = StateTable::new(view.clone());
        let windows = key_column(batch, WINDOW_START, &DataType::Timestamp)?;
        let mut codes: Vec<Vec<u32>> = Vec::with_capacity(view.dimensions.len());
        for (index, dimension) in view.dimensions.iter().enumerate() {
            let data_type = &dimension.scalar.data_type;
            let column = key_column(batch, &dimension.name, data_type)?;
            let dictionary = table.keys.dictionary_mut(index);
            let mut encoded = Vec::with_capacity(column.len());
            columns::visit_array(&column, data_type, |part| encoded.push(dictionary.encode(part)));
            codes.push(encoded);
        }
        let mut key = vec![0; codes.len()];
        let windows = windows.as_primitive::<TimestampMicrosecondType>().values();
        let mut rows = Vec::with_capacity(windows.len());
        for (index, window) in windows.iter().enumerate() {
            for (code, column) in key.iter_mut().zip(&codes) {
                *code = column[index];
            }
            rows.push(table.keys.row(*window, &key));
        }
        let distinct = table.keys.len() == rows.len();
        let from: Vec<u32> = (0..rows.len() as u32).collect();
        for (measure, states) in view.measures.iter().zip(&mut table.measures) {
            let loaded = measure::from_columns(measure, &stored(batch, measure)?)?;
            if distinct {
                *states = loaded;
            } else {
                states.resize(table.keys.len());
                states.merge(&rows, &*loaded, &from);
            }
        }
        Ok(table)
    }

    /// The schema of [`StateTable::to_record_batch`].
    pub fn schema(view: &View) -> SchemaRef {
        let mut fields = key_fields(view);
        fields.extend(view.measures.iter().flat_map(measure::fields));
        Arc::new(Schema::new(fields))
    }

    pub fn cells(&self) -> usize {
        self.keys.len()
    }

    pub fn bytes(&self) -> usize {
        self.keys.bytes() + self.measures.iter().map(|states| states.bytes()).sum::<usize>()
    }
}

/// `window_start` and the dimensions.
pub(crate) fn key_fields(view: &View) -> Vec<Field> {
    let mut fields = vec![Field::new(WINDOW_START, DataType::Timestamp.arrow(), false)];
    let dimensions = view.dimensions.iter();
    fields.extend(
        dimensions.map(|dimension| Field::new(&dimension.name, dimension.scalar.data_type.arrow(), true)),
    );
    fields
}

/// A batch of columns that were made to its schema.
pub(crate) fn record_batch(schema: SchemaRef, arrays: Vec<ArrayRef>, rows: usize) -> RecordBatch {
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema, arrays, &options).expect("columns are built to the schema")
}

/// The scalars behind a view's filter, in the order in which the fold takes them.
fn scalars(view: &View) -> Vec<&Scalar> {
    let dimensions = view.dimensions.iter().map(|dimension| &dimension.scalar);
    dimensions
        .chain(view.measures.iter().flat_map(|measure| measure.argument.iter().chain(&measure.filter)))
        .collect()
}

fn places(view: &View, events: &DataFrame) -> PolarsResult<Places> {
    let times = columns::typed(events.column(&view.stream.event_time().name)?, &DataType::Timestamp)?;
    let times = columns::wholes(&times)?.into_no_null_iter().collect();
    let placed = |measure: &Measure| matches!(measure.aggregate, Aggregate::First | Aggregate::Last);
    if !view.measures.iter().any(placed) {
        return Ok(Places { times, ..Places::default() });
    }
    let wholes = |name: &str| columns::wholes(events.column(name)?.as_materialized_series());
    let partitions =
        wholes(PARTITION_COLUMN)?.into_no_null_iter().map(|partition| partition as i32).collect();
    let offsets = wholes(OFFSET_COLUMN)?.into_no_null_iter().collect();
    Ok(Places { times, partitions, offsets })
}

/// Updates one measure's states with the events that count for it.
fn update(
    states: &mut dyn States,
    rows: &[u32],
    argument: Option<(Series, &DataType)>,
    filter: Option<Series>,
    places: &Places,
) -> PolarsResult<()> {
    let Some(filter) = filter else {
        let values = argument.map(|(series, data_type)| Operand::new(&series, data_type)).transpose()?;
        states.update(rows, &Input { values: values.as_ref(), picked: None, places });
        return Ok(());
    };
    let mask = evaluate::mask(&filter)?;
    let picked = columns::picked(mask);
    let rows: Vec<u32> = picked.iter().map(|index| rows[*index as usize]).collect();
    let values = match argument {
        Some((series, data_type)) => Some(Operand::new(&series.filter(mask)?, data_type)?),
        None => None,
    };
    states.update(&rows, &Input { values: values.as_ref(), picked: Some(&picked), places });
    Ok(())
}

/// Window starts of times that mostly fall into the window of the one before.
struct Starts {
    window: Window,
    start: i64,
    end: i64,
}

impl Starts {
    fn of(window: Window) -> Self {
        Starts { window, start: 0, end: 0 }
    }

    fn start(&mut self, time: i64) -> i64 {
        if time < self.start || time >= self.end {
            self.start = self.window.start(time);
            self.end = self.window.end(self.start);
        }
        self.start
    }
}

fn stored(batch: &RecordBatch, measure: &Measure) -> Result<Vec<ArrayRef>, StateError> {
    let column = |field: Field| {
        batch.column_by_name(field.name()).cloned().ok_or_else(|| StateError {
            measure: measure.name.clone(),
            found: "no such column".to_string(),
            expected: format!("column {} of type {}", field.name(), field.data_type()),
        })
    };
    measure::fields(measure).into_iter().map(column).collect()
}

fn key_column(batch: &RecordBatch, name: &str, data_type: &DataType) -> Result<ArrayRef, StateError> {
    let error = |found: String| StateError {
        measure: name.to_string(),
        found,
        expected: format!("key column {name} of type {data_type}"),
    };
    let column = batch.column_by_name(name).ok_or_else(|| error("no such column".to_string()))?;
    columns::cast(column, &data_type.arrow()).map_err(|reason| error(reason.to_string()))
}
