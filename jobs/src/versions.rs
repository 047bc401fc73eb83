//! `watershed versions`: what a stream has published.

use std::process::ExitCode;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};

use crate::project::Place;
use crate::say;

#[derive(Args)]
pub struct Arguments {
    #[arg(value_name = "STREAM")]
    stream: String,
}

pub async fn versions(place: &Place, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let workspace = place.open()?;
    workspace.streams(Some(&arguments.stream))?;
    let stream = arguments.stream;
    let store = workspace.store()?;
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    table.set_header([
        "version",
        "published",
        "watershed",
        "landed",
        "events",
        "windows",
        "dead letters",
        "seconds",
    ]);
    for column in [0, 3, 4, 5, 6, 7] {
        if let Some(column) = table.column_mut(column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    let mut damaged = None;
    for version in store.versions(&stream).await? {
        let manifest = match store.manifest(&stream, version).await {
            Ok(Some(manifest)) => manifest,
            // One that retention has just removed is no longer a version.
            Ok(None) => continue,
            Err(error) if error.is_damage() => {
                damaged = Some(error);
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        let events: u64 = manifest.events.iter().map(|file| file.file.rows).sum();
        let dead_letters: u64 = manifest.dead_letters.iter().map(|file| file.file.rows).sum();
        table.add_row([
            version.to_string(),
            manifest.created_at.clone(),
            manifest.watershed.to_string(),
            manifest.rows_landed.to_string(),
            events.to_string(),
            manifest.windows_recomputed.to_string(),
            dead_letters.to_string(),
            format!("{:.2}", manifest.seconds),
        ]);
    }
    if table.is_empty() && damaged.is_none() {
        say::line(format!("stream {stream} has no version yet: `watershed batch run` makes the first"));
    } else {
        say::line(table.trim_fmt());
    }
    damaged.map_or(Ok(ExitCode::SUCCESS), |error| Err(error.into()))
}
