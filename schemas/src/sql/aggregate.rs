//! An aggregate call to a [`Measure`].

use sqlparser::ast::{
    DuplicateTreatment, Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, OrderBySort,
    Spanned, UnaryOperator, Value,
};
use sqlparser::tokenizer::Span;

use crate::expr::{AGGREGATES, Compiler, Fault, SYNONYMS, Scalar};
use crate::types::DataType;
use crate::view::{Aggregate, Measure};

/// `approx_top_k` keeps this many values at most: its sketch is sized for them.
const MOST_FREQUENT: usize = 100;

/// The measure that a call defines; its mistakes are among the compiler's faults.
pub(super) fn measure(name: &str, function: &Function, compiler: &mut Compiler<'_>) -> Option<Measure> {
    let called = function.name.to_string().to_lowercase();
    let span = function.name.span();
    let call = match Call::of(function, &called, span) {
        Ok(call) => call,
        Err(fault) => {
            compiler.faults.push(fault);
            return None;
        }
    };
    let filter = function.filter.as_ref().map(|filter| compiler.condition(filter, "FILTER"));
    let counted = if call.counts_rows() { Some(None) } else { argument(&call, compiler).map(Some) };
    let aggregate = keep(compiler, call.aggregate());
    let (argument, aggregate) = (counted?, aggregate?);
    let filter = match filter {
        Some(filter) => Some(filter?),
        None => None,
    };
    let result_type =
        keep(compiler, result_type(&called, &aggregate, argument.as_ref(), call.argument_span()))?;
    Some(Measure { name: name.to_string(), aggregate, argument, filter, result_type })
}

fn keep<T>(compiler: &mut Compiler<'_>, result: Result<T, Fault>) -> Option<T> {
    result.map_err(|fault| compiler.faults.push(fault)).ok()
}

fn argument(call: &Call<'_>, compiler: &mut Compiler<'_>) -> Option<Scalar> {
    match call.argument() {
        Some(expr) => compiler.column(expr),
        None => {
            compiler.faults.push(Fault::new(call.span, format!("{}() wants an argument", call.name)));
            None
        }
    }
}

struct Call<'a> {
    name: &'a str,
    span: Span,
    distinct: bool,
    arguments: Vec<&'a Expr>,
    star: bool,
    /// `WITHIN GROUP (ORDER BY x)`: x, and whether it is ordered downwards.
    ordered: Option<(&'a Expr, bool)>,
}

