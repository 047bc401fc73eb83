//! A database for one statement after another.

use std::collections::{BTreeSet, HashSet};

use arrow::datatypes::SchemaRef;
use arrow::record_batch::RecordBatch;
use duckdb::types::Value;
use serde::Deserialize;
use watershed_schemas::sql_worker::{Parameter, Parameters, Refused, TableName};

use crate::EngineError;
use crate::recompute::quoted;

/// Settings that are in force before the first statement, in this order; the last one makes them final.
const LOCKS: &[&str] = &[
    "SET errors_as_json = true",
    "SET enable_external_access = false",
    "SET disabled_filesystems = 'LocalFileSystem'",
    "SET allow_community_extensions = false",
    "SET allow_persistent_secrets = false",
    "SET max_expression_depth = 250",
    "SET lock_configuration = true",
];

/// Which of DuckDB's own locks a database has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locks {
    All,
    /// As anybody opens one: for showing that the process holds what DuckDB would let go.
    None,
}

/// A database in memory, without any of the machine's files.
pub struct Database {
    connection: duckdb::Connection,
    /// What it was handed.
    tables: BTreeSet<TableName>,
}

/// What DuckDB says, with `errors_as_json`.
#[derive(Deserialize)]
struct Told {
    #[serde(alias = "error_message")]
    exception_message: String,
    #[serde(default)]
    exception_type: String,
    #[serde(default)]
    position: Option<String>,
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    error_subtype: Option<String>,
}

impl Database {
    /// `memory` is the whole process's: DuckDB is told of less, since not all of it is counted there.
    pub fn open(memory: u64, locks: Locks) -> Result<Database, EngineError> {
        let config = duckdb::Config::default()
            .enable_autoload_extension(false)?
            .threads(1)?
            .max_memory(&format!("{}B", memory / 4 * 3))?
            // Threads that were there before the process is confined would not be.
            .with("async_threads", "0")?
            .with("temp_directory", "")?;
        let connection = duckdb::Connection::open_in_memory_with_flags(config)?;
        let database = Database { connection, tables: BTreeSet::new() };
        if locks == Locks::All {
            for lock in LOCKS {
                database.connection.execute_batch(lock)?;
            }
        }
        Ok(database)
    }

    /// Runs whatever it is, unlooked at: for showing what the locks hold alone. The number of rows that came of it.
    pub fn execute(&self, sql: &str) -> Result<usize, EngineError> {
        let mut statement = self.connection.prepare(sql)?;
        let mut rows = 0;
        for batch in statement.stream_arrow([])? {
            rows += batch?.num_rows();
        }
        Ok(rows)
    }

    /// One `SELECT` as a tree.
    pub(super) fn parse_tree(&self, sql: &str) -> Result<String, Refused> {
        const READ: &str =
            "SELECT json_serialize_sql(?, skip_null := true, skip_empty := true, skip_default := true)";
        let tree = self.connection.prepare_cached(READ);
        let tree = tree.and_then(|mut read| read.query_row([sql], |row| row.get::<_, String>(0)));
        let tree = tree.map_err(|error| refused(&error))?;
        #[derive(Deserialize)]
        struct Outcome {
            error: bool,
        }
        match serde_json::from_str::<Outcome>(&tree) {
            Ok(Outcome { error: false }) => Ok(tree),
            _ => Err(told(&tree).unwrap_or_else(|| plain(tree))),
        }
    }

    /// Adds rows to a table, which the first ones make.
    pub fn add(&mut self, table: &TableName, rows: RecordBatch) -> Result<(), Refused> {
        if self.tables.insert(table.clone()) {
            let columns = columns(&rows.schema())?;
            let made = match &table.schema {
                Some(schema) => format!("CREATE SCHEMA IF NOT EXISTS {};", quoted(schema)),
                None => String::new(),
            };
            let made = format!("{made} CREATE TABLE {} ({columns})", path(table));
            self.connection.execute_batch(&made).map_err(|error| refused(&error))?;
        }
        let append = || {
            let mut appender = self.connection.appender_to_db(&table.name, schema(table))?;
            appender.append_record_batch(rows)?;
            appender.flush()
        };
        append().map_err(|error| refused(&error))
    }

