//! JSON text to tokens, one value at a time.
//!
//! Accepts exactly the grammar of RFC 8259, whatever is skipped: a record is malformed or not
//! independently of who reads it. Strings are scanned sixteen bytes at a time, numbers eight; nested values are
//! walked with a stack on the heap, so no depth of nesting can overflow the thread's.

use super::stop;

/// Where and why a text is not JSON.
#[derive(Debug)]
pub(super) struct Malformed {
    pub at: usize,
    pub expected: &'static str,
}

/// A value's place in the text. For a string, the range lies between its quotes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Null,
    True,
    False,
    /// `None` for one with an exponent or more than eighteen digits.
    Number(Option<Short>),
    /// A string without escapes: its text is its value.
    Plain,
    /// A string with escapes, all of them well formed.
    Escaped,
    Array,
    Object,
}

/// A number as nearly all are written, read on the way: its digits, the point left out, are less than 10^18.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Short {
    pub negative: bool,
    pub digits: u64,
    /// How many of the digits lie behind the point.
    pub places: u32,
}

/// A run of bytes that is likely to come again, to be recognised in a few comparisons of words.
#[derive(Clone, Debug)]
pub(super) struct Phrase {
    bytes: Vec<u8>,
    /// The first eight bytes, as far as there are so many, and which of their bits count.
    head: u64,
    mask: u64,
    /// The last eight bytes of a phrase that has so many.
    tail: u64,
}

impl Default for Phrase {
    /// A phrase that never comes: no text in UTF-8 has such bytes.
    fn default() -> Self {
        Phrase { bytes: Vec::new(), head: u64::MAX, mask: u64::MAX, tail: 0 }
    }
}

impl Phrase {
    pub fn learn(&mut self, bytes: &[u8]) {
        self.bytes.clear();
        self.bytes.extend_from_slice(bytes);
        let (mut head, mut mask) = ([0; 8], [0; 8]);
        for (index, byte) in bytes.iter().take(8).enumerate() {
            (head[index], mask[index]) = (*byte, u8::MAX);
        }
        self.head = u64::from_le_bytes(head);
        self.mask = u64::from_le_bytes(mask);
        self.tail = bytes.last_chunk().map_or(0, |tail| u64::from_le_bytes(*tail));
    }

    /// What follows the phrase in a text that begins with it.
    #[inline]
    fn strip<'a>(&self, text: &'a [u8]) -> Option<&'a [u8]> {
        let length = self.bytes.len();
        let (found, rest) = text.split_at_checked(length)?;
        let head = u64::from_le_bytes(*text.first_chunk()?);
        if (head ^ self.head) & self.mask != 0 {
            return None;
        }
        let same = match found.last_chunk() {
            Some(tail) => u64::from_le_bytes(*tail) == self.tail && (length <= 16 || *found == *self.bytes),
            None => true,
        };
        same.then_some(rest)
    }
}

