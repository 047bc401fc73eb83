//! A view's Parquet files: rows sorted by window, then dimensions, one file per date of window starts.

use std::collections::BTreeSet;

use arrow::array::{Array, AsArray, BooleanArray, UInt32Array};
use arrow::compute::{concat_batches, filter_record_batch, take_record_batch};
use arrow::datatypes::{DataType, TimestampMicrosecondType};
use arrow::error::ArrowError;
use arrow::record_batch::{RecordBatch, RecordBatchReader};
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::errors::ParquetError;
use parquet::file::properties::EnabledStatistics;
use parquet::schema::types::ColumnPath;
use watershed_schemas::measure;
use watershed_schemas::states::WINDOW_START;
use watershed_schemas::view::View;

use crate::forms;
use crate::groups::date_of;

/// The bytes of a file; equal rows of equal definitions give equal bytes, whichever run writes them.
pub(crate) fn encode(view: &View, rows: &RecordBatch) -> Result<Bytes, ParquetError> {
    let footer =
        [("watershed.view", &view.name), ("watershed.hash", &view.hash), ("watershed.sql", &view.sql)];
    let mut properties = forms::properties(rows, footer.map(|(key, value)| (key, value.clone())))?;
    for column in images(view) {
        properties = properties
            .set_column_dictionary_enabled(column.clone(), false)
            .set_column_statistics_enabled(column, EnabledStatistics::None);
    }
    let properties = properties.build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, rows.schema(), Some(properties))?;
    writer.write(rows)?;
    writer.close()?;
    Ok(bytes.into())
}

/// The columns that hold sketches' images: no two are alike, and nobody looks for one by its bytes.
fn images(view: &View) -> impl Iterator<Item = ColumnPath> {
    let states = view.measures.iter().flat_map(measure::fields);
    let images = states.filter(|field| *field.data_type() == DataType::Binary);
    images.map(|field| ColumnPath::from(field.name().as_str()))
}

/// All rows of a file.
pub(crate) fn decode(bytes: Bytes) -> Result<RecordBatch, ParquetError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?.build()?;
    let schema = reader.schema();
    let batches = reader.collect::<Result<Vec<_>, _>>()?;
    Ok(concat_batches(&schema, &batches)?)
}

/// The rows of the windows that were not made anew.
pub(crate) fn without(rows: &RecordBatch, starts: &BTreeSet<i64>) -> Result<RecordBatch, ArrowError> {
    let kept: BooleanArray = windows(rows)?.iter().map(|start| Some(!starts.contains(start))).collect();
    filter_record_batch(rows, &kept)
}

/// One date's rows out of sorted ones.
pub(crate) fn of_date(rows: &RecordBatch, date: i32) -> Result<RecordBatch, ArrowError> {
    let windows = windows(rows)?;
    let start = windows.partition_point(|start| date_of(*start) < date);
    let end = windows.partition_point(|start| date_of(*start) <= date);
    Ok(rows.slice(start, end - start))
}

/// Rows of both, in order; no window may be in both, and each is sorted.
pub(crate) fn merged(new: RecordBatch, kept: &RecordBatch) -> Result<RecordBatch, ArrowError> {
    if kept.num_rows() == 0 {
        return Ok(new);
    }
    let kept = RecordBatch::try_new(new.schema(), kept.columns().to_vec())?;
    let both = concat_batches(&new.schema(), [&new, &kept])?;
    let windows = windows(&both)?;
    let mut order: Vec<u32> = (0..windows.len() as u32).collect();
    // A stable sort: within a window, rows stay in the order of their dimensions.
    order.sort_by_key(|row| windows[*row as usize]);
    take_record_batch(&both, &UInt32Array::from(order))
}

/// How many windows there are among sorted rows.
pub(crate) fn count_windows(rows: &RecordBatch) -> Result<u64, ArrowError> {
    Ok(windows(rows)?.chunk_by(|left, right| left == right).count() as u64)
}

fn windows(rows: &RecordBatch) -> Result<&[i64], ArrowError> {
    let missing = || ArrowError::SchemaError(format!("found no timestamp column {WINDOW_START}"));
    let column = rows.column_by_name(WINDOW_START).ok_or_else(missing)?;
    let column = column.as_primitive_opt::<TimestampMicrosecondType>().ok_or_else(missing)?;
    debug_assert_eq!(column.null_count(), 0);
    Ok(column.values())
}