    /// Keeps the rows of a table that came first. They are never deleted, so what came behind them has higher numbers,
    /// however often that was replaced.
    pub fn keep(&mut self, table: &TableName, rows: usize) -> Result<(), Refused> {
        let others = format!("DELETE FROM {} WHERE rowid >= {rows}", path(table));
        self.connection.execute_batch(&others).map_err(|error| refused(&error))
    }

    /// Drops a table that it was handed.
    pub fn remove(&mut self, table: &TableName) -> Result<(), Refused> {
        self.tables.remove(table);
        let dropped = self.connection.execute_batch(&format!("DROP TABLE {}", path(table)));
        dropped.map_err(|error| refused(&error))
    }

    /// Drops all that it was handed; no statement can have made anything itself.
    pub(super) fn empty(&mut self) -> Result<(), EngineError> {
        while let Some(table) = self.tables.pop_first() {
            // A table whose making failed may lack its schema too.
            let made = format!("CREATE SCHEMA IF NOT EXISTS {}", quoted(schema(&table)));
            self.connection.execute_batch(&made)?;
            self.connection.execute_batch(&format!("DROP TABLE IF EXISTS {}", path(&table)))?;
        }
        Ok(())
    }

    /// Gives the result to `take`, piece by piece, until that has enough. The statement may not write, and nothing of what
    /// it does stays.
    pub fn run(
        &mut self,
        sql: &str,
        parameters: &Parameters,
        take: &mut impl FnMut(RecordBatch) -> Result<bool, Refused>,
    ) -> Result<SchemaRef, Refused> {
        self.ours("BEGIN TRANSACTION READ ONLY")?;
        let ended = self.select(sql, parameters, take);
        self.ours("ROLLBACK").map_err(|refused| Refused { again: false, ..refused })?;
        ended
    }

    /// A statement of our own.
    fn ours(&self, sql: &str) -> Result<(), Refused> {
        let done = self.connection.prepare_cached(sql).and_then(|mut statement| statement.execute([]));
        done.map(drop).map_err(|error| refused(&error))
    }

    fn select(
        &self,
        sql: &str,
        parameters: &Parameters,
        take: &mut impl FnMut(RecordBatch) -> Result<bool, Refused>,
    ) -> Result<SchemaRef, Refused> {
        let mut statement = self.connection.prepare(sql).map_err(|error| refused(&error))?;
        let values = values(&statement, parameters)?;
        let rows = statement.stream_arrow(duckdb::params_from_iter(values));
        let rows = rows.map_err(|error| refused(&error))?;
        let schema = rows.get_schema();
        for batch in rows {
            if !take(batch.map_err(|error| refused(&error))?)? {
                break;
            }
        }
        Ok(schema)
    }
}

fn schema(table: &TableName) -> &str {
    table.schema.as_deref().unwrap_or("main")
}

/// A table's name in a statement of ours.
fn path(table: &TableName) -> String {
    format!("{}.{}", quoted(schema(table)), quoted(&table.name))
}

/// Columns of a table as a statement names them that makes it.
fn columns(schema: &SchemaRef) -> Result<String, Refused> {
    let column = |field: &std::sync::Arc<arrow::datatypes::Field>| {
        let kind = sql_type(field.data_type());
        let kind = kind.ok_or_else(|| plain(format!("column {} has no type in SQL", field.name())))?;
        Ok(format!("{} {kind}", quoted(field.name())))
    };
    Ok(schema.fields().iter().map(column).collect::<Result<Vec<_>, Refused>>()?.join(", "))
}

