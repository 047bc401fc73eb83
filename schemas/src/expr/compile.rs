//! sqlparser's expressions to [`Typed`] ones, every mistake collected at its place.

use sqlparser::ast::{self, BinaryOperator, Expr, Ident, Spanned, UnaryOperator, Value as SqlValue};
use sqlparser::tokenizer::Span;

use super::arithmetic::{self, Arithmetic};
use super::conditional;
use super::functions::{self, Call};
use super::interval::Interval;
use super::typed::Typed;
use super::{Fault, Scalar, cast, text_literal};
use crate::stream::Field;
use crate::types::DataType;
use crate::value::Value;

/// Aggregates that a view may hold.
pub(crate) const AGGREGATES: [&str; 16] = [
    "count",
    "sum",
    "avg",
    "min",
    "max",
    "stddev_samp",
    "stddev",
    "var_samp",
    "variance",
    "approx_count_distinct",
    "quantile_cont",
    "median",
    "percentile_cont",
    "approx_top_k",
    "first",
    "last",
];

/// Other names that some of them go by.
pub(crate) const SYNONYMS: [&str; 3] = ["mean", "first_value", "last_value"];

/// Names that are told from scalar functions only to say that they are not supported.
const UNSUPPORTED: [&str; 5] = ["quantile", "any_value", "arg_min", "arg_max", "string_agg"];

pub(crate) fn is_aggregate(name: &str) -> bool {
    let name = name.to_lowercase();
    AGGREGATES.iter().chain(&SYNONYMS).chain(&UNSUPPORTED).any(|known| *known == name)
}

/// The names an expression may use.
pub(crate) struct Scope<'a> {
    /// Whose columns these are, for messages: `stream` or `view`, and its name.
    pub owner: &'static str,
    pub stream: &'a str,
    pub fields: &'a [Field],
    /// The event time's name; `None` where the stream's definition does not say it rightly.
    pub event_time: Option<&'a str>,
    /// False where the stream's definition has mistakes: then a column that is not among `fields` may be one all the
    /// same, and what depends on it is neither right nor wrong.
    pub whole: bool,
    /// What the query calls the stream: its alias, or its name.
    pub qualifier: Ident,
}

/// True where `written` names `known`: exactly when quoted, whatever the case when not.
pub(crate) fn names(written: &Ident, known: &str) -> bool {
    match written.quote_style {
        Some(_) => written.value == known,
        None => written.value.eq_ignore_ascii_case(known),
    }
}

pub(crate) struct Compiler<'a> {
    pub scope: Scope<'a>,
    pub faults: Vec<Fault>,
}

impl<'a> Compiler<'a> {
    pub fn new(scope: Scope<'a>) -> Self {
        Compiler { scope, faults: Vec::new() }
    }

    /// The expression, or `None` with the reasons among the faults.
    pub fn scalar(&mut self, expr: &Expr) -> Option<Scalar> {
        let typed = self.typed(expr)?;
        self.keep(typed.into_scalar(expr.to_string()))
    }

    /// A condition over fields: boolean, and not a constant.
    pub fn condition(&mut self, expr: &Expr, place: &str) -> Option<Scalar> {
        let typed = self.typed(expr)?;
        let condition = self.keep(conditional::boolean(&typed, place))?;
        self.over_fields(expr, condition)
    }

    /// A scalar that reads at least one field.
    pub fn column(&mut self, expr: &Expr) -> Option<Scalar> {
        let typed = self.typed(expr)?;
        self.over_fields(expr, typed)
    }

    fn over_fields(&mut self, expr: &Expr, typed: Typed) -> Option<Scalar> {
        let constant = typed.fields.is_empty();
        let scalar = self.keep(typed.into_scalar(expr.to_string()))?;
        if constant {
            let Scope { owner, stream, .. } = self.scope;
            self.faults.push(Fault::new(
                span_of(expr),
                format!("a constant: expected a column of {owner} {stream} in it"),
            ));
            return None;
        }
        Some(scalar)
    }

    fn keep<T>(&mut self, result: Result<T, Fault>) -> Option<T> {
        result.map_err(|fault| self.faults.push(fault)).ok()
    }

    fn fault<T>(&mut self, span: Span, message: impl Into<String>) -> Option<T> {
        self.faults.push(Fault::new(span, message));
        None
    }

