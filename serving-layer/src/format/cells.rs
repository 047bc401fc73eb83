//! Arrow values as JSON and CSV, by the same rules as all other answers: decimals are texts, NaN and infinities null, times
//! RFC 3339 in UTC.

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{self as ar, DataType, TimeUnit};
use arrow::util::display::{ArrayFormatter, FormatOptions};
use chrono_tz::Tz;
use watershed_schemas::layout::date_text;

use super::json::{decimal, timestamp};

/// DuckDB's HUGEINT arrives as this: a whole number, and JSON has those.
const HUGEINT: DataType = DataType::Decimal128(38, 0);

/// A type's name as `meta` tells it.
pub fn type_name(data_type: &DataType) -> String {
    let name = match data_type {
        DataType::Null => "null",
        DataType::Boolean => "boolean",
        DataType::Int8 => "tinyint",
        DataType::Int16 => "smallint",
        DataType::Int32 => "integer",
        DataType::Int64 => "bigint",
        DataType::UInt8 => "utinyint",
        DataType::UInt16 => "usmallint",
        DataType::UInt32 => "uinteger",
        DataType::UInt64 => "ubigint",
        DataType::Float32 => "float",
        DataType::Float64 => "double",
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View | DataType::Dictionary(..) => "text",
        DataType::Date32 => "date",
        DataType::Timestamp(_, None) => "timestamp",
        DataType::Timestamp(_, Some(_)) => "timestamp with time zone",
        DataType::Time32(_) | DataType::Time64(_) => "time",
        DataType::Interval(_) | DataType::Duration(_) => "interval",
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView | DataType::FixedSizeBinary(_) => {
            "blob"
        }
        kind if *kind == HUGEINT => "hugeint",
        DataType::Decimal128(precision, scale) => return format!("decimal({precision},{scale})"),
        DataType::List(item) | DataType::LargeList(item) | DataType::FixedSizeList(item, _) => {
            return format!("{}[]", type_name(item.data_type()));
        }
        DataType::Struct(fields) => {
            let field = |field: &std::sync::Arc<ar::Field>| {
                format!("{} {}", field.name(), type_name(field.data_type()))
            };
            return format!("struct({})", fields.iter().map(field).collect::<Vec<_>>().join(", "));
        }
        DataType::Map(..) => "map",
        other => return other.to_string().to_lowercase(),
    };
    name.to_string()
}

/// Rows as objects, each with `end` behind it and `between` before the next.
pub fn objects(rows: &RecordBatch, end: &[u8], between: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(rows.num_rows() * rows.num_columns() * 24);
    let names: Vec<Vec<u8>> = (rows.schema().fields().iter().enumerate())
        .map(|(index, field)| {
            let mut name = if index == 0 { Vec::new() } else { vec![b','] };
            text(&mut name, field.name());
            name.push(b':');
            name
        })
        .collect();
    for row in 0..rows.num_rows() {
        if row > 0 {
            out.extend_from_slice(between);
        }
        out.push(b'{');
        for (name, column) in names.iter().zip(rows.columns()) {
            out.extend_from_slice(name);
            value(&mut out, column, row);
        }
        out.push(b'}');
        out.extend_from_slice(end);
    }
    out
}

