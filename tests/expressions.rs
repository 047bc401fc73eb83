//! Scalar expressions mean in Polars what DuckDB makes of their `sql` (invariant `ONE_DEFINITION`): checked over random typed expressions
//! and rows, and over the corners that random text rarely finds.

mod random;

use std::fmt::Write;

use polars::prelude::{
    AnyValue, BooleanChunked, Column, DataFrame, Float64Chunked, Int32Chunked, Int64Chunked, Int128Chunked,
    IntoColumn, IntoLazy, IntoSeries, NewChunkedArray, StringChunked, TimeUnit,
};
use proptest::prelude::*;
use random::{anything, rows};
use watershed_duckdb::Engine;
use watershed_schemas::expr::Scalar;
use watershed_schemas::project::{Project, SourceFile};
use watershed_schemas::types::DataType;

const STREAM: &str = "CREATE TABLE events (
    at TIMESTAMP NOT NULL, flag BOOLEAN, small INTEGER, large BIGINT, ratio DOUBLE, price DECIMAL(9,2),
    cost DECIMAL(20,6), name TEXT, code TEXT, day DATE, seen TIMESTAMP
) WITH (event_time = 'at');";

#[derive(Clone, Debug)]
struct Row {
    at: i64,
    flag: Option<bool>,
    small: Option<i32>,
    large: Option<i64>,
    ratio: Option<f64>,
    price: Option<i128>,
    cost: Option<i128>,
    name: Option<String>,
    code: Option<String>,
    day: Option<i32>,
    seen: Option<i64>,
}

/// Compiles an expression as the argument of a measure that takes any type.
fn compiled(expression: &str) -> Result<Scalar, String> {
    let view = format!(
        "CREATE MATERIALIZED VIEW v AS SELECT tumble(at, INTERVAL '1 hour') AS hour,\n\
         first({expression}) AS value FROM events GROUP BY hour"
    );
    let source = |path: &str, text: &str| SourceFile { path: path.to_string(), text: text.to_string() };
    let project = Project::parse(&[source("s.sql", STREAM)], &[source("v.sql", &view)]);
    let project = project.map_err(|problems| problems[0].to_string())?;
    Ok(project.views[0].measures[0].argument.clone().expect("first() has an argument"))
}

fn frame(rows: &[Row]) -> DataFrame {
    fn name(name: &str) -> polars::prelude::PlSmallStr {
        name.into()
    }
    let decimal = |column: &str, scale: usize, precision: usize, value: fn(&Row) -> Option<i128>| -> Column {
        let unscaled = Int128Chunked::from_iter_options(name(column), rows.iter().map(value));
        unscaled.into_decimal_unchecked(precision, scale).into_series().into_column()
    };
    let timestamp = |column: &str, value: fn(&Row) -> Option<i64>| -> Column {
        let micros = Int64Chunked::from_iter_options(name(column), rows.iter().map(value));
        micros.into_datetime(TimeUnit::Microseconds, None).into_series().into_column()
    };
    let text = |column: &str, value: fn(&Row) -> Option<String>| -> Column {
        StringChunked::from_iter_options(name(column), rows.iter().map(value)).into_series().into_column()
    };
    let columns = vec![
        timestamp("at", |row| Some(row.at)),
        BooleanChunked::from_iter_options(name("flag"), rows.iter().map(|row| row.flag))
            .into_series()
            .into_column(),
        Int32Chunked::from_iter_options(name("small"), rows.iter().map(|row| row.small))
            .into_series()
            .into_column(),
        Int64Chunked::from_iter_options(name("large"), rows.iter().map(|row| row.large))
            .into_series()
            .into_column(),
        Float64Chunked::from_iter_options(name("ratio"), rows.iter().map(|row| row.ratio))
            .into_series()
            .into_column(),
        decimal("price", 2, 9, |row| row.price),
        decimal("cost", 6, 20, |row| row.cost),
        text("name", |row| row.name.clone()),
        text("code", |row| row.code.clone()),
        Int32Chunked::from_iter_options(name("day"), rows.iter().map(|row| row.day))
            .into_date()
            .into_series()
            .into_column(),
        timestamp("seen", |row| row.seen),
    ];
    DataFrame::new(rows.len(), columns).expect("columns are as long as the rows")
}

