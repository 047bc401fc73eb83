//! How a command ends: 0 done, 1 failed, 2 wrong usage, 75 someone else is at it.

use std::fmt;
use std::process::ExitCode;

/// A failure that has an exit code of its own.
#[derive(Debug)]
pub enum Refusal {
    /// The command line asks for what cannot be meant.
    Usage(String),
    /// A live run of the same stream: trying again later is the right thing to do.
    Busy(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Usage(message) | Refusal::Busy(message) => out.write_str(message),
        }
    }
}

impl std::error::Error for Refusal {}

/// Tells a failure on standard error, causes in the same line.
pub fn tell(error: &anyhow::Error) {
    eprintln!("error: {}", line(error));
}

/// Tells a failure and gives its exit code.
pub fn failed(error: &anyhow::Error) -> ExitCode {
    tell(error);
    match error.downcast_ref::<Refusal>() {
        Some(Refusal::Usage(_)) => ExitCode::from(2),
        Some(Refusal::Busy(_)) => ExitCode::from(75),
        None => ExitCode::from(1),
    }
}

/// An error and its causes; a cause that the error already tells is not repeated.
fn line(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.contains(&cause) {
            text.push_str(": ");
            text.push_str(&cause);
        }
    }
    text
}
