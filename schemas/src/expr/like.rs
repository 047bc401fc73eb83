//! `LIKE` patterns: `%` is any text, `_` one character, the escape character takes the next one literally.

/// A compiled pattern.
#[derive(Clone, Debug)]
pub(super) struct Pattern(Vec<Piece>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Piece {
    Any,
    One,
    Exactly(char),
}

impl Pattern {
    /// `None` where the escape character is the pattern's last.
    pub fn new(pattern: &str, escape: Option<char>) -> Option<Pattern> {
        let mut pieces = Vec::new();
        let mut characters = pattern.chars();
        while let Some(character) = characters.next() {
            pieces.push(match character {
                character if Some(character) == escape => Piece::Exactly(characters.next()?),
                '%' => Piece::Any,
                '_' => Piece::One,
                character => Piece::Exactly(character),
            });
        }
        Some(Pattern(pieces))
    }

    /// Goes back only to the last `%`: what an earlier one took can never have to change.
    pub fn matches(&self, text: &str) -> bool {
        let pieces = &self.0;
        let mut rest = text.chars();
        let mut piece = 0;
        let mut last_any: Option<(usize, std::str::Chars<'_>)> = None;
        loop {
            if pieces.get(piece) == Some(&Piece::Any) {
                piece += 1;
                last_any = Some((piece, rest.clone()));
                continue;
            }
            let fits = match (rest.next(), pieces.get(piece)) {
                (None, None) => return true,
                (None, Some(_)) => return false,
                (Some(_), Some(Piece::One)) => true,
                (Some(character), Some(Piece::Exactly(wanted))) => character == *wanted,
                (Some(_), _) => false,
            };
            if fits {
                piece += 1;
                continue;
            }
            let Some((after_any, from)) = &mut last_any else { return false };
            if from.next().is_none() {
                return false;
            }
            piece = *after_any;
            rest = from.clone();
        }
    }
}
