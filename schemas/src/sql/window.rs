//! `tumble`, `time_bucket` and `date_trunc` over the event time: the same windows by three names.

use sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Spanned, Value,
};
use sqlparser::tokenizer::Span;

use crate::expr::{Fault, Interval, Scope, UNITS, Unit, names};
use crate::window::{Length, Window};

const SECOND: i64 = 1_000_000;
const DAY: i64 = 86_400 * SECOND;
/// A window's bounds lie near its events' times, so that they are dates that every reader of the files knows.
const LONGEST_MONTHS: i32 = 1_200;
const LONGEST_MICROS: i64 = 36_525 * DAY;
const LATER: [&str; 4] = ["hop", "session", "cumulate", "slide"];

/// The window that `expr` is, or `None` for anything else.
pub(super) fn window(expr: &Expr, scope: &Scope<'_>) -> Option<Result<Window, Fault>> {
    let Expr::Function(function) = expr else { return None };
    let name = function.name.to_string().to_lowercase();
    let span = function.span();
    let arguments = arguments(function);
    match name.as_str() {
        "tumble" => Some(match arguments.as_slice() {
            [time, length] => tumbling(time, length, scope),
            _ => Err(Fault::new(
                span,
                "tumble() wants the event time and a length: tumble(time, INTERVAL '1 hour')",
            )),
        }),
        "time_bucket" => Some(match arguments.as_slice() {
            [length, time] => tumbling(time, length, scope),
            [_, _, origin] => Err(Fault::new(
                origin.span(),
                "time_bucket() with an origin is not supported: windows are aligned to UTC",
            )),
            _ => Err(Fault::new(
                span,
                "time_bucket() wants a length and the event time: time_bucket(INTERVAL '1 hour', time)",
            )),
        }),
        // Over other columns it is a function like any other.
        "date_trunc" | "datetrunc" => match arguments.as_slice() {
            [unit, time] if is_event_time(time, scope) => Some(truncated(unit)),
            _ => None,
        },
        name if LATER.contains(&name) => Some(Err(Fault::new(
            span,
            format!(
                "{name}() windows are not supported; expected tumble({}, INTERVAL '…')",
                scope.event_time.unwrap_or("time")
            ),
        ))),
        _ => None,
    }
}

fn arguments(function: &Function) -> Vec<&Expr> {
    let FunctionArguments::List(list) = &function.args else { return Vec::new() };
    let plain = list.args.iter().filter_map(|argument| match argument {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
        _ => None,
    });
    plain.collect()
}

/// Where the event time is not known, any column may be it.
fn is_event_time(expr: &Expr, scope: &Scope<'_>) -> bool {
    let is_it = |name: &Ident| scope.event_time.is_none_or(|event_time| names(name, event_time));
    match expr {
        Expr::Nested(inner) => is_event_time(inner, scope),
        Expr::Identifier(name) => is_it(name),
        Expr::CompoundIdentifier(parts) => match parts.as_slice() {
            [qualifier, name] => names(qualifier, &scope.qualifier.value) && is_it(name),
            _ => false,
        },
        _ => false,
    }
}

fn tumbling(time: &Expr, length: &Expr, scope: &Scope<'_>) -> Result<Window, Fault> {
    if !is_event_time(time, scope) {
        let named = scope.event_time.map_or(String::new(), |event_time| format!(" \"{event_time}\""));
        return Err(Fault::new(time.span(), format!("found {time}, expected the event time{named}")));
    }
    let (interval, span) = interval(length)?;
    Ok(Window::Tumble(length_of(interval).map_err(|message| Fault::new(span, message))?))
}

fn interval(expr: &Expr) -> Result<(Interval, Span), Fault> {
    let span = expr.span();
    match expr {
        Expr::Nested(inner) => interval(inner),
        Expr::Interval(written) => Ok((Interval::of(written)?, span)),
        Expr::Value(value) => match &value.value {
            Value::SingleQuotedString(text) => {
                Ok((Interval::parse(text).map_err(|message| Fault::new(span, message))?, span))
            }
            _ => Err(Fault::new(span, format!("found {expr}, expected INTERVAL '…'"))),
        },
        _ => Err(Fault::new(span, format!("found {expr}, expected INTERVAL '…'"))),
    }
}

fn length_of(interval: Interval) -> Result<Length, String> {
    let micros = i64::from(interval.days).checked_mul(DAY).and_then(|days| days.checked_add(interval.micros));
    let too_long = || Err("a window is at most 100 years long".to_string());
    match (interval.months, micros) {
        (months, Some(0)) if months > LONGEST_MONTHS => too_long(),
        (0, Some(micros)) if micros > LONGEST_MICROS => too_long(),
        (months, Some(0)) if months > 0 => Ok(Length::Months(months)),
        (0, Some(micros)) if micros >= SECOND && micros % SECOND == 0 => Ok(Length::Micros(micros)),
        (months, Some(micros)) if months != 0 && micros != 0 => {
            Err("a window is some months or some seconds long, not both".to_string())
        }
        _ => Err("a window is a whole number of seconds long, at least one".to_string()),
    }
}

fn truncated(unit: &Expr) -> Result<Window, Fault> {
    let span = unit.span();
    let word = match unit {
        Expr::Value(value) => value.value.clone().into_string(),
        _ => None,
    };
    let Some(word) = word.map(|word| word.to_lowercase()) else {
        return Err(Fault::new(span, format!("found {unit}, expected a unit in quotes such as 'hour'")));
    };
    let singular = word.strip_suffix('s').unwrap_or(&word);
    let Some((_, unit)) = UNITS.iter().find(|(name, _)| *name == singular) else {
        let known = UNITS.iter().map(|(name, _)| *name);
        return Err(Fault::unknown(span, format!("unknown unit \"{word}\""), &word, known));
    };
    Ok(Window::Tumble(match unit {
        Unit::Second => Length::Micros(SECOND),
        Unit::Minute => Length::Micros(60 * SECOND),
        Unit::Hour => Length::Micros(3_600 * SECOND),
        Unit::Day => Length::Micros(DAY),
        Unit::Week => Length::Micros(7 * DAY),
        Unit::Month => Length::Months(1),
        Unit::Quarter => Length::Months(3),
        Unit::Year => Length::Months(12),
    }))
}
