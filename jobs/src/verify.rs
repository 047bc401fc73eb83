//! `watershed verify`: newest versions against what DuckDB makes of the events.

use clap::Args;

#[cfg(feature = "duckdb")]
mod with_duckdb;
#[cfg(not(feature = "duckdb"))]
mod without_duckdb;

#[cfg(feature = "duckdb")]
pub use with_duckdb::{verified, verify};
#[cfg(not(feature = "duckdb"))]
pub use without_duckdb::verify;

#[derive(Args)]
pub struct Arguments {
    /// [default: all views]
    #[arg(value_name = "VIEW")]
    view: Option<String>,
}
