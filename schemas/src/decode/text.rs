//! Escaped strings to the text they stand for.

/// Half of a surrogate pair without its other half, at this byte of the escaped string: no text has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LoneSurrogate {
    pub at: usize,
}

/// Appends what an escaped string stands for. Its escapes are well formed, as the scanner has checked.
pub(super) fn unescape(escaped: &str, text: &mut String) -> Result<(), LoneSurrogate> {
    let mut rest = escaped;
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let position = escaped.len() - rest.len() + at;
        let escape = &rest[at + 1..];
        let (character, length) = match escape.as_bytes() {
            [b'u', ..] => unicode(escape).ok_or(LoneSurrogate { at: position })?,
            [b'b', ..] => ('\u{8}', 1),
            [b'f', ..] => ('\u{c}', 1),
            [b'n', ..] => ('\n', 1),
            [b'r', ..] => ('\r', 1),
            [b't', ..] => ('\t', 1),
            [other, ..] => (*other as char, 1),
            [] => break,
        };
        text.push(character);
        rest = &escape[length..];
    }
    text.push_str(rest);
    Ok(())
}

/// The character of a `u` with four digits, or of two such for a surrogate pair, and how many bytes it took.
fn unicode(escape: &str) -> Option<(char, usize)> {
    let unit = |at: usize| u32::from_str_radix(escape.get(at..at + 4)?, 16).ok();
    let first = unit(1)?;
    if let Some(character) = char::from_u32(first) {
        return Some((character, 5));
    }
    if first > 0xdbff || escape.get(5..7) != Some("\\u") {
        return None;
    }
    let second = unit(7).filter(|second| (0xdc00..0xe000).contains(second))?;
    let character = char::from_u32(0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00))?;
    Some((character, 11))
}