/// A position in a text that is known to be UTF-8.
pub(super) struct Scanner<'a> {
    text: &'a [u8],
    /// What lies behind the position.
    rest: &'a [u8],
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str) -> Self {
        Scanner { text: text.as_bytes(), rest: text.as_bytes() }
    }

    #[inline]
    pub fn at(&self) -> usize {
        self.text.len() - self.rest.len()
    }

    /// The text from a place that was passed to the position.
    pub fn since(&self, start: usize) -> &'a [u8] {
        &self.text[start..self.at()]
    }

    /// Enters the object that the text must be.
    pub fn enter(&mut self) -> Result<(), Malformed> {
        self.expect(b'{', "a JSON object")
    }

    /// Moves to the next key of the object; false behind its end. `first` tells whether a comma must come before.
    #[inline]
    pub fn advance(&mut self, first: bool) -> Result<bool, Malformed> {
        match self.peek() {
            Some(b'}') => {
                self.pass(1);
                return Ok(false);
            }
            Some(b',') if !first => self.pass(1),
            _ if first => {}
            _ => return self.malformed("',' or '}'"),
        }
        Ok(true)
    }

    /// Passes a phrase, if it comes at the position. It must be one that was passed at such a place before.
    #[inline]
    pub fn passes(&mut self, phrase: &Phrase) -> bool {
        let rest = phrase.strip(self.rest);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Checks that nothing but white space is left.
    #[inline]
    pub fn finish(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.malformed("the end of the record"),
        }
    }

    /// The elements of the array that the text must be.
    pub fn elements(&mut self, open: &mut Vec<u8>) -> Result<Vec<Token>, Malformed> {
        self.expect(b'[', "a JSON array")?;
        let mut elements = Vec::new();
        if self.peek() == Some(b']') {
            self.pass(1);
            return Ok(elements);
        }
        loop {
            elements.push(self.value(open)?);
            match self.peek() {
                Some(b',') => self.pass(1),
                Some(b']') => {
                    self.pass(1);
                    return Ok(elements);
                }
                _ => return self.malformed("',' or ']'"),
            }
        }
    }

    /// The byte at the position.
    #[inline]
    fn byte(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    #[inline]
    fn pass(&mut self, count: usize) {
        self.rest = &self.rest[count..];
    }

    /// The byte at the position, behind white space.
    #[inline]
    pub fn peek(&mut self) -> Option<u8> {
        loop {
            match self.byte()? {
                b' ' | b'\n' | b'\r' | b'\t' => self.pass(1),
                byte => return Some(byte),
            }
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Malformed> {
        if self.peek() == Some(byte) {
            self.pass(1);
            return Ok(());
        }
        self.malformed(expected)
    }

    #[cold]
    fn malformed<T>(&self, expected: &'static str) -> Result<T, Malformed> {
        Err(Malformed { at: self.at(), expected })
    }

    /// The key at the position; passes its colon.
    pub fn key(&mut self) -> Result<Token, Malformed> {
        self.expect(b'"', "a key in quotes")?;
        let key = self.string()?;
        self.expect(b':', "':'")?;
        Ok(key)
    }

    /// The value at the position. `open` is scratch space.
    #[inline(always)]
    pub fn value(&mut self, open: &mut Vec<u8>) -> Result<Token, Malformed> {
        match self.peek() {
            Some(byte @ (b'{' | b'[')) => {
                let start = self.at();
                let kind = if byte == b'{' { Kind::Object } else { Kind::Array };
                self.rest = nested(self.text, self.rest, open)?;
                Ok(Token { kind, start, end: self.at() })
            }
            byte => self.scalar(byte),
        }
    }

    /// The value that begins with `byte`, which lies at the position.
    #[inline(always)]
    fn scalar(&mut self, byte: Option<u8>) -> Result<Token, Malformed> {
        match byte {
            Some(b'"') => {
                self.pass(1);
                self.string()
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'n') => self.literal(b"null", Kind::Null),
            Some(b't') => self.literal(b"true", Kind::True),
            Some(b'f') => self.literal(b"false", Kind::False),
            _ => self.malformed("a value"),
        }
    }

    #[inline]
    fn literal(&mut self, word: &'static [u8], kind: Kind) -> Result<Token, Malformed> {
        let start = self.at();
        match self.rest.strip_prefix(word) {
            Some(rest) => self.rest = rest,
            None => return self.malformed("a value"),
        }
        Ok(Token { kind, start, end: self.at() })
    }

    #[inline(always)]
    fn number(&mut self) -> Result<Token, Malformed> {
        let start = self.at();
        let negative = self.byte() == Some(b'-');
        if negative {
            self.pass(1);
        }
        let whole = self.rest;
        let mut digits = self.digits(0)?;
        let mut count = whole.len() - self.rest.len();
        if count > 1 && whole.first() == Some(&b'0') {
            self.rest = &whole[1..];
            return self.malformed("no digit after a leading zero");
        }
        let mut places = 0;
        if self.byte() == Some(b'.') {
            self.pass(1);
            let fraction = self.rest.len();
            digits = self.digits(digits)?;
            places = fraction - self.rest.len();
            count += places;
        }
        let has_exponent = matches!(self.byte(), Some(b'e' | b'E'));
        if has_exponent {
            self.pass(1);
            if matches!(self.byte(), Some(b'+' | b'-')) {
                self.pass(1);
            }
            self.digits(0)?;
        }
        let short = Short { negative, digits, places: places as u32 };
        let short = (count <= 18 && !has_exponent).then_some(short);
        Ok(Token { kind: Kind::Number(short), start, end: self.at() })
    }

    /// Passes at least one digit. Gives what they make behind those of `before`, unless that is 2^64 or more.
    #[inline(always)]
    fn digits(&mut self, before: u64) -> Result<u64, Malformed> {
        let (mut value, mut rest) = (before, self.rest);
        while let Some(chunk) = rest.first_chunk() {
            let (digits, count) = leading_digits(u64::from_le_bytes(*chunk));
            value = value.wrapping_mul(POWERS_OF_TEN[count]).wrapping_add(digits);
            rest = &rest[count..];
            if count < 8 {
                break;
            }
        }
        while let Some((byte, behind)) = rest.split_first()
            && byte.is_ascii_digit()
        {
            value = value.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
            rest = behind;
        }
        let none = rest.len() == self.rest.len();
        self.rest = rest;
        if none { self.malformed("a digit") } else { Ok(value) }
    }

    /// The rest of a string whose opening quote is passed; passes the closing one.
    #[inline(always)]
    fn string(&mut self) -> Result<Token, Malformed> {
        let start = self.at();
        let mut kind = Kind::Plain;
        loop {
            self.rest = behind_plain(self.rest);
            match self.byte() {
                Some(b'"') => {
                    let token = Token { kind, start, end: self.at() };
                    self.pass(1);
                    return Ok(token);
                }
                Some(b'\\') => {
                    kind = Kind::Escaped;
                    self.rest = behind_escape(self.text, self.rest)?;
                }
                Some(_) => return self.malformed("no control character in a string"),
                None => return self.malformed("'\"' at the end of a string"),
            }
        }
    }
}

/// What follows the next quote, backslash or control character, that included; nothing if none comes.
#[inline]
fn behind_plain(text: &[u8]) -> &[u8] {
    let mut rest = text;
    while let Some((chunk, behind)) = rest.split_first_chunk() {
        let stop = stop::first(chunk);
        if stop < chunk.len() {
            return &rest[stop..];
        }
        rest = behind;
    }
    let stop = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..=0x1f));
    &rest[stop.unwrap_or(rest.len())..]
}