    fn all<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr>) -> Option<Vec<Typed>> {
        let typed: Vec<Option<Typed>> = exprs.into_iter().map(|expr| self.typed(expr)).collect();
        typed.into_iter().collect()
    }

    fn pair(&mut self, left: &Expr, right: &Expr) -> Option<(Typed, Typed)> {
        let (left, right) = (self.typed(left), self.typed(right));
        Some((left?, right?))
    }

    pub fn typed(&mut self, expr: &Expr) -> Option<Typed> {
        let span = span_of(expr);
        match expr {
            Expr::Nested(inner) => self.typed(inner),
            Expr::Identifier(name) => self.named(name),
            Expr::CompoundIdentifier(parts) => self.qualified(parts, span),
            Expr::Value(value) => self.literal(&value.value, span),
            Expr::TypedString(typed) => self.typed_string(typed, span),
            Expr::UnaryOp { op, expr } => self.unary(*op, expr, span),
            Expr::BinaryOp { left, op, right } => self.binary(left, op, right, span),
            Expr::IsNull(inner) => self.typed(inner).map(|typed| conditional::is_null(&typed, true, span)),
            Expr::IsNotNull(inner) => self.typed(inner).map(|typed| conditional::is_null(&typed, false, span)),
            Expr::IsUnknown(inner) => self.is_unknown(inner, true, span),
            Expr::IsNotUnknown(inner) => self.is_unknown(inner, false, span),
            Expr::IsTrue(inner) => self.is_truth(inner, true, true, span),
            Expr::IsNotTrue(inner) => self.is_truth(inner, true, false, span),
            Expr::IsFalse(inner) => self.is_truth(inner, false, true, span),
            Expr::IsNotFalse(inner) => self.is_truth(inner, false, false, span),
            Expr::IsDistinctFrom(left, right) => self.distinct(left, right, true, span),
            Expr::IsNotDistinctFrom(left, right) => self.distinct(left, right, false, span),
            Expr::InList { expr, list, negated } => {
                let (argument, list) = (self.typed(expr), self.all(list));
                let typed = conditional::in_list(&argument?, &list?, *negated, span);
                self.keep(typed)
            }
            Expr::Between { expr, negated, low, high } => {
                let typed = self.all([&**expr, &**low, &**high])?;
                self.keep(conditional::between(&typed[0], &typed[1], &typed[2], *negated, span))
            }
            Expr::Like { negated, any: false, expr, pattern, escape_char } => {
                self.like("LIKE", expr, pattern, escape_char.as_deref(), *negated, span)
            }
            Expr::ILike { negated, any: false, expr, pattern, escape_char } => {
                self.like("ILIKE", expr, pattern, escape_char.as_deref(), *negated, span)
            }
            Expr::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), span)
            }
            Expr::Cast { expr, data_type, format: None, .. } => self.cast(expr, data_type, span),
            Expr::Extract { field, expr, .. } => {
                let part = Typed::text(&field.to_string(), span);
                let argument = self.typed(expr)?;
                self.call("date_part", vec![part, argument], span)
            }
            Expr::Ceil { expr, field: ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) } => {
                self.call_of("ceil", [&**expr], span)
            }
            Expr::Floor { expr, field: ast::CeilFloorKind::DateTimeField(ast::DateTimeField::NoDateTime) } => {
                self.call_of("floor", [&**expr], span)
            }
            Expr::Position { expr, r#in } => self.call_of("strpos", [&**r#in, &**expr], span),
            Expr::Substring { expr, substring_from, substring_for, .. } => {
                // `substring(x FOR 3)` begins at the first character.
                let one = Expr::Value(SqlValue::Number("1".to_string(), false).with_span(span));
                let from = substring_from.as_deref().or(substring_for.is_some().then_some(&one));
                let arguments = std::iter::once(&**expr).chain(from).chain(substring_for.as_deref());
                self.call_of("substr", arguments, span)
            }
            Expr::Trim { expr, trim_where, trim_what, trim_characters } => {
                let name = match trim_where {
                    Some(ast::TrimWhereField::Leading) => "ltrim",
                    Some(ast::TrimWhereField::Trailing) => "rtrim",
                    Some(ast::TrimWhereField::Both) | None => "trim",
                };
                let characters = trim_what.as_deref().into_iter().chain(trim_characters.iter().flatten());
                self.call_of(name, std::iter::once(&**expr).chain(characters), span)
            }
            Expr::Function(function) => self.function(function, span),
            Expr::Interval(_) => self.fault(span, "an interval can only be added to or subtracted from a date or timestamp"),
            Expr::Subquery(_) | Expr::Exists { .. } | Expr::InSubquery { .. } => {
                self.fault(span, "subqueries are not supported in a view")
            }
            Expr::Wildcard(_) | Expr::QualifiedWildcard(..) => self.fault(span, "* stands only in count(*)"),
            Expr::AtTimeZone { .. } => {
                self.fault(span, "AT TIME ZONE is not supported in a view; timestamps are UTC, ask for a time_zone when querying")
            }
            other => self.fault(span, format!("{other} is not supported in a view")),
        }
    }

    fn named(&mut self, name: &Ident) -> Option<Typed> {
        let fields = self.scope.fields;
        let exact = fields.iter().find(|field| field.name == name.value);
        let found = match exact {
            Some(field) => vec![field],
            None => fields.iter().filter(|field| names(name, &field.name)).collect(),
        };
        match found.as_slice() {
            [field] => Some(Typed::column(&field.name, &field.data_type, name.span)),
            [] if !self.scope.whole => None,
            [] => {
                let Scope { owner, stream, .. } = self.scope;
                let message = format!("unknown column \"{}\" of {owner} {stream}", name.value);
                let known = fields.iter().map(|field| field.name.as_str());
                self.faults.push(Fault::unknown(name.span, message, &name.value, known));
                None
            }
            several => {
                let several: Vec<String> = several.iter().map(|field| super::quoted(&field.name)).collect();
                self.fault(
                    name.span,
                    format!("\"{}\" may be {}; quote the one you mean", name.value, several.join(" or ")),
                )
            }
        }
    }

    fn qualified(&mut self, parts: &[Ident], span: Span) -> Option<Typed> {
        match parts {
            [qualifier, name] if names(qualifier, &self.scope.qualifier.value) => self.named(name),
            [qualifier, _] => {
                let known = self.scope.qualifier.value.clone();
                let message = format!("unknown stream \"{}\", expected \"{known}\"", qualifier.value);
                self.fault(qualifier.span, message)
            }
            _ => self.fault(span, "expected a column, or stream.column"),
        }
    }

    fn literal(&mut self, value: &SqlValue, span: Span) -> Option<Typed> {
        match value {
            SqlValue::Number(text, _) => self.keep(Typed::number(&text.replace('_', ""), span)),
            SqlValue::SingleQuotedString(text) | SqlValue::EscapedStringLiteral(text) => {
                Some(Typed::text(text, span))
            }
            SqlValue::Boolean(value) => Some(Typed::value(&Value::Boolean(*value), &DataType::Boolean, span)),
            SqlValue::Null => Some(Typed::null(span)),
            other => self
                .fault(span, format!("cannot read {other}; expected a number, 'text', TRUE, FALSE or NULL")),
        }
    }

    fn typed_string(&mut self, typed: &ast::TypedString, span: Span) -> Option<Typed> {
        let data_type = self.keep(sql_data_type(&typed.data_type, span))?;
        let text = typed.value.value.clone().into_string()?;
        self.keep(Typed::text(&text, span).coerced(&data_type))
    }

    fn unary(&mut self, operator: UnaryOperator, argument: &Expr, span: Span) -> Option<Typed> {
        let typed = self.typed(argument)?;
        match operator {
            UnaryOperator::Not => self.keep(conditional::negated(&typed, span)),
            UnaryOperator::Minus => self.keep(arithmetic::negated(&typed, span)),
            UnaryOperator::Plus if typed.data_type.as_ref().is_some_and(DataType::is_numeric) => Some(typed),
            UnaryOperator::Plus => self.fault(span, format!("+ wants a number, found {}", typed.type_name())),
            other => self.fault(span, format!("operator {other} is not supported")),
        }
    }

    fn binary(&mut self, left: &Expr, operator: &BinaryOperator, right: &Expr, span: Span) -> Option<Typed> {
        if let Some(interval) = interval_of(right) {
            return self.moved(left, operator, interval, span);
        }
        if let (Some(interval), BinaryOperator::Plus) = (interval_of(left), operator) {
            return self.moved(right, operator, interval, span);
        }
        let (left, right) = self.pair(left, right)?;
        if let Some(operator) = Arithmetic::of(operator) {
            return self.keep(arithmetic::arithmetic(operator, &left, &right, span));
        }
        match operator {
            BinaryOperator::And => self.keep(conditional::connected(true, &left, &right, span)),
            BinaryOperator::Or => self.keep(conditional::connected(false, &left, &right, span)),
            BinaryOperator::StringConcat => self.keep(functions::joined(&left, &right, span)),
            operator => match self.keep(conditional::compared(operator, &left, &right, span))? {
                Some(typed) => Some(typed),
                None => self.fault(span, format!("operator {operator} is not supported")),
            },
        }
    }

    fn moved(
        &mut self,
        moment: &Expr,
        operator: &BinaryOperator,
        interval: &ast::Interval,
        span: Span,
    ) -> Option<Typed> {
        let moment = self.typed(moment);
        let interval = self.keep(Interval::of(interval))?;
        match operator {
            BinaryOperator::Plus => self.keep(interval.added_to(&moment?, false)),
            BinaryOperator::Minus => self.keep(interval.added_to(&moment?, true)),
            other => {
                self.fault(span, format!("an interval can be added or subtracted; {other} is not supported"))
            }
        }
    }

    fn is_unknown(&mut self, inner: &Expr, wanted: bool, span: Span) -> Option<Typed> {
        let typed = self.typed(inner)?;
        let typed = self.keep(conditional::boolean(&typed, "IS UNKNOWN"))?;
        Some(conditional::is_null(&typed, wanted, span))
    }

    fn is_truth(&mut self, inner: &Expr, value: bool, wanted: bool, span: Span) -> Option<Typed> {
        let typed = self.typed(inner)?;
        self.keep(conditional::is_truth(&typed, value, wanted, span))
    }

    fn distinct(&mut self, left: &Expr, right: &Expr, wanted: bool, span: Span) -> Option<Typed> {
        let (left, right) = self.pair(left, right)?;
        self.keep(conditional::distinct(&left, &right, wanted, span))
    }

    fn like(
        &mut self,
        word: &'static str,
        expr: &Expr,
        pattern: &Expr,
        escape: Option<&Expr>,
        negated: bool,
        span: Span,
    ) -> Option<Typed> {
        let text = self.typed(expr);
        let escape = match escape.map(text_of) {
            None => Some(None),
            Some(Some(text)) if text.chars().count() <= 1 => Some(text.chars().next()),
            Some(_) => self.fault(span, "ESCAPE wants one character in quotes"),
        };
        let written = match text_of(pattern) {
            Some(text) => Some(text),
            None => self.fault(span_of(pattern), format!("{word} wants a pattern in quotes")),
        };
        let (text, escape, written) = (text?, escape?, written?);
        let sql = match escape {
            Some(escape) => {
                format!("{word} {} ESCAPE {}", text_literal(&written), text_literal(&escape.to_string()))
            }
            None => format!("{word} {}", text_literal(&written)),
        };
        self.keep(functions::like(&text, &written, escape, word == "ILIKE", negated, &sql, span))
    }

    fn case(
        &mut self,
        operand: Option<&Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&Expr>,
        span: Span,
    ) -> Option<Typed> {
        let operand = operand.map(|expr| self.typed(expr));
        let mut branches = Vec::new();
        for branch in conditions {
            let (condition, result) = (self.typed(&branch.condition), self.typed(&branch.result));
            let condition = match (&operand, condition) {
                (Some(Some(operand)), Some(value)) => {
                    let equal = conditional::compared(&BinaryOperator::Eq, operand, &value, value.span);
                    self.keep(equal).flatten()
                }
                (None, condition) => condition,
                _ => None,
            };
            branches.push(condition.zip(result));
        }
        let otherwise = otherwise.map(|expr| self.typed(expr));
        let branches: Option<Vec<(Typed, Typed)>> = branches.into_iter().collect();
        let otherwise = match otherwise {
            Some(typed) => Some(typed?),
            None => None,
        };
        self.keep(conditional::case(&branches?, otherwise.as_ref(), span))
    }

    fn cast(&mut self, expr: &Expr, data_type: &ast::DataType, span: Span) -> Option<Typed> {
        let typed = self.typed(expr);
        let to = self.keep(sql_data_type(data_type, span))?;
        let typed = typed?;
        match &typed.data_type {
            Some(from) if !cast::convertible(from, &to) => {
                self.fault(span, format!("{from} cannot be cast to {to}"))
            }
            _ => Some(Typed { span, ..cast::convert(&typed, &to) }),
        }
    }

    fn function(&mut self, function: &ast::Function, span: Span) -> Option<Typed> {
        let name = function.name.to_string();
        let name_span = function.name.span();
        if is_aggregate(&name) {
            return self.fault(name_span, format!(
                "{name}() is an aggregate: it stands alone as a selected item; select its parts and combine them when querying"
            ));
        }
        let plain = function.filter.is_none() && function.over.is_none() && function.within_group.is_empty();
        if !plain {
            return self.fault(
                name_span,
                format!("{name}() is not an aggregate: FILTER, OVER and WITHIN GROUP do not apply"),
            );
        }
        let ast::FunctionArguments::List(list) = &function.args else {
            return self.fault(
                name_span,
                format!("{name} is not supported; functions of time would change with every run"),
            );
        };
        let is_known = functions::is_known(&name.to_lowercase());
        let mut arguments = Vec::new();
        for argument in &list.args {
            arguments.push(match argument {
                ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(expr)) => self.typed(expr),
                // What an unknown function wants is not known either.
                _ if !is_known => None,
                other => self.fault(name_span, format!("{name}() wants plain arguments, found {other}")),
            });
        }
        let arguments: Option<Vec<Typed>> = arguments.into_iter().collect();
        if !is_known {
            self.faults.push(functions::unknown(&name, name_span));
            return None;
        }
        self.call(&name.to_lowercase(), arguments?, span)
    }

    fn call_of<'e>(
        &mut self,
        name: &str,
        arguments: impl IntoIterator<Item = &'e Expr>,
        span: Span,
    ) -> Option<Typed> {
        let arguments = self.all(arguments)?;
        self.call(name, arguments, span)
    }

    fn call(&mut self, name: &str, arguments: Vec<Typed>, span: Span) -> Option<Typed> {
        let typed = functions::call(&Call { name, arguments: &arguments, span });
        self.keep(typed)
    }
}

