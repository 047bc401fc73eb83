//! `watershed rollback`: an older result, published again as a new version.

use std::process::ExitCode;

use anyhow::bail;
use clap::Args;
use watershed_batch::Outcome;
use watershed_schemas::manifest::Version;

use crate::kafka::Kafka;
use crate::project::Place;
use crate::run::{Runner, busy};
use crate::say;

#[derive(Args)]
pub struct Arguments {
    #[arg(value_name = "STREAM")]
    stream: String,
    /// One that `watershed versions STREAM` lists
    #[arg(value_name = "VERSION")]
    version: u64,
}

pub async fn rollback(place: &Place, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let workspace = place.open()?;
    workspace.streams(Some(&arguments.stream))?;
    let (stream, to) = (arguments.stream, Version(arguments.version));
    let store = workspace.store()?;
    let kafka = Kafka::reach(&workspace, &store).await?;
    let runner = Runner::new(&workspace, store, kafka.log());
    runner.stop_when_told();
    let outcome = runner.rollback(&stream, to).await;
    kafka.stop().await;
    match outcome? {
        Outcome::Published(report) => {
            let (version, watershed) = (report.manifest.version, &report.manifest.watershed);
            say::line(format!("{stream}: version {version} published, the result of version {to} again"));
            say::line(format!("  watershed           {watershed}"));
            say::line("  live again          everything from there on, until the next batch run folds it");
            for warning in &report.warnings {
                say::line(format!("  warning             {warning}"));
            }
        }
        Outcome::Unchanged(newest) => {
            let watershed = &newest.watershed;
            say::line(format!("{stream}: version {to} is the newest already, watershed {watershed}"));
        }
        Outcome::Busy { holder, lease_until_ms, .. } => {
            return Err(busy(&stream, &holder, lease_until_ms).into());
        }
        Outcome::Lost { winner } => bail!(
            "stream {stream}: run {winner} published a version in the meantime, so nothing was rolled back: look at \
             `watershed versions {stream}`, then try again"
        ),
    }
    Ok(ExitCode::SUCCESS)
}
