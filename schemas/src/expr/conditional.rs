//! NULL logic and choices: comparisons, `AND`/`OR`/`NOT`, `CASE`, `COALESCE`, `IN`, `BETWEEN`, `greatest`.

use polars::prelude::{Expr, when};
use sqlparser::ast::BinaryOperator;
use sqlparser::tokenizer::Span;

use super::Fault;
use super::kernel::unary;
use super::typed::{Typed, unify};
use crate::types::DataType;

/// Two or more expressions brought to one type.
pub(super) fn alike(of: &[&Typed]) -> Result<(DataType, Vec<Typed>), Fault> {
    let Some(common) = unify(of)? else {
        let span = of.first().map_or(Span::empty(), |typed| typed.span);
        return Err(Fault::new(span, "NULL has no type here; write CAST(NULL AS …)"));
    };
    let coerced = of.iter().map(|typed| typed.coerced(&common)).collect::<Result<_, _>>()?;
    Ok((common, coerced))
}

pub(super) fn boolean(typed: &Typed, place: &str) -> Result<Typed, Fault> {
    match &typed.data_type {
        Some(DataType::Boolean) => Ok(typed.clone()),
        None => typed.coerced(&DataType::Boolean),
        Some(other) => Err(Fault::new(typed.span, format!("{place} wants boolean, found {other}"))),
    }
}

fn truth(from: &[&Typed], expr: Expr, sql: String, span: Span) -> Typed {
    Typed::computed(from, DataType::Boolean, expr, sql, span)
}

pub(super) fn compared(
    operator: &BinaryOperator,
    left: &Typed,
    right: &Typed,
    span: Span,
) -> Result<Option<Typed>, Fault> {
    let (apply, sign): (fn(Expr, Expr) -> Expr, _) = match operator {
        BinaryOperator::Eq => (|left, right| left.eq(right), "="),
        BinaryOperator::NotEq => (|left, right| left.neq(right), "<>"),
        BinaryOperator::Lt => (|left, right| left.lt(right), "<"),
        BinaryOperator::LtEq => (|left, right| left.lt_eq(right), "<="),
        BinaryOperator::Gt => (|left, right| left.gt(right), ">"),
        BinaryOperator::GtEq => (|left, right| left.gt_eq(right), ">="),
        _ => return Ok(None),
    };
    let (_, sides) = alike(&[left, right])?;
    let expr = apply(sides[0].expr.clone(), sides[1].expr.clone());
    let sql = format!("({} {sign} {})", sides[0].sql, sides[1].sql);
    Ok(Some(truth(&[left, right], expr, sql, span)))
}

/// `AND` and `OR` with NULL as “unknown”.
pub(super) fn connected(both: bool, left: &Typed, right: &Typed, span: Span) -> Result<Typed, Fault> {
    let word = if both { "AND" } else { "OR" };
    let (left, right) = (boolean(left, word)?, boolean(right, word)?);
    let (one, other) = (left.expr.clone(), right.expr.clone());
    let expr = if both { one.and(other) } else { one.or(other) };
    let sql = format!("({} {word} {})", left.sql, right.sql);
    Ok(truth(&[&left, &right], expr, sql, span))
}

pub(super) fn negated(argument: &Typed, span: Span) -> Result<Typed, Fault> {
    let argument = boolean(argument, "NOT")?;
    Ok(truth(&[&argument], argument.expr.clone().not(), format!("(NOT {})", argument.sql), span))
}

pub(super) fn is_null(argument: &Typed, wanted: bool, span: Span) -> Typed {
    let argument = argument.clone();
    let expr = if wanted { argument.expr.clone().is_null() } else { argument.expr.clone().is_not_null() };
    let words = if wanted { "IS NULL" } else { "IS NOT NULL" };
    truth(&[&argument], expr, format!("({} {words})", argument.sql), span)
}

