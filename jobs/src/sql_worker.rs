//! The process in which a server runs people's statements.

use std::io::{stdin, stdout};
use std::process::ExitCode;

use clap::Args;

use crate::outcome;

#[derive(Args)]
pub struct Arguments {
    /// Bytes that this process may take beyond what it begins with
    #[arg(long, value_name = "BYTES")]
    memory: u64,
}

/// Serves until its server closes the stream.
pub fn work(arguments: &Arguments) -> ExitCode {
    match watershed_duckdb::worker::serve(arguments.memory, &mut stdin().lock(), &mut stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => outcome::failed(&error.into()),
    }
}
