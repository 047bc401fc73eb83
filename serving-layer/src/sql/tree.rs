//! JSON as deep as a parse tree: deeper than serde's reader goes, but not without end.

use serde_json::{Map, Value as Json};

const MOST_DEEP: usize = 1_500;

/// `None` for what is no JSON, or nested too deeply.
pub fn parse(text: &str) -> Option<Json> {
    let mut reader = Reader { rest: text };
    let value = reader.value(0)?;
    reader.rest.trim_start().is_empty().then_some(value)
}

struct Reader<'a> {
    rest: &'a str,
}

impl Reader<'_> {
    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > MOST_DEEP {
            return None;
        }
        if self.take('{') {
            let mut object = Map::new();
            while !self.take('}') {
                if !object.is_empty() && !self.take(',') {
                    return None;
                }
                let Json::String(key) = self.scalar()? else { return None };
                if !self.take(':') {
                    return None;
                }
                object.insert(key, self.value(depth + 1)?);
            }
            return Some(Json::Object(object));
        }
        if self.take('[') {
            let mut array = Vec::new();
            while !self.take(']') {
                if !array.is_empty() && !self.take(',') {
                    return None;
                }
                array.push(self.value(depth + 1)?);
            }
            return Some(Json::Array(array));
        }
        self.scalar()
    }

    fn take(&mut self, expected: char) -> bool {
        let rest = self.rest.trim_start();
        let taken = rest.strip_prefix(expected);
        self.rest = taken.unwrap_or(rest);
        taken.is_some()
    }

    /// A text, a number, a truth value or null.
    fn scalar(&mut self) -> Option<Json> {
        self.rest = self.rest.trim_start();
        let mut values = serde_json::Deserializer::from_str(self.rest).into_iter::<Json>();
        let value = values.next()?.ok()?;
        let end = values.byte_offset();
        self.rest = &self.rest[end..];
        (!value.is_array() && !value.is_object()).then_some(value)
    }
}
