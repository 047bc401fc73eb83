//! A JSON object per line.

use std::io::BufRead;

use serde::de::IgnoredAny;
use serde_json::Value;

use super::rows::{Content, Row, Rows, Wanted};

pub struct Ndjson<R> {
    bytes: R,
    wanted: Wanted,
    line: u64,
}

impl<R: BufRead> Ndjson<R> {
    pub fn new(bytes: R, wanted: &Wanted) -> Self {
        Ndjson { bytes, wanted: wanted.clone(), line: 0 }
    }

    fn content(&self, line: &[u8]) -> Result<Content, String> {
        // Positions in the message count from the line's own beginning.
        let malformed = |error: serde_json::Error| match error.is_eof() {
            true => "malformed JSON: the line ends too early".to_string(),
            false => format!("malformed JSON at column {}", error.column()),
        };
        if self.wanted.is_nothing() {
            serde_json::from_slice::<IgnoredAny>(line).map_err(malformed)?;
            return Ok(Content { key: None, payload: line.to_vec(), timestamp: None });
        }
        let value: Value = serde_json::from_slice(line).map_err(malformed)?;
        self.wanted.content(line.to_vec(), |name| value.get(name))
    }
}

impl<R: BufRead> Rows for Ndjson<R> {
    fn next(&mut self) -> anyhow::Result<Option<Row>> {
        let mut line = Vec::new();
        loop {
            line.clear();
            self.line += 1;
            if self.bytes.read_until(b'\n', &mut line)? == 0 {
                return Ok(None);
            }
            let text = line.trim_ascii();
            if text.is_empty() {
                continue;
            }
            if self.line == 1 && text.starts_with(b"[") {
                anyhow::bail!(
                    "it holds one JSON array, expected an object per line: `jq -c '.[]'` makes them"
                );
            }
            return Ok(Some(Row { line: self.line, content: self.content(text) }));
        }
    }
}
