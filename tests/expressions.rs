//! Scalar expressions mean in Polars what DuckDB makes of their `sql`: checked over random typed expressions
//! and rows, and over the corners that random text rarely finds.

use std::fmt::Write;

use polars::prelude::{
    AnyValue, BooleanChunked, Column, DataFrame, Float64Chunked, Int32Chunked, Int64Chunked, Int128Chunked,
    IntoColumn, IntoLazy, IntoSeries, NewChunkedArray, StringChunked, TimeUnit,
};
use proptest::prelude::*;
use proptest::sample::select;
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

fn rows() -> impl Strategy<Value = Vec<Row>> {
    prop::collection::vec(row(), 24)
}

fn row() -> impl Strategy<Value = Row> {
    let null = 0.15;
    let moment = || -2_208_988_800_000_000i64..4_102_444_800_000_000;
    let maybe = move |strategy: BoxedStrategy<String>| proptest::option::weighted(1.0 - null, strategy);
    (
        (moment(), proptest::option::weighted(0.85, any::<bool>())),
        (proptest::option::weighted(0.85, small()), proptest::option::weighted(0.85, large())),
        (
            proptest::option::weighted(0.85, ratio()),
            proptest::option::weighted(0.85, -999_999_999i128..=999_999_999),
            proptest::option::weighted(0.85, -99_999_999_999_999_999_999i128..=99_999_999_999_999_999_999),
        ),
        (maybe(text_value().boxed()), maybe(short_text().boxed())),
        (proptest::option::weighted(0.85, -25_000..47_000i32), proptest::option::weighted(0.85, moment())),
    )
        .prop_map(|((at, flag), (small, large), (ratio, price, cost), (name, code), (day, seen))| Row {
            at,
            flag,
            small,
            large,
            ratio,
            price,
            cost,
            name,
            code,
            day,
            seen,
        })
}

fn small() -> impl Strategy<Value = i32> {
    prop_oneof![3 => -20..20i32, 1 => any::<i32>(), 1 => select(vec![i32::MIN, i32::MAX, 0, 1, -1])]
}

fn large() -> impl Strategy<Value = i64> {
    prop_oneof![3 => -50..50i64, 1 => any::<i64>(), 1 => select(vec![i64::MIN, i64::MAX, 0, 1, -1, 1 << 53])]
}

fn ratio() -> impl Strategy<Value = f64> {
    prop_oneof![
        3 => (-100_000..100_000i32).prop_map(|value| f64::from(value) / 8.0),
        2 => -1e6..1e6f64,
        1 => proptest::num::f64::NORMAL,
        1 => select(vec![0.0, -0.0, 0.5, 1.5, 2.5, -0.5, 1e300, -1e-300, 1e15, 1e16, 1e-5, 9.5e18]),
    ]
}

fn text_value() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => short_text(),
        1 => "[-+]?[0-9]{1,4}([.][0-9]{0,3})?",
        1 => "[0-9]{4}-[01][0-9]-[0-3][0-9]( [0-2][0-9]:[0-5][0-9](:[0-5][0-9]([.][0-9]{1,7})?)?Z?)?",
        1 => select(vec![
            "", " ", "true", "F", "yes", "0", " 12 ", "1e3", "1e400", "-", ".", "5.", ".5", "99999999999999999999",
            "2013-02-29", "2012-02-29", "2013-01-31T05:00:00.123456789", "2013-01-31 24:00:00", "\u{a0}x\u{3000}",
            "straße", "İstanbul", "ᾳᾀŉﬁ", "ŒUVRE", "日本語", "e\u{301}", "a\nb", "x%y_z", "100%", "NaN", "inf", "0x1f", "1_000",
        ]).prop_map(str::to_string),
    ]
}

fn short_text() -> impl Strategy<Value = String> {
    "[abAB %_éÄ1]{0,6}"
}

fn literal_text() -> impl Strategy<Value = String> {
    short_text().prop_map(|text| format!("'{text}'"))
}

fn leaf(columns: &'static [&'static str], literals: BoxedStrategy<String>) -> BoxedStrategy<String> {
    prop_oneof![3 => select(columns).prop_map(str::to_string), 1 => literals].boxed()
}

fn choice(of: BoxedStrategy<String>, condition: BoxedStrategy<String>) -> BoxedStrategy<String> {
    prop_oneof![
        (condition, of.clone(), of.clone())
            .prop_map(|(when, then, other)| format!("CASE WHEN {when} THEN {then} ELSE {other} END")),
        (of.clone(), of.clone()).prop_map(|(left, right)| format!("coalesce({left}, {right})")),
        (of.clone(), of.clone()).prop_map(|(left, right)| format!("nullif({left}, {right})")),
        (of.clone(), of.clone(), of.clone())
            .prop_map(|(one, two, three)| format!("greatest({one}, {two}, {three})")),
        (of.clone(), of).prop_map(|(left, right)| format!("least({left}, {right})")),
    ]
    .boxed()
}

