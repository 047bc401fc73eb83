//! A second opinion: results recomputed by DuckDB, which shares no code with the layers that made them.
//!
//! Guarantee: [`compare`] looks at every cell of a published view and says which differ from what the master dataset
//! alone gives. Beside it lies the [`worker`] for statements that people send. Everything runs in memory, without extensions, in DuckDB's own engine; nothing is written.

mod compare;
mod recompute;
pub mod worker;

use arrow::record_batch::RecordBatch;

pub use crate::compare::{Comparison, Difference, Published, compare};
pub use crate::recompute::recomputation;

/// DuckDB refused or failed.
#[derive(Debug, thiserror::Error)]
#[error("duckdb: {0}")]
pub struct EngineError(#[from] duckdb::Error);

/// A DuckDB of its own, in memory. It reads Parquet files by path.
pub struct Engine {
    connection: duckdb::Connection,
}

impl Engine {
    pub fn new() -> Result<Self, EngineError> {
        let config = duckdb::Config::default()
            .enable_autoload_extension(false)?
            .with("autoinstall_known_extensions", "false")?;
        Ok(Engine { connection: duckdb::Connection::open_in_memory_with_flags(config)? })
    }

    /// Runs one statement and gives its whole result.
    pub fn query(&self, sql: &str) -> Result<Vec<RecordBatch>, EngineError> {
        let mut statement = self.connection.prepare(sql)?;
        Ok(statement.query_arrow([])?.collect())
    }

    /// Runs statements whose results nobody needs.
    pub fn execute(&self, sql: &str) -> Result<(), EngineError> {
        Ok(self.connection.execute_batch(sql)?)
    }
}
