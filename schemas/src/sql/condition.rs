//! A condition that stands alone, such as `origin IN ('JFK', 'LGA') AND carrier <> 'US'`.

use sqlparser::ast::{BinaryOperator, Expr, Ident};

use super::{Report, source};
use crate::expr::{Compiler, Scalar, Scope};
use crate::problem::Problem;
use crate::project::SourceFile;
use crate::stream::Field;

/// Whose columns a condition may name.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Columns<'a> {
    /// `stream` or `view`.
    pub owner: &'static str,
    pub name: &'a str,
    pub fields: &'a [Field],
}

/// The conditions that `text` joins by AND at its top: it is true where all of them are. `place` is what messages call
/// the text.
pub(crate) fn conjuncts(place: &str, text: &str, columns: Columns<'_>) -> Result<Vec<Scalar>, Vec<Problem>> {
    let file = SourceFile { path: place.to_string(), text: text.to_string() };
    let mut report = Report::of(&file);
    let Some(condition) = report.keep(source::expression(text)) else { return Err(report.sorted()) };
    let mut parts = Vec::new();
    split(&condition, &mut parts);
    let Columns { owner, name, fields } = columns;
    let qualifier = Ident::new(name);
    let scope = Scope { owner, stream: name, fields, event_time: None, whole: true, qualifier };
    let mut compiler = Compiler::new(scope);
    let compiled: Vec<_> = parts.into_iter().map(|part| compiler.condition(part, "a condition")).collect();
    for fault in std::mem::take(&mut compiler.faults) {
        report.fault(fault);
    }
    let problems = report.sorted();
    if problems.is_empty() { Ok(compiled.into_iter().flatten().collect()) } else { Err(problems) }
}

fn split<'a>(expr: &'a Expr, parts: &mut Vec<&'a Expr>) {
    match expr {
        Expr::Nested(inner) => split(inner, parts),
        Expr::BinaryOp { left, op: BinaryOperator::And, right } => {
            split(left, parts);
            split(right, parts);
        }
        other => parts.push(other),
    }
}
