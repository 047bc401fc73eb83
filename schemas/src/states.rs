//! A view's partial states: the fold that both layers run, and what they exchange.
//!
//! Folding the same events in any split gives the same states (invariants `FOLD` and `REPLAY`), and
//! equal states give equal bytes: rows are written in the order of their keys.
//!
//! A table may be put under a [`Budget`]. What does not fit is folded into overflow groups, one per window, then one of
//! all windows: merged over dimensions and windows its states are the fold of the same events as
//! without a budget. Which groups are told apart then depends on what came first, and on what else
//! the budget's other tables hold.

mod room;
mod shed;
mod whole;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatchOptions, TimestampMicrosecondArray};
use arrow::datatypes::{
    DataType as ArrowType, Field, Int64Type, Schema, SchemaRef, TimestampMicrosecondType,
};
use arrow::record_batch::RecordBatch;
use polars::prelude::{DataFrame, PolarsResult, Series};

use crate::budget::{Account, Budget};
use crate::coding::{Codes, Run};
use crate::columns::{self, Part};
use crate::evaluate::{self, Values};
use crate::expr::Scalar;
use crate::keys::{Keys, UNKNOWN};
use crate::measure::operand::Operand;
use crate::measure::{self, Input, Places, StateError, States};
use crate::scope::Scope;
use crate::stream::{OFFSET_COLUMN, PARTITION_COLUMN};
use crate::types::DataType;
use crate::view::{Aggregate, Measure, View};

pub use whole::Whole;

/// Columns of every stored or sent state table beside dimensions and states.
pub const WINDOW_START: &str = "window_start";
pub const WINDOW_END: &str = "window_end";

/// The column that tells overflow groups in what the speed layer sends and saves: 0 in all other groups, else the number of
/// their records, -1 where that is not known.
pub const OVERFLOW: &str = "_overflow";
const UNCOUNTED: i64 = -1;

/// The states of a set of cells of one view.
#[derive(Debug)]
pub struct StateTable {
    pub view: Arc<View>,
    pub keys: Keys,
    /// One per measure, in the view's order; every one has as many rows as `keys`, but for those that a copy leaves out,
    /// which have none.
    pub measures: Vec<Box<dyn States>>,
    /// Events that were folded here or in what was merged: those that passed the view's filter. Not stored.
    pub events: u64,
    /// By row of an overflow group, the number of records in it; `None` where it is not known.
    overflow: BTreeMap<u32, Option<u64>>,
    /// The sum of those that are known.
    overflow_records: u64,
    account: Option<Account>,
    measured: room::Measured,
    /// Grows when rows are numbered anew.
    numbering: u64,
}

/// A copy is under no budget.
impl Clone for StateTable {
    fn clone(&self) -> Self {
        StateTable {
            view: self.view.clone(),
            keys: self.keys.clone(),
            measures: self.measures.iter().map(|states| states.boxed_clone()).collect(),
            events: self.events,
            overflow: self.overflow.clone(),
            overflow_records: self.overflow_records,
            account: None,
            measured: room::Measured::default(),
            numbering: self.numbering,
        }
    }
}

impl StateTable {
    pub fn new(view: Arc<View>) -> Self {
        let dimensions = view.dimensions.iter().map(|dimension| dimension.scalar.data_type.clone()).collect();
        let measures = view.measures.iter().map(measure::empty).collect();
        StateTable {
            keys: Keys::new(dimensions),
            measures,
            view,
            events: 0,
            overflow: BTreeMap::new(),
            overflow_records: 0,
            account: None,
            measured: room::Measured::default(),
            numbering: 0,
        }
    }

    /// A table of these rows. `overflow` has [`OVERFLOW`] of each.
    pub(crate) fn restored(
        view: Arc<View>,
        keys: Keys,
        measures: Vec<Box<dyn States>>,
        overflow: &Int64Array,
    ) -> Self {
        let mut table = StateTable { keys, measures, ..StateTable::new(view) };
        for (row, records) in (0..).zip(overflow.values()).filter(|(_, records)| **records != 0) {
            table.overflow_by(row, u64::try_from(*records).ok());
        }
        table
    }

    /// While this stays the same, so does every row's number, and every value's code.
    pub fn numbering(&self) -> u64 {
        self.numbering
    }

    /// The table under a budget. What it holds too much is folded into overflow groups at once.
    pub fn within(mut self, budget: &Arc<Budget>) -> Self {
        self.limit(budget);
        self
    }

    /// As [`StateTable::within`].
    pub fn limit(&mut self, budget: &Arc<Budget>) {
        self.account = Some(Account::open(budget.clone()));
        self.settle();
    }

    /// Folds decoded events: filter, window, dimensions, measures. `events` has the view's fields and, for views with
    /// `first` or `last`, `_partition` and `_offset`. Gives the row of every event that passed the filter: no other
    /// row has changed.
    pub fn fold(&mut self, events: &DataFrame) -> PolarsResult<Vec<u32>> {
        self.fold_run(&Run::new(events.clone()))
    }

