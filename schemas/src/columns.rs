//! Columns of Polars and of Arrow, read and written alike.
//!
//! Every scalar type has one of four physical classes; what works on cells, keys and states is
//! written once per class. Values are copied between the two libraries: states are few where
//! events are many, and no code has to be trusted with raw pointers.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Date32Array, Decimal128Array, Float64Array,
    Int32Array, Int64Array, ListArray, PrimitiveArray, StringArray, StringBuilder, StructArray,
    TimestampMicrosecondArray,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{
    self as ar, ArrowNativeType, ArrowPrimitiveType, Date32Type, Decimal128Type, Float64Type, Int32Type,
    Int64Type, TimestampMicrosecondType,
};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use polars::prelude::{
    BooleanChunked, ChunkedArray, Column, DataFrame, Float64Chunked, Int64Chunked, Int128Chunked,
    PolarsError, PolarsNumericType, PolarsResult, Series, StringChunked,
};

use crate::types::DataType;
use crate::value::Value;

/// How values of a type are held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Class {
    /// Booleans, integers, days and microseconds as `i64`.
    Whole,
    /// Decimals as unscaled `i128`.
    Wide,
    Float,
    Text,
}

impl Class {
    /// The class of a scalar type; top-k results are never read as scalars.
    pub(crate) fn of(data_type: &DataType) -> Class {
        match data_type {
            DataType::Double => Class::Float,
            DataType::Decimal { .. } => Class::Wide,
            DataType::Text | DataType::TopK(_) => Class::Text,
            _ => Class::Whole,
        }
    }
}

/// One value of a column, borrowed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Part<'a> {
    Null,
    Whole(i64),
    Wide(i128),
    Float(f64),
    Text(&'a str),
}

