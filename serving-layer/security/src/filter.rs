//! A caller's row filter: one text that holds over every view and stream that has what it names.

use std::collections::HashMap;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, PoisonError};

use watershed_schemas::predicate::{Predicate, PredicateError};
use watershed_schemas::stream::Stream;
use watershed_schemas::view::View;

/// Compiled where it is first needed, once per definition. Two filters of one text are the same.
#[derive(Clone)]
pub struct RowFilter {
    text: Arc<str>,
    compiled: Arc<Mutex<HashMap<String, Compiled>>>,
}

type Compiled = Result<Arc<Predicate>, PredicateError>;

/// Definitions come and go: what is compiled for them is forgotten before it is much.
const MOST_COMPILED: usize = 1_000;

impl RowFilter {
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        RowFilter { text: text.into(), compiled: Arc::default() }
    }

    pub fn text(&self) -> &str {
        &self.text
    }

    /// Over a view's cells, in this very definition; an error says what the view lacks.
    pub fn over_view(&self, view: &View) -> Compiled {
        // The name is in messages, and no part of the hash.
        let key = format!("view {} {}", view.name, view.hash);
        self.compile(key, || Predicate::over_view(view, &self.text))
    }

    /// Over a stream's events.
    pub fn over_stream(&self, stream: &Stream) -> Compiled {
        self.compile(format!("stream {}", stream.name), || Predicate::over_stream(stream, &self.text))
    }

    fn compile(&self, key: String, compile: impl FnOnce() -> Result<Predicate, PredicateError>) -> Compiled {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if compiled.len() >= MOST_COMPILED {
            compiled.clear();
        }
        compiled.entry(key).or_insert_with(|| compile().map(Arc::new)).clone()
    }
}

impl PartialEq for RowFilter {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for RowFilter {}

impl Hash for RowFilter {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.text.hash(hasher);
    }
}

impl fmt::Debug for RowFilter {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "RowFilter({:?})", self.text)
    }
}
