//! Definitions that a project has no more, as versions keep them.
//!
//! A view whose definition has changed is two views until a version holds the new one: what it was goes on answering
//! from the versions that were made so, under a name of its own that no project can give. Guarantee: what is compiled
//! here is the definition that made a version, for its hash is the same (invariant `ONE_DEFINITION`).

use std::sync::Arc;

use crate::sql;
use crate::view::View;

/// Between a view's name and the beginning of its hash.
const MARK: char = '@';
/// How much of a hash names it among a view's definitions.
const DIGITS: usize = 12;

/// The name of a definition that is a view's no more.
pub fn name(view: &str, hash: &str) -> String {
    format!("{view}{MARK}{}", hash.get(..DIGITS).unwrap_or(hash))
}

pub fn is_name(name: &str) -> bool {
    name.contains(MARK)
}

/// The view that a definition is or was one of.
pub fn view_of(name: &str) -> &str {
    name.split(MARK).next().unwrap_or(name)
}

/// The definition that a version holds of a view, as a view of its own. `None` where it is the view's own, or where
/// its text no longer means what it did: its stream may have changed since.
pub fn view(defined: &View, hash: &str, sql: &str) -> Option<Arc<View>> {
    if hash == defined.hash {
        return None;
    }
    let view = sql::alone(&defined.stream, sql).filter(|view| view.hash == hash)?;
    Some(Arc::new(View { name: name(&defined.name, hash), ..view }))
}
