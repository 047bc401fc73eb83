//! Text: how values are written, and what string functions do. Positions count characters (code points), from 1.

use super::calendar::{self, DAY, HOUR, MINUTE, SECOND};

/// The shortest digits that read back as the same double, with an exponent from 1e16 and below 1e-4.
pub(super) fn double(value: f64) -> String {
    if !value.is_finite() {
        return match value {
            value if value.is_nan() => "nan".to_string(),
            value if value > 0.0 => "inf".to_string(),
            _ => "-inf".to_string(),
        };
    }
    let scientific = format!("{value:e}");
    let Some((mantissa, exponent)) = scientific.split_once('e') else { return scientific };
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if (-4..16).contains(&exponent) || value == 0.0 {
        return format!("{value:?}");
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{mantissa}e{sign}{:02}", exponent.abs())
}

/// As DuckDB writes it: without a zero before the point where the type has no digit there.
pub(super) fn decimal(value: i128, precision: u8, scale: u8) -> String {
    let fraction_only = precision == scale;
    let scale = usize::from(scale);
    let digits = format!("{:0width$}", value.unsigned_abs(), width = scale + 1);
    let (whole, fraction) = digits.split_at(digits.len() - scale);
    let sign = if value < 0 { "-" } else { "" };
    let point = if scale == 0 { "" } else { "." };
    let whole = if fraction_only { "" } else { whole };
    format!("{sign}{whole}{point}{fraction}")
}

pub(super) fn date(days: i64) -> String {
    let (year, month, day) = calendar::civil(days);
    if year > 0 {
        format!("{year:04}-{month:02}-{day:02}")
    } else {
        format!("{:04}-{month:02}-{day:02} (BC)", 1 - year)
    }
}

pub(super) fn timestamp(micros: i64) -> String {
    let time = micros.rem_euclid(DAY);
    let (hour, minute, second) = (time / HOUR, time % HOUR / MINUTE, time % MINUTE / SECOND);
    let whole = format!("{} {hour:02}:{minute:02}:{second:02}", date(micros.div_euclid(DAY)));
    match time % SECOND {
        0 => whole,
        fraction => format!("{whole}.{}", format!("{fraction:06}").trim_end_matches('0')),
    }
}

/// `substr(text, start, length)`: a start below 1 counts from the end, a negative length goes backwards.
pub(super) fn substring(text: &str, start: i64, length: Option<i64>) -> Option<String> {
    // DuckDB refuses positions beyond 32 bits.
    let limit = i64::from(u32::MAX);
    let length = length.unwrap_or(limit);
    if !(-limit - 1..=limit).contains(&start) || !(-limit - 1..=limit).contains(&length) {
        return None;
    }
    let characters = text.chars().count() as i64;
    let (begin, length) = match start {
        0 => (0, length - 1),
        start if start > 0 => (start - 1, length),
        start => (characters + start, length),
    };
    if length == 0 || (start == 0 && length < 0) {
        return Some(String::new());
    }
    let (from, until) = if length > 0 { (begin, begin + length) } else { (begin + length, begin) };
    let (from, until) = (from.clamp(0, characters), until.clamp(0, characters));
    Some(text.chars().skip(from as usize).take((until - from).max(0) as usize).collect())
}

/// The first `count` characters, or all but the last `-count`.
pub(super) fn left(text: &str, count: i64) -> String {
    let characters = text.chars().count() as i64;
    let count = if count < 0 { characters.saturating_add(count) } else { count };
    text.chars().take(count.clamp(0, characters) as usize).collect()
}

/// The last `count` characters, or all but the first `-count`.
pub(super) fn right(text: &str, count: i64) -> String {
    let characters = text.chars().count() as i64;
    let skipped = if count < 0 { count.saturating_neg() } else { characters - count.min(characters) };
    text.chars().skip(skipped.clamp(0, characters) as usize).collect()
}

/// Where `part` first stands in `text`, 0 when nowhere.
pub(super) fn position(text: &str, part: &str) -> i64 {
    text.find(part).map_or(0, |at| text[..at].chars().count() as i64 + 1)
}

pub(super) fn replaced(text: &str, from: &str, to: &str) -> String {
    if from.is_empty() { text.to_string() } else { text.replace(from, to) }
}

/// Unicode's space separators, which `trim` removes when it is told nothing else.
pub(super) const SPACES: &str = " \u{a0}\u{1680}\u{2000}\u{2001}\u{2002}\u{2003}\u{2004}\u{2005}\u{2006}\u{2007}\u{2008}\u{2009}\u{200a}\u{202f}\u{205f}\u{3000}";

/// Letter by letter: a letter stays one letter, as in Unicode's simple case mapping.
pub(super) fn lower(text: &str) -> String {
    let simple = |letter| if letter == 'İ' { 'i' } else { letter };
    text.chars().map(|letter| single(letter, letter.to_lowercase(), simple)).collect()
}

pub(super) fn upper(text: &str) -> String {
    text.chars().map(|letter| single(letter, letter.to_uppercase(), simple_upper)).collect()
}

/// `mapped` where it is one letter, else what the simple mapping makes of `letter`.
fn single(letter: char, mut mapped: impl ExactSizeIterator<Item = char>, simple: fn(char) -> char) -> char {
    match (mapped.len(), mapped.next()) {
        (1, Some(mapped)) => mapped,
        _ => simple(letter),
    }
}

/// The simple mapping of letters whose full mapping has several; most keep as they are.
fn simple_upper(letter: char) -> char {
    let shift = match letter {
        'ß' => return 'ẞ',
        // Greek with iota subscript.
        '\u{1f80}'..='\u{1f87}' | '\u{1f90}'..='\u{1f97}' | '\u{1fa0}'..='\u{1fa7}' => 8,
        '\u{1fb3}' | '\u{1fc3}' | '\u{1ff3}' => 9,
        _ => return letter,
    };
    char::from_u32(u32::from(letter) + shift).unwrap_or(letter)
}
