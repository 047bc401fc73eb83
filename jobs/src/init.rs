//! `watershed init`: a new project.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::say;
use anyhow::{Context, bail};
use clap::Args;

#[derive(Args)]
pub struct Arguments {
    #[arg(value_name = "DIR")]
    dir: PathBuf,
}

const FILES: [(&str, &str); 4] = [
    ("schemas/events.sql", include_str!("init/events.sql")),
    ("jobs/events_by_minute.sql", include_str!("init/events_by_minute.sql")),
    ("watershed.toml", include_str!("init/watershed.toml")),
    (".gitignore", "# What runs leave behind: events, versions, the embedded broker's log.\n/data/\n"),
];

pub fn init(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let dir = &arguments.dir;
    // Nothing is written before it is certain that nothing is in the way.
    if let Some((name, _)) = FILES.iter().find(|(name, _)| dir.join(name).exists()) {
        bail!("{} exists already: choose another folder, or remove it", dir.join(name).display());
    }
    for (name, text) in FILES {
        create(&dir.join(name), text)?;
    }
    let shown = dir.display();
    say::line(format!(
        "project made in {shown}: a stream in schemas/events.sql, a view in jobs/events_by_minute.sql"
    ));
    say::line(format!("  watershed --project {shown} check"));
    say::line(format!("  watershed --project {shown} up"));
    Ok(ExitCode::SUCCESS)
}

fn create(path: &Path, text: &str) -> anyhow::Result<()> {
    let shown = || path.display().to_string();
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(shown)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).open(path).with_context(shown)?;
    file.write_all(text.as_bytes()).with_context(shown)
}
