//! A build without DuckDB says how to get one that has it.

use std::process::ExitCode;

use anyhow::bail;

use super::Arguments;
use crate::project::Place;

pub async fn verify(_place: &Place, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let what = arguments.view.unwrap_or_else(|| "the project".to_string());
    bail!("{what} cannot be verified: this build has no DuckDB, `cargo build --release` makes one that has")
}