/// Expressions of each type up to one depth. The next depth is made of them.
struct Level {
    boolean: BoxedStrategy<String>,
    integer: BoxedStrategy<String>,
    double: BoxedStrategy<String>,
    decimal: BoxedStrategy<String>,
    text: BoxedStrategy<String>,
    date: BoxedStrategy<String>,
    timestamp: BoxedStrategy<String>,
}

impl Level {
    fn above(below: Option<&Level>) -> Level {
        Level {
            boolean: boolean(below),
            integer: integer(below),
            double: double(below),
            decimal: decimal(below),
            text: text(below),
            date: date(below),
            timestamp: timestamp(below),
        }
    }

    fn boolean(&self) -> BoxedStrategy<String> {
        self.boolean.clone()
    }

    fn integer(&self) -> BoxedStrategy<String> {
        self.integer.clone()
    }

    fn double(&self) -> BoxedStrategy<String> {
        self.double.clone()
    }

    fn decimal(&self) -> BoxedStrategy<String> {
        self.decimal.clone()
    }

    fn text(&self) -> BoxedStrategy<String> {
        self.text.clone()
    }

    fn date(&self) -> BoxedStrategy<String> {
        self.date.clone()
    }

    fn timestamp(&self) -> BoxedStrategy<String> {
        self.timestamp.clone()
    }

    fn number(&self) -> BoxedStrategy<String> {
        prop_oneof![self.integer(), self.double(), self.decimal()].boxed()
    }

    fn moment(&self) -> BoxedStrategy<String> {
        prop_oneof![self.date(), self.timestamp()].boxed()
    }

    fn any(&self) -> BoxedStrategy<String> {
        prop_oneof![self.boolean(), self.number(), self.text(), self.moment()].boxed()
    }
}

fn boolean(below: Option<&Level>) -> BoxedStrategy<String> {
    let leaf = leaf(&["flag"], select(vec!["TRUE", "FALSE"]).prop_map(str::to_string).boxed());
    let Some(below) = below else { return leaf };
    let compared = |of: BoxedStrategy<String>| {
        let operators =
            select(vec!["=", "<>", "<", "<=", ">", ">=", "IS DISTINCT FROM", "IS NOT DISTINCT FROM"]);
        (of.clone(), operators, of).prop_map(|(left, sign, right)| format!("({left} {sign} {right})"))
    };
    let ranged = |of: BoxedStrategy<String>| {
        (of.clone(), prop::bool::ANY, of.clone(), of).prop_map(|(value, not, low, high)| {
            format!("({value} {}BETWEEN {low} AND {high})", if not { "NOT " } else { "" })
        })
    };
    let pattern = "[abA%_é1]{0,5}";
    prop_oneof![
        1 => leaf,
        2 => compared(below.number()),
        1 => compared(below.text()),
        1 => compared(below.moment()),
        1 => compared(below.boolean()),
        1 => ranged(below.number()),
        1 => ranged(below.text()),
        2 => (below.boolean(), select(vec!["AND", "OR"]), below.boolean())
            .prop_map(|(left, word, right)| format!("({left} {word} {right})")),
        1 => below.boolean().prop_map(|of| format!("(NOT {of})")),
        1 => (below.any(), select(vec!["IS NULL", "IS NOT NULL"])).prop_map(|(of, words)| format!("({of} {words})")),
        1 => (below.boolean(), select(vec!["IS TRUE", "IS NOT TRUE", "IS FALSE", "IS NOT FALSE", "IS UNKNOWN"]))
            .prop_map(|(of, words)| format!("({of} {words})")),
        1 => (below.text(), select(vec!["LIKE", "ILIKE", "NOT LIKE", "NOT ILIKE"]), pattern)
            .prop_map(|(of, word, pattern)| format!("({of} {word} '{pattern}')")),
        1 => (below.text(), pattern).prop_map(|(of, pattern)| format!("({of} LIKE '!%{pattern}' ESCAPE '!')")),
        1 => (select(vec!["starts_with", "ends_with", "contains"]), below.text(), below.text())
            .prop_map(|(function, text, part)| format!("{function}({text}, {part})")),
        1 => (below.text(), prop::bool::ANY, prop::collection::vec(prop_oneof![5 => literal_text(), 1 => Just("NULL".to_string())], 1..6))
            .prop_map(|(of, not, list)| format!("({of} {}IN ({}))", if not { "NOT " } else { "" }, list.join(", "))),
        1 => (below.integer(), prop::collection::vec(-20..20i32, 1..7)).prop_map(|(of, list)| {
            let list: Vec<String> = list.iter().map(i32::to_string).collect();
            format!("({of} IN ({}))", list.join(", "))
        }),
        1 => prop_oneof![below.text(), below.integer()].prop_map(|of| format!("CAST({of} AS BOOLEAN)")),
        1 => choice(below.boolean(), below.boolean()),
    ]
    .boxed()
}

