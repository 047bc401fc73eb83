//! Logs go to standard error: lowercase fragments with fields. Results go to standard output.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

use crate::config::LogFormat;
use crate::project::Place;

pub enum Verbosity {
    Quiet,
    /// How often `-v` was given.
    Loud(u8),
}

/// `RUST_LOG` decides where it is set; else `-v` and `-q` do.
pub fn start(place: &Place, verbosity: Verbosity, service: bool) -> anyhow::Result<()> {
    let directives = match verbosity {
        Verbosity::Quiet => "error",
        Verbosity::Loud(0) if service => "warn,watershed=info,audit=info",
        Verbosity::Loud(0) => "warn",
        Verbosity::Loud(1) => "info,watershed=debug",
        Verbosity::Loud(_) => "debug,watershed=trace",
    };
    let filter = match std::env::var(EnvFilter::DEFAULT_ENV) {
        Ok(text) if !text.is_empty() => {
            let builder = EnvFilter::builder().with_default_directive(LevelFilter::WARN.into());
            builder.parse(&text).map_err(|error| anyhow::anyhow!("variable RUST_LOG: {error}"))?
        }
        _ => EnvFilter::new(directives),
    };
    // A fault in the settings is told by the command that needs them.
    let format = place.settings().map(|settings| settings.log.format).unwrap_or_default();
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let started = match format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().try_init(),
    };
    started.map_err(|error| anyhow::anyhow!("the log cannot be set up: {error}"))
}
