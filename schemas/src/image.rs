//! Images of a state table: its rows as they lie in memory, all of them or what has changed.
//!
//! An image of all can be continued by one of what has changed since, and that by another. Guarantee: the
//! table restored from them, in order, is the one of which the last was taken, every row, code and state at
//! its place. So folding on gives the same bytes in both (invariant `REPLAY`), and the next image may
//! continue the last in either.
//!
//! A row keeps its number and a value its code while [`StateTable::numbering`] stays the same, so an image names what
//! changed by numbers: no key is looked up, written or compared twice. Once rows are numbered anew, the next image is of all.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::interleave;
use arrow::datatypes::{
    DataType as ArrowType, Field, Int64Type, Schema, TimestampMicrosecondType, UInt32Type,
};
use serde::{Deserialize, Serialize};

use crate::columns::{self, Part};
use crate::dictionary::Dictionary;
use crate::keys::{Keys, UNKNOWN};
use crate::measure::{self, StateError, States};
use crate::states::{StateTable, WINDOW_START, overflow_field, record_batch};
use crate::types::DataType;
use crate::value::Value;
use crate::view::View;

/// Which row each state is of; not there when they are of all rows, in order.
const ROW: &str = "row";
const VALUE: &str = "value";

/// How far a table has grown.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Extent {
    pub rows: usize,
    /// Values that were seen, by dimension.
    pub values: Vec<usize>,
}

/// A copy of a table's rows, or of some. Taking it is quick; encoding it needs the table no more.
#[derive(Debug)]
pub struct Image {
    view: Arc<View>,
    /// `None` for all.
    rows: Option<Vec<u32>>,
    states: Vec<Box<dyn States>>,
    /// Which of the rows are overflow groups.
    overflow: ArrayRef,
    keys: RecordBatch,
    /// By dimension.
    values: Vec<RecordBatch>,
}

/// What one image was encoded to.
pub type Encoded = Vec<RecordBatch>;

impl Extent {
    pub fn of(table: &StateTable) -> Extent {
        let values = (0..table.keys.dimensions()).map(|index| table.keys.dictionary(index).len());
        Extent { rows: table.keys.len(), values: values.collect() }
    }
}

impl Image {
    pub fn whole(table: &StateTable) -> Image {
        let states = table.measures.iter().map(|states| states.boxed_clone()).collect();
        Image::of(table, &Extent::default(), None, states)
    }

    /// What has changed since the table had grown to `extent`: `rows` ascend and have every row that was
    /// folded into since.
    pub fn since(table: &StateTable, extent: &Extent, rows: Vec<u32>) -> Image {
        // Merging into an empty state copies (invariant `FOLD`).
        let places: Vec<u32> = (0..rows.len() as u32).collect();
        let measures = table.view.measures.iter().zip(&table.measures);
        let states = measures.map(|(measure, states)| {
            let mut copy = measure::empty(measure);
            copy.resize(rows.len());
            copy.merge(&places, &**states, &rows);
            copy
        });
        let states = states.collect();
        Image::of(table, extent, Some(rows), states)
    }

    fn of(table: &StateTable, since: &Extent, rows: Option<Vec<u32>>, states: Vec<Box<dyn States>>) -> Image {
        let (view, keys) = (table.view.clone(), &table.keys);
        let windows = TimestampMicrosecondArray::from(keys.windows()[since.rows..].to_vec());
        let mut columns: Vec<ArrayRef> = vec![Arc::new(windows)];
        for dimension in 0..keys.dimensions() {
            let codes = keys.codes(dimension).skip(since.rows);
            columns.push(Arc::new(UInt32Array::from(codes.collect::<Vec<u32>>())));
        }
        let values = view.dimensions.iter().enumerate().map(|(index, dimension)| {
            let new = &keys.dictionary(index)[since.values.get(index).copied().unwrap_or_default()..];
            let column = columns::build(new.iter().map(Part::of), &dimension.scalar.data_type);
            let schema = Schema::new(vec![Field::new(VALUE, dimension.scalar.data_type.arrow(), true)]);
            record_batch(Arc::new(schema), vec![column], new.len())
        });
        let values = values.collect();
        let overflow = match &rows {
            Some(rows) => table.overflow_column(rows.iter().copied()),
            None => table.overflow_column(0..keys.len() as u32),
        };
        let keys = record_batch(Arc::new(key_schema(&view)), columns, keys.len() - since.rows);
        Image { view, rows, states, overflow, keys, values }
    }

