//! Why a question has no answer, in words for the one who asked.

use std::time::Duration;

use watershed_schemas::problem;
use watershed_security::Verb;

/// What kind of refusal it is: decides the HTTP status and what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// The question itself is wrong.
    WrongQuestion,
    /// A name that the project or the store does not have.
    UnknownName,
    MethodNotAllowed,
    /// Nobody is known by the credentials that were sent, or none were.
    Unauthenticated,
    /// The caller is known, and this is not for it.
    Forbidden,
    /// The page before was made of records that this server no longer holds together.
    Gone,
    /// More is being asked than this server answers at once: ask again.
    TooMany,
    /// The caller took too long to send the question.
    TooSlow,
    /// The question, or its answer, is larger than this server gives.
    TooLarge,
    /// The question is right but what it requires cannot be met now.
    Unmet,
    /// Not ready, or a part that is needed is away: ask again.
    NotReady,
    /// A stored file is damaged, or a defect here.
    Failed,
}

/// A refused question.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    pub reason: Reason,
    pub detail: String,
    pub place: Option<Place>,
    pub did_you_mean: Option<String>,
    pub retry_after: Option<Duration>,
    pub challenge: Option<Challenge>,
}

/// What a caller is told of its credentials, beside that some are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Challenge {
    /// They are not believed.
    InvalidToken,
    /// They do not grant this verb.
    Lacks(Verb),
}

/// Where in a question the mistake lies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In JSON text, counted from 1.
    Text { line: usize, column: usize },
    /// A key of the question, and the text in it that is wrong; a body's line and column follow from these.
    Key { key: String, text: Option<String> },
}

impl Refusal {
    pub fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Refusal {
            reason,
            detail: detail.into(),
            place: None,
            did_you_mean: None,
            retry_after: None,
            challenge: None,
        }
    }

    pub fn wrong(key: &str, detail: impl Into<String>) -> Self {
        let place = Some(Place::Key { key: key.to_string(), text: None });
        Refusal { place, ..Refusal::new(Reason::WrongQuestion, detail) }
    }

    /// A wrong question, because of `text` at `key`.
    pub fn wrong_at(key: &str, text: &str, detail: impl Into<String>) -> Self {
        let place = Some(Place::Key { key: key.to_string(), text: Some(text.to_string()) });
        Refusal { place, ..Refusal::new(Reason::WrongQuestion, detail) }
    }

    pub fn unknown_name<'a>(what: &str, name: &str, known: impl IntoIterator<Item = &'a str>) -> Self {
        let did_you_mean = nearest(name, known);
        Refusal { did_you_mean, ..Refusal::new(Reason::UnknownName, format!("unknown {what} \"{name}\"")) }
    }

    pub fn at(self, key: &str, text: &str) -> Self {
        Refusal { place: Some(Place::Key { key: key.to_string(), text: Some(text.to_string()) }), ..self }
    }

    pub fn too_many(detail: impl Into<String>) -> Self {
        Refusal { retry_after: Some(Duration::from_secs(1)), ..Refusal::new(Reason::TooMany, detail) }
    }

    pub fn not_ready(detail: impl Into<String>) -> Self {
        Refusal { retry_after: Some(Duration::from_secs(1)), ..Refusal::new(Reason::NotReady, detail) }
    }
}

/// The known name nearest to `unknown`. Comparing takes time and memory in the product of the lengths, so what is too
/// long to be a slip of the finger is not compared.
pub fn nearest<'a>(unknown: &str, known: impl IntoIterator<Item = &'a str>) -> Option<String> {
    const LONGEST: usize = 128;
    (unknown.len() <= LONGEST).then(|| problem::nearest(unknown, known)).flatten()
}
