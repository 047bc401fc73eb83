//! What is wrong with a definition, and where.

use std::fmt;

/// A place in a file; line and column count from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Position {
    pub file: String,
    pub line: u64,
    pub column: u64,
}

/// One mistake in a schema or view, in a sentence that says what was found and what was expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub kind: ProblemKind,
    pub position: Position,
    pub message: String,
    pub did_you_mean: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProblemKind {
    Mistake,
    /// No mistake of its own: what is here could not be checked because of one elsewhere.
    Unchecked,
}

/// `flights.sql:2:14`
impl fmt::Display for Position {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Position { file, line, column } = self;
        write!(out, "{file}:{line}:{column}")
    }
}

/// `jobs/delays.sql:3:14: unknown column "dep_dely" of stream flights, did you mean "dep_delay"?`
impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.position, self.message)?;
        match &self.did_you_mean {
            Some(name) => write!(out, ", did you mean \"{name}\"?"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for Problem {}

/// The known name nearest to `unknown`, if one is near enough to be a slip of the finger.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    let wanted = unknown.to_lowercase();
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&wanted, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= (name.chars().count() / 3).max(1))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name.to_string())
}