/// sqlparser leaves some expressions without a place; their nearest known part stands in.
pub(crate) fn span_of(expr: &Expr) -> Span {
    expr.span()
}

/// The interval that an operand is, in parentheses or not.
fn interval_of(expr: &Expr) -> Option<&ast::Interval> {
    match expr {
        Expr::Interval(interval) => Some(interval),
        Expr::Nested(inner) => interval_of(inner),
        _ => None,
    }
}

fn text_of(expr: &Expr) -> Option<String> {
    match expr {
        Expr::Value(value) => match &value.value {
            SqlValue::SingleQuotedString(text) | SqlValue::EscapedStringLiteral(text) => Some(text.clone()),
            _ => None,
        },
        Expr::Nested(inner) => text_of(inner),
        _ => None,
    }
}

const TYPES: [&str; 8] = ["boolean", "integer", "bigint", "double", "decimal", "text", "date", "timestamp"];

/// A type as written in `CREATE TABLE` or `CAST`. `span` is used where the type itself has none.
pub(crate) fn sql_data_type(written: &ast::DataType, span: Span) -> Result<DataType, Fault> {
    use ast::DataType as Sql;
    use ast::ExactNumberInfo as Digits;
    let expected = "expected BOOLEAN, INTEGER, BIGINT, DOUBLE, DECIMAL(p,s), TEXT, DATE or TIMESTAMP";
    Ok(match written {
        Sql::Boolean | Sql::Bool => DataType::Boolean,
        Sql::Int(None) | Sql::Integer(None) | Sql::Int4(None) => DataType::Integer,
        Sql::BigInt(None) | Sql::Int8(None) | Sql::Int64 => DataType::BigInt,
        Sql::Double(Digits::None) | Sql::DoublePrecision | Sql::Float8 | Sql::Float64 => DataType::Double,
        Sql::Text | Sql::String(None) | Sql::Varchar(None) => DataType::Text,
        Sql::Date => DataType::Date,
        Sql::Timestamp(None, ast::TimezoneInfo::None | ast::TimezoneInfo::WithoutTimeZone) => {
            DataType::Timestamp
        }
        Sql::Timestamp(..) => {
            return Err(Fault::new(span, format!("{written} is not supported: TIMESTAMP is always in UTC")));
        }
        Sql::Decimal(digits) | Sql::Numeric(digits) => {
            let (precision, scale) = match digits {
                Digits::PrecisionAndScale(precision, scale) => (*precision, *scale),
                Digits::Precision(precision) => (*precision, 0),
                Digits::None => {
                    return Err(Fault::new(
                        span,
                        format!("{written} wants its digits: DECIMAL(precision, scale)"),
                    ));
                }
            };
            let valid = (1..=38).contains(&precision) && (0..=precision as i64).contains(&scale);
            if !valid {
                return Err(Fault::new(
                    span,
                    format!("{written}: precision is 1 to 38, scale 0 to precision"),
                ));
            }
            DataType::Decimal { precision: precision as u8, scale: scale as u8 }
        }
        Sql::Varchar(Some(_)) => {
            return Err(Fault::new(span, format!("{written} is not supported: TEXT has no length")));
        }
        Sql::Custom(name, _) => {
            let message = format!("unknown type {name}");
            let name_span = name.span();
            let span = if name_span == Span::empty() { span } else { name_span };
            let fault = Fault::unknown(span, message, &name.to_string(), TYPES);
            return Err(match fault.did_you_mean {
                Some(_) => fault,
                None => Fault { message: format!("{}, {expected}", fault.message), ..fault },
            });
        }
        other => return Err(Fault::new(span, format!("type {other} is not supported, {expected}"))),
    })
}