/// DuckDB with the rows as table `events`, `row` giving their order.
fn oracle(rows: &[Row]) -> Engine {
    fn sql<T>(value: Option<T>, of: impl Fn(T) -> String) -> String {
        value.map_or_else(|| "NULL".to_string(), of)
    }
    let text = |text: String| format!("'{}'", text.replace('\'', "''"));
    let unscaled = |scale: usize| {
        move |value: i128| {
            let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            format!("'{}{whole}.{fraction}'", if value < 0 { "-" } else { "" })
        }
    };
    let mut statement = String::from(
        "CREATE TABLE events (\"row\" INTEGER, \"at\" TIMESTAMP, flag BOOLEAN, small INTEGER, large BIGINT, ratio DOUBLE, \
         price DECIMAL(9,2), cost DECIMAL(20,6), name VARCHAR, code VARCHAR, day DATE, seen TIMESTAMP);\n\
         INSERT INTO events VALUES ",
    );
    for (index, row) in rows.iter().enumerate() {
        let comma = if index == 0 { "" } else { ",\n" };
        write!(
            statement,
            "{comma}({index}, make_timestamp({}), {}, {}, {}, {}, {}, {}, {}, {}, {}, {})",
            row.at,
            sql(row.flag, |value| value.to_string()),
            sql(row.small, |value| format!("'{value}'")),
            sql(row.large, |value| format!("'{value}'")),
            sql(row.ratio, |value| format!("'{value:e}'")),
            sql(row.price, unscaled(2)),
            sql(row.cost, unscaled(6)),
            sql(row.name.clone(), text),
            sql(row.code.clone(), text),
            sql(row.day, |value| format!("DATE '1970-01-01' + {value}")),
            sql(row.seen, |value| format!("make_timestamp({value})")),
        )
        .expect("text takes everything");
    }
    let engine = Engine::new().expect("DuckDB opens in memory");
    engine.execute(&statement).unwrap_or_else(|error| panic!("{error}\n{statement}"));
    engine
}

/// What a value is, in a form that both sides can be brought to.
#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Null,
    Exact(String),
    Double(f64),
}

impl Seen {
    fn agrees(&self, other: &Seen) -> bool {
        match (self, other) {
            (Seen::Double(left), Seen::Double(right)) => {
                left == right
                    || (left.is_nan() && right.is_nan())
                    || (left - right).abs() <= 1e-14 * left.abs().max(right.abs())
            }
            _ => self == other,
        }
    }
}

fn by_polars(scalar: &Scalar, events: &DataFrame) -> Vec<Seen> {
    let lazy = events.clone().lazy().with_column(scalar.expr.clone().alias("_value"));
    let frame = lazy.collect().unwrap_or_else(|error| panic!("{}: {error}", scalar.sql));
    let column = frame.column("_value").expect("the column was just made");
    assert_eq!(column.dtype(), &scalar.data_type.polars(), "type of {}", scalar.sql);
    let series = column.as_materialized_series();
    let seen = |value: AnyValue<'_>| match value {
        AnyValue::Null => Seen::Null,
        AnyValue::Boolean(value) => Seen::Exact(value.to_string()),
        AnyValue::Int32(value) => Seen::Exact(value.to_string()),
        AnyValue::Int64(value) => Seen::Exact(value.to_string()),
        AnyValue::Float64(value) => Seen::Double(value),
        AnyValue::Date(value) => Seen::Exact(value.to_string()),
        AnyValue::Datetime(value, _, _) => Seen::Exact(value.to_string()),
        AnyValue::Decimal(value, precision, scale) => {
            let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
            let (whole, fraction) = digits.split_at(digits.len() - scale);
            let point = if scale == 0 { "" } else { "." };
            // DuckDB writes no zero before the point where the type has no digit there.
            let whole = if precision == scale { "" } else { whole };
            Seen::Exact(format!("{}{whole}{point}{fraction}", if value < 0 { "-" } else { "" }))
        }
        AnyValue::String(value) => Seen::Exact(value.to_string()),
        other => panic!("no expression gives {other:?}"),
    };
    series.iter().map(seen).collect()
}