/// `IS [NOT] TRUE`, `IS [NOT] FALSE`: never NULL.
pub(super) fn is_truth(argument: &Typed, value: bool, wanted: bool, span: Span) -> Result<Typed, Fault> {
    let argument = boolean(argument, "IS TRUE")?;
    let same = if value { argument.expr.clone() } else { argument.expr.clone().not() };
    let is = same.fill_null(polars::prelude::lit(false));
    let words = format!("IS {}{}", if wanted { "" } else { "NOT " }, if value { "TRUE" } else { "FALSE" });
    let sql = format!("({} {words})", argument.sql);
    Ok(truth(&[&argument], if wanted { is } else { is.not() }, sql, span))
}

pub(super) fn distinct(left: &Typed, right: &Typed, wanted: bool, span: Span) -> Result<Typed, Fault> {
    let (_, sides) = alike(&[left, right])?;
    let (one, other) = (sides[0].expr.clone(), sides[1].expr.clone());
    let expr = if wanted { one.neq_missing(other) } else { one.eq_missing(other) };
    let words = if wanted { "IS DISTINCT FROM" } else { "IS NOT DISTINCT FROM" };
    let sql = format!("({} {words} {})", sides[0].sql, sides[1].sql);
    Ok(truth(&[left, right], expr, sql, span))
}

/// Longer lists of texts or integers are looked up, not compared one by one.
const LOOKED_UP_FROM: usize = 4;

pub(super) fn in_list(argument: &Typed, list: &[Typed], negated: bool, span: Span) -> Result<Typed, Fault> {
    let all: Vec<&Typed> = std::iter::once(argument).chain(list).collect();
    let (common, sides) = alike(&all)?;
    let (sought, items) = (&sides[0], &sides[1..]);
    let has_null = list.iter().any(Typed::is_null_literal);
    let is_in = match looked_up(sought, list, &common) {
        Some(expr) if !has_null && list.len() >= LOOKED_UP_FROM => expr,
        _ => {
            let equal = items.iter().map(|item| sought.expr.clone().eq(item.expr.clone()));
            reduced(equal, Expr::or).unwrap_or_else(|| polars::prelude::lit(false))
        }
    };
    let expr = if negated { is_in.not() } else { is_in };
    let items: Vec<&str> = items.iter().map(|item| item.sql.as_str()).collect();
    let word = if negated { "NOT IN" } else { "IN" };
    let sql = format!("({} {word} ({}))", sought.sql, items.join(", "));
    Ok(truth(&all, expr, sql, span))
}

fn looked_up(sought: &Typed, list: &[Typed], common: &DataType) -> Option<Expr> {
    use super::typed::Literal;
    use std::collections::HashSet;
    let result = DataType::Boolean;
    match common {
        DataType::Text => {
            let items = list.iter().map(|item| match &item.literal {
                Some(Literal::Text(text)) => Some(text.clone()),
                _ => None,
            });
            let set: HashSet<String> = items.collect::<Option<_>>()?;
            Some(unary::<String, bool>(sought.expr.clone(), &result, move |text| Some(set.contains(text))))
        }
        DataType::Integer | DataType::BigInt => {
            let items = list.iter().map(|item| match &item.literal {
                Some(Literal::Number(text)) => text.parse::<i64>().ok(),
                _ => None,
            });
            let set: HashSet<i64> = items.collect::<Option<_>>()?;
            Some(unary::<i64, bool>(sought.expr.clone(), &result, move |number| Some(set.contains(&number))))
        }
        _ => None,
    }
}

pub(super) fn between(
    argument: &Typed,
    low: &Typed,
    high: &Typed,
    negated: bool,
    span: Span,
) -> Result<Typed, Fault> {
    let (_, sides) = alike(&[argument, low, high])?;
    let [value, low, high] = [0, 1, 2].map(|index| sides[index].expr.clone());
    let inside = value.clone().gt_eq(low).and(value.lt_eq(high));
    let word = if negated { "NOT BETWEEN" } else { "BETWEEN" };
    let sql = format!("({} {word} {} AND {})", sides[0].sql, sides[1].sql, sides[2].sql);
    Ok(truth(&[&sides[0], &sides[1], &sides[2]], if negated { inside.not() } else { inside }, sql, span))
}

