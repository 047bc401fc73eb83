//! Random rows and random typed expressions over them.

use proptest::prelude::*;
use proptest::sample::select;

use super::Row;

pub fn rows() -> impl Strategy<Value = Vec<Row>> {
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

pub fn anything() -> BoxedStrategy<String> {
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
