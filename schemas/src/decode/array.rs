//! Several payloads in one JSON array.

use std::ops::Range;

use super::scan::{Kind, Scanner, Token};

/// Where and why a text is not an array of JSON values.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed JSON at byte {at}: expected {expected}")]
pub struct NotAnArray {
    pub at: usize,
    pub expected: &'static str,
}

/// Where the elements of a JSON array lie in its text, each to be decoded as it is written: no number loses a digit.
pub fn elements(text: &str) -> Result<Vec<Range<usize>>, NotAnArray> {
    let mut scanner = Scanner::new(text);
    let elements = scanner.elements(&mut Vec::new()).and_then(|elements| scanner.finish().map(|()| elements));
    let malformed = |found: super::scan::Malformed| NotAnArray { at: found.at, expected: found.expected };
    Ok(elements.map_err(malformed)?.into_iter().map(whole).collect())
}

/// A string's token lies between its quotes.
fn whole(token: Token) -> Range<usize> {
    match token.kind {
        Kind::Plain | Kind::Escaped => token.start - 1..token.end + 1,
        _ => token.start..token.end,
    }
}