/// `CASE` with one condition per branch; a missing `ELSE` is NULL.
pub(super) fn case(
    branches: &[(Typed, Typed)],
    otherwise: Option<&Typed>,
    span: Span,
) -> Result<Typed, Fault> {
    let null = Typed::null(span);
    let results: Vec<&Typed> =
        branches.iter().map(|(_, result)| result).chain([otherwise.unwrap_or(&null)]).collect();
    let (common, results) = alike(&results)?;
    let conditions =
        branches.iter().map(|(condition, _)| boolean(condition, "WHEN")).collect::<Result<Vec<_>, _>>()?;
    let (last, firsts) = results.split_last().ok_or_else(|| Fault::new(span, "CASE without a WHEN"))?;
    let mut expr = last.expr.clone();
    for (condition, result) in conditions.iter().zip(firsts).rev() {
        expr = when(condition.expr.clone()).then(result.expr.clone()).otherwise(expr);
    }
    let whens: Vec<String> = (conditions.iter().zip(firsts))
        .map(|(condition, result)| format!("WHEN {} THEN {}", condition.sql, result.sql))
        .collect();
    let sql = format!("(CASE {} ELSE {} END)", whens.join(" "), last.sql);
    let from: Vec<&Typed> = conditions.iter().chain(&results).collect();
    Ok(Typed::computed(&from, common, expr, sql, span))
}

pub(super) fn coalesce(arguments: &[Typed], span: Span) -> Result<Typed, Fault> {
    let (common, arguments) = alike(&arguments.iter().collect::<Vec<_>>())?;
    let exprs: Vec<Expr> = arguments.iter().map(|argument| argument.expr.clone()).collect();
    let sqls: Vec<&str> = arguments.iter().map(|argument| argument.sql.as_str()).collect();
    let sql = format!("COALESCE({})", sqls.join(", "));
    let expr = polars::prelude::coalesce(&exprs);
    Ok(Typed::computed(&arguments.iter().collect::<Vec<_>>(), common, expr, sql, span))
}

pub(super) fn nullif(left: &Typed, right: &Typed, span: Span) -> Result<Typed, Fault> {
    let (_, sides) = alike(&[left, right])?;
    let Some(result) = left.data_type.clone() else { return Ok(left.clone()) };
    let expr = when(sides[0].expr.clone().eq(sides[1].expr.clone()))
        .then(Typed::value(&crate::value::Value::Null, &result, span).expr)
        .otherwise(left.expr.clone());
    let sql = format!("(CASE WHEN {} = {} THEN NULL ELSE {} END)", sides[0].sql, sides[1].sql, left.sql);
    Ok(Typed::computed(&[left, right], result, expr, sql, span))
}

/// The greatest or least argument that is not NULL.
pub(super) fn extreme(arguments: &[Typed], greatest: bool, span: Span) -> Result<Typed, Fault> {
    let (common, arguments) = alike(&arguments.iter().collect::<Vec<_>>())?;
    let exprs = arguments.iter().map(|argument| argument.expr.clone());
    let choose = |best: Expr, next: Expr| {
        let better = if greatest { next.clone().gt(best.clone()) } else { next.clone().lt(best.clone()) };
        when(best.clone().is_null().or(better)).then(next).otherwise(best)
    };
    let expr = reduced(exprs, choose).ok_or_else(|| Fault::new(span, "greatest() wants arguments"))?;
    let sqls: Vec<&str> = arguments.iter().map(|argument| argument.sql.as_str()).collect();
    let sql = format!("{}({})", if greatest { "greatest" } else { "least" }, sqls.join(", "));
    Ok(Typed::computed(&arguments.iter().collect::<Vec<_>>(), common, expr, sql, span))
}

/// Combines neighbours until one expression is left: a list of any length nests as deep as its logarithm.
fn reduced(exprs: impl Iterator<Item = Expr>, combine: impl Fn(Expr, Expr) -> Expr) -> Option<Expr> {
    let mut exprs: Vec<Expr> = exprs.collect();
    while exprs.len() > 1 {
        let mut rest = exprs.into_iter();
        let pairs = std::iter::from_fn(|| rest.next().map(|left| (left, rest.next())));
        exprs = pairs
            .map(|(left, right)| match right {
                Some(right) => combine(left, right),
                None => left,
            })
            .collect();
    }
    exprs.pop()
}
