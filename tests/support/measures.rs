//! Every measure over every type of argument, with and without a filter: what laws and exact values are checked over.

use watershed_schemas::value::Value;

use crate::specimens::Specimen;

/// Columns that can be aggregated, and whether they are numbers.
const COLUMNS: [(&str, bool); 8] = [
    ("flag", false),
    ("small", true),
    ("big", true),
    ("real", true),
    ("price", true),
    ("label", false),
    ("day", false),
    ("moment", false),
];

/// Aggregates of any column, then of numbers only; `{}` is the column.
const OF_ANYTHING: [(&str, &str); 7] = [
    ("count", "count({})"),
    ("min", "min({})"),
    ("max", "max({})"),
    ("first", "first({})"),
    ("last", "last({})"),
    ("distinct", "count(DISTINCT {})"),
    ("top", "approx_top_k({}, 3)"),
];

const OF_NUMBERS: [(&str, &str); 7] = [
    ("sum", "sum({})"),
    ("avg", "avg({})"),
    ("variance", "var_samp({})"),
    ("deviation", "stddev_samp({})"),
    ("least", "quantile_cont({}, 0)"),
    ("median", "median({})"),
    ("p90", "quantile_cont({}, 0.9)"),
];

/// One measure of the list.
pub struct Case {
    pub name: String,
    pub sql: String,
    pub aggregate: &'static str,
    /// `None` for `count(*)`.
    pub column: Option<&'static str>,
    /// Only events with `small > 0` count.
    pub filtered: bool,
}

pub fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    let mut add = |aggregate, call: &str, column: Option<&'static str>| {
        for filtered in [false, true] {
            let suffix = if filtered { "_positive" } else { "" };
            let filter = if filtered { " FILTER (WHERE small > 0)" } else { "" };
            let name = format!("{aggregate}_{}{suffix}", column.unwrap_or("all"));
            let call = call.replace("{}", column.unwrap_or("*"));
            let sql = format!("{call}{filter} AS {name}");
            cases.push(Case { name, sql, aggregate, column, filtered });
        }
    };
    add("count", "count(*)", None);
    for (column, numeric) in COLUMNS {
        let numbers = if numeric { OF_NUMBERS.as_slice() } else { &[] };
        for (aggregate, call) in OF_ANYTHING.iter().chain(numbers) {
            add(aggregate, call, Some(column));
        }
    }
    cases
}

/// The select list of [`cases`].
pub fn select() -> Vec<String> {
    cases().into_iter().map(|case| case.sql).collect()
}

/// An event's value of a column.
pub fn value(event: &Specimen, column: &str) -> Value {
    match column {
        "flag" => event.flag.map_or(Value::Null, Value::Boolean),
        "small" => event.small.map_or(Value::Null, |value| Value::Integer(value.into())),
        "big" => event.big.map_or(Value::Null, Value::Integer),
        "real" => event.real.map_or(Value::Null, Value::Double),
        "price" => event.price.map_or(Value::Null, |value| Value::Decimal(value, 2)),
        "label" => event.label.as_deref().map_or(Value::Null, |text| Value::Text(text.into())),
        "day" => event.day.map_or(Value::Null, Value::Date),
        "moment" => event.moment.map_or(Value::Null, Value::Timestamp),
        other => panic!("specimens have no column {other}"),
    }
}

/// The value of a measure over a cell's events, worked out the plain way.
pub fn oracle(case: &Case, events: &[&Specimen]) -> Value {
    let counting = events.iter().filter(|event| !case.filtered || event.small > Some(0));
    let Some(column) = case.column else { return Value::Integer(counting.count() as i64) };
    let placed = counting.map(|event| ((event.at, event.partition, event.offset), value(event, column)));
    let mut placed: Vec<_> = placed.filter(|(_, value)| !value.is_null()).collect();
    placed.sort_by_key(|(place, _)| *place);
    let mut sorted: Vec<Value> = placed.iter().map(|(_, value)| value.clone()).collect();
    sorted.sort_by(Value::order);
    let numbers: Vec<f64> = sorted.iter().map(number).collect();
    let count = sorted.len() as f64;
    let mean = numbers.iter().sum::<f64>() / count;
    let variance = || numbers.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (count - 1.0);
    let quantile = |q: f64| {
        let rank = q * (numbers.len() as f64 - 1.0);
        let (low, high) = (numbers[rank.floor() as usize], numbers[rank.ceil() as usize]);
        low + (high - low) * rank.fract()
    };
    match case.aggregate {
        "count" => Value::Integer(sorted.len() as i64),
        "distinct" => Value::Integer(counts(&sorted).len() as i64),
        _ if sorted.is_empty() => Value::Null,
        "min" => sorted[0].clone(),
        "max" => sorted[sorted.len() - 1].clone(),
        "first" => placed[0].1.clone(),
        "last" => placed[placed.len() - 1].1.clone(),
        "sum" => sum(&sorted),
        "avg" => Value::Double(exact_mean(&sorted)),
        "variance" if sorted.len() > 1 => Value::Double(variance()),
        "deviation" if sorted.len() > 1 => Value::Double(variance().sqrt()),
        "variance" | "deviation" => Value::Null,
        "least" => Value::Double(quantile(0.0)),
        "median" => Value::Double(quantile(0.5)),
        "p90" => Value::Double(quantile(0.9)),
        "top" => {
            let mut counts = counts(&sorted);
            counts.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.order(b)));
            counts.truncate(3);
            Value::TopK(counts)
        }
        other => panic!("the oracle knows no {other}"),
    }
}

/// Occurrences of each value of a sorted list.
fn counts(sorted: &[Value]) -> Vec<(Value, u64)> {
    let mut counts: Vec<(Value, u64)> = Vec::new();
    for value in sorted {
        match counts.last_mut() {
            Some((last, count)) if last.order(value).is_eq() => *count += 1,
            _ => counts.push((value.clone(), 1)),
        }
    }
    counts
}

fn number(value: &Value) -> f64 {
    match value {
        Value::Integer(value) => *value as f64,
        Value::Double(value) => *value,
        Value::Decimal(unscaled, scale) => *unscaled as f64 / 10f64.powi(i32::from(*scale)),
        _ => f64::NAN,
    }
}

fn sum(values: &[Value]) -> Value {
    match values[0] {
        Value::Double(_) => Value::Double(values.iter().map(number).sum()),
        Value::Decimal(_, scale) => Value::Decimal(unscaled(values), scale),
        _ => i64::try_from(unscaled(values)).map_or(Value::Null, Value::Integer),
    }
}

fn exact_mean(values: &[Value]) -> f64 {
    match values[0] {
        Value::Double(_) => values.iter().map(number).sum::<f64>() / values.len() as f64,
        Value::Decimal(_, scale) => number(&Value::Decimal(unscaled(values), scale)) / values.len() as f64,
        _ => unscaled(values) as f64 / values.len() as f64,
    }
}

fn unscaled(values: &[Value]) -> i128 {
    let whole = |value: &Value| match value {
        Value::Integer(value) => i128::from(*value),
        Value::Decimal(unscaled, _) => *unscaled,
        other => panic!("{other:?} has no exact sum"),
    };
    values.iter().map(whole).sum()
}