fn integer(below: Option<&Level>) -> BoxedStrategy<String> {
    let literals =
        prop_oneof![(-9..40i32).prop_map(|value| value.to_string()), Just("3000000000".to_string())];
    let leaf = leaf(&["small", "large"], literals.boxed());
    let Some(below) = below else { return leaf };
    let parts =
        vec!["year", "quarter", "month", "week", "day", "doy", "dow", "isodow", "hour", "minute", "second"];
    prop_oneof![
        1 => leaf,
        3 => (below.integer(), select(vec!["+", "-", "*", "//", "%"]), below.integer())
            .prop_map(|(left, sign, right)| format!("({left} {sign} {right})")),
        1 => below.integer().prop_map(|of| format!("(- {of})")),
        1 => below.integer().prop_map(|of| format!("abs({of})")),
        1 => below.number().prop_map(|of| format!("sign({of})")),
        1 => below.text().prop_map(|of| format!("length({of})")),
        1 => (below.text(), below.text()).prop_map(|(text, part)| format!("strpos({text}, {part})")),
        2 => (select(parts), below.moment()).prop_map(|(part, of)| format!("extract({part} FROM {of})")),
        1 => (below.date(), below.date()).prop_map(|(left, right)| format!("({left} - {right})")),
        2 => (prop_oneof![below.number(), below.text(), below.boolean()], select(vec!["INTEGER", "BIGINT"]))
            .prop_map(|(of, kind)| format!("CAST({of} AS {kind})")),
        1 => choice(below.integer(), below.boolean()),
    ]
    .boxed()
}

fn double(below: Option<&Level>) -> BoxedStrategy<String> {
    let leaf =
        leaf(&["ratio"], select(vec!["1e3", "2.5e0", "-1e-3", "0e0"]).prop_map(str::to_string).boxed());
    let Some(below) = below else { return leaf };
    prop_oneof![
        1 => leaf,
        2 => (below.double(), select(vec!["+", "-", "*", "%"]), below.number())
            .prop_map(|(left, sign, right)| format!("({left} {sign} {right})")),
        2 => (below.number(), below.number()).prop_map(|(left, right)| format!("({left} / {right})")),
        1 => below.double().prop_map(|of| format!("(- {of})")),
        1 => (select(vec!["abs", "round", "floor", "ceil"]), below.double())
            .prop_map(|(function, of)| format!("{function}({of})")),
        1 => (select(vec!["sqrt", "ln", "log10", "exp"]), below.number())
            .prop_map(|(function, of)| format!("{function}({of})")),
        1 => (below.number(), -2..3i32).prop_map(|(base, exponent)| format!("power({base}, {exponent})")),
        1 => (below.double(), -3..6i32).prop_map(|(of, places)| format!("round({of}, {places})")),
        1 => below.moment().prop_map(|of| format!("extract(epoch FROM {of})")),
        2 => prop_oneof![below.number(), below.text()].prop_map(|of| format!("CAST({of} AS DOUBLE)")),
        1 => choice(below.double(), below.boolean()),
    ]
    .boxed()
}

fn decimal(below: Option<&Level>) -> BoxedStrategy<String> {
    let literals =
        select(vec!["1.5", "-0.25", "100.00", "12345678901234567890.5", "0.001"]).prop_map(str::to_string);
    let leaf = leaf(&["price", "cost"], literals.boxed());
    let Some(below) = below else { return leaf };
    let kinds =
        select(vec!["DECIMAL(5,1)", "DECIMAL(12,4)", "DECIMAL(18,0)", "DECIMAL(38,10)", "DECIMAL(3,3)"]);
    let narrow = "DECIMAL(12,2)";
    prop_oneof![
        2 => leaf,
        2 => (below.decimal(), select(vec!["+", "-", "*", "%"]), prop_oneof![below.decimal(), below.integer()])
            .prop_map(|(left, sign, right)| format!("({left} {sign} {right})")),
        1 => (below.decimal(), select(vec!["+", "-", "*", "%"]), below.decimal()).prop_map(move |(left, sign, right)| {
            format!("(CAST({left} AS {narrow}) {sign} CAST({right} AS {narrow}))")
        }),
        1 => below.decimal().prop_map(|of| format!("(- {of})")),
        1 => (select(vec!["abs", "round", "floor", "ceil"]), below.decimal())
            .prop_map(|(function, of)| format!("{function}({of})")),
        1 => (below.decimal(), 0..5i32).prop_map(|(of, places)| format!("round({of}, {places})")),
        3 => (prop_oneof![below.number(), below.text()], kinds).prop_map(|(of, kind)| format!("CAST({of} AS {kind})")),
    ]
    .boxed()
}

