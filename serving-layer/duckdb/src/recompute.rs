//! A view as one SQL statement over its stream's events.
//!
//! Names of its own begin with `_`, as no field's name does.

use watershed_schemas::states::{WINDOW_END, WINDOW_START};
use watershed_schemas::stream::{OFFSET_COLUMN, PARTITION_COLUMN, Stream};
use watershed_schemas::types::DataType;
use watershed_schemas::view::{Aggregate, Measure, View};
use watershed_schemas::window::Length;

/// A `SELECT` that gives `window_start`, `window_end`, the view's dimensions and its measures, each with the view's name and type,
/// from a table or view `events` that has the stream's columns, `_partition` and `_offset`.
pub fn recomputation(view: &View) -> String {
    let keys: Vec<String> = (0..view.dimensions.len()).map(|index| format!("_d{index}")).collect();
    let group = std::iter::once("_w").chain(keys.iter().map(String::as_str)).collect::<Vec<_>>().join(", ");
    let mut ctes = vec![format!("cells AS (SELECT {})", inputs(view))];
    let mut aggregates = String::new();
    let mut joins = String::new();
    let end = length(&view.window.window.length());
    let mut columns =
        vec![format!("base._w AS {WINDOW_START}, CAST(base._w + {end} AS TIMESTAMP) AS {WINDOW_END}")];
    for (index, dimension) in view.dimensions.iter().enumerate() {
        columns.push(format!("base._d{index} AS {}", quoted(&dimension.name)));
    }
    for (index, measure) in view.measures.iter().enumerate() {
        let name = quoted(&measure.name);
        if let Aggregate::TopK(k) = measure.aggregate {
            ctes.push(top_k(index, k, &group));
            joins.push_str(&format!(
                " LEFT JOIN top{index} ON {}",
                same_key(&format!("top{index}"), keys.len())
            ));
            columns.push(format!("top{index}._m AS {name}"));
        } else {
            aggregates.push_str(&format!(", {} AS _m{index}", aggregate(index, measure)));
            columns.push(format!("CAST(base._m{index} AS {}) AS {name}", sql_type(&measure.result_type)));
        }
    }
    ctes.push(format!("base AS (SELECT {group}{aggregates} FROM cells GROUP BY {group})"));
    format!("WITH {} SELECT {} FROM base{joins}", ctes.join(", "), columns.join(", "))
}

/// Every event that passes the view's filter: its window, dimensions, arguments and filters, and its place in the order of events.
fn inputs(view: &View) -> String {
    let time = quoted(&view.stream.event_time().name);
    let mut columns = vec![format!("time_bucket({}, {time}) AS _w", length(&view.window.window.length()))];
    columns.push(format!("{time} AS _t, {PARTITION_COLUMN} AS _p, {OFFSET_COLUMN} AS _o"));
    for (index, dimension) in view.dimensions.iter().enumerate() {
        columns.push(format!("{} AS _d{index}", dimension.scalar.sql));
    }
    for (index, measure) in view.measures.iter().enumerate() {
        // For count(*) every event counts, as if its argument were never NULL.
        let argument = measure.argument.as_ref().map_or("true", |argument| argument.sql.as_str());
        let filter = measure.filter.as_ref().map_or("true", |filter| filter.sql.as_str());
        columns.push(format!(
            "{argument} AS _a{index}, coalesce({filter}, false) AND _a{index} IS NOT NULL AS _f{index}"
        ));
    }
    let filter = view.filter.as_ref().map_or(String::new(), |filter| format!(" WHERE {}", filter.sql));
    format!("{} FROM events{filter}", columns.join(", "))
}

fn length(length: &Length) -> String {
    match length {
        Length::Micros(micros) => format!("to_microseconds({micros})"),
        Length::Months(months) => format!("to_months({months})"),
    }
}

fn aggregate(index: usize, measure: &Measure) -> String {
    let argument = format!("_a{index}");
    let double = format!("CAST(_a{index} AS DOUBLE)");
    let argument_type = measure.argument.as_ref().map(|argument| &argument.data_type);
    let call = match &measure.aggregate {
        Aggregate::Count => "count(*)".to_string(),
        // fsum and favg compensate, so that the comparison need not forgive what plain addition loses.
        Aggregate::Sum if argument_type == Some(&DataType::Double) => format!("fsum({argument})"),
        Aggregate::Sum => format!("sum({argument})"),
        Aggregate::Avg => format!("favg({double})"),
        Aggregate::Min => format!("min({argument})"),
        Aggregate::Max => format!("max({argument})"),
        Aggregate::StddevSamp => format!("stddev_samp({double})"),
        Aggregate::VarSamp => format!("var_samp({double})"),
        Aggregate::CountDistinct => format!("count(DISTINCT {argument})"),
        Aggregate::Quantile(q) => format!("quantile_cont({double}, {q:?})"),
        Aggregate::First => format!("first({argument} ORDER BY _t, _p, _o)"),
        Aggregate::Last => format!("first({argument} ORDER BY _t DESC, _p DESC, _o DESC)"),
        Aggregate::TopK(_) => unreachable!("top-k is counted by value before it is aggregated"),
    };
    let filtered = format!("{call} FILTER (WHERE _f{index})");
    // A sum beyond 64 bits is NULL.
    if measure.result_type == DataType::BigInt { format!("TRY_CAST({filtered} AS BIGINT)") } else { filtered }
}

/// The `k` most frequent values of each cell, ties in the order of the values.
fn top_k(index: usize, k: usize, group: &str) -> String {
    format!(
        "top{index} AS (SELECT {group}, list_slice(list({{'value': v, 'count': n}} ORDER BY n DESC, v), 1, {k}) AS _m \
         FROM (SELECT {group}, _a{index} AS v, count(*) AS n FROM cells WHERE _f{index} GROUP BY {group}, v) GROUP BY {group})"
    )
}

fn same_key(table: &str, dimensions: usize) -> String {
    let mut terms = vec![format!("base._w = {table}._w")];
    terms.extend(
        (0..dimensions).map(|index| format!("base._d{index} IS NOT DISTINCT FROM {table}._d{index}")),
    );
    terms.join(" AND ")
}

/// An empty table with the columns of a stream's events.
pub(crate) fn declared(stream: &Stream) -> String {
    let fields = stream
        .fields
        .iter()
        .map(|field| format!("CAST(NULL AS {}) AS {}", sql_type(&field.data_type), quoted(&field.name)));
    let columns: Vec<String> = fields.collect();
    format!(
        "SELECT {}, CAST(NULL AS INTEGER) AS {PARTITION_COLUMN}, CAST(NULL AS BIGINT) AS {OFFSET_COLUMN} WHERE false",
        columns.join(", ")
    )
}

pub(crate) fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A type's name in DuckDB.
pub(crate) fn sql_type(data_type: &DataType) -> String {
    match data_type {
        DataType::Text => "VARCHAR".to_string(),
        DataType::TopK(value) => format!("STRUCT(\"value\" {}, \"count\" BIGINT)[]", sql_type(value)),
        other => other.to_string().to_uppercase(),
    }
}
