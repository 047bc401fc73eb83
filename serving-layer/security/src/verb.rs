//! What a caller may do.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// One way to use a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verb {
    /// Ask about views, and what they are.
    Query,
    /// Follow a question.
    Live,
    /// Ask in SQL.
    Sql,
    /// Send events.
    Ingest,
    /// See how streams and versions are doing.
    Status,
    /// Read `/metrics`.
    Metrics,
}

impl Verb {
    pub const ALL: [Verb; 6] =
        [Verb::Query, Verb::Live, Verb::Sql, Verb::Ingest, Verb::Status, Verb::Metrics];

    pub fn name(self) -> &'static str {
        match self {
            Verb::Query => "query",
            Verb::Live => "live",
            Verb::Sql => "sql",
            Verb::Ingest => "ingest",
            Verb::Status => "status",
            Verb::Metrics => "metrics",
        }
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl FromStr for Verb {
    type Err = String;

    fn from_str(text: &str) -> Result<Verb, String> {
        Verb::ALL.into_iter().find(|verb| verb.name() == text).ok_or_else(|| {
            let known = Verb::ALL.map(Verb::name);
            match watershed_schemas::problem::nearest(text, known) {
                Some(near) => format!("unknown verb \"{text}\", did you mean {near}?"),
                None => format!("unknown verb \"{text}\", expected {}", known.join(", ")),
            }
        })
    }
}