fn by_duckdb(scalar: &Scalar, engine: &Engine) -> Vec<Seen> {
    use arrow::array::{Array, StringArray};
    let value = match scalar.data_type {
        DataType::Date => "value - DATE '1970-01-01'",
        DataType::Timestamp => "epoch_us(value)",
        _ => "value",
    };
    let query = format!(
        "SELECT CAST({value} AS VARCHAR) AS value, typeof(value) AS kind FROM \
         (SELECT \"row\", {} AS value FROM events) ORDER BY \"row\"",
        scalar.sql
    );
    let batches = engine.query(&query).unwrap_or_else(|error| panic!("{error}\n{query}"));
    let mut seen = Vec::new();
    for batch in &batches {
        let column = |index: usize| {
            let column = batch.column(index).as_any().downcast_ref::<StringArray>();
            column.expect("the query casts to text").clone()
        };
        let (values, kinds) = (column(0), column(1));
        for row in 0..values.len() {
            let found = kinds.value(row).to_lowercase().replace("varchar", "text");
            assert_eq!(found, scalar.data_type.to_string(), "DuckDB's type of {}", scalar.sql);
            seen.push(match (values.is_null(row), &scalar.data_type) {
                (true, _) => Seen::Null,
                (false, DataType::Double) => {
                    Seen::Double(values.value(row).parse().expect("DuckDB writes numbers"))
                }
                (false, _) => Seen::Exact(values.value(row).to_string()),
            });
        }
    }
    seen
}

