//! String functions. Lengths and positions count characters.

use sqlparser::tokenizer::Span;

use super::{Build, Call};
use crate::expr::kernel::{binary, ternary, unary};
use crate::expr::like::Pattern;
use crate::expr::typed::Typed;
use crate::expr::{Fault, arithmetic, cast, text};
use crate::types::DataType;

pub(super) const FUNCTIONS: &[(&str, Build)] = &[
    ("lower", |call| mapped(call, text::lower)),
    ("lcase", |call| mapped(call, text::lower)),
    ("upper", |call| mapped(call, text::upper)),
    ("ucase", |call| mapped(call, text::upper)),
    ("length", length),
    ("len", length),
    ("char_length", length),
    ("character_length", length),
    ("substr", substring),
    ("substring", substring),
    ("left", |call| cut(call, text::left)),
    ("right", |call| cut(call, text::right)),
    ("trim", |call| trimmed(call, true, true)),
    ("ltrim", |call| trimmed(call, true, false)),
    ("rtrim", |call| trimmed(call, false, true)),
    ("replace", replace),
    ("concat", concat),
    ("contains", |call| tested(call, |text, part| text.contains(part))),
    ("starts_with", |call| tested(call, |text, part| text.starts_with(part))),
    ("ends_with", |call| tested(call, |text, part| text.ends_with(part))),
    ("suffix", |call| tested(call, |text, part| text.ends_with(part))),
    ("prefix", |call| tested(call, |text, part| text.starts_with(part))),
    ("strpos", position),
    ("position", position),
    ("instr", position),
];

const TEXT: DataType = DataType::Text;

fn mapped(call: &Call<'_>, function: fn(&str) -> String) -> Result<Typed, Fault> {
    call.exactly(1)?;
    let argument = call.text(0)?;
    let expr = unary::<String, String>(argument.expr.clone(), &TEXT, move |text| Some(function(text)));
    Ok(call.result(&[&argument], TEXT, expr, format!("{}({})", call.name, argument.sql)))
}

fn length(call: &Call<'_>) -> Result<Typed, Fault> {
    call.exactly(1)?;
    let argument = call.text(0)?;
    let count = |text: &str| Some(text.chars().count() as i64);
    let expr = unary::<String, i64>(argument.expr.clone(), &DataType::BigInt, count);
    Ok(call.result(&[&argument], DataType::BigInt, expr, format!("length({})", argument.sql)))
}

fn substring(call: &Call<'_>) -> Result<Typed, Fault> {
    let has_length = call.between(2, 3)?.len() == 3;
    let (argument, start) = (call.text(0)?, call.integer(1)?);
    let (expr, one) = (argument.expr.clone(), start.expr.clone());
    if !has_length {
        let expr = binary::<String, i64, String>((expr, one), &TEXT, |text, start| {
            text::substring(text, start, None)
        });
        let sql = arithmetic::checked(&format!("substr({}, {})", argument.sql, start.sql), &TEXT);
        return Ok(call.result(&[&argument, &start], TEXT, expr, sql));
    }
    let length = call.integer(2)?;
    let expr = ternary::<String, i64, i64, String>(
        (expr, one, length.expr.clone()),
        &TEXT,
        |text, start, length| text::substring(text, start, Some(length)),
    );
    let sql = format!("substr({}, {}, {})", argument.sql, start.sql, length.sql);
    Ok(call.result(&[&argument, &start, &length], TEXT, expr, arithmetic::checked(&sql, &TEXT)))
}

fn cut(call: &Call<'_>, function: fn(&str, i64) -> String) -> Result<Typed, Fault> {
    call.exactly(2)?;
    let (argument, count) = (call.text(0)?, call.integer(1)?);
    let exprs = (argument.expr.clone(), count.expr.clone());
    let limit = i64::from(u32::MAX);
    let expr = binary::<String, i64, String>(exprs, &TEXT, move |text, count| {
        (-limit..=limit).contains(&count).then(|| function(text, count))
    });
    let sql = format!(
        "CASE WHEN {1} BETWEEN -{limit} AND {limit} THEN {0}({2}, {1}) END",
        call.name, count.sql, argument.sql
    );
    Ok(call.result(&[&argument, &count], TEXT, expr, format!("({sql})")))
}

fn trimmed(call: &Call<'_>, left: bool, right: bool) -> Result<Typed, Fault> {
    let given = call.between(1, 2)?.len() == 2;
    let argument = call.text(0)?;
    let trim = move |text: &str, characters: &str| {
        let text = if left { text.trim_start_matches(|letter| characters.contains(letter)) } else { text };
        let text = if right { text.trim_end_matches(|letter| characters.contains(letter)) } else { text };
        Some(text.to_string())
    };
    if !given {
        let expr =
            unary::<String, String>(argument.expr.clone(), &TEXT, move |text| trim(text, text::SPACES));
        return Ok(call.result(&[&argument], TEXT, expr, format!("{}({})", call.name, argument.sql)));
    }
    let characters = call.text(1)?;
    let exprs = (argument.expr.clone(), characters.expr.clone());
    let expr = binary::<String, String, String>(exprs, &TEXT, trim);
    let sql = format!("{}({}, {})", call.name, argument.sql, characters.sql);
    Ok(call.result(&[&argument, &characters], TEXT, expr, sql))
}