/// What follows the escape at the beginning of `rest`, the end of `text`.
#[cold]
fn behind_escape<'a>(text: &[u8], rest: &'a [u8]) -> Result<&'a [u8], Malformed> {
    let malformed = |rest: &[u8], expected| Err(Malformed { at: text.len() - rest.len(), expected });
    match &rest[1..] {
        [b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't', rest @ ..] => Ok(rest),
        [b'u', digits @ ..] => {
            let count = digits.iter().take(4).take_while(|byte| byte.is_ascii_hexdigit()).count();
            let rest = &digits[count..];
            if count == 4 { Ok(rest) } else { malformed(rest, "four hexadecimal digits after \\u") }
        }
        rest => malformed(rest, "an escape that JSON knows"),
    }
}

/// What follows the array or object at the beginning of `rest`, the end of `text`.
fn nested<'a>(text: &'a [u8], rest: &'a [u8], open: &mut Vec<u8>) -> Result<&'a [u8], Malformed> {
    let mut scanner = Scanner { text, rest };
    open.clear();
    open.extend(scanner.byte());
    scanner.pass(1);
    let mut fresh = true;
    while let Some(&container) = open.last() {
        let (closer, expected) = if container == b'{' { (b'}', "',' or '}'") } else { (b']', "',' or ']'") };
        if scanner.peek() == Some(closer) {
            scanner.pass(1);
            open.pop();
            fresh = false;
            continue;
        }
        if !fresh {
            scanner.expect(b',', expected)?;
        }
        if container == b'{' {
            scanner.key()?;
        }
        match scanner.peek() {
            Some(opener @ (b'{' | b'[')) => {
                open.push(opener);
                scanner.pass(1);
                fresh = true;
            }
            byte => {
                scanner.scalar(byte)?;
                fresh = false;
            }
        }
    }
    Ok(scanner.rest)
}

static POWERS_OF_TEN: [u64; 9] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000];

/// The number that the digits at the beginning of a word make, its first byte being the lowest; and how many they are.
/// (Daniel Lemire, "Quickly parsing eight digits", 2018, here with what is no digit shifted out.)
#[inline]
fn leading_digits(word: u64) -> (u64, usize) {
    let values = word ^ 0x3030_3030_3030_3030;
    // Of the high bits that are set the lowest tells the first byte that is no digit.
    let others = (values.wrapping_add(0x7676_7676_7676_7676) | values) & 0x8080_8080_8080_8080;
    let count = others.trailing_zeros() / 8;
    // Zeros before a number do not count.
    let ones = values.checked_shl(64 - 8 * count).unwrap_or(0);
    let twos = ones.wrapping_mul(10 << 8 | 1) >> 8;
    let fours = (twos & 0x00ff_00ff_00ff_00ff).wrapping_mul(100 << 16 | 1) >> 16;
    let eights = (fours & 0x0000_ffff_0000_ffff).wrapping_mul(10_000 << 32 | 1) >> 32;
    (eights, count as usize)
}
