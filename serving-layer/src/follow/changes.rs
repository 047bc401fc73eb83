//! What changes from one answer to the next.

use std::collections::BTreeMap;

use crate::answer::Answer;
use crate::format;

/// The rows as they were told last, by their keys; both are JSON objects as text.
#[derive(Default)]
pub struct Changes {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    meta: String,
    answer: String,
    version: Option<Option<u64>>,
}

impl Changes {
    /// Takes in an answer. Gives the rows that changed and the keys of those that went as JSON; nothing if there are none and
    /// the version is the same, unless `always`.
    pub fn take(&mut self, answer: &Answer, always: bool) -> Option<Vec<u8>> {
        let rows = format::rows_by_key(answer);
        let changed = rows.iter().filter(|(key, row)| self.rows.get(*key) != Some(row)).map(|(_, row)| row);
        let changed: Vec<&Vec<u8>> = changed.collect();
        let removed: Vec<&Vec<u8>> = self.rows.keys().filter(|key| !rows.contains_key(*key)).collect();
        let meta = format::meta(answer);
        let version = Some(answer.block.version);
        let told = !changed.is_empty() || !removed.is_empty() || meta != self.meta || version != self.version;
        let reset = self.version.is_none();
        let block = format::block(answer);
        let data = (told || always).then(|| data(reset, &meta, changed, removed, &block));
        (self.rows, self.meta, self.answer, self.version) = (rows, meta, block, version);
        data
    }

    /// All rows, for one who has none.
    pub fn whole(&self) -> Vec<u8> {
        data(true, &self.meta, self.rows.values().collect(), Vec::new(), &self.answer)
    }
}

/// `{"reset": …, "meta": […], "rows": […], "removed": […], "answer": {…}}`
fn data(reset: bool, meta: &str, rows: Vec<&Vec<u8>>, removed: Vec<&Vec<u8>>, answer: &str) -> Vec<u8> {
    let mut data = format!("{{\"reset\":{reset},\"meta\":{meta},\"rows\":[").into_bytes();
    list(&mut data, &rows);
    data.extend_from_slice(b"],\"removed\":[");
    list(&mut data, &removed);
    data.extend_from_slice(b"],\"answer\":");
    data.extend_from_slice(answer.as_bytes());
    data.push(b'}');
    data
}

fn list(out: &mut Vec<u8>, objects: &[&Vec<u8>]) {
    for (index, object) in objects.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(object);
    }
}
