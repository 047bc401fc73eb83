//! Parquet, read group by group.

use std::sync::Arc;

use anyhow::Context;
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType as Arrow;
use arrow::record_batch::RecordBatch;
use chrono::{DateTime, Days, NaiveDate, SecondsFormat};
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::file::reader::ChunkReader;
use serde_json::Value;
use watershed_schemas::stream::{Stream, TimestampFormat};

use super::json;
use super::rows::{Row, Rows, Wanted};

const BATCH_ROWS: usize = 4096;

pub struct Parquet {
    reader: ParquetRecordBatchReader,
    names: Vec<String>,
    /// Per column, how the stream writes times.
    times: Vec<TimestampFormat>,
    wanted: Wanted,
    total: u64,
    batch: Option<RecordBatch>,
    next: usize,
    read: u64,
}

impl Parquet {
    pub fn open(
        file: impl ChunkReader + 'static,
        stream: &Arc<Stream>,
        wanted: &Wanted,
    ) -> anyhow::Result<Self> {
        let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
        let total = u64::try_from(builder.metadata().file_metadata().num_rows()).unwrap_or_default();
        let fields = builder.schema().fields().clone();
        let names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
        for field in &fields {
            anyhow::ensure!(
                is_known(field.data_type()),
                "column {} has type {}, which has no form in JSON here: leave it out or cast it",
                field.name(),
                field.data_type()
            );
        }
        let times = names
            .iter()
            .map(|name| stream.field(name).map_or(TimestampFormat::Text, |field| field.timestamp_format));
        Ok(Parquet {
            times: times.collect(),
            reader: builder.with_batch_size(BATCH_ROWS).build()?,
            names,
            wanted: wanted.clone(),
            total,
            batch: None,
            next: 0,
            read: 0,
        })
    }

    /// Rows of the whole file.
    pub fn total(&self) -> u64 {
        self.total
    }
}

impl Rows for Parquet {
    fn next(&mut self) -> anyhow::Result<Option<Row>> {
        while self.batch.as_ref().is_none_or(|batch| self.next >= batch.num_rows()) {
            let Some(batch) = self.reader.next() else { return Ok(None) };
            self.batch = Some(batch.with_context(|| format!("row {}", self.read + 1))?);
            self.next = 0;
        }
        let batch = self.batch.as_ref().context("a batch that was just read")?;
        let columns = batch.columns().iter().zip(&self.times);
        let values: Vec<Value> = columns.map(|(column, format)| value(column, self.next, *format)).collect();
        self.next += 1;
        self.read += 1;
        let payload = json::object(self.names.iter().map(String::as_str).zip(&values));
        let field = |name: &str| values.get(self.names.iter().position(|known| known == name)?);
        Ok(Some(Row { line: self.read, content: self.wanted.content(payload, field) }))
    }

    fn position(&self) -> Option<u64> {
        Some(self.read)
    }
}

fn is_known(data_type: &Arrow) -> bool {
    matches!(
        data_type,
        Arrow::Null
            | Arrow::Boolean
            | Arrow::Utf8
            | Arrow::LargeUtf8
            | Arrow::Utf8View
            | Arrow::Date32
            | Arrow::Timestamp(..)
            | Arrow::Decimal128(..)
            | Arrow::Float32
            | Arrow::Float64
    ) || data_type.is_integer()
}

fn value(column: &ArrayRef, row: usize, format: TimestampFormat) -> Value {
    use arrow::datatypes::*;
    if column.is_null(row) {
        return Value::Null;
    }
    match column.data_type() {
        Arrow::Boolean => column.as_boolean().value(row).into(),
        Arrow::Int8 => column.as_primitive::<Int8Type>().value(row).into(),
        Arrow::Int16 => column.as_primitive::<Int16Type>().value(row).into(),
        Arrow::Int32 => column.as_primitive::<Int32Type>().value(row).into(),
        Arrow::Int64 => column.as_primitive::<Int64Type>().value(row).into(),
        Arrow::UInt8 => column.as_primitive::<UInt8Type>().value(row).into(),
        Arrow::UInt16 => column.as_primitive::<UInt16Type>().value(row).into(),
        Arrow::UInt32 => column.as_primitive::<UInt32Type>().value(row).into(),
        Arrow::UInt64 => column.as_primitive::<UInt64Type>().value(row).into(),
        // Infinities and NaN have no JSON form: they become null.
        Arrow::Float32 => column.as_primitive::<Float32Type>().value(row).into(),
        Arrow::Float64 => column.as_primitive::<Float64Type>().value(row).into(),
        Arrow::Decimal128(..) => column.as_primitive::<Decimal128Type>().value_as_string(row).into(),
        Arrow::Utf8 => column.as_string::<i32>().value(row).into(),
        Arrow::LargeUtf8 => column.as_string::<i64>().value(row).into(),
        Arrow::Utf8View => column.as_string_view().value(row).into(),
        Arrow::Date32 => date(column.as_primitive::<Date32Type>().value(row)),
        Arrow::Timestamp(TimeUnit::Second, _) => {
            time(column.as_primitive::<TimestampSecondType>().value(row).checked_mul(1_000_000), format)
        }
        Arrow::Timestamp(TimeUnit::Millisecond, _) => {
            time(column.as_primitive::<TimestampMillisecondType>().value(row).checked_mul(1_000), format)
        }
        Arrow::Timestamp(TimeUnit::Microsecond, _) => {
            time(Some(column.as_primitive::<TimestampMicrosecondType>().value(row)), format)
        }
        Arrow::Timestamp(TimeUnit::Nanosecond, _) => {
            time(Some(column.as_primitive::<TimestampNanosecondType>().value(row).div_euclid(1_000)), format)
        }
        _ => Value::Null,
    }
}

fn date(days: i32) -> Value {
    let day = NaiveDate::default();
    let magnitude = Days::new(u64::from(days.unsigned_abs()));
    let day = if days < 0 { day.checked_sub_days(magnitude) } else { day.checked_add_days(magnitude) };
    day.map_or(Value::Null, |day| day.format("%Y-%m-%d").to_string().into())
}

fn time(micros: Option<i64>, format: TimestampFormat) -> Value {
    let Some(micros) = micros else { return Value::Null };
    match format {
        TimestampFormat::EpochSeconds => micros.div_euclid(1_000_000).into(),
        TimestampFormat::EpochMillis => micros.div_euclid(1_000).into(),
        TimestampFormat::EpochMicros => micros.into(),
        TimestampFormat::Text => DateTime::from_timestamp_micros(micros)
            .map_or(Value::Null, |time| time.to_rfc3339_opts(SecondsFormat::AutoSi, true).into()),
    }
}
