//! Events as rows of a table.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{BooleanArray, new_null_array};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::{Field, Schema, SchemaRef};
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use watershed_schemas::manifest::EventFile;
use watershed_schemas::predicate::Predicate;
use watershed_schemas::stream::Stream;
use watershed_schemas::types::DataType;
use watershed_security::RowFilter;

use super::fold::external;
use super::tables::event_columns;
use crate::ask::Serving;
use crate::cells::CellsError;
use crate::refusal::{Reason, Refusal};
use crate::turns::beside;

/// How the events of a stream are read: some columns, and the rows that a filter passes.
#[derive(Clone)]
pub struct Reading {
    stream: Arc<Stream>,
    columns: Arc<Vec<(String, DataType)>>,
    pub schema: SchemaRef,
    filter: Option<Arc<Predicate>>,
}

impl Reading {
    pub fn of(
        stream: &Arc<Stream>,
        wanted: &BTreeSet<String>,
        rows: Option<&RowFilter>,
    ) -> Result<Reading, Refusal> {
        let filter = rows.map(|rows| rows.over_stream(stream)).transpose();
        let filter = filter.map_err(|error| Refusal::new(Reason::Forbidden, error.to_string()))?;
        let columns: Vec<(String, DataType)> = (event_columns(stream).into_iter())
            .filter(|(name, _)| wanted.contains(*name))
            .map(|(name, data_type)| (name.to_string(), data_type))
            .collect();
        let fields = columns.iter().map(|(name, data_type)| Field::new(name, data_type.arrow(), true));
        let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
        Ok(Reading { stream: stream.clone(), columns: Arc::new(columns), schema, filter })
    }

    /// The rows of one file, which is verified before its first use.
    pub async fn read(&self, serving: &Serving, file: &EventFile) -> Result<Vec<RecordBatch>, Refusal> {
        let bytes = serving.streams.store.read(&file.file).await.map_err(|error| {
            if error.is_unreached() {
                return Refusal::not_ready(error.to_string());
            }
            tracing::error!(%error, "events not read");
            Refusal::new(Reason::Failed, error.to_string())
        })?;
        let reading = self.clone();
        beside(move || reading.decode(bytes)).await?.map_err(|error| {
            let path = &file.file.path;
            let detail = format!("{path} is not an event file that this build can read: {error}");
            Refusal::new(Reason::Failed, detail)
        })
    }

    /// An event file's rows under the stream's present definition: fields that are younger than the file are NULL.
    fn decode(&self, bytes: Bytes) -> Result<Vec<RecordBatch>, CellsError> {
        let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
        let names = self.columns.iter().map(|(name, _)| name.as_str());
        let names = names.chain(self.filter.iter().flat_map(|rows| rows.names()));
        let mask = ProjectionMask::columns(reader.parquet_schema(), names);
        let reader = reader.with_projection(mask).with_batch_size(65_536).build()?;
        reader.map(|batch| self.conform(batch?)).collect()
    }

    fn conform(&self, batch: RecordBatch) -> Result<RecordBatch, CellsError> {
        let column = |(name, data_type): &(String, DataType)| match batch.column_by_name(name) {
            Some(column) => cast(column, &data_type.arrow()),
            None => Ok(new_null_array(&data_type.arrow(), batch.num_rows())),
        };
        let arrays = self.columns.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let rows = RecordBatch::try_new(self.schema.clone(), arrays)?;
        let Some(filter) = &self.filter else { return Ok(rows) };
        let pass = filter.rows(&self.stream, &batch).map_err(external)?;
        Ok(filter_record_batch(&rows, &BooleanArray::from(pass))?)
    }
}