/// The first row on which the two disagree, in words.
fn disagreement(expression: &str, rows: &[Row], events: &DataFrame, engine: &Engine) -> Option<String> {
    let scalar = compiled(expression).unwrap_or_else(|problem| panic!("{expression}\n{problem}"));
    let (polars, duckdb) = (by_polars(&scalar, events), by_duckdb(&scalar, engine));
    assert_eq!(polars.len(), duckdb.len());
    let row = polars.iter().zip(&duckdb).position(|(polars, duckdb)| !polars.agrees(duckdb))?;
    let (sql, polars, duckdb, row) = (&scalar.sql, &polars[row], &duckdb[row], &rows[row]);
    Some(format!("{expression}\nas {sql}\nover {row:?}\nPolars: {polars:?}\nDuckDB: {duckdb:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: cases(), max_shrink_iters: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn expressions_mean_in_polars_what_duckdb_makes_of_their_sql(rows in rows(), expressions in prop::collection::vec(anything(), 40)) {
        let (events, engine) = (frame(&rows), oracle(&rows));
        // Some are constants, and some need more digits than a decimal has: refused, not wrong.
        for expression in expressions.iter().filter(|expression| compiled(expression).is_ok()) {
            let disagreement = disagreement(expression, &rows, &events, &engine);
            prop_assert!(disagreement.is_none(), "{}", disagreement.unwrap_or_default());
        }
    }
}

/// More under `WATERSHED_CASES`, for a longer look.
fn cases() -> u32 {
    std::env::var("WATERSHED_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(12)
}

#[test]
fn most_random_expressions_compile() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let anything = anything();
    let tried = 400;
    let compiled_ones = (0..tried).filter(|_| {
        let tree = anything.new_tree(&mut runner).expect("the generator never rejects");
        compiled(&tree.current()).is_ok()
    });
    let share = compiled_ones.count() as f64 / f64::from(tried);
    assert!(share > 0.8, "only {share} of the random expressions compile: the law above would prove little");
}

/// Corners that random expressions seldom reach, each over rows that hold its edge.
#[test]
fn corners_agree_with_duckdb() {
    let row = Row {
        at: 0,
        flag: Some(true),
        small: Some(i32::MIN),
        large: Some(i64::MIN),
        ratio: Some(0.0),
        price: Some(-1),
        cost: Some(0),
        name: Some("ᾳᾀŉﬁ ßİΣς".to_string()),
        code: Some("a%b_c!".to_string()),
        day: Some(-1),
        seen: Some(-1),
    };
    let opposite = Row {
        flag: None,
        small: Some(-1),
        large: Some(-1),
        ratio: Some(-0.0),
        price: Some(999_999_999),
        cost: Some(99_999_999_999_999_999_999),
        name: Some(String::new()),
        code: None,
        day: Some(11_016),
        seen: Some(951_782_400_000_000),
        ..row.clone()
    };
    let rows = vec![row, opposite];
    let (events, engine) = (frame(&rows), oracle(&rows));
    for expression in [
        "upper(name)",
        "lower(name)",
        "name ILIKE 'ᾳᾀŉﬁ ßiσς'",
        "small // -1",
        "small // small",
        "large % -1",
        "- small",
        "- large",
        "abs(large)",
        "large - 1",
        "ratio / 0",
        "ratio % ratio",
        "1 / ratio",
        "ln(ratio)",
        "sqrt(price)",
        "sign(ratio)",
        "(ratio = -0e0)",
        "nullif(ratio, 0)",
        "greatest(ratio, ln(ratio), NULL)",
        "CAST(cost AS DOUBLE)",
        "cost * cost",
        "cost * 1000000000000000000",
        "CAST(cost AS INTEGER)",
        "CAST(price AS DECIMAL(2,2))",
        "floor(price)",
        "ceil(price)",
        "round(price, 1)",
        "code LIKE 'a!%b!_c!!' ESCAPE '!'",
        "code LIKE '%'",
        "name LIKE ''",
        "code NOT IN ('x', NULL)",
        "flag AND NULL",
        "flag OR NULL",
        "flag IS NOT TRUE",
        "NOT (small IN (1, 2, 3, 4, 5))",
        "date_trunc('week', seen)",
        "extract(week FROM seen)",
        "extract(second FROM seen)",
        "extract(epoch FROM seen)",
        "date_trunc('month', day)",
        "seen + INTERVAL '1 year'",
        "seen - INTERVAL '1 month'",
        "day - 1",
        "day - DATE '2000-03-01'",
        "CAST(seen AS DATE)",
        "CAST(seen AS TEXT)",
        "CAST(CAST(day AS TEXT) || ' ' AS TIMESTAMP)",
        "CAST(' ' || CAST(day AS TEXT) || ' ' AS DATE)",
        "CAST(' ' || small || ' ' AS DOUBLE)",
        "to_timestamp(large)",
        "to_timestamp(ratio * 1e300 - 5e-7)",
        "substr(name, -3, 2)",
        "right(name, -4)",
        "strpos(name, 'ß')",
        "concat(code, NULL, small, flag)",
        "CASE small WHEN -1 THEN 'one' WHEN NULL THEN 'none' END",
        "coalesce(code, NULL, 'x')",
        "seen + (INTERVAL '1 year')",
        "((INTERVAL '1 month')) + seen",
        "seen - (INTERVAL '36 hours')",
        "greatest(small, NULL, -1, 0, small // 2)",
        "least(ratio, NULL, -1.5, small, ln(ratio))",
        "price IN (1, 2.50, NULL, -0.01, 3, 4)",
        "price NOT IN (1, 2.50, 0.01, 3, 4)",
    ] {
        let disagreement = disagreement(expression, &rows, &events, &engine);
        assert!(disagreement.is_none(), "{}", disagreement.unwrap_or_default());
    }
}

#[test]
fn chains_and_lists_as_long_as_they_may_be_agree_with_duckdb() {
    let rows = [Row {
        at: 0,
        flag: Some(true),
        small: Some(1),
        large: None,
        ratio: Some(0.5),
        price: Some(-1),
        cost: None,
        name: None,
        code: None,
        day: None,
        seen: None,
    }];
    let (events, engine) = (frame(&rows), oracle(&rows));
    let prices: Vec<String> = (0..1000).map(|cents| format!("{}.{:02}", cents / 100, cents % 100)).collect();
    for expression in [
        vec!["ratio"; 190].join(" + "),
        vec!["small"; 190].join(" + "),
        vec!["flag"; 190].join(" AND "),
        format!("CASE {} ELSE 1 END", vec!["WHEN small > 1 THEN small"; 190].join(" ")),
        format!("-price NOT IN ({})", prices.join(", ")),
    ] {
        let disagreement = disagreement(&expression, &rows, &events, &engine);
        assert!(disagreement.is_none(), "{}", disagreement.unwrap_or_default());
    }
}

#[test]
fn slices_of_events_give_slices_of_values_in_both_engines() {
    use polars::prelude::Engine as Polars;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let rows = rows().new_tree(&mut runner).expect("the generator never rejects").current();
    let (events, anything) = (frame(&rows), anything());
    let evaluated = |scalar: &Scalar, events: DataFrame, engine: Polars| {
        let lazy = events.lazy().select([polars::prelude::col("at"), scalar.expr.clone().alias("_value")]);
        let frame =
            lazy.collect_with_engine(engine).unwrap_or_else(|error| panic!("{}: {error}", scalar.sql));
        frame.unwrap_single().column("_value").expect("the column was just made").clone()
    };
    for _ in 0..60 {
        let expression = anything.new_tree(&mut runner).expect("the generator never rejects").current();
        let Ok(scalar) = compiled(&expression) else { continue };
        let whole = evaluated(&scalar, events.clone(), Polars::InMemory);
        let streamed = evaluated(&scalar, events.clone(), Polars::Streaming);
        let (head, tail) = events.split_at(7);
        let mut parts = evaluated(&scalar, head, Polars::InMemory);
        parts.append(&evaluated(&scalar, tail, Polars::InMemory)).expect("both have one type");
        for other in [streamed, parts] {
            assert!(whole.equals_missing(&other), "{expression}\n{whole:?}\n{other:?}");
        }
    }
}
