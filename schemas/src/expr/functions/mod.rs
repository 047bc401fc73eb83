//! The scalar functions by name.

mod numeric;
mod strings;
mod time;

use sqlparser::tokenizer::Span;

use super::typed::{Literal, Typed};
use super::{Fault, conditional};
use crate::types::DataType;

pub(super) use strings::{joined, like};

/// A call with its arguments compiled.
pub(super) struct Call<'a> {
    /// In lower case.
    pub name: &'a str,
    pub arguments: &'a [Typed],
    pub span: Span,
}

type Build = fn(&Call<'_>) -> Result<Typed, Fault>;

const CONDITIONAL: &[(&str, Build)] = &[
    ("coalesce", |call| conditional::coalesce(call.at_least(1)?, call.span)),
    ("ifnull", |call| conditional::coalesce(call.exactly(2)?, call.span)),
    ("nullif", |call| {
        let arguments = call.exactly(2)?;
        conditional::nullif(&arguments[0], &arguments[1], call.span)
    }),
    ("greatest", |call| conditional::extreme(call.at_least(1)?, true, call.span)),
    ("least", |call| conditional::extreme(call.at_least(1)?, false, call.span)),
];

fn tables() -> impl Iterator<Item = &'static (&'static str, Build)> {
    CONDITIONAL.iter().chain(strings::FUNCTIONS).chain(numeric::FUNCTIONS).chain(time::FUNCTIONS)
}

pub(super) fn is_known(name: &str) -> bool {
    tables().any(|(known, _)| *known == name)
}

pub(super) fn unknown(name: &str, span: Span) -> Fault {
    let windows = ["tumble", "time_bucket"];
    if windows.contains(&name.to_lowercase().as_str()) {
        return Fault::new(
            span,
            format!("{name}() stands alone as a selected item: it is the view's window"),
        );
    }
    let aggregates = [
        "count",
        "sum",
        "avg",
        "min",
        "max",
        "median",
        "quantile_cont",
        "approx_top_k",
        "approx_count_distinct",
    ];
    let known = tables().map(|(known, _)| *known).chain(windows).chain(aggregates);
    Fault::unknown(span, format!("unknown function {name}()"), name, known)
}

pub(super) fn call(call: &Call<'_>) -> Result<Typed, Fault> {
    match tables().find(|(known, _)| *known == call.name) {
        Some((_, build)) => build(call),
        None => Err(unknown(call.name, call.span)),
    }
}

impl Call<'_> {
    fn exactly(&self, count: usize) -> Result<&[Typed], Fault> {
        self.between(count, count)
    }

    fn at_least(&self, count: usize) -> Result<&[Typed], Fault> {
        self.between(count, usize::MAX)
    }

    fn between(&self, least: usize, most: usize) -> Result<&[Typed], Fault> {
        let found = self.arguments.len();
        if (least..=most).contains(&found) {
            return Ok(self.arguments);
        }
        let wanted = match (least, most) {
            (least, usize::MAX) => format!("at least {least}"),
            (least, most) if least == most => least.to_string(),
            (least, most) => format!("{least} or {most}"),
        };
        let plural = if wanted == "1" || wanted == "at least 1" { "argument" } else { "arguments" };
        Err(Fault::new(self.span, format!("{}() wants {wanted} {plural}, found {found}", self.name)))
    }

    fn text(&self, index: usize) -> Result<Typed, Fault> {
        self.of(index, "text", |data_type| *data_type == DataType::Text, &DataType::Text)
    }

    fn integer(&self, index: usize) -> Result<Typed, Fault> {
        let fits = |data_type: &DataType| matches!(data_type, DataType::Integer | DataType::BigInt);
        self.of(index, "an integer", fits, &DataType::BigInt)
    }

    /// The argument where its type fits; a NULL takes `otherwise`.
    fn of(
        &self,
        index: usize,
        wanted: &str,
        fits: impl Fn(&DataType) -> bool,
        otherwise: &DataType,
    ) -> Result<Typed, Fault> {
        let argument = &self.arguments[index];
        match &argument.data_type {
            None => argument.coerced(otherwise),
            Some(data_type) if fits(data_type) => Ok(argument.clone()),
            Some(data_type) => {
                Err(Fault::new(argument.span, format!("{}() wants {wanted}, found {data_type}", self.name)))
            }
        }
    }

    /// A whole number that is written out.
    fn whole_number(&self, index: usize) -> Result<i64, Fault> {
        let argument = &self.arguments[index];
        match &argument.literal {
            Some(Literal::Number(text)) => text.parse().ok(),
            _ => None,
        }
        .ok_or_else(|| Fault::new(argument.span, format!("{}() wants a whole number here", self.name)))
    }

    fn word(&self, index: usize) -> Result<String, Fault> {
        let argument = &self.arguments[index];
        match &argument.literal {
            Some(Literal::Text(text)) => Ok(text.to_lowercase()),
            _ => Err(Fault::new(
                argument.span,
                format!("{}() wants a word in quotes, such as 'hour'", self.name),
            )),
        }
    }

    fn result(
        &self,
        from: &[&Typed],
        data_type: DataType,
        expr: polars::prelude::Expr,
        sql: String,
    ) -> Typed {
        Typed::computed(from, data_type, expr, sql, self.span)
    }
}