    /// As [`StateTable::fold`], for events that several views fold.
    pub fn fold_run(&mut self, run: &Run) -> PolarsResult<Vec<u32>> {
        self.fold_by(run, |_, states, counted, places| counted.update(&mut **states, places))
    }

    /// Folds events; `update` updates one measure's states with those that count for it.
    fn fold_by(
        &mut self,
        run: &Run,
        mut update: impl FnMut(&Measure, &mut Box<dyn States>, &Counted<'_>, &Places) -> PolarsResult<()>,
    ) -> PolarsResult<Vec<u32>> {
        let view = self.view.clone();
        let run = match &view.filter {
            Some(filter) => {
                let predicate = evaluate::scalars(run.events(), &[filter])?;
                &Run::new(run.events().filter(evaluate::mask(&predicate[0])?)?)
            }
            None => run,
        };
        let count = run.events().height();
        if count == 0 {
            return Ok(Vec::new());
        }
        let places = places(&view, run.events())?;
        let mut values = evaluate::values(run, &scalars(&view))?.into_iter();
        let rows = self.rows(&view, &places.times, &mut values)?;
        for (measure, states) in view.measures.iter().zip(&mut self.measures) {
            let argument =
                measure.argument.as_ref().and_then(|scalar| Some((values.next()?, &scalar.data_type)));
            let filter = measure.filter.as_ref().and_then(|_| values.next());
            states.resize(self.keys.len());
            update(measure, states, &Counted::of(&rows, argument, filter)?, &places)?;
        }
        self.events += count as u64;
        self.measured.fold(count);
        self.settle();
        Ok(rows)
    }

    /// The rows that lie in a scope, and all overflow groups, which may hold records that do.
    pub fn rows_in(&self, scope: &Scope) -> Vec<u32> {
        let within = scope.within(&self.keys);
        (0..self.keys.len() as u32).filter(|row| within.has(*row) || self.keys.is_overflow(*row)).collect()
    }

    /// A copy of what [`StateTable::rows_in`] gives, with the measures that lie in the scope.
    pub fn part(&self, scope: &Scope) -> StateTable {
        let (rows, mut part) = (self.rows_in(scope), StateTable::new(self.view.clone()));
        let into = if rows.len() == self.keys.len() {
            part.keys = self.keys.clone();
            rows.clone()
        } else {
            let dimensions: Vec<usize> = (0..self.keys.dimensions()).collect();
            part.keys.regroup(&self.keys, &rows, &dimensions, |start| start)
        };
        let measures = part.measures.iter_mut().zip(&self.measures).enumerate();
        for (_, (copy, states)) in measures.filter(|(index, _)| scope.has_measure(*index)) {
            copy.resize(rows.len());
            copy.merge(&into, &**states, &rows);
        }
        for (row, into) in rows.iter().zip(&into).filter(|_| !self.overflow.is_empty()) {
            if let Some(records) = self.overflow.get(row) {
                part.overflow_by(*into, *records);
            }
        }
        part
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
        if !other.overflow.is_empty() {
            for (from, into) in rows.iter().zip(into) {
                if let Some(records) = other.overflow.get(from) {
                    self.overflow_by(*into, *records);
                }
            }
        }
    }

    /// The overflow groups' rows, each with the number of its records, as far as that is known.
    pub fn overflow(&self) -> impl Iterator<Item = (u32, Option<u64>)> + '_ {
        self.overflow.iter().map(|(row, records)| (*row, *records))
    }

    fn overflow_by(&mut self, row: u32, records: Option<u64>) {
        let held = self.overflow.entry(row).or_insert(Some(0));
        *held = held.zip(records).map(|(held, more)| held + more);
        self.overflow_records += records.unwrap_or_default();
    }

    /// `window_start`, the dimensions, the states; rows sorted by key, so that equal states give equal bytes. Overflow groups
    /// look like others here.
    pub fn to_record_batch(&self) -> RecordBatch {
        let rows = self.keys.sorted_rows();
        let mut arrays = self.key_columns(&rows);
        arrays.extend(self.state_columns(&rows));
        record_batch(Self::schema(&self.view), arrays, rows.len())
    }

    /// What the speed layer sends: the same and [`OVERFLOW`], with rows as they lie here, in the order of first sight, and
    /// without measures that a copy left out. Whoever asks puts no question to the order, and sorting takes longer than
    /// all else.
    pub fn to_live_batch(&self) -> RecordBatch {
        let rows: Vec<u32> = (0..self.keys.len() as u32).collect();
        let (mut fields, mut arrays) = (key_fields(&self.view), self.key_columns(&rows));
        let measures = self.view.measures.iter().zip(&self.measures);
        for (measure, states) in measures.filter(|(_, states)| states.len() == rows.len()) {
            fields.extend(measure::fields(measure));
            arrays.extend(states.columns(&rows));
        }
        fields.push(overflow_field());
        arrays.push(self.overflow_column(rows.iter().copied()));
        record_batch(Arc::new(Schema::new(fields)), arrays, rows.len())
    }

