//! Arrow IPC streams and Parquet files, with the answer's head in the schema's metadata.
//!
//! A statement's rows are Arrow already and are written as they are.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::array::{
    ArrayRef, BooleanArray, Date32Array, Decimal128Array, Float64Array, Int32Array, Int64Array, ListArray,
    StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType as ArrowType, Field, Fields, Schema};
use arrow::error::ArrowError;
use arrow::ipc::writer::StreamWriter;
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use watershed_schemas::types::DataType;
use watershed_schemas::value::Value;

use crate::answer::Answer;

/// The key of the answer's head in the schema's metadata.
const HEAD: &str = "watershed-answer";

pub fn arrow(batch: &RecordBatch) -> Result<Vec<u8>, ArrowError> {
    let mut writer = StreamWriter::try_new(Vec::new(), &batch.schema())?;
    writer.write(batch)?;
    writer.into_inner()
}

pub fn parquet(batch: &RecordBatch) -> Result<Vec<u8>, ParquetError> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None)?;
    writer.write(batch)?;
    writer.into_inner()
}

/// Rows that carry their head.
pub fn with_head(rows: &RecordBatch, head: String) -> Result<RecordBatch, ArrowError> {
    let metadata = HashMap::from([(HEAD.to_string(), head)]);
    let schema = Schema::new_with_metadata(rows.schema().fields().clone(), metadata);
    rows.clone().with_schema(Arc::new(schema))
}

pub fn batch(answer: &Answer) -> Result<RecordBatch, ArrowError> {
    let mut fields = Vec::with_capacity(answer.columns.len() + 1);
    let mut columns = Vec::with_capacity(answer.columns.len() + 1);
    for column in &answer.columns {
        fields.push(Field::new(&column.name, column.data_type.arrow(), true));
        let values: Vec<&Value> = column.values.iter().collect();
        columns.push(array(&column.data_type, &values)?);
    }
    for (name, truths) in answer.marks() {
        fields.push(Field::new(name, ArrowType::Boolean, false));
        columns.push(Arc::new(BooleanArray::from(truths.clone())));
    }
    let metadata = HashMap::from([(HEAD.to_string(), super::header(answer))]);
    let schema = Arc::new(Schema::new_with_metadata(Fields::from(fields), metadata));
    let rows = RecordBatchOptions::new().with_row_count(Some(answer.rows));
    RecordBatch::try_new_with_options(schema, columns, &rows)
}

/// Values of one type as a column; a value of another type counts as NULL.
pub fn array(data_type: &DataType, values: &[&Value]) -> Result<ArrayRef, ArrowError> {
    macro_rules! collect {
        ($array:ty, $pattern:pat => $value:expr) => {
            Arc::new(
                values
                    .iter()
                    .map(|value| match value {
                        $pattern => Some($value),
                        _ => None,
                    })
                    .collect::<$array>(),
            )
        };
    }
    Ok(match data_type {
        DataType::Boolean => collect!(BooleanArray, Value::Boolean(value) => *value),
        DataType::Integer => collect!(Int32Array, Value::Integer(value) => *value as i32),
        DataType::BigInt => collect!(Int64Array, Value::Integer(value) => *value),
        DataType::Double => collect!(Float64Array, Value::Double(value) => *value),
        DataType::Text => collect!(StringArray, Value::Text(value) => value.as_ref()),
        DataType::Date => collect!(Date32Array, Value::Date(value) => *value),
        DataType::Timestamp => collect!(TimestampMicrosecondArray, Value::Timestamp(value) => *value),
        DataType::Decimal { precision, scale } => {
            let column = values.iter().map(|value| match value {
                Value::Decimal(value, _) => Some(*value),
                _ => None,
            });
            let column = column.collect::<Decimal128Array>();
            Arc::new(column.with_precision_and_scale(*precision, *scale as i8)?)
        }
        DataType::TopK(item) => top_k(data_type, item, values)?,
    })
}

fn top_k(data_type: &DataType, item: &DataType, values: &[&Value]) -> Result<ArrayRef, ArrowError> {
    let lists = values.iter().map(|value| match value {
        Value::TopK(items) => Some(items.as_slice()),
        _ => None,
    });
    let offsets = OffsetBuffer::from_lengths(lists.clone().map(|items| items.map_or(0, <[_]>::len)));
    let nulls: NullBuffer = lists.clone().map(|items| items.is_some()).collect();
    let items: Vec<&(Value, u64)> = lists.flatten().flatten().collect();
    let names: Vec<&Value> = items.iter().map(|(value, _)| value).collect();
    let counts = items.iter().map(|(_, count)| Some(*count as i64)).collect::<Int64Array>();
    let ArrowType::List(field) = data_type.arrow() else {
        return Err(ArrowError::SchemaError(format!("{data_type} is no list")));
    };
    let ArrowType::Struct(fields) = field.data_type() else {
        return Err(ArrowError::SchemaError(format!("{data_type} is no list of pairs")));
    };
    let pairs = StructArray::try_new(fields.clone(), vec![array(item, &names)?, Arc::new(counts)], None)?;
    Ok(Arc::new(ListArray::try_new(field, offsets, Arc::new(pairs), Some(nulls))?))
}
