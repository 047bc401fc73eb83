//! `watershed check`: each view's plan, or every mistake.

use std::process::ExitCode;

use anyhow::anyhow;
use watershed_schemas::schedule::Calendar;

use crate::project::Place;

pub fn check(place: &Place) -> anyhow::Result<ExitCode> {
    let workspace = place.open()?;
    for view in &workspace.project.views {
        Calendar::of(&view.schedule).map_err(|reason| anyhow!("view {}: {reason}", view.name))?;
        println!("{}\n", view.describe());
    }
    let (streams, views) = (workspace.project.streams.len(), workspace.project.views.len());
    println!("{streams} {}, {views} {}: no mistakes", plural(streams, "stream"), plural(views, "view"));
    Ok(ExitCode::SUCCESS)
}

fn plural(count: usize, word: &str) -> String {
    if count == 1 { word.to_string() } else { format!("{word}s") }
}