/// The parameters' values in the order of the statement's own numbers.
fn values(statement: &duckdb::Statement<'_>, parameters: &Parameters) -> Result<Vec<Value>, Refused> {
    let expected = statement.parameter_count();
    let names: Vec<String> =
        (1..=expected).map(|number| statement.parameter_name(number).unwrap_or_default()).collect();
    match parameters {
        Parameters::Listed(values) => {
            if values.len() != expected {
                let detail =
                    format!("the statement has {expected} parameters, found {} values", values.len());
                return Err(plain(detail));
            }
            let by_number = |(index, name): (usize, &String)| {
                let place = name.parse::<usize>().unwrap_or(index + 1);
                values
                    .get(place - 1)
                    .map(value)
                    .ok_or_else(|| plain(format!("parameter ${name} has no value")))
            };
            names.iter().enumerate().map(by_number).collect()
        }
        Parameters::Named(values) => {
            let known: HashSet<&str> = names.iter().map(String::as_str).collect();
            if let Some(unknown) = values.keys().find(|name| !known.contains(name.as_str())) {
                return Err(plain(format!("the statement has no parameter ${unknown}")));
            }
            let by_name = |name: &String| {
                values.get(name).map(value).ok_or_else(|| plain(format!("parameter ${name} has no value")))
            };
            names.iter().map(by_name).collect()
        }
    }
}

fn value(parameter: &Parameter) -> Value {
    match parameter {
        Parameter::Null => Value::Null,
        Parameter::Boolean(truth) => Value::Boolean(*truth),
        Parameter::Integer(number) => Value::BigInt(*number),
        Parameter::Double(number) => Value::Double(*number),
        Parameter::Text(text) => Value::Text(text.clone()),
    }
}

fn refused(error: &duckdb::Error) -> Refused {
    let text = match error {
        duckdb::Error::DuckDBFailure(_, Some(text)) => text.clone(),
        other => other.to_string(),
    };
    told(&text).unwrap_or_else(|| plain(text))
}

fn plain(message: String) -> Refused {
    let too_large = wants_memory(&message);
    Refused { message, position: None, unknown: None, too_large, again: true }
}

/// What DuckDB says where the system has no more for it.
fn wants_memory(message: &str) -> bool {
    ["bad_alloc", "Allocation failure"].iter().any(|words| message.contains(words))
}

/// Reads what DuckDB tells as JSON, behind the kind of error that it writes before it.
fn told(text: &str) -> Option<Refused> {
    let told: Told = serde_json::from_str(&text[text.find('{')?..]).ok()?;
    let too_large = told.exception_type == "Out of Memory" || wants_memory(&told.exception_message);
    let is_name = matches!(told.error_subtype.as_deref(), Some("COLUMN_NOT_FOUND" | "MISSING_ENTRY"));
    Some(Refused {
        message: told.exception_message,
        position: told.position.and_then(|position| position.parse().ok()),
        unknown: told.name.filter(|_| is_name),
        too_large,
        again: true,
    })
}

/// The type of a column that is handed over.
fn sql_type(data_type: &arrow::datatypes::DataType) -> Option<String> {
    use arrow::datatypes::DataType as Arrow;
    Some(match data_type {
        Arrow::Boolean => "BOOLEAN".to_string(),
        Arrow::Int32 => "INTEGER".to_string(),
        Arrow::Int64 => "BIGINT".to_string(),
        Arrow::Float64 => "DOUBLE".to_string(),
        Arrow::Utf8 => "VARCHAR".to_string(),
        Arrow::Date32 => "DATE".to_string(),
        Arrow::Timestamp(_, None) => "TIMESTAMP".to_string(),
        Arrow::Decimal128(precision, scale) => format!("DECIMAL({precision}, {scale})"),
        Arrow::List(item) => format!("{}[]", sql_type(item.data_type())?),
        Arrow::Struct(fields) => {
            let field = |field: &std::sync::Arc<arrow::datatypes::Field>| {
                Some(format!("{} {}", quoted(field.name()), sql_type(field.data_type())?))
            };
            format!("STRUCT({})", fields.iter().map(field).collect::<Option<Vec<_>>>()?.join(", "))
        }
        _ => return None,
    })
}
