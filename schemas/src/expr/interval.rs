//! `INTERVAL '1 day 2 hours'`, `INTERVAL '3' MONTH`, `INTERVAL 3 MONTH`: months, days and microseconds.

use sqlparser::ast::{Expr, Interval as Written, UnaryOperator, Value};

use super::arithmetic::checked;
use super::calendar::{self, HOUR, MINUTE, SECOND};
use super::kernel::unary;
use super::typed::Typed;
use super::{Fault, cast};
use crate::types::DataType;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Interval {
    pub months: i32,
    pub days: i32,
    pub micros: i64,
}

const UNITS: [(&str, Interval); 9] = [
    ("microsecond", Interval { months: 0, days: 0, micros: 1 }),
    ("millisecond", Interval { months: 0, days: 0, micros: 1_000 }),
    ("second", Interval { months: 0, days: 0, micros: SECOND }),
    ("minute", Interval { months: 0, days: 0, micros: MINUTE }),
    ("hour", Interval { months: 0, days: 0, micros: HOUR }),
    ("day", Interval { months: 0, days: 1, micros: 0 }),
    ("week", Interval { months: 0, days: 7, micros: 0 }),
    ("month", Interval { months: 1, days: 0, micros: 0 }),
    ("year", Interval { months: 12, days: 0, micros: 0 }),
];
const QUARTER: Interval = Interval { months: 3, days: 0, micros: 0 };

impl Interval {
    /// Reads `1 day`, `1 day 2 hours`, `-3 months`; what it finds wrong is the error.
    pub fn parse(text: &str) -> Result<Interval, String> {
        let mut words = text.split_whitespace();
        let mut total = Interval::default();
        let expected = || {
            format!("found interval '{text}', expected whole numbers with units such as '1 hour 30 minutes'")
        };
        while let Some(count) = words.next() {
            let (count, unit) = match count.find(|character: char| character.is_alphabetic()) {
                Some(at) => (&count[..at], &count[at..]),
                None => (count, words.next().ok_or_else(expected)?),
            };
            let count: i64 = count.parse().map_err(|_| expected())?;
            let of = unit_named(unit).ok_or_else(|| unknown_unit(unit))?;
            total = total.plus(count, of).ok_or_else(|| format!("interval '{text}' is too long"))?;
        }
        if text.trim().is_empty() { Err(expected()) } else { Ok(total) }
    }

    fn plus(self, count: i64, of: Interval) -> Option<Interval> {
        let add = |total: i32, each: i32| {
            total.checked_add(i32::try_from(count.checked_mul(i64::from(each))?).ok()?)
        };
        Some(Interval {
            months: add(self.months, of.months)?,
            days: add(self.days, of.days)?,
            micros: self.micros.checked_add(count.checked_mul(of.micros)?)?,
        })
    }

    pub fn of(written: &Written) -> Result<Interval, Fault> {
        use sqlparser::ast::Spanned;
        let span = written.value.span();
        let fault = |message: String| Fault::new(span, message);
        let text = literal(&written.value)
            .ok_or_else(|| fault("an interval is a literal such as INTERVAL '1 hour'".to_string()))?;
        let plain = written.leading_precision.is_none() && written.last_field.is_none();
        match &written.leading_field {
            _ if !plain => Err(fault("an interval is written as INTERVAL '1 hour'".to_string())),
            Some(unit) => Interval::parse(&format!("{text} {unit}")).map_err(fault),
            None => Interval::parse(&text).map_err(fault),
        }
    }

    fn negated(self) -> Option<Interval> {
        Some(Interval {
            months: self.months.checked_neg()?,
            days: self.days.checked_neg()?,
            micros: self.micros.checked_neg()?,
        })
    }

    /// `moment + self`, a TIMESTAMP; `backwards` for `-`.
    pub fn added_to(self, moment: &Typed, backwards: bool) -> Result<Typed, Fault> {
        if !matches!(moment.data_type, Some(DataType::Date | DataType::Timestamp)) {
            let message = format!("an interval moves a date or timestamp, found {}", moment.type_name());
            return Err(Fault::new(moment.span, message));
        }
        let result = DataType::Timestamp;
        let moment = cast::convert(moment, &result);
        let by = if backwards { self.negated() } else { Some(self) };
        let by = by.ok_or_else(|| Fault::new(moment.span, "the interval is too long"))?;
        let expr = unary::<i64, i64>(moment.expr.clone(), &result, move |micros| {
            calendar::shifted(micros, by.months, by.days, by.micros)
        });
        let sql = format!(
            "{} + to_months({}) + to_days({}) + to_microseconds({})",
            moment.sql, by.months, by.days, by.micros
        );
        Ok(Typed::computed(&[&moment], result.clone(), expr, checked(&sql, &result), moment.span))
    }
}

fn unit_named(unit: &str) -> Option<Interval> {
    let unit = unit.to_lowercase();
    let singular = unit.strip_suffix('s').unwrap_or(&unit);
    let short = match singular {
        "quarter" => return Some(QUARTER),
        "us" | "u" => "microsecond",
        "ms" | "m" if unit == "ms" => "millisecond",
        "sec" | "" => "second",
        "min" | "m" => "minute",
        "h" | "hr" => "hour",
        "d" => "day",
        "w" => "week",
        "mon" => "month",
        "y" | "yr" => "year",
        other => other,
    };
    UNITS.iter().find(|(name, _)| *name == short).map(|(_, interval)| *interval)
}

fn unknown_unit(unit: &str) -> String {
    let names = UNITS.iter().map(|(name, _)| *name);
    match crate::problem::nearest(unit.trim_end_matches('s'), names) {
        Some(name) => format!("unknown unit \"{unit}\" in an interval, did you mean \"{name}\"?"),
        None => format!(
            "unknown unit \"{unit}\" in an interval, expected second, minute, hour, day, week, month, quarter or year"
        ),
    }
}

/// The text of a literal, signs included.
fn literal(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            Value::Number(text, _) => Some(text.to_string()),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => Some(format!("-{}", literal(expr)?)),
        Expr::Nested(inner) => literal(inner),
        _ => None,
    }
}
