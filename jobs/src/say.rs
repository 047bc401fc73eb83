//! Results for people and scripts, on standard output.

use std::fmt::Display;
use std::io::Write;

/// Prints a line. Whoever has closed the pipe (`watershed check | head`) wants no more of it, and the work goes on.
pub fn line(text: impl Display) {
    let mut out = std::io::stdout().lock();
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}