impl<'a> Call<'a> {
    fn of(function: &'a Function, name: &'a str, span: Span) -> Result<Call<'a>, Fault> {
        let fault = |message: String| Err(Fault::new(span, message));
        if !AGGREGATES.contains(&name) && !SYNONYMS.contains(&name) {
            let expected = AGGREGATES.join(", ");
            let message = format!("aggregate {name}() is not supported, expected one of {expected}");
            return Err(Fault::unknown(span, message, name, AGGREGATES));
        }
        if function.over.is_some() {
            return fault(format!("{name}() OVER is not supported: a view aggregates groups"));
        }
        if function.null_treatment.is_some() {
            return fault(format!("{name}() always ignores NULLs; leave IGNORE NULLS or RESPECT NULLS out"));
        }
        let FunctionArguments::List(list) = &function.args else {
            return fault(format!("{name} wants its arguments in parentheses"));
        };
        if !list.clauses.is_empty() {
            return fault(format!(
                "clauses inside {name}() are not supported; use FILTER (WHERE …) behind it"
            ));
        }
        let mut call = Call {
            name,
            span,
            distinct: list.duplicate_treatment == Some(DuplicateTreatment::Distinct),
            arguments: Vec::new(),
            star: false,
            ordered: None,
        };
        for argument in &list.args {
            match argument {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => call.arguments.push(expr),
                FunctionArg::Unnamed(FunctionArgExpr::Wildcard) => call.star = true,
                other => return fault(format!("{name}() wants plain arguments, found {other}")),
            }
        }
        match function.within_group.as_slice() {
            [] => {}
            [order] => call.ordered = Some((&order.expr, order.options.sort == Some(OrderBySort::Desc))),
            _ => return fault(format!("{name}() WITHIN GROUP orders by one expression")),
        }
        call.checked()
    }

    fn checked(self) -> Result<Call<'a>, Fault> {
        let name = self.name;
        let fault = |span: Span, message: String| Err(Fault::new(span, message));
        if self.distinct && name != "count" {
            return fault(
                self.span,
                format!("{name}(DISTINCT …) is not supported; only count(DISTINCT x) is"),
            );
        }
        if self.star && (name != "count" || self.distinct || !self.arguments.is_empty()) {
            return fault(self.span, format!("* stands only in count(*), found it in {name}()"));
        }
        if self.ordered.is_some() && name != "percentile_cont" {
            return fault(
                self.span,
                format!("WITHIN GROUP belongs to percentile_cont(), found it at {name}()"),
            );
        }
        let wanted = match name {
            "count" if self.star => 0,
            "quantile_cont" | "approx_top_k" => 2,
            _ => 1,
        };
        if self.arguments.len() != wanted {
            let found = self.arguments.len();
            let plural = if wanted == 1 { "argument" } else { "arguments" };
            return fault(self.span, format!("{name}() wants {wanted} {plural}, found {found}"));
        }
        if name == "percentile_cont" && self.ordered.is_none() {
            return fault(self.span, "percentile_cont(q) wants WITHIN GROUP (ORDER BY x)".to_string());
        }
        Ok(self)
    }

    /// `count(*)` and `count(1)`.
    fn counts_rows(&self) -> bool {
        let constant = || match self.arguments.first() {
            Some(Expr::Value(value)) => !matches!(value.value, Value::Null),
            _ => false,
        };
        self.name == "count" && !self.distinct && (self.star || constant())
    }

    fn argument(&self) -> Option<&'a Expr> {
        match self.ordered {
            Some((expr, _)) => Some(expr),
            None => self.arguments.first().copied(),
        }
    }

    fn argument_span(&self) -> Span {
        self.argument().map_or(self.span, |argument| argument.span())
    }

    fn aggregate(&self) -> Result<Aggregate, Fault> {
        Ok(match self.name {
            "count" if self.distinct => Aggregate::CountDistinct,
            "count" => Aggregate::Count,
            "approx_count_distinct" => Aggregate::CountDistinct,
            "sum" => Aggregate::Sum,
            "avg" | "mean" => Aggregate::Avg,
            "min" => Aggregate::Min,
            "max" => Aggregate::Max,
            "stddev" | "stddev_samp" => Aggregate::StddevSamp,
            "variance" | "var_samp" => Aggregate::VarSamp,
            "median" => Aggregate::Quantile(0.5),
            "quantile_cont" => Aggregate::Quantile(self.quantile(self.arguments[1])?),
            "percentile_cont" => {
                let quantile = self.quantile(self.arguments[0])?;
                let downwards = self.ordered.is_some_and(|(_, downwards)| downwards);
                Aggregate::Quantile(if downwards { 1.0 - quantile } else { quantile })
            }
            "approx_top_k" => Aggregate::TopK(self.top(self.arguments[1])?),
            "first" | "first_value" => Aggregate::First,
            _ => Aggregate::Last,
        })
    }

    fn quantile(&self, expr: &Expr) -> Result<f64, Fault> {
        let quantile = number(expr).filter(|quantile| (0.0..=1.0).contains(quantile));
        quantile.ok_or_else(|| {
            Fault::new(expr.span(), format!("{}() wants a number between 0 and 1, found {expr}", self.name))
        })
    }

    fn top(&self, expr: &Expr) -> Result<usize, Fault> {
        let count = number(expr).filter(|count| count.fract() == 0.0);
        let count =
            count.map(|count| count as i64).filter(|count| (1..=MOST_FREQUENT as i64).contains(count));
        count.map(|count| count as usize).ok_or_else(|| {
            let message =
                format!("{}() wants a whole number from 1 to {MOST_FREQUENT}, found {expr}", self.name);
            Fault::new(expr.span(), message)
        })
    }
}

fn number(expr: &Expr) -> Option<f64> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(text, _) => text.parse().ok(),
            _ => None,
        },
        Expr::UnaryOp { op: UnaryOperator::Minus, expr } => number(expr).map(|number| -number),
        Expr::Nested(inner) => number(inner),
        _ => None,
    }
}

fn result_type(
    name: &str,
    aggregate: &Aggregate,
    argument: Option<&Scalar>,
    span: Span,
) -> Result<DataType, Fault> {
    let Some(argument) = argument else { return Ok(DataType::BigInt) };
    let of = &argument.data_type;
    let numeric = |result: DataType| match of.is_numeric() {
        true => Ok(result),
        false => Err(Fault::new(span, format!("{name}() wants a number, found {of}"))),
    };
    match aggregate {
        Aggregate::Count | Aggregate::CountDistinct => Ok(DataType::BigInt),
        Aggregate::Sum => numeric(match of {
            DataType::Decimal { scale, .. } => DataType::Decimal { precision: 38, scale: *scale },
            DataType::Double => DataType::Double,
            _ => DataType::BigInt,
        }),
        Aggregate::Avg | Aggregate::StddevSamp | Aggregate::VarSamp | Aggregate::Quantile(_) => {
            numeric(DataType::Double)
        }
        Aggregate::Min | Aggregate::Max | Aggregate::First | Aggregate::Last => Ok(of.clone()),
        Aggregate::TopK(_) => Ok(DataType::TopK(Box::new(of.clone()))),
    }
}
