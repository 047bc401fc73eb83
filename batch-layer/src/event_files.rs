//! The master dataset's Parquet files: events and dead letters, one row group after another, column by column.

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_writer::{ArrowColumnChunk, ArrowColumnWriter, ArrowWriterOptions, compute_leaves};
use parquet::errors::ParquetError;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use polars::prelude::{DataFrame, PolarsError, PolarsResult};
use watershed_schemas::columns;
use watershed_schemas::offsets::{OffsetRange, Partition};

use crate::forms::{self, ROW_GROUP_ROWS};

/// Row groups of fewer rows are encoded by one thread: starting others would take longer.
const SMALL_ROWS: usize = 32 * 1024;

/// What a file's own footer says of where it comes from.
#[derive(Clone, Debug)]
pub struct Provenance {
    pub stream: String,
    pub partition: Partition,
    pub range: OffsetRange,
    pub run_id: String,
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
    let schema = rows.schema();
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
    let properties = forms::properties(rows, footer)?;
    let properties = properties.set_statistics_enabled(EnabledStatistics::Chunk);
    Ok(properties.set_offset_index_disabled(true).build())
}
