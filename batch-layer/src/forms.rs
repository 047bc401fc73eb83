//! How the columns of a Parquet file are written, which follows from what they hold.
//!
//! | a column whose | is written as |
//! | --- | --- |
//! | numbers, dates or times ascend, as event time and offsets do | what each adds to the one before (`DELTA_BINARY_PACKED`), not compressed: next to nothing is left |
//! | values come again | codes of a dictionary |
//! | numbers, dates or times do not | what each adds to the one before |
//! | other values do not | the values (`PLAIN`) |
//!
//! A column of a few values is not compressed either: it costs more time than it saves room.

use std::num::NonZeroUsize;

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray};
use arrow::datatypes::{DataType, Date32Type, Int32Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use arrow::record_batch::RecordBatch;
use hashbrown::HashSet;
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{WriterProperties, WriterPropertiesBuilder};
use parquet::schema::types::ColumnPath;

/// Small enough that a reader who wants one window of a date skips most of its file.
pub(crate) const ROW_GROUP_ROWS: usize = 128 * 1024;
/// How many values of a column are looked at, evenly spread, to judge whether they come again.
const SAMPLE: usize = 512;
/// Columns of fewer bytes are not compressed.
const SMALL_BYTES: usize = 4 * 1024;

/// How a column is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Ascending,
    Coded,
    Stepwise,
    Plain,
}

/// What every file is written with, and of each column of scalars the form that suits it; `footer` is what the file says of itself.
pub(crate) fn properties<const N: usize>(
    rows: &RecordBatch,
    footer: [(&str, String); N],
) -> Result<WriterPropertiesBuilder, ParquetError> {
    let footer = footer.map(|(key, value)| KeyValue::new(key.to_string(), value));
    let mut properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_max_row_group_row_count(Some(ROW_GROUP_ROWS))
        .set_key_value_metadata(Some(footer.to_vec()));
    for (field, values) in rows.schema().fields().iter().zip(rows.columns()) {
        if values.data_type().is_nested() {
            continue;
        }
        let column = ColumnPath::from(field.name().as_str());
        let form = Form::of(values);
        properties = properties.set_column_dictionary_enabled(column.clone(), form == Form::Coded);
        if matches!(form, Form::Ascending | Form::Stepwise) {
            properties = properties.set_column_encoding(column.clone(), Encoding::DELTA_BINARY_PACKED);
        }
        let is_small = values.to_data().get_slice_memory_size().is_ok_and(|bytes| bytes < SMALL_BYTES);
        if form == Form::Ascending || is_small {
            properties = properties.set_column_compression(column, Compression::UNCOMPRESSED);
        }
    }
    Ok(properties)
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
