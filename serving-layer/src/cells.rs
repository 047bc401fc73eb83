//! The cells of one view file, held as they are merged and answered.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchReader as _};
use arrow::compute::{cast, concat_batches};
use arrow::datatypes as ar;
use bytes::Bytes;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use watershed_schemas::measure::StateError;
use watershed_schemas::states::StateTable;
use watershed_schemas::types::DataType;
use watershed_schemas::value::Value;
use watershed_schemas::view::View;

/// One view file. Row `i` of the table and of the exact values is the same cell.
#[derive(Debug)]
pub struct Cells {
    pub table: StateTable,
    /// Exact values of sketched measures, by measure; algebraic ones are exact in their states.
    pub exact: Vec<Option<ArrayRef>>,
    /// The first and the last window start.
    pub windows: Option<(i64, i64)>,
    /// True where rows come in the order of their windows.
    pub sorted: bool,
}

/// A file whose bytes are as published but which this build cannot read.
#[derive(Debug, thiserror::Error)]
pub enum CellsError {
    #[error(transparent)]
    State(#[from] StateError),
    #[error("{0}")]
    Parquet(#[from] parquet::errors::ParquetError),
    #[error("{0}")]
    Arrow(#[from] arrow::error::ArrowError),
    #[error("column {name} is missing")]
    Missing { name: String },
    #[error("found {found} cells in {rows} rows, expected one per row")]
    Repeated { found: usize, rows: usize },
    #[error("its rows are not sorted by window")]
    Unsorted,
}

impl Cells {
    /// Reads a view file as the batch layer writes it, by column names.
    pub fn read(view: &Arc<View>, bytes: Bytes) -> Result<Cells, CellsError> {
        Cells::of(view, &rows(bytes)?)
    }

    /// The rows of a view file, taken apart.
    pub fn of(view: &Arc<View>, rows: &RecordBatch) -> Result<Cells, CellsError> {
        let exact = |measure: &watershed_schemas::view::Measure| {
            if !measure.aggregate.is_sketched() {
                return Ok(None);
            }
            let column = rows.column_by_name(&measure.name);
            let column = column.ok_or_else(|| CellsError::Missing { name: measure.name.clone() })?;
            Ok::<_, CellsError>(Some(cast(column, &measure.result_type.arrow())?))
        };
        let exact = view.measures.iter().map(exact).collect::<Result<_, _>>()?;
        let table = StateTable::from_record_batch(view.clone(), rows)?;
        if table.cells() != rows.num_rows() {
            return Err(CellsError::Repeated { found: table.cells(), rows: rows.num_rows() });
        }
        let starts = table.keys.windows();
        let windows = starts.iter().min().copied().zip(starts.iter().max().copied());
        let sorted = starts.is_sorted();
        Ok(Cells { table, exact, windows, sorted })
    }

    pub fn bytes(&self) -> usize {
        let exact = self.exact.iter().flatten().map(|column| column.get_array_memory_size());
        self.table.bytes() + exact.sum::<usize>()
    }
}

/// All rows of a view file, whatever the view's definition.
pub fn rows(bytes: Bytes) -> Result<RecordBatch, CellsError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?.with_batch_size(1 << 20).build()?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    Ok(concat_batches(&schema, &batches)?)
}

/// One value of a column of a [`DataType`].
pub fn value(column: &dyn Array, data_type: &DataType, row: usize) -> Value {
    if column.is_null(row) {
        return Value::Null;
    }
    match data_type {
        DataType::Boolean => Value::Boolean(column.as_boolean().value(row)),
        DataType::Integer => Value::Integer(column.as_primitive::<ar::Int32Type>().value(row).into()),
        DataType::BigInt => Value::Integer(column.as_primitive::<ar::Int64Type>().value(row)),
        DataType::Double => Value::Double(column.as_primitive::<ar::Float64Type>().value(row)),
        DataType::Decimal { scale, .. } => {
            Value::Decimal(column.as_primitive::<ar::Decimal128Type>().value(row), *scale)
        }
        DataType::Text => Value::Text(column.as_string::<i32>().value(row).into()),
        DataType::Date => Value::Date(column.as_primitive::<ar::Date32Type>().value(row)),
        DataType::Timestamp => {
            Value::Timestamp(column.as_primitive::<ar::TimestampMicrosecondType>().value(row))
        }
        DataType::TopK(item) => {
            let items = column.as_list::<i32>().value(row);
            let items = items.as_struct();
            let (values, counts) = (items.column(0), items.column(1).as_primitive::<ar::Int64Type>());
            let item = |row| (value(values, item, row), counts.value(row).unsigned_abs());
            Value::TopK((0..items.len()).map(item).collect())
        }
    }
}
