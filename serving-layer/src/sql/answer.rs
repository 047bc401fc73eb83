//! The answer to a statement: Arrow rows, and what they were made of.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use arrow::datatypes::{Field, Schema};
use arrow::record_batch::{RecordBatch, RecordBatchOptions};
use serde::Serialize;
use utoipa::ToSchema;
use watershed_schemas::measure::ErrorBound;

use super::handed::{Handed, HandedColumn};
use super::names::{Names, Origin};
use super::tables::shown;
use crate::answer::Block;

#[derive(Debug)]
pub struct SqlAnswer {
    pub rows: RecordBatch,
    pub columns: Vec<Column>,
    /// There are more rows than the limit that was asked for.
    pub truncated: bool,
    pub told: Told,
    pub statistics: Statistics,
}

/// What is told of a column of the result.
#[derive(Clone, Debug, Default)]
pub struct Column {
    /// For a column that is a measure of a view as it stands: whether every cell of it is exact. `None` for all others.
    pub exact: Option<bool>,
    pub error: Option<ErrorBound>,
}

/// Which records a result is made of: as every answer tells it where they are of one stream, by stream otherwise.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = StatementCoverage)]
pub struct Told {
    #[serde(flatten)]
    coverage: Coverage,
    tables: Vec<Table>,
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[serde(untagged)]
#[schema(as = OneOrSeveralStreams)]
enum Coverage {
    One(Box<Block>),
    Several { complete: bool, streams: Vec<Block> },
}

#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = TableRead)]
struct Table {
    table: String,
    stream: String,
    rows: usize,
    /// True when no cell that was read is an estimate.
    exact: bool,
    /// Columns that hold estimates, of those that were read.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    estimated: Vec<String>,
}

#[derive(Clone, Debug, Default, Serialize, ToSchema)]
#[schema(as = StatementStatistics)]
pub struct Statistics {
    pub elapsed_ms: f64,
    /// Tables that were handed to the worker, and what they took there.
    pub tables: usize,
    pub rows_read: usize,
    pub bytes_read: usize,
}

impl SqlAnswer {
    pub(super) fn of(
        rows: RecordBatch,
        truncated: bool,
        names: &Names,
        mut blocks: Vec<Block>,
        handed: Vec<Handed>,
    ) -> SqlAnswer {
        let columns = columns(names, &handed).unwrap_or_default();
        let known = columns.len() == rows.num_columns();
        let columns = if known { columns } else { vec![Column::default(); rows.num_columns()] };
        let statistics = Statistics {
            elapsed_ms: 0.0,
            tables: handed.len(),
            rows_read: handed.iter().map(|table| table.rows).sum(),
            bytes_read: handed.iter().map(|table| table.bytes).sum(),
        };
        let table = |table: &Handed| {
            let estimated = table.columns.iter().filter(|column| column.exact == Some(false));
            let estimated: Vec<String> = estimated.map(|column| column.name.clone()).collect();
            let (stream, rows, exact) = (table.stream.clone(), table.rows, estimated.is_empty());
            Table { table: shown(&table.name), stream, rows, exact, estimated }
        };
        let tables = handed.iter().map(table).collect();
        let coverage = match blocks.len() {
            1 => Coverage::One(Box::new(blocks.remove(0))),
            _ => {
                let complete = blocks.iter().all(|block| block.complete);
                Coverage::Several { complete, streams: blocks }
            }
        };
        let told = Told { coverage, tables };
        SqlAnswer { rows: distinct(rows), columns, truncated, told, statistics }
    }

    pub(super) fn after(mut self, elapsed: Duration) -> SqlAnswer {
        self.statistics.elapsed_ms = elapsed.as_micros() as f64 / 1_000.0;
        self
    }
}

/// Columns of the result that are columns of a table, as far as that can be told.
fn columns(names: &Names, handed: &[Handed]) -> Option<Vec<Column>> {
    let by_alias = |alias: &str| {
        let named = names.tables.iter().find(|named| named.alias == alias)?;
        let path = named.path.join(".").to_lowercase();
        handed.iter().find(|table| shown(&table.name).to_lowercase() == path)
    };
    let told = |column: &HandedColumn| Column { exact: column.exact, error: column.error.clone() };
    let find = |table: &Handed, name: &str| {
        table.columns.iter().find(|column| column.name.to_lowercase() == name).map(told)
    };
    // A name that an inner query gives to something else is not known here.
    let only = names.tables.len() == handed.len();
    let mut columns = Vec::new();
    for origin in names.origins.as_ref()? {
        match origin {
            Origin::Star => {
                columns.extend(handed.first().filter(|_| handed.len() == 1)?.columns.iter().map(told))
            }
            Origin::Column { alias: Some(alias), name } => {
                columns.push(by_alias(alias).and_then(|table| find(table, name)).unwrap_or_default());
            }
            Origin::Column { alias: None, name } if only => {
                let mut found = handed.iter().filter_map(|table| find(table, name));
                columns.push(match (found.next(), found.next()) {
                    (Some(column), None) => column,
                    _ => Column::default(),
                });
            }
            Origin::Column { alias: None, .. } | Origin::Other => columns.push(Column::default()),
        }
    }
    Some(columns)
}

/// A name that occurs again gets a number: rows as objects would lose a column otherwise.
fn distinct(rows: RecordBatch) -> RecordBatch {
    let schema = rows.schema();
    let mut taken: HashSet<String> = schema.fields().iter().map(|field| field.name().clone()).collect();
    let mut again: HashMap<&str, usize> = HashMap::new();
    let mut fields: Vec<Field> = Vec::with_capacity(rows.num_columns());
    for field in schema.fields() {
        let number = again.entry(field.name()).or_default();
        let mut name = field.name().clone();
        while *number > 0 && !taken.insert(name.clone()) {
            name = format!("{}_{number}", field.name());
            *number += 1;
        }
        *number = (*number).max(1);
        fields.push(field.as_ref().clone().with_name(name).with_nullable(true));
    }
    let count = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
    let schema = Arc::new(Schema::new(fields));
    RecordBatch::try_new_with_options(schema, rows.columns().to_vec(), &count).unwrap_or(rows)
}