    /// [`OVERFLOW`] of the given rows.
    pub(crate) fn overflow_column(&self, rows: impl Iterator<Item = u32>) -> ArrayRef {
        let records = rows.map(|row| match self.overflow.get(&row) {
            None => 0,
            Some(records) => records.map_or(UNCOUNTED, |records| records as i64),
        });
        Arc::new(Int64Array::from_iter_values(records))
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

    /// Reads the columns that [`StateTable::to_record_batch`] or [`StateTable::to_live_batch`] writes, by name; other columns
    /// are ignored, and views, large and dictionary-encoded forms of the same types are accepted. Rows of the same key are
    /// merged.
    pub fn from_record_batch(view: Arc<View>, batch: &RecordBatch) -> Result<Self, StateError> {
        StateTable::read(view, batch, &Scope::default())
    }

    /// As [`StateTable::from_record_batch`], of a batch that holds the measures of a scope at least: others are left out.
    pub fn read(view: Arc<View>, batch: &RecordBatch, scope: &Scope) -> Result<Self, StateError> {
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
        let overflow = overflow_column(batch)?;
        let mut key = vec![0; codes.len()];
        let windows = windows.as_primitive::<TimestampMicrosecondType>().values();
        let mut rows = Vec::with_capacity(windows.len());
        for (index, window) in windows.iter().enumerate() {
            let records = overflow.as_ref().map_or(0, |overflow| overflow.value(index));
            for (code, column) in key.iter_mut().zip(&codes) {
                *code = if records == 0 { column[index] } else { UNKNOWN };
            }
            let row = table.keys.row(*window, &key);
            if records != 0 {
                table.overflow_by(row, u64::try_from(records).ok());
            }
            rows.push(row);
        }
        let distinct = table.keys.len() == rows.len();
        let from: Vec<u32> = (0..rows.len() as u32).collect();
        let measures = view.measures.iter().zip(&mut table.measures).enumerate();
        for (_, (measure, states)) in measures.filter(|(index, _)| scope.has_measure(*index)) {
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

/// The events that count for one measure.
struct Counted<'a> {
    /// The row of each.
    rows: Cow<'a, [u32]>,
    /// The argument's values; `None` for `count(*)`.
    argument: Option<(Series, &'a DataType)>,
    /// The same where they are texts that come again.
    codes: Option<Rc<Codes>>,
    /// Which of all events they are; `None` where all count.
    picked: Option<Vec<u32>>,
}

impl<'a> Counted<'a> {
    fn of(
        rows: &'a [u32],
        argument: Option<(Values, &'a DataType)>,
        filter: Option<Values>,
    ) -> PolarsResult<Self> {
        let (argument, codes) = match argument {
            Some((Values { series, codes }, data_type)) => (Some((series, data_type)), codes),
            None => (None, None),
        };
        let Some(filter) = filter else {
            return Ok(Counted { rows: rows.into(), argument, codes, picked: None });
        };
        let mask = evaluate::mask(&filter.series)?;
        let picked = columns::picked(mask);
        let rows = picked.iter().map(|index| rows[*index as usize]).collect();
        let argument = match argument {
            Some((series, data_type)) => Some((series.filter(mask)?, data_type)),
            None => None,
        };
        let codes = codes.map(|codes| Rc::new(codes.picked(&picked)));
        Ok(Counted { rows, argument, codes, picked: Some(picked) })
    }

    fn update(&self, states: &mut dyn States, places: &Places) -> PolarsResult<()> {
        let values = self.argument.as_ref().map(|(series, data_type)| Operand::new(series, data_type));
        let (values, codes) = (values.transpose()?, self.codes.as_deref());
        let picked = self.picked.as_deref();
        states.update(&self.rows, &Input { values: values.as_ref(), codes, picked, places });
        Ok(())
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

pub(crate) fn overflow_field() -> Field {
    Field::new(OVERFLOW, ArrowType::Int64, false)
}

fn overflow_column(batch: &RecordBatch) -> Result<Option<Int64Array>, StateError> {
    let Some(column) = batch.column_by_name(OVERFLOW) else { return Ok(None) };
    let error = |found: String| StateError {
        measure: OVERFLOW.to_string(),
        found,
        expected: format!("column {OVERFLOW} of type {}", ArrowType::Int64),
    };
    let column = columns::cast(column, &ArrowType::Int64).map_err(|reason| error(reason.to_string()))?;
    match column.null_count() {
        0 => Ok(Some(column.as_primitive::<Int64Type>().clone())),
        nulls => Err(error(format!("{nulls} nulls"))),
    }
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
