//! Event files of the master dataset as one, whichever definition of their stream they were landed under.

use std::io::Cursor;
use std::sync::Arc;

use bytes::Bytes;
use polars::io::HiveOptions;
use polars::prelude::*;
use polars_buffer::Buffer;

use crate::stream::{OFFSET_COLUMN, PARTITION_COLUMN, Stream, TIMESTAMP_COLUMN};
use crate::types::DataType;

/// A plan over verified bytes, with the stream's fields and the columns that every event carries. Fields that were
/// declared after a file was written are NULL in it, those that are declared no more are passed over.
pub fn scan(stream: &Stream, files: &[Bytes]) -> PolarsResult<LazyFrame> {
    let buffers: Vec<Buffer<u8>> = files.iter().map(|file| Buffer::from_owner(file.clone())).collect();
    let options = ParquetOptions { schema: Some(Arc::new(columns(stream))), ..Default::default() };
    let args = UnifiedScanArgs {
        missing_columns_policy: MissingColumnsPolicy::Insert,
        extra_columns_policy: ExtraColumnsPolicy::Ignore,
        // Bytes have no folders to take columns from.
        hive_options: HiveOptions::new_disabled(),
        ..Default::default()
    };
    Ok(DslBuilder::scan_parquet(ScanSources::Buffers(buffers.into()), options, args)?.build().into())
}

/// What [`scan`] finds in the named columns of all rows, read by this thread alone: of many small files in half the time.
pub fn read(stream: &Stream, files: &[Bytes], names: &[&str]) -> PolarsResult<DataFrame> {
    let columns = columns(stream);
    let wanted: Schema = names.iter().map(|name| columns.try_get_field(name)).collect::<PolarsResult<_>>()?;
    let (whole, arrow) = (columns.to_arrow(CompatLevel::newest()), wanted.to_arrow(CompatLevel::newest()));
    let whole = Arc::new(whole);
    let mut events = DataFrame::empty_with_schema(&wanted);
    for file in files {
        let reader = ParquetReader::new(Cursor::new(file)).read_parallel(ParallelStrategy::None);
        let reader = reader.with_arrow_schema_projection(&whole, Some(&arrow), true)?;
        events.vstack_mut_owned(reader.finish()?.select(names.iter().copied())?)?;
    }
    Ok(events)
}

/// The stream's fields, then what every event carries.
fn columns(stream: &Stream) -> Schema {
    let fields = stream.fields.iter().map(|field| (field.name.as_str(), field.data_type.polars()));
    let position = [
        (PARTITION_COLUMN, DataType::Integer.polars()),
        (OFFSET_COLUMN, DataType::BigInt.polars()),
        (TIMESTAMP_COLUMN, DataType::Timestamp.polars()),
    ];
    fields.chain(position).map(|(name, data_type)| (PlSmallStr::from(name), data_type)).collect()
}
