//! How deep expressions may nest: compiling, evaluating and even dropping one recurses as deep as it is.
//!
//! sqlparser bounds what it recurses over itself (parentheses, calls), but reads a chain such as `a + a + …` in a
//! loop, and the tree of a chain is as deep as the chain is long.

use std::convert::Infallible;
use std::ops::ControlFlow;

use sqlparser::ast::{Expr, Spanned, Value, VisitMut, VisitorMut};
use sqlparser::tokenizer::Span;

use crate::expr::Fault;

/// Every operator of a chain is a level, and so is every WHEN of a CASE.
const MOST_LEVELS: usize = 200;

/// Refuses what holds a deeper expression, and cuts off what is too deep, so that it can be dropped.
pub(super) fn limited(parsed: &mut impl VisitMut) -> Result<(), Fault> {
    let mut pruning = Pruning::default();
    let ControlFlow::Continue(()) = parsed.visit(&mut pruning);
    let Some(span) = pruning.first_cut else { return Ok(()) };
    let message = format!(
        "found an expression {} levels deep, expected at most {MOST_LEVELS}: every operator of a chain is a level, and \
         so is every WHEN; write x IN (…) for many comparisons, or put parts of the chain in parentheses",
        pruning.deepest
    );
    Err(Fault::new(span, message))
}

/// Goes down with a stack that grows, and cuts on the way up: what is cut has lost its own operands already.
#[derive(Default)]
struct Pruning {
    depth: usize,
    deepest: usize,
    first_cut: Option<Span>,
}

impl VisitorMut for Pruning {
    type Break = Infallible;

    fn pre_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        self.depth += levels(expr);
        self.deepest = self.deepest.max(self.depth);
        ControlFlow::Continue(())
    }

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<Infallible> {
        let levels = levels(expr);
        if self.depth > MOST_LEVELS {
            self.first_cut.get_or_insert_with(|| expr.span());
            *expr = Expr::value(Value::Null);
        }
        self.depth -= levels;
        ControlFlow::Continue(())
    }
}

fn levels(expr: &Expr) -> usize {
    match expr {
        Expr::Case { conditions, .. } => conditions.len(),
        _ => 1,
    }
}
