//! CSV with a header line; NULL is an empty field, a list is its JSON.

use watershed_schemas::value::Value;

use super::json;
use crate::answer::Answer;

pub fn csv(answer: &Answer) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::Writer::from_writer(Vec::with_capacity(answer.rows * answer.columns.len() * 16));
    let marks = || answer.marks();
    let names = answer.columns.iter().map(|column| column.name.as_str());
    let names = names.chain(marks().map(|(name, _)| name));
    writer.write_record(names)?;
    let mut field = Vec::new();
    for row in 0..answer.rows {
        for column in &answer.columns {
            field.clear();
            write_field(&mut field, &column.values[row], answer.zone);
            writer.write_field(&field)?;
        }
        for (_, truths) in marks() {
            writer.write_field(if truths[row] { "true" } else { "false" })?;
        }
        writer.write_record(None::<&[u8]>)?;
    }
    writer.into_inner().map_err(|error| error.into_error().into())
}

fn write_field(out: &mut Vec<u8>, value: &Value, zone: chrono_tz::Tz) {
    match value {
        Value::Null => {}
        // JSON's null for NaN and infinities is an empty field too.
        Value::Double(number) if !number.is_finite() => {}
        Value::Text(text) => out.extend_from_slice(text.as_bytes()),
        Value::Decimal(unscaled, scale) => json::decimal(out, *unscaled, *scale),
        Value::Timestamp(micros) => json::timestamp(out, *micros, zone),
        Value::Date(day) => out.extend_from_slice(watershed_schemas::layout::date_text(*day).as_bytes()),
        value => json::value(out, value, zone),
    }
}
