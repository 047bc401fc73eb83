//! The master dataset's Parquet files: events and dead letters, one row group after another, column by column.
//!
//! | a column whose | is written as | compressed |
//! | --- | --- | --- |
//! | numbers, dates or times ascend, as event time and offsets do | what each adds to the one before (`DELTA_BINARY_PACKED`) | no: next to nothing is left |
//! | values come again | codes of a dictionary | Zstandard |
//! | numbers, dates or times do not | what each adds to the one before | Zstandard |
//! | other values do not | the values (`PLAIN`) | Zstandard |

use std::num::NonZeroUsize;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{
    DataType, Date32Type, Int32Type, Int64Type, SchemaRef, TimeUnit, TimestampMicrosecondType,
};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use hashbrown::HashSet;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowWriterOptions, compute_leaves};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;
use polars::prelude::{DataFrame, PolarsError, PolarsResult};
use watershed_schemas::columns;
use watershed_schemas::offsets::{OffsetRange, Partition};

/// Small enough that a reader who wants one window of a date skips most of its file.
const ROW_GROUP_ROWS: usize = 128 * 1024;
/// Row groups of fewer rows are encoded by one thread: starting others would take longer.
const SMALL_ROWS: usize = 32 * 1024;
/// How many values of a column are looked at, evenly spread, to judge whether they come again.
const SAMPLE: usize = 512;

/// What a file's own footer says of where it comes from.
#[derive(Clone, Debug)]
pub struct Provenance {
    pub stream: String,
    pub partition: Partition,
    pub range: OffsetRange,
    pub run_id: String,
}

/// How a column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Ascending,
    Coded,
    Stepwise,
    Plain,
}

/// The bytes of a file.
pub(crate) fn encode(rows: &DataFrame, from: &Provenance) -> PolarsResult<Bytes> {
    let bytes = write(&columns::record_batch(rows)?, from);
    bytes.map_err(|error| PolarsError::ComputeError(error.to_string().into()))
}

fn write(rows: &RecordBatch, from: &Provenance) -> Result<Bytes, ParquetError> {
    let mut bytes = Vec::new();
    // Parquet's own types say all, so Arrow's are not written beside them.
    let options =
        ArrowWriterOptions::new().with_properties(properties(rows, from)?).with_skip_arrow_metadata(true);
    let writer = ArrowWriter::try_new_with_options(&mut bytes, rows.schema(), options)?;
    let (mut file, columns) = writer.into_serialized_writer()?;
    for (index, start) in (0..rows.num_rows()).step_by(ROW_GROUP_ROWS).enumerate() {
        let rows = rows.slice(start, ROW_GROUP_ROWS.min(rows.num_rows() - start));
        let mut group = file.next_row_group()?;
        for column in encode_columns(&rows, columns.create_column_writers(index)?)? {
            column.append_to_row_group(&mut group)?;
        }
        group.close()?;
    }
    file.close()?;
    Ok(bytes.into())
}

fn encode_columns(
    rows: &RecordBatch,
    writers: Vec<ArrowColumnWriter>,
) -> Result<Vec<ArrowColumnChunk>, ParquetError> {
    let schema: SchemaRef = rows.schema();
    let encode = |index: usize, mut writer: ArrowColumnWriter| {
        for leaf in compute_leaves(schema.field(index), rows.column(index))? {
            writer.write(&leaf)?;
        }
        writer.close()
    };
    let writers = writers.into_iter().enumerate();
    if rows.num_rows() < SMALL_ROWS {
        return writers.map(|(index, writer)| encode(index, writer)).collect();
    }
    std::thread::scope(|scope| {
        let encode = &encode;
        let encoding: Vec<_> =
            writers.map(|(index, writer)| scope.spawn(move || encode(index, writer))).collect();
        let ended = |encoding: std::thread::ScopedJoinHandle<'_, _>| {
            encoding.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        };
        encoding.into_iter().map(ended).collect()
    })
}

fn properties(rows: &RecordBatch, from: &Provenance) -> Result<WriterProperties, ParquetError> {
    let Provenance { stream, partition, range, run_id } = from;
    let footer = [
        ("watershed.stream", stream.clone()),
        ("watershed.partition", partition.to_string()),
        ("watershed.from", range.from.to_string()),
        ("watershed.until", range.until.to_string()),
        ("watershed.run", run_id.clone()),
    ];
    let footer = footer.map(|(key, value)| KeyValue::new(key.to_string(), value));
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_offset_index_disabled(true)
        .set_key_value_metadata(Some(footer.to_vec()));
    for (field, values) in rows.schema().fields().iter().zip(rows.columns()) {
        let column = ColumnPath::from(field.name().as_str());
        let form = Form::of(values);
        properties = properties.set_column_dictionary_enabled(column.clone(), form == Form::Coded);
        if matches!(form, Form::Ascending | Form::Stepwise) {
            properties = properties.set_column_encoding(column.clone(), Encoding::DELTA_BINARY_PACKED);
        }
        if form == Form::Ascending {
            properties = properties.set_column_compression(column, Compression::UNCOMPRESSED);
        }
    }
    Ok(properties.build())
}

impl Form {
    fn of(values: &ArrayRef) -> Form {
        let ascend = match values.data_type() {
            DataType::Int32 => Some(ascend::<Int32Type>(values)),
            DataType::Int64 => Some(ascend::<Int64Type>(values)),
            DataType::Date32 => Some(ascend::<Date32Type>(values)),
            DataType::Timestamp(TimeUnit::Microsecond, None) => {
                Some(ascend::<TimestampMicrosecondType>(values))
            }
            _ => None,
        };
        match ascend {
            Some(true) => Form::Ascending,
            _ if come_again(values) => Form::Coded,
            Some(false) => Form::Stepwise,
            None => Form::Plain,
        }
    }
}

fn ascend<T: ArrowPrimitiveType>(values: &ArrayRef) -> bool {
    values.null_count() == 0 && values.as_primitive::<T>().values().is_sorted()
}

/// True if a dictionary of the values would be less than half as long as the column, as far as a sample tells.
fn come_again(values: &ArrayRef) -> bool {
    let (data, width) = (values.to_data(), values.data_type().primitive_width());
    match (values.data_type(), width) {
        (DataType::Utf8, _) => {
            let texts = values.as_string::<i32>();
            sample(values, |index| texts.value(index).as_bytes())
        }
        (_, Some(width)) => {
            let bytes = &data.buffers()[0][data.offset() * width..];
            sample(values, |index| &bytes[index * width..][..width])
        }
        _ => false,
    }
}

fn sample<'a>(values: &ArrayRef, value: impl Fn(usize) -> &'a [u8]) -> bool {
    let step = NonZeroUsize::new(values.len() / SAMPLE).map_or(1, NonZeroUsize::get);
    let looked_at = (0..values.len()).step_by(step).filter(|index| values.is_valid(*index));
    let (mut count, mut different) = (0, HashSet::with_capacity(SAMPLE));
    for index in looked_at {
        count += 1;
        different.insert(value(index));
    }
    let again = count - different.len();
    // Of n values drawn from m that are equally frequent, some n²/2m come again (the birthday problem).
    2 * different.len() <= count || count * count < again * values.len()
}
