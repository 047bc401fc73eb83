//! Which part of a view's states a question is made of.
//!
//! Whoever is asked for a part may give more: what does not pass is left out once more where answers are made.

use serde::{Deserialize, Serialize};

use crate::keys::Keys;
use crate::value::Value;
use crate::view::View;

/// Cells and measures of a view; by default all of them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Scope {
    /// Windows that start in `[from, to)`.
    pub from: i64,
    pub to: i64,
    /// All of them must hold.
    pub conditions: Vec<Condition>,
    /// Indices into the view's measures; `None`: all of them.
    pub measures: Option<Vec<usize>>,
}

/// A condition on one of the view's dimensions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    pub dimension: usize,
    pub negated: bool,
    pub values: Vec<Value>,
}

impl Default for Scope {
    fn default() -> Self {
        Scope { from: i64::MIN, to: i64::MAX, conditions: Vec::new(), measures: None }
    }
}

impl Scope {
    pub fn is_whole(&self) -> bool {
        *self == Scope::default()
    }

    pub fn has_measure(&self, measure: usize) -> bool {
        self.measures.as_ref().is_none_or(|measures| measures.contains(&measure))
    }

    /// True if the view has all that is named.
    pub fn is_of(&self, view: &View) -> bool {
        let mut measures = self.measures.iter().flatten();
        self.conditions.iter().all(|condition| condition.dimension < view.dimensions.len())
            && measures.all(|measure| *measure < view.measures.len())
    }

    /// Which of these keys lie in it.
    pub fn within<'a>(&self, keys: &'a Keys) -> Within<'a> {
        let passing = self.conditions.iter().map(|condition| condition.codes(keys)).collect();
        Within { keys, from: self.from, to: self.to, passing }
    }
}

impl Condition {
    /// Which of a dimension's codes pass.
    fn codes(&self, keys: &Keys) -> (usize, Vec<bool>) {
        let mut passing = vec![self.negated; keys.dictionary(self.dimension).len()];
        for code in self.values.iter().filter_map(|value| keys.find_code(self.dimension, value)) {
            passing[code as usize] = !self.negated;
        }
        (self.dimension, passing)
    }
}

/// A scope over the keys of one table.
pub struct Within<'a> {
    keys: &'a Keys,
    from: i64,
    to: i64,
    /// By condition: its dimension, and which codes pass.
    passing: Vec<(usize, Vec<bool>)>,
}

impl Within<'_> {
    /// True for the key of a row that lies in the scope. Of an overflow group nobody can say.
    pub fn has(&self, row: u32) -> bool {
        if !(self.from..self.to).contains(&self.keys.windows()[row as usize]) || self.keys.is_overflow(row) {
            return false;
        }
        let codes = self.keys.row_codes(row);
        self.passing.iter().all(|(dimension, passing)| passing[codes[*dimension] as usize])
    }
}