    pub fn encode(self) -> Encoded {
        let mut fields: Vec<Field> = self.view.measures.iter().flat_map(measure::fields).collect();
        let count = self.rows.as_ref().map_or(self.keys.num_rows(), Vec::len);
        let places: Vec<u32> = (0..count as u32).collect();
        let mut columns: Vec<ArrayRef> =
            self.states.iter().flat_map(|states| states.columns(&places)).collect();
        fields.push(overflow_field());
        columns.push(self.overflow);
        if let Some(rows) = self.rows {
            fields.push(Field::new(ROW, ArrowType::UInt32, false));
            columns.push(Arc::new(UInt32Array::from(rows)));
        }
        let states = record_batch(Arc::new(Schema::new(fields)), columns, count);
        [states, self.keys].into_iter().chain(self.values).collect()
    }
}

/// The rows that an image has states of; `None` for all.
pub fn rows(image: &Encoded) -> Result<Option<&[u32]>, StateError> {
    let states = image.first().ok_or_else(|| error(ROW, "no batch", "a batch of states"))?;
    if states.column_by_name(ROW).is_none() {
        return Ok(None);
    }
    Ok(Some(column(states, ROW, &ArrowType::UInt32)?.as_primitive::<UInt32Type>().values()))
}

/// The table of which the last of these images was taken. The first is of all; each of the others continues the one
/// before it.
pub fn restore(view: Arc<View>, images: &[Encoded]) -> Result<StateTable, StateError> {
    if images.is_empty() {
        return Err(error("images", "none", "at least one"));
    }
    let batches = 2 + view.dimensions.len();
    if let Some(other) = images.iter().find(|image| image.len() != batches) {
        let expected = format!("{batches} for {} dimensions", view.dimensions.len());
        return Err(error("images", format!("{} batches", other.len()), expected));
    }
    let keys = keys(&view, images)?;
    let sources = sources(images, keys.len())?;
    let mut measures = Vec::with_capacity(view.measures.len());
    for measure in &view.measures {
        let stored = |field: Field| newest(images, &field, &sources);
        let stored = measure::fields(measure).into_iter().map(stored).collect::<Result<Vec<_>, _>>()?;
        let states = measure::from_columns(measure, &stored)?;
        if states.len() != keys.len() {
            let found = format!("{} states", states.len());
            return Err(error(&measure.name, found, format!("{} rows", keys.len())));
        }
        measures.push(states);
    }
    let overflow = newest(images, &overflow_field(), &sources)?;
    Ok(StateTable::restored(view, keys, measures, overflow.as_primitive::<Int64Type>()))
}

fn keys(view: &View, images: &[Encoded]) -> Result<Keys, StateError> {
    let mut dictionaries = Vec::with_capacity(view.dimensions.len());
    for (index, dimension) in view.dimensions.iter().enumerate() {
        let data_type = &dimension.scalar.data_type;
        let mut values: Vec<Value> = Vec::new();
        for image in images {
            let column = column(&image[2 + index], VALUE, &data_type.arrow())?;
            columns::visit_array(column, data_type, |part| values.push(part.value(data_type)));
        }
        dictionaries.push(Dictionary::restored(data_type.clone(), values));
    }
    let width = dictionaries.len();
    let mut windows: Vec<i64> = Vec::new();
    let mut codes: Vec<u32> = Vec::new();
    for image in images {
        let (batch, from) = (&image[1], windows.len());
        let starts = column(batch, WINDOW_START, &DataType::Timestamp.arrow())?;
        windows.extend_from_slice(starts.as_primitive::<TimestampMicrosecondType>().values());
        codes.resize(windows.len() * width, 0);
        for (index, dictionary) in dictionaries.iter().enumerate() {
            let column = column(batch, &code_name(index), &ArrowType::UInt32)?;
            let column = column.as_primitive::<UInt32Type>().values();
            let known = |code: &u32| *code == UNKNOWN || (*code as usize) < dictionary.values().len();
            if let Some(code) = column.iter().find(|code| !known(code)) {
                let expected = format!("one below {}", dictionary.values().len());
                return Err(error(&view.dimensions[index].name, format!("code {code}"), expected));
            }
            for (row, code) in (from..).zip(column) {
                codes[row * width + index] = *code;
            }
        }
    }
    Ok(Keys::restored(dictionaries, windows, codes))
}