/// A header line, then rows: NULL is an empty field, a list or structure is its JSON.
pub fn csv(rows: &RecordBatch) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::with_capacity(rows.num_rows() * rows.num_columns() * 16));
    writer.write_record(rows.schema().fields().iter().map(|field| field.name()))?;
    let mut field = Vec::new();
    for row in 0..rows.num_rows() {
        for column in rows.columns() {
            field.clear();
            value(&mut field, column, row);
            match field.as_slice() {
                b"null" => field.clear(),
                // A text is written as it is, and quoted by the rules of CSV.
                [b'"', ..] => {
                    let plain: String = serde_json::from_slice(&field).unwrap_or_default();
                    field = plain.into_bytes();
                }
                _ => {}
            }
            writer.write_field(&field)?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

fn value(out: &mut Vec<u8>, column: &dyn Array, row: usize) {
    if column.is_null(row) || *column.data_type() == DataType::Null {
        return out.extend_from_slice(b"null");
    }
    macro_rules! number {
        ($type:ty) => {
            json(out, &column.as_primitive::<$type>().value(row))
        };
    }
    match column.data_type() {
        DataType::Boolean => json(out, &column.as_boolean().value(row)),
        DataType::Int8 => number!(ar::Int8Type),
        DataType::Int16 => number!(ar::Int16Type),
        DataType::Int32 => number!(ar::Int32Type),
        DataType::Int64 => number!(ar::Int64Type),
        DataType::UInt8 => number!(ar::UInt8Type),
        DataType::UInt16 => number!(ar::UInt16Type),
        DataType::UInt32 => number!(ar::UInt32Type),
        DataType::UInt64 => number!(ar::UInt64Type),
        DataType::Float32 => number!(ar::Float32Type),
        DataType::Float64 => number!(ar::Float64Type),
        DataType::Utf8 => text(out, column.as_string::<i32>().value(row)),
        DataType::LargeUtf8 => text(out, column.as_string::<i64>().value(row)),
        DataType::Utf8View => text(out, column.as_string_view().value(row)),
        DataType::Date32 => text(out, &date_text(column.as_primitive::<ar::Date32Type>().value(row))),
        DataType::Timestamp(unit, _) => {
            out.push(b'"');
            timestamp(out, micros(column, *unit, row), Tz::UTC);
            out.push(b'"');
        }
        kind if *kind == HUGEINT => {
            decimal(out, column.as_primitive::<ar::Decimal128Type>().value(row), 0);
        }
        DataType::Decimal128(_, scale) => {
            out.push(b'"');
            let unscaled = column.as_primitive::<ar::Decimal128Type>().value(row);
            decimal(out, unscaled, u8::try_from(*scale).unwrap_or_default());
            out.push(b'"');
        }
        DataType::List(_) => list(out, &column.as_list::<i32>().value(row)),
        DataType::LargeList(_) => list(out, &column.as_list::<i64>().value(row)),
        DataType::FixedSizeList(..) => list(out, &column.as_fixed_size_list().value(row)),
        DataType::Struct(fields) => {
            let columns = column.as_struct();
            for (index, field) in fields.iter().enumerate() {
                out.push(if index == 0 { b'{' } else { b',' });
                text(out, field.name());
                out.push(b':');
                value(out, columns.column(index), row);
            }
            out.extend_from_slice(if fields.is_empty() { b"{}" } else { b"}" });
        }
        DataType::Binary => bytes(out, column.as_binary::<i32>().value(row)),
        DataType::LargeBinary => bytes(out, column.as_binary::<i64>().value(row)),
        _ => shown(out, column, row),
    }
}

fn list(out: &mut Vec<u8>, items: &dyn Array) {
    out.push(b'[');
    for item in 0..items.len() {
        if item > 0 {
            out.push(b',');
        }
        value(out, items, item);
    }
    out.push(b']');
}

/// Types that JSON has no form for, as Arrow shows them.
fn shown(out: &mut Vec<u8>, column: &dyn Array, row: usize) {
    let options = FormatOptions::default();
    let formatter = ArrayFormatter::try_new(column, &options);
    let shown = formatter.ok().and_then(|formatter| formatter.value(row).try_to_string().ok());
    text(out, &shown.unwrap_or_else(|| format!("a value of type {}", type_name(column.data_type()))));
}

fn micros(column: &dyn Array, unit: TimeUnit, row: usize) -> i64 {
    match unit {
        TimeUnit::Second => {
            column.as_primitive::<ar::TimestampSecondType>().value(row).saturating_mul(1_000_000)
        }
        TimeUnit::Millisecond => {
            column.as_primitive::<ar::TimestampMillisecondType>().value(row).saturating_mul(1_000)
        }
        TimeUnit::Microsecond => column.as_primitive::<ar::TimestampMicrosecondType>().value(row),
        TimeUnit::Nanosecond => {
            column.as_primitive::<ar::TimestampNanosecondType>().value(row).div_euclid(1_000)
        }
    }
}

/// `\xC0FFEE`
fn bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    let digits: String = bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    text(out, &format!("\\x{digits}"));
}

fn text(out: &mut Vec<u8>, text: &str) {
    json(out, text);
}

fn json<T: serde::Serialize + ?Sized>(out: &mut Vec<u8>, value: &T) {
    serde_json::to_writer(out, value).expect("texts and numbers have a JSON form");
}
