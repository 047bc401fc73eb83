//! Logs go to standard error: lowercase fragments with fields. Results go to standard output.

use std::io::IsTerminal;

use tracing::Level;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::config::LogFormat;
use crate::project::Place;
use crate::traces::{self, Exporting};

pub enum Verbosity {
    Quiet,
    /// How often `-v` was given.
    Loud(u8),
}

/// `RUST_LOG` decides where it is set; else `-v` and `-q` do. A service's spans are exported where the settings say so.
pub fn start(place: &Place, verbosity: Verbosity, service: bool) -> anyhow::Result<Option<Exporting>> {
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
    let settings = place.settings().unwrap_or_default();
    let lines = tracing_subscriber::fmt::layer()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal());
    let lines = match settings.log.format {
        LogFormat::Text => lines.boxed(),
        LogFormat::Json => lines.json().boxed(),
    };
    let traces = &settings.traces;
    let exported = match traces.endpoint.as_ref().filter(|_| service) {
        Some(endpoint) => Some(traces::start(&endpoint.0, &traces.service.0, traces.share.0)?),
        None => None,
    };
    let (spans, exporting) = exported.unzip();
    // What is exported does not depend on what is logged.
    let spans = spans.map(|spans| spans.with_filter(Targets::new().with_target("watershed", Level::INFO)));
    let started = tracing_subscriber::registry().with(lines.with_filter(filter)).with(spans).try_init();
    started.map_err(|error| anyhow::anyhow!("the log cannot be set up: {error}"))?;
    Ok(exporting)
}
