//! Answers as tables for people.

use comfy_table::{Cell, CellAlignment, Table, presets};
use serde_json::Value;

/// The answer for people: `~` marks columns that hold estimates, and below the table stands how far off they may be.
pub fn table(answer: &Value) -> String {
    let empty = Vec::new();
    let columns = answer["meta"].as_array().unwrap_or(&empty);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header(columns.iter().map(|column| {
        let name = column["name"].as_str().unwrap_or_default();
        if column["exact"] == false { format!("{name} ~") } else { name.to_string() }
    }));
    for (index, column) in columns.iter().enumerate() {
        let kind = column["type"].as_str().unwrap_or_default();
        let is_number = ["integer", "bigint", "double"].contains(&kind) || kind.starts_with("decimal");
        if let Some(column) = table.column_mut(index).filter(|_| is_number) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    for row in answer["data"].as_array().unwrap_or(&empty) {
        let cell = |column: &Value| {
            let value = &row[column["name"].as_str().unwrap_or_default()];
            // Only measures are exact or not.
            let kept = row["_overflow"] != true || !value.is_null() || column["exact"].is_boolean();
            if kept { shown(value) } else { "not kept".to_string() }
        };
        table.add_row(columns.iter().map(|column| Cell::new(cell(column))));
    }
    let mut text = format!("{table}\n");
    for column in columns.iter().filter(|column| column["exact"] == false) {
        text.push_str(&format!(
            "~ {}: estimated{}\n",
            column["name"].as_str().unwrap_or_default(),
            bound(&column["error"])
        ));
    }
    let blocks = match answer["answer"]["streams"].as_array() {
        Some(streams) => streams.iter().collect(),
        None => vec![&answer["answer"]],
    };
    let several = blocks.len() != 1;
    if several {
        text.push_str(&format!("{} rows\n", answer["rows"]));
    }
    for block in blocks {
        let beginning = match several {
            true => block["stream"].as_str().unwrap_or_default().to_string(),
            false => format!("{} rows", answer["rows"]),
        };
        text.push_str(&format!("{beginning} · {}", coverage(block)));
    }
    for table in answer["answer"]["tables"].as_array().unwrap_or(&empty) {
        let estimated = table["estimated"].as_array().unwrap_or(&empty).iter().filter_map(Value::as_str);
        let estimated: Vec<&str> = estimated.collect();
        if !estimated.is_empty() {
            let name = table["table"].as_str().unwrap_or_default();
            text.push_str(&format!("read from {name}: {} with estimates\n", estimated.join(", ")));
        }
    }
    if answer["truncated"] == true {
        text.push_str("there are more rows: --limit\n");
    }
    if let Some(cursor) = answer["next_cursor"].as_str() {
        text.push_str(&format!("there is more: --cursor {cursor}\n"));
    }
    text
}

/// Which records an answer is made of.
fn coverage(block: &Value) -> String {
    let version = block["version"]
        .as_u64()
        .map_or("no version yet".to_string(), |version| format!("version {version}"));
    let mut text = format!(
        "{version}, watershed {} · live to {}\n",
        offsets(&block["watershed"]),
        offsets(&block["live"])
    );
    if let Some(because) = block["overflow"]["because"].as_str() {
        text.push_str(&format!("beyond the budget: {because}\n"));
    }
    if block["complete"] != true {
        let reason =
            block["incomplete_because"].as_str().map_or(String::new(), |reason| format!(": {reason}"));
        text.push_str(&format!("not complete{reason}\n"));
    }
    for gap in block["gaps"].as_array().into_iter().flatten() {
        text.push_str(&format!(
            "records lost: partition {} from {} until {}\n",
            gap["partition"], gap["from"], gap["until"]
        ));
    }
    text
}

/// ` within 1.33 % of the value`
fn bound(error: &Value) -> String {
    let Some(bound) = error["bound"].as_f64() else { return String::new() };
    let confidence = error["confidence"].as_f64().filter(|confidence| *confidence < 1.0);
    let confidence = confidence
        .map_or(String::new(), |confidence| format!(" ({} % confidence)", (1e6 * confidence).round() / 1e4));
    match error["kind"].as_str() {
        Some("count") => format!(" to within {:.3} % of all occurrences{confidence}", 100.0 * bound),
        _ => format!(" to within {:.2} % of the value{confidence}", 100.0 * bound),
    }
}

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "NULL".to_string(),
        Value::String(text) => text.clone(),
        Value::Number(number) if number.is_f64() => {
            let number = number.as_f64().unwrap_or_default();
            // Whole digits as they are, fractions as far as a person reads them.
            if number.abs() >= 1e15 || (number != 0.0 && number.abs() < 1e-3) {
                format!("{number:e}")
            } else {
                format!("{number:.3}")
            }
        }
        Value::Array(items) => items
            .iter()
            .map(|item| format!("{} {}", shown(&item["value"]), shown(&item["count"])))
            .collect::<Vec<_>>()
            .join(", "),
        other => other.to_string(),
    }
}

fn offsets(offsets: &Value) -> String {
    let Some(offsets) = offsets.as_object() else { return "unknown".to_string() };
    let mut parts: Vec<(i64, String)> = offsets
        .iter()
        .map(|(partition, offset)| (partition.parse().unwrap_or_default(), format!("{partition}: {offset}")))
        .collect();
    parts.sort();
    format!("{{{}}}", parts.into_iter().map(|(_, part)| part).collect::<Vec<_>>().join(", "))
}