impl<'a> Part<'a> {
    pub(crate) fn of(value: &'a Value) -> Part<'a> {
        match value {
            Value::Null | Value::TopK(_) => Part::Null,
            Value::Boolean(value) => Part::Whole(i64::from(*value)),
            Value::Integer(value) | Value::Timestamp(value) => Part::Whole(*value),
            Value::Date(days) => Part::Whole(i64::from(*days)),
            Value::Double(value) => Part::Float(*value),
            Value::Decimal(unscaled, _) => Part::Wide(*unscaled),
            Value::Text(text) => Part::Text(text),
        }
    }

    pub(crate) fn value(self, data_type: &DataType) -> Value {
        match (self, data_type) {
            (Part::Null, _) => Value::Null,
            (Part::Whole(value), DataType::Boolean) => Value::Boolean(value != 0),
            (Part::Whole(value), DataType::Date) => Value::Date(value as i32),
            (Part::Whole(value), DataType::Timestamp) => Value::Timestamp(value),
            (Part::Whole(value), _) => Value::Integer(value),
            (Part::Wide(unscaled), DataType::Decimal { scale, .. }) => Value::Decimal(unscaled, *scale),
            (Part::Wide(unscaled), _) => Value::Decimal(unscaled, 0),
            (Part::Float(value), _) => Value::Double(value),
            (Part::Text(text), _) => Value::Text(text.into()),
        }
    }
}

/// A column of a data frame as a series of the given type; values that do not fit become NULL.
pub(crate) fn typed(column: &Column, data_type: &DataType) -> PolarsResult<Series> {
    let series = column.as_materialized_series();
    let wanted = data_type.polars();
    if *series.dtype() == wanted { Ok(series.clone()) } else { series.cast(&wanted) }
}

pub(crate) fn wholes(series: &Series) -> PolarsResult<Int64Chunked> {
    let physical = series.to_physical_repr();
    Ok(physical.cast(&polars::prelude::DataType::Int64)?.i64()?.clone())
}

pub(crate) fn wides(series: &Series) -> PolarsResult<Int128Chunked> {
    Ok(series.decimal()?.physical().clone())
}

/// Numbers of any kind as doubles.
pub(crate) fn floats(series: &Series) -> PolarsResult<Float64Chunked> {
    Ok(series.cast(&polars::prelude::DataType::Float64)?.f64()?.clone())
}

pub(crate) fn texts(series: &Series) -> PolarsResult<&StringChunked> {
    series.str()
}

/// Visits every value of a series of a scalar type, in order.
pub(crate) fn visit(
    series: &Series,
    data_type: &DataType,
    mut each: impl FnMut(Part<'_>),
) -> PolarsResult<()> {
    match Class::of(data_type) {
        Class::Whole => wholes(series)?.iter().for_each(|value| each(value.map_or(Part::Null, Part::Whole))),
        Class::Wide => wides(series)?.iter().for_each(|value| each(value.map_or(Part::Null, Part::Wide))),
        Class::Float => floats(series)?.iter().for_each(|value| each(value.map_or(Part::Null, Part::Float))),
        Class::Text => texts(series)?.iter().for_each(|value| each(value.map_or(Part::Null, Part::Text))),
    }
    Ok(())
}

/// Visits every value of an Arrow array that has exactly the Arrow type of `data_type`.
pub(crate) fn visit_array(array: &ArrayRef, data_type: &DataType, mut each: impl FnMut(Part<'_>)) {
    let whole = |value: Option<i64>| value.map_or(Part::Null, Part::Whole);
    match data_type {
        DataType::Boolean => array.as_boolean().iter().for_each(|value| each(whole(value.map(i64::from)))),
        DataType::Integer => {
            array.as_primitive::<Int32Type>().iter().for_each(|value| each(whole(value.map(i64::from))))
        }
        DataType::BigInt => array.as_primitive::<Int64Type>().iter().for_each(|value| each(whole(value))),
        DataType::Date => {
            array.as_primitive::<Date32Type>().iter().for_each(|value| each(whole(value.map(i64::from))))
        }
        DataType::Timestamp => {
            array.as_primitive::<TimestampMicrosecondType>().iter().for_each(|value| each(whole(value)))
        }
        DataType::Double => (array.as_primitive::<Float64Type>().iter())
            .for_each(|value| each(value.map_or(Part::Null, Part::Float))),
        DataType::Decimal { .. } => (array.as_primitive::<Decimal128Type>().iter())
            .for_each(|value| each(value.map_or(Part::Null, Part::Wide))),
        DataType::Text | DataType::TopK(_) => {
            array.as_string::<i32>().iter().for_each(|value| each(value.map_or(Part::Null, Part::Text)))
        }
    }
}

/// An Arrow array of scalars.
pub(crate) fn build<'a>(parts: impl Iterator<Item = Part<'a>>, data_type: &DataType) -> ArrayRef {
    let whole = |part: Part<'_>| match part {
        Part::Whole(value) => Some(value),
        _ => None,
    };
    match data_type {
        DataType::Boolean => {
            Arc::new(parts.map(|part| whole(part).map(|value| value != 0)).collect::<BooleanArray>())
        }
        DataType::Integer => {
            Arc::new(parts.map(|part| whole(part).map(|value| value as i32)).collect::<Int32Array>())
        }
        DataType::BigInt => Arc::new(parts.map(whole).collect::<Int64Array>()),
        DataType::Date => {
            Arc::new(parts.map(|part| whole(part).map(|value| value as i32)).collect::<Date32Array>())
        }
        DataType::Timestamp => Arc::new(parts.map(whole).collect::<TimestampMicrosecondArray>()),
        DataType::Double => Arc::new(
            parts
                .map(|part| if let Part::Float(value) = part { Some(value) } else { None })
                .collect::<Float64Array>(),
        ),
        DataType::Decimal { precision, scale } => {
            let wide = parts.map(|part| if let Part::Wide(value) = part { Some(value) } else { None });
            Arc::new(decimals(wide.collect(), *precision, *scale))
        }
        DataType::Text | DataType::TopK(_) => {
            let mut builder = StringBuilder::new();
            parts.for_each(|part| {
                builder.append_option(if let Part::Text(text) = part { Some(text) } else { None })
            });
            Arc::new(builder.finish())
        }
    }
}

pub(crate) fn decimals(array: Decimal128Array, precision: u8, scale: u8) -> Decimal128Array {
    array
        .with_precision_and_scale(precision, scale as i8)
        .expect("types are made with a precision of at most 38 and a scale within it")
}

/// The array in the given Arrow type: views, large and dictionary-encoded forms that other writers use are accepted.
pub(crate) fn cast(array: &ArrayRef, wanted: &ar::DataType) -> Result<ArrayRef, ArrowError> {
    if array.data_type() == wanted { Ok(array.clone()) } else { arrow::compute::cast(array, wanted) }
}

/// An Arrow array from a series of any type, top-k results included.
pub fn array(series: &Series, data_type: &DataType) -> PolarsResult<ArrayRef> {
    match data_type {
        DataType::TopK(_) => Ok(from_values(&values(series, data_type)?, data_type)),
        _ => scalars(&typed(&Column::from(series.clone()), data_type)?),
    }
}

/// A frame of scalar columns.
pub fn record_batch(frame: &DataFrame) -> PolarsResult<RecordBatch> {
    let columns = frame.columns().iter().map(|column| {
        let array = scalars(column.as_materialized_series())?;
        Ok((column.name().as_str(), array, true))
    });
    let columns: Vec<(&str, ArrayRef, bool)> = columns.collect::<PolarsResult<_>>()?;
    RecordBatch::try_from_iter_with_nullable(columns)
        .map_err(|error| PolarsError::ComputeError(error.to_string().into()))
}

/// An Arrow array from a series of a scalar type.
fn scalars(series: &Series) -> PolarsResult<ArrayRef> {
    use polars::prelude::DataType as Polars;
    Ok(match series.dtype() {
        Polars::Boolean => Arc::new(series.bool()?.iter().collect::<BooleanArray>()),
        Polars::Int32 => Arc::new(primitives::<_, Int32Type>(series.i32()?)),
        Polars::Int64 => Arc::new(primitives::<_, Int64Type>(series.i64()?)),
        Polars::Float64 => Arc::new(primitives::<_, Float64Type>(series.f64()?)),
        Polars::Date => Arc::new(primitives::<_, Date32Type>(series.date()?.physical())),
        Polars::Datetime(..) => {
            Arc::new(primitives::<_, TimestampMicrosecondType>(series.datetime()?.physical()))
        }
        Polars::Decimal(precision, scale) => {
            let unscaled = primitives::<_, Decimal128Type>(series.decimal()?.physical());
            Arc::new(decimals(unscaled, *precision as u8, *scale as u8))
        }
        Polars::String => Arc::new(strings(series.str()?)),
        Polars::Binary => Arc::new(series.binary()?.iter().collect::<BinaryArray>()),
        other => return Err(PolarsError::ComputeError(format!("{other} is no scalar type").into())),
    })
}

fn primitives<P, A>(values: &ChunkedArray<P>) -> PrimitiveArray<A>
where
    P: PolarsNumericType,
    P::Native: ArrowNativeType,
    A: ArrowPrimitiveType<Native = P::Native>,
{
    if values.null_count() > 0 {
        return values.iter().collect();
    }
    let mut all = Vec::with_capacity(values.len());
    values.downcast_iter().for_each(|chunk| all.extend_from_slice(chunk.values()));
    PrimitiveArray::new(all.into(), None)
}

fn strings(values: &StringChunked) -> StringArray {
    let bytes = values.downcast_iter().map(|chunk| chunk.total_bytes_len()).sum();
    let mut strings = StringBuilder::with_capacity(values.len(), bytes);
    match values.null_count() {
        0 => values
            .downcast_iter()
            .flat_map(|chunk| chunk.values_iter())
            .for_each(|text| strings.append_value(text)),
        _ => values.iter().for_each(|text| strings.append_option(text)),
    }
    strings.finish()
}

/// An Arrow array from single values of one type.
pub fn from_values(values: &[Value], data_type: &DataType) -> ArrayRef {
    let DataType::TopK(item) = data_type else {
        return build(values.iter().map(Part::of), data_type);
    };
    let items = |value: &Value| match value {
        Value::TopK(items) => items.len(),
        _ => 0,
    };
    let flat: Vec<&(Value, u64)> = (values.iter())
        .flat_map(|value| if let Value::TopK(items) = value { items.as_slice() } else { &[] })
        .collect();
    let ar::DataType::List(field) = data_type.arrow() else { unreachable!("top-k results are lists") };
    let ar::DataType::Struct(fields) = field.data_type().clone() else {
        unreachable!("their items are structs")
    };
    let columns: Vec<ArrayRef> = vec![
        build(flat.iter().map(|(value, _)| Part::of(value)), item),
        Arc::new(flat.iter().map(|(_, count)| Some(*count as i64)).collect::<Int64Array>()),
    ];
    let entries = StructArray::new(fields, columns, None);
    let nulls = NullBuffer::from_iter(values.iter().map(|value| !value.is_null()));
    let offsets = OffsetBuffer::from_lengths(values.iter().map(items));
    Arc::new(ListArray::new(field, offsets, Arc::new(entries), Some(nulls)))
}

/// The values of a series, one by one.
pub fn values(series: &Series, data_type: &DataType) -> PolarsResult<Vec<Value>> {
    let mut values = Vec::with_capacity(series.len());
    let DataType::TopK(item) = data_type else {
        let series = typed(&Column::from(series.clone()), data_type)?;
        visit(&series, data_type, |part| values.push(part.value(data_type)))?;
        return Ok(values);
    };
    for entries in series.list()?.amortized_iter() {
        values.push(match entries {
            None => Value::Null,
            Some(entries) => {
                let entries = entries.as_ref().struct_()?.clone();
                let counts = wholes(&entries.field_by_name("count")?)?;
                let items = self::values(&entries.field_by_name("value")?, item)?;
                let counts = counts.iter().map(|count| count.unwrap_or_default() as u64);
                Value::TopK(items.into_iter().zip(counts).collect())
            }
        });
    }
    Ok(values)
}

/// The values of an Arrow array, one by one; what `data_type` calls for is cast to where the array's type differs.
pub fn array_values(array: &ArrayRef, data_type: &DataType) -> Result<Vec<Value>, ArrowError> {
    let array = cast(array, &data_type.arrow())?;
    let mut values = Vec::with_capacity(array.len());
    let DataType::TopK(item) = data_type else {
        visit_array(&array, data_type, |part| values.push(part.value(data_type)));
        return Ok(values);
    };
    let lists = array.as_list::<i32>();
    let entries = lists.values().as_struct();
    let items = array_values(entries.column(0), item)?;
    let counts = entries.column(1).as_primitive::<Int64Type>();
    for (row, bounds) in lists.offsets().windows(2).enumerate() {
        let range = bounds[0] as usize..bounds[1] as usize;
        values.push(if lists.is_null(row) {
            Value::Null
        } else {
            Value::TopK(range.map(|at| (items[at].clone(), counts.value(at) as u64)).collect())
        });
    }
    Ok(values)
}

/// Where a mask is true; NULL is not.
pub(crate) fn picked(mask: &BooleanChunked) -> Vec<u32> {
    let truths = mask.iter().enumerate().filter(|(_, truth)| *truth == Some(true));
    truths.map(|(index, _)| index as u32).collect()
}
