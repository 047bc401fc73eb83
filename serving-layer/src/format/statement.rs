//! A statement's answer in every form.

use serde::Serialize;

use super::meta::{Meta, MetaError};
use super::{Document, Format, cells, columnar, failed};
use crate::refusal::{Reason, Refusal};
use crate::sql::SqlAnswer;

/// Everything but the rows.
#[derive(Serialize)]
struct Head<'a> {
    meta: Vec<Meta<'a>>,
    rows: usize,
    truncated: bool,
    answer: &'a crate::sql::Told,
    statistics: &'a crate::sql::Statistics,
}

impl Document for SqlAnswer {
    fn values(&self) -> usize {
        self.rows.num_rows() * self.rows.num_columns()
    }

    fn header(&self) -> String {
        super::ascii(&json(&head(self, metas(self))))
    }

    fn write(&self, format: Format) -> Result<Vec<u8>, Refusal> {
        match format {
            Format::Json => Ok(document(self)),
            Format::Ndjson => Ok(cells::objects(&self.rows, b"\n", b"")),
            Format::Csv => cells::csv(&self.rows).map_err(failed),
            Format::Arrow => {
                let rows = columnar::with_head(&self.rows, self.header());
                rows.and_then(|rows| columnar::arrow(&rows)).map_err(failed)
            }
            Format::Parquet => {
                let rows = columnar::with_head(&self.rows, self.header()).map_err(failed)?;
                columnar::parquet(&rows).map_err(|error| {
                    let detail = format!("this result has no form in Parquet: {error}; cast the column, or ask for another form");
                    Refusal::new(Reason::WrongQuestion, detail)
                })
            }
        }
    }
}

fn metas(answer: &SqlAnswer) -> Vec<Meta<'_>> {
    let columns = answer.rows.schema_ref().fields().iter().zip(&answer.columns);
    let meta = columns.map(|(field, column)| Meta {
        name: field.name(),
        r#type: cells::type_name(field.data_type()),
        exact: column.exact,
        error: column.error.as_ref().map(MetaError::of),
    });
    meta.collect()
}

fn head<'a>(answer: &'a SqlAnswer, meta: Vec<Meta<'a>>) -> Head<'a> {
    let SqlAnswer { rows, truncated, told, statistics, .. } = answer;
    Head { meta, rows: rows.num_rows(), truncated: *truncated, answer: told, statistics }
}

fn document(answer: &SqlAnswer) -> Vec<u8> {
    let mut head = head(answer, metas(answer));
    let meta = json(&std::mem::take(&mut head.meta));
    let mut out = Vec::new();
    out.extend_from_slice(b"{\"meta\":");
    out.extend_from_slice(meta.as_bytes());
    out.extend_from_slice(b",\"data\":[");
    out.extend(cells::objects(&answer.rows, b"", b","));
    out.extend_from_slice(b"],\"rows\":");
    out.extend_from_slice(json(&head.rows).as_bytes());
    out.extend_from_slice(b",\"truncated\":");
    out.extend_from_slice(json(&head.truncated).as_bytes());
    out.extend_from_slice(b",\"answer\":");
    out.extend_from_slice(json(head.answer).as_bytes());
    out.extend_from_slice(b",\"statistics\":");
    out.extend_from_slice(json(head.statistics).as_bytes());
    out.push(b'}');
    out
}

fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).expect("texts, numbers and maps with integer keys have a JSON form")
}
