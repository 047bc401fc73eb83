//! The command: everything that people and crontabs call. What it does is in the layers; here it is told what to do.

mod asking;
mod batch;
mod check;
mod clock;
mod config;
mod crontab;
mod demo;
mod human;
mod init;
mod kafka;
mod key;
mod logging;
mod outcome;
mod process;
mod produce;
mod project;
mod query;
mod rollback;
mod run;
mod say;
mod scheduler;
mod security;
mod serve;
mod speed;
mod sql;
#[cfg(feature = "duckdb")]
mod sql_worker;
mod stack;
mod table;
mod traces;
mod up;
mod verify;
mod versions;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::project::Place;

/// Answers over streams of events: exact below the watershed, live at or above it.
#[derive(Parser)]
#[command(name = "watershed", version, propagate_version = true, max_term_width = 110)]
struct Command {
    /// The project's folder: schemas/, jobs/ and watershed.toml
    #[arg(long, global = true, default_value = ".", value_name = "DIR")]
    project: PathBuf,
    /// The settings file [default: <project>/watershed.toml]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Say more (twice: everything)
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Say nothing but errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// See it at work with nothing else installed: real flights, replayed
    Demo(demo::Arguments),
    /// Everything in one process: broker (unless kafka.brokers is set), speed, batch on schedule, serving
    Up,
    /// The speed layer as a service of its own
    Speed,
    /// The serving layer as a service of its own
    Serve,
    /// Batch runs, now or by schedule
    #[command(subcommand)]
    Batch(batch::Verb),
    /// Read the project's definitions: print each view's plan, or every mistake
    Check,
    /// Load files into a stream's topic
    Produce(produce::Arguments),
    /// Make, list and revoke the keys that callers are known by
    #[command(subcommand)]
    Key(key::Action),
    /// Ask a running server about a view
    Query(Box<query::Arguments>),
    /// Ask a running server in SQL: views, batch.<view> and events.<stream>
    Sql(sql::Arguments),
    /// Runs statements for a server, in a process that can do nothing else
    #[cfg(feature = "duckdb")]
    #[command(hide = true)]
    SqlWorker(sql_worker::Arguments),
    /// Recompute the newest versions with DuckDB, from the events alone, and compare every cell
    Verify(verify::Arguments),
    /// List a stream's versions
    Versions(versions::Arguments),
    /// Publish an older version's result again, with the older watershed
    Rollback(rollback::Arguments),
    /// Make a new project with one commented stream and view
    Init(init::Arguments),
}

fn main() -> ExitCode {
    let command = Command::parse();
    // Before there is a thread that could do more than this one.
    #[cfg(feature = "duckdb")]
    if let Verb::SqlWorker(arguments) = command.verb {
        return sql_worker::work(&arguments);
    }
    // HTTP clients take their cryptography from the process. One that is there already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            return outcome::failed(&anyhow::Error::from(error).context("the runtime cannot start"));
        }
    };
    let ended = runtime.block_on(obey(command));
    // What still runs in the background is a blocking read of a log at most: nobody waits for it.
    runtime.shutdown_background();
    match ended {
        Ok(code) => code,
        Err(error) => outcome::failed(&error),
    }
}

async fn obey(command: Command) -> anyhow::Result<ExitCode> {
    let place = Place { folder: command.project, config: command.config };
    let verbosity =
        if command.quiet { logging::Verbosity::Quiet } else { logging::Verbosity::Loud(command.verbose) };
    let exporting = logging::start(&place, verbosity, command.verb.is_service())?;
    let ended = act(command.verb, place).await;
    if let Some(exporting) = exporting {
        exporting.finish().await;
    }
    ended
}

async fn act(verb: Verb, place: Place) -> anyhow::Result<ExitCode> {
    match verb {
        Verb::Demo(arguments) => demo::demo(&place, arguments).await,
        Verb::Up => up::up(&place).await,
        Verb::Speed => speed::speed(&place).await,
        Verb::Serve => serve::serve(&place).await,
        Verb::Batch(verb) => batch::batch(&place, verb).await,
        Verb::Check => check::check(&place),
        Verb::Produce(arguments) => produce::produce(&place, arguments).await,
        Verb::Key(action) => key::key(&place, action),
        Verb::Query(arguments) => query::query(&place, &arguments).await,
        Verb::Sql(arguments) => sql::sql(&place, &arguments).await,
        #[cfg(feature = "duckdb")]
        Verb::SqlWorker(arguments) => Ok(sql_worker::work(&arguments)),
        Verb::Verify(arguments) => verify::verify(&place, arguments).await,
        Verb::Versions(arguments) => versions::versions(&place, arguments).await,
        Verb::Rollback(arguments) => rollback::rollback(&place, arguments).await,
        Verb::Init(arguments) => init::init(&arguments),
    }
}

impl Verb {
    /// Services say what they do; commands that end say what came of it.
    fn is_service(&self) -> bool {
        matches!(self, Verb::Up | Verb::Speed | Verb::Serve | Verb::Batch(batch::Verb::Schedule))
    }
}