fn replace(call: &Call<'_>) -> Result<Typed, Fault> {
    call.exactly(3)?;
    let [argument, from, to] = [call.text(0)?, call.text(1)?, call.text(2)?];
    let exprs = (argument.expr.clone(), from.expr.clone(), to.expr.clone());
    let expr = ternary::<String, String, String, String>(exprs, &TEXT, |text, from, to| {
        Some(text::replaced(text, from, to))
    });
    let sql = format!("replace({}, {}, {})", argument.sql, from.sql, to.sql);
    Ok(call.result(&[&argument, &from, &to], TEXT, expr, sql))
}

/// NULL arguments count as empty; other types are written as text.
fn concat(call: &Call<'_>) -> Result<Typed, Fault> {
    let mut joined_texts: Option<Typed> = None;
    for argument in call.at_least(1)? {
        let text = as_text(argument)?;
        let empty = Typed::text("", call.span);
        let text = super::conditional::coalesce(&[text, empty], call.span)?;
        joined_texts = Some(match joined_texts {
            None => text,
            Some(before) => joined(&before, &text, call.span)?,
        });
    }
    joined_texts.ok_or_else(|| Fault::new(call.span, "concat() wants at least 1 argument"))
}

/// `||`: NULL where either is.
pub(crate) fn joined(left: &Typed, right: &Typed, span: Span) -> Result<Typed, Fault> {
    let (left, right) = (as_text(left)?, as_text(right)?);
    let exprs = (left.expr.clone(), right.expr.clone());
    let expr = binary::<String, String, String>(exprs, &TEXT, |left, right| Some(format!("{left}{right}")));
    Ok(Typed::computed(&[&left, &right], TEXT, expr, format!("({} || {})", left.sql, right.sql), span))
}

fn as_text(argument: &Typed) -> Result<Typed, Fault> {
    match &argument.data_type {
        None => argument.coerced(&TEXT),
        Some(TEXT) => Ok(argument.clone()),
        Some(_) => Ok(cast::convert(argument, &TEXT)),
    }
}

fn tested(call: &Call<'_>, function: fn(&str, &str) -> bool) -> Result<Typed, Fault> {
    call.exactly(2)?;
    let (argument, part) = (call.text(0)?, call.text(1)?);
    let exprs = (argument.expr.clone(), part.expr.clone());
    let expr = binary::<String, String, bool>(exprs, &DataType::Boolean, move |text, part| {
        Some(function(text, part))
    });
    let sql = format!("{}({}, {})", call.name, argument.sql, part.sql);
    Ok(call.result(&[&argument, &part], DataType::Boolean, expr, sql))
}

fn position(call: &Call<'_>) -> Result<Typed, Fault> {
    call.exactly(2)?;
    let (argument, part) = (call.text(0)?, call.text(1)?);
    let exprs = (argument.expr.clone(), part.expr.clone());
    let expr = binary::<String, String, i64>(exprs, &DataType::BigInt, |text, part| {
        Some(text::position(text, part))
    });
    let sql = format!("strpos({}, {})", argument.sql, part.sql);
    Ok(call.result(&[&argument, &part], DataType::BigInt, expr, sql))
}

/// `LIKE` and, without regard to case, `ILIKE`. `words` is what follows the text in SQL.
pub(crate) fn like(
    argument: &Typed,
    pattern: &str,
    escape: Option<char>,
    any_case: bool,
    negated: bool,
    words: &str,
    span: Span,
) -> Result<Typed, Fault> {
    if !matches!(argument.data_type, Some(TEXT) | None) {
        return Err(Fault::new(argument.span, format!("LIKE wants text, found {}", argument.type_name())));
    }
    let argument = argument.coerced(&TEXT)?;
    let folded = if any_case { text::lower(pattern) } else { pattern.to_string() };
    let pattern = Pattern::new(&folded, escape)
        .ok_or_else(|| Fault::new(span, "the pattern ends with its escape character"))?;
    let expr = unary::<String, bool>(argument.expr.clone(), &DataType::Boolean, move |text| {
        let matches = if any_case { pattern.matches(&text::lower(text)) } else { pattern.matches(text) };
        Some(matches != negated)
    });
    let sql = format!("({} {}{words})", argument.sql, if negated { "NOT " } else { "" });
    Ok(Typed::computed(&[&argument], DataType::Boolean, expr, sql, span))
}
