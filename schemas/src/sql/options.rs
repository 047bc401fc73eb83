//! `WITH (name = 'value', …)`.

use sqlparser::ast::{CreateTableOptions, Expr, Ident, Spanned, SqlOption, Value};
use sqlparser::tokenizer::{Location, Span};

use super::{Report, placed};
use crate::expr::Fault;

pub(super) struct Options {
    entries: Vec<Entry>,
}

#[derive(Clone)]
pub(super) struct Entry {
    pub name: Ident,
    pub text: String,
    pub span: Span,
}

impl Options {
    /// The options of a statement; those named in `numbers` may be written without quotes.
    pub fn read(
        options: &CreateTableOptions,
        numbers: &[&str],
        start: Location,
        report: &mut Report<'_>,
    ) -> Options {
        let listed = match options {
            CreateTableOptions::None => &Vec::new(),
            CreateTableOptions::With(listed) => listed,
            CreateTableOptions::Options(listed)
            | CreateTableOptions::Plain(listed)
            | CreateTableOptions::TableProperties(listed) => {
                report.at(start, "options are written as WITH (name = 'value', …)");
                listed
            }
        };
        let mut entries: Vec<Entry> = Vec::new();
        for option in listed {
            match entry(option, numbers, start) {
                Ok(entry) if entries.iter().any(|known| same(&known.name, &entry.name)) => {
                    report.at(entry.name.span.start, format!("option {} is given twice", entry.name.value));
                }
                Ok(entry) => entries.push(entry),
                Err(fault) => report.fault(fault),
            }
        }
        Options { entries }
    }

    pub fn take(&mut self, name: &str) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.name.value.eq_ignore_ascii_case(name))?;
        Some(self.entries.remove(at))
    }

    /// The options named `<prefix><rest>`, as `(rest, entry)`.
    pub fn take_prefixed(&mut self, prefix: &str) -> Vec<(String, Entry)> {
        let (found, others) = std::mem::take(&mut self.entries).into_iter().partition(|entry| {
            entry.name.value.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
        });
        self.entries = others;
        let found: Vec<Entry> = found;
        found.into_iter().map(|entry| (entry.name.value[prefix.len()..].to_string(), entry)).collect()
    }

    /// Reports what nobody took.
    pub fn finish(self, known: &[&str], report: &mut Report<'_>) {
        for entry in self.entries {
            let name = &entry.name.value;
            let message = format!("unknown option {name}, expected {}", known.join(", "));
            report.fault(Fault::unknown(entry.name.span, message, name, known.iter().copied()));
        }
    }
}

fn same(left: &Ident, right: &Ident) -> bool {
    left.value.eq_ignore_ascii_case(&right.value)
}

fn entry(option: &SqlOption, numbers: &[&str], start: Location) -> Result<Entry, Fault> {
    let SqlOption::KeyValue { key, value } = option else {
        return Err(Fault::new(
            placed(option.span(), start),
            format!("found {option}, expected name = 'value'"),
        ));
    };
    let span = placed(value.span(), key.span.start);
    let text = match value {
        Expr::Value(literal) => match &literal.value {
            Value::SingleQuotedString(text) => Some(text.clone()),
            Value::Number(number, _) if numbers.iter().any(|name| key.value.eq_ignore_ascii_case(name)) => {
                Some(number.clone())
            }
            _ => None,
        },
        Expr::Interval(interval) => match &*interval.value {
            Expr::Value(literal) if interval.leading_field.is_none() => literal.value.clone().into_string(),
            _ => None,
        },
        _ => None,
    };
    match text {
        Some(text) => Ok(Entry { name: key.clone(), text, span }),
        None => Err(Fault::new(
            span,
            format!("option {}: found {value}, expected text in single quotes", key.value),
        )),
    }
}
