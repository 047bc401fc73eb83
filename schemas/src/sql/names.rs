//! What names may be.

use sqlparser::ast::{Ident, ObjectName};
use sqlparser::tokenizer::Span;

use crate::expr::Fault;

/// A stream's or view's name: it becomes part of paths, topics and addresses.
pub(super) fn object(name: &ObjectName, span: Span, what: &str) -> Result<String, Fault> {
    let [part] = name.0.as_slice() else {
        return Err(Fault::new(span, format!("{what} {name} has a qualified name; expected one word")));
    };
    let Some(Ident { value, .. }) = part.as_ident() else {
        return Err(Fault::new(span, format!("expected a name for the {what}")));
    };
    let starts_well = value.starts_with(|first: char| first.is_ascii_alphabetic());
    let letters = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if !starts_well || !value.chars().all(letters) || value.len() > 200 {
        let message = format!(
            "{what} name \"{value}\" is not allowed: expected letters, digits, _ and -, beginning with a letter"
        );
        return Err(Fault::new(span, message));
    }
    Ok(value.clone())
}

/// A column's name: `_…` belongs to columns of our own, `__` parts a measure's name from its state's.
pub(super) fn column(name: &str, span: Span) -> Result<(), Fault> {
    let reason = match name {
        "" => "is empty",
        _ if name.starts_with('_') => "begins with _, which is reserved",
        _ if name.contains("__") => "contains __, which is reserved for states",
        _ if name.chars().any(char::is_control) => "contains a control character",
        _ => return Ok(()),
    };
    Err(Fault::new(span, format!("column name \"{name}\" {reason}")))
}

/// A column of a view: stored beside the bounds of its window.
pub(super) fn view_column(name: &str, span: Span, is_window: bool) -> Result<(), Fault> {
    column(name, span)?;
    let bound = match name.to_lowercase().as_str() {
        "window_start" => !is_window,
        "window_end" => true,
        _ => false,
    };
    if bound {
        return Err(Fault::new(span, format!("column name \"{name}\" is reserved for the window's bounds")));
    }
    Ok(())
}

/// Names already taken; SQL does not tell them apart by case.
#[derive(Default)]
pub(super) struct Taken(std::collections::HashSet<String>);

impl Taken {
    pub fn take(&mut self, name: &str, span: Span) -> Result<(), Fault> {
        if self.0.insert(name.to_lowercase()) {
            return Ok(());
        }
        Err(Fault::new(span, format!("column \"{name}\" is defined twice")))
    }
}