/// Where each row's newest states lie: in which image, and at which place there. Empty when there is but one
/// image, and it lies in order.
fn sources(images: &[Encoded], count: usize) -> Result<Vec<(usize, usize)>, StateError> {
    const NOWHERE: (usize, usize) = (usize::MAX, 0);
    if let [only] = images
        && rows(only)?.is_none()
    {
        return Ok(Vec::new());
    }
    let mut sources = vec![NOWHERE; count];
    for (image, encoded) in images.iter().enumerate() {
        let held = encoded[0].num_rows();
        match rows(encoded)? {
            None if held <= count => {
                for (place, source) in sources[..held].iter_mut().enumerate() {
                    *source = (image, place);
                }
            }
            None => return Err(error(ROW, format!("{held} rows"), format!("at most {count}"))),
            Some(rows) => {
                for (place, row) in rows.iter().enumerate() {
                    let source = sources.get_mut(*row as usize);
                    *source
                        .ok_or_else(|| error(ROW, format!("row {row}"), format!("one below {count}")))? =
                        (image, place);
                }
            }
        }
    }
    match sources.iter().position(|source| *source == NOWHERE) {
        None => Ok(sources),
        Some(row) => Err(error(ROW, format!("no states of row {row}"), format!("those of {count} rows"))),
    }
}

/// A column of states, of each row as the last image has it that has it.
fn newest(images: &[Encoded], field: &Field, sources: &[(usize, usize)]) -> Result<ArrayRef, StateError> {
    let column = |image: &'_ Encoded| {
        let column =
            image[0].column_by_name(field.name()).filter(|column| column.data_type() == field.data_type());
        column.cloned().ok_or_else(|| {
            error(
                field.name(),
                "no such column",
                format!("column {} of type {}", field.name(), field.data_type()),
            )
        })
    };
    let columns = images.iter().map(column).collect::<Result<Vec<ArrayRef>, _>>()?;
    match columns.as_slice() {
        [only] if sources.is_empty() => Ok(only.clone()),
        columns => {
            let columns: Vec<&dyn Array> = columns.iter().map(|column| &**column).collect();
            let mixed = interleave(&columns, sources);
            mixed.map_err(|reason| error(field.name(), reason.to_string(), "states that can be put together"))
        }
    }
}

fn key_schema(view: &View) -> Schema {
    let mut fields = vec![Field::new(WINDOW_START, DataType::Timestamp.arrow(), false)];
    let codes = 0..view.dimensions.len();
    fields.extend(codes.map(|index| Field::new(code_name(index), ArrowType::UInt32, false)));
    Schema::new(fields)
}

fn code_name(dimension: usize) -> String {
    format!("code_{dimension}")
}

fn column<'a>(batch: &'a RecordBatch, name: &str, data_type: &ArrowType) -> Result<&'a ArrayRef, StateError> {
    let column = batch.column_by_name(name).filter(|column| column.data_type() == data_type);
    column.ok_or_else(|| error(name, "no such column", format!("column {name} of type {data_type}")))
}

fn error(measure: &str, found: impl Into<String>, expected: impl Into<String>) -> StateError {
    StateError { measure: measure.to_string(), found: found.into(), expected: expected.into() }
}