fn text(below: Option<&Level>) -> BoxedStrategy<String> {
    let leaf = leaf(&["name", "code"], literal_text().boxed());
    let Some(below) = below else { return leaf };
    let position =
        || prop_oneof![4 => (-7..8i32).prop_map(|value| value.to_string()), 1 => Just("small".to_string())];
    prop_oneof![
        1 => leaf,
        1 => (select(vec!["lower", "upper", "trim", "ltrim", "rtrim"]), below.text())
            .prop_map(|(function, of)| format!("{function}({of})")),
        1 => (select(vec!["trim", "ltrim", "rtrim"]), below.text(), literal_text())
            .prop_map(|(function, of, characters)| format!("{function}({of}, {characters})")),
        2 => (below.text(), position(), position())
            .prop_map(|(of, start, length)| format!("substr({of}, {start}, {length})")),
        1 => (below.text(), position()).prop_map(|(of, start)| format!("substr({of}, {start})")),
        1 => (select(vec!["left", "right"]), below.text(), position())
            .prop_map(|(function, of, count)| format!("{function}({of}, {count})")),
        1 => (below.text(), below.text(), below.text()).prop_map(|(of, from, to)| format!("replace({of}, {from}, {to})")),
        1 => (below.text(), below.text()).prop_map(|(left, right)| format!("concat({left}, {right})")),
        1 => (below.text(), below.text()).prop_map(|(left, right)| format!("({left} || {right})")),
        2 => below.any().prop_map(|of| format!("CAST({of} AS TEXT)")),
        1 => choice(below.text(), below.boolean()),
    ]
    .boxed()
}

fn date(below: Option<&Level>) -> BoxedStrategy<String> {
    let leaf = leaf(
        &["day"],
        select(vec!["DATE '2013-01-31'", "DATE '1969-12-31'"]).prop_map(str::to_string).boxed(),
    );
    let Some(below) = below else { return leaf };
    prop_oneof![
        1 => leaf,
        1 => (below.date(), select(vec!["+", "-"]), -800..800i32).prop_map(|(of, sign, days)| format!("({of} {sign} {days})")),
        2 => prop_oneof![below.timestamp(), below.text()].prop_map(|of| format!("CAST({of} AS DATE)")),
        1 => choice(below.date(), below.boolean()),
    ]
    .boxed()
}

fn timestamp(below: Option<&Level>) -> BoxedStrategy<String> {
    let literals = select(vec!["TIMESTAMP '2013-01-31 05:00:00'", "TIMESTAMP '1969-12-31 23:59:59.999999'"]);
    let leaf = leaf(&["at", "seen"], literals.prop_map(str::to_string).boxed());
    let Some(below) = below else { return leaf };
    let intervals = select(vec![
        "1 month",
        "1 hour",
        "2 days 3 hours",
        "1 year 2 months 5 seconds",
        "90 minutes",
        "-1 month",
        "1 week",
        "1 quarter",
    ]);
    let units = select(vec!["second", "minute", "hour", "day", "week", "month", "quarter", "year"]);
    prop_oneof![
        1 => leaf,
        2 => (below.moment(), select(vec!["+", "-"]), intervals)
            .prop_map(|(of, sign, interval)| format!("({of} {sign} INTERVAL '{interval}')")),
        2 => (units, below.moment()).prop_map(|(unit, of)| format!("date_trunc('{unit}', {of})")),
        1 => (-100_000..2_000_000_000i64).prop_map(|seconds| format!("to_timestamp({seconds} + small % 1000)")),
        1 => below.double().prop_map(|of| format!("to_timestamp({of})")),
        2 => prop_oneof![below.date(), below.text()].prop_map(|of| format!("CAST({of} AS TIMESTAMP)")),
        1 => choice(below.timestamp(), below.boolean()),
    ]
    .boxed()
}

fn anything() -> BoxedStrategy<String> {
    let leaves = Level::above(None);
    let shallow = Level::above(Some(&leaves));
    let deep = Level::above(Some(&Level::above(Some(&shallow))));
    let each = |level: &Level| {
        prop_oneof![
            level.boolean(),
            level.integer(),
            level.double(),
            level.decimal(),
            level.text(),
            level.date(),
            level.timestamp()
        ]
    };
    prop_oneof![each(&shallow), each(&deep)].boxed()
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
    ] {
        let disagreement = disagreement(expression, &rows, &events, &engine);
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
