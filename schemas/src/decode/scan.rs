//! JSON text to tokens, one value at a time.
//!
//! Accepts exactly the grammar of RFC 8259, whatever is skipped: a record is malformed or not
//! independently of who reads it. Strings are scanned eight bytes at a time; nested values are
//! walked with a stack on the heap, so no depth of nesting can overflow the thread's.

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
    Number,
    /// A string without escapes: its text is its value.
    Plain,
    /// A string with escapes, all of them well formed.
    Escaped,
    Array,
    Object,
}

/// A position in a text that is known to be UTF-8.
pub(super) struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Openers of the containers around the position, while a nested value is skipped.
    open: &'a mut Vec<u8>,
}

impl<'a> Scanner<'a> {
    pub fn new(text: &'a str, open: &'a mut Vec<u8>) -> Self {
        Scanner { bytes: text.as_bytes(), at: 0, open }
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
                self.at += 1;
                return Ok(false);
            }
            Some(b',') if !first => self.at += 1,
            _ if first => {}
            _ => return self.malformed("',' or '}'"),
        }
        Ok(true)
    }

    /// Passes the key at the position if it is written as `key`, with its quotes and colon.
    #[inline]
    pub fn passes(&mut self, key: &[u8]) -> bool {
        self.peek();
        let passes = self.bytes[self.at..].starts_with(key);
        if passes {
            self.at += key.len();
        }
        passes
    }

    /// Checks that nothing but white space is left.
    pub fn finish(&mut self) -> Result<(), Malformed> {
        match self.peek() {
            None => Ok(()),
            Some(_) => self.malformed("the end of the record"),
        }
    }

    /// The elements of the array that the text must be.
    pub fn elements(&mut self) -> Result<Vec<Token>, Malformed> {
        self.expect(b'[', "a JSON array")?;
        let mut elements = Vec::new();
        if self.peek() == Some(b']') {
            self.at += 1;
            return Ok(elements);
        }
        loop {
            elements.push(self.value()?);
            match self.peek() {
                Some(b',') => self.at += 1,
                Some(b']') => {
                    self.at += 1;
                    return Ok(elements);
                }
                _ => return self.malformed("',' or ']'"),
            }
        }
    }

    /// The byte at the position, behind white space.
    #[inline]
    fn peek(&mut self) -> Option<u8> {
        loop {
            let byte = *self.bytes.get(self.at)?;
            if !matches!(byte, b' ' | b'\n' | b'\r' | b'\t') {
                return Some(byte);
            }
            self.at += 1;
        }
    }

    #[inline]
    fn expect(&mut self, byte: u8, expected: &'static str) -> Result<(), Malformed> {
        if self.peek() == Some(byte) {
            self.at += 1;
            return Ok(());
        }
        self.malformed(expected)
    }

    #[cold]
    fn malformed<T>(&self, expected: &'static str) -> Result<T, Malformed> {
        Err(Malformed { at: self.at, expected })
    }

    /// The key at the position; passes its colon.
    #[inline]
    pub fn key(&mut self) -> Result<Token, Malformed> {
        self.expect(b'"', "a key in quotes")?;
        let key = self.string()?;
        self.expect(b':', "':'")?;
        Ok(key)
    }

    #[inline]
    pub fn value(&mut self) -> Result<Token, Malformed> {
        match self.peek() {
            Some(byte @ (b'{' | b'[')) => {
                let start = self.at;
                self.nested(byte)?;
                let kind = if byte == b'{' { Kind::Object } else { Kind::Array };
                Ok(Token { kind, start, end: self.at })
            }
            _ => self.scalar(),
        }
    }

    #[inline]
    fn scalar(&mut self) -> Result<Token, Malformed> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                self.string()
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b'n') => self.literal(b"null", Kind::Null),
            Some(b't') => self.literal(b"true", Kind::True),
            Some(b'f') => self.literal(b"false", Kind::False),
            _ => self.malformed("a value"),
        }
    }

    fn literal(&mut self, word: &'static [u8], kind: Kind) -> Result<Token, Malformed> {
        let start = self.at;
        if !self.bytes[start..].starts_with(word) {
            return self.malformed("a value");
        }
        self.at += word.len();
        Ok(Token { kind, start, end: self.at })
    }

    #[inline]
    fn number(&mut self) -> Result<Token, Malformed> {
        let start = self.at;
        if self.bytes[self.at] == b'-' {
            self.at += 1;
        }
        let first = self.at;
        self.digits()?;
        if self.bytes[first] == b'0' && self.at > first + 1 {
            self.at = first + 1;
            return self.malformed("no digit after a leading zero");
        }
        if self.bytes.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.bytes.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.bytes.get(self.at) {
                self.at += 1;
            }
            self.digits()?;
        }
        Ok(Token { kind: Kind::Number, start, end: self.at })
    }

    #[inline]
    fn digits(&mut self) -> Result<(), Malformed> {
        let start = self.at;
        while self.bytes.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
        if self.at == start { self.malformed("a digit") } else { Ok(()) }
    }

    /// The rest of a string whose opening quote is passed; passes the closing one.
    #[inline]
    fn string(&mut self) -> Result<Token, Malformed> {
        let start = self.at;
        let mut kind = Kind::Plain;
        loop {
            self.pass_plain();
            match self.bytes.get(self.at) {
                Some(b'"') => {
                    let token = Token { kind, start, end: self.at };
                    self.at += 1;
                    return Ok(token);
                }
                Some(b'\\') => {
                    kind = Kind::Escaped;
                    self.escape()?;
                }
                Some(_) => return self.malformed("no control character in a string"),
                None => return self.malformed("'\"' at the end of a string"),
            }
        }
    }

    /// Moves to the next quote, backslash or control character, or to the end.
    #[inline]
    fn pass_plain(&mut self) {
        while let Some(chunk) = self.bytes[self.at..].first_chunk::<8>() {
            let stops = stops(u64::from_le_bytes(*chunk));
            if stops != 0 {
                self.at += (stops.trailing_zeros() / 8) as usize;
                return;
            }
            self.at += 8;
        }
        while self.bytes.get(self.at).is_some_and(|byte| !matches!(byte, b'"' | b'\\' | 0..=0x1f)) {
            self.at += 1;
        }
    }

    fn escape(&mut self) -> Result<(), Malformed> {
        self.at += 1;
        match self.bytes.get(self.at) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => self.at += 1,
            Some(b'u') => {
                self.at += 1;
                for _ in 0..4 {
                    if !self.bytes.get(self.at).is_some_and(u8::is_ascii_hexdigit) {
                        return self.malformed("four hexadecimal digits after \\u");
                    }
                    self.at += 1;
                }
            }
            _ => return self.malformed("an escape that JSON knows"),
        }
        Ok(())
    }

    /// Passes the array or object that begins at the position.
    fn nested(&mut self, opener: u8) -> Result<(), Malformed> {
        self.open.clear();
        self.open.push(opener);
        self.at += 1;
        let mut fresh = true;
        while let Some(&container) = self.open.last() {
            let (closer, expected) =
                if container == b'{' { (b'}', "',' or '}'") } else { (b']', "',' or ']'") };
            if self.peek() == Some(closer) {
                self.at += 1;
                self.open.pop();
                fresh = false;
                continue;
            }
            if !fresh {
                self.expect(b',', expected)?;
            }
            if container == b'{' {
                self.key()?;
            }
            match self.peek() {
                Some(opener @ (b'{' | b'[')) => {
                    self.open.push(opener);
                    self.at += 1;
                    fresh = true;
                }
                _ => {
                    self.scalar()?;
                    fresh = false;
                }
            }
        }
        Ok(())
    }
}

/// The high bit of the lowest byte that is a quote, a backslash or a control character; higher
/// bits may be set for other bytes. (The classic test for a zero byte in a word, three times.)
#[inline]
fn stops(word: u64) -> u64 {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let zero = |word: u64| word.wrapping_sub(ONES) & !word;
    let quote = zero(word ^ (ONES * b'"' as u64));
    let backslash = zero(word ^ (ONES * b'\\' as u64));
    let control = word.wrapping_sub(ONES * 0x20) & !word;
    (quote | backslash | control) & HIGHS
}
