//! `watershed batch crontab`: the project's schedules for a system's cron.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use watershed_schemas::schedule::Calendar;
use watershed_schemas::view::Schedule;

use crate::project::{Place, Workspace};
use crate::say;

pub fn crontab(place: &Place) -> anyhow::Result<ExitCode> {
    let workspace = place.open()?;
    let folder = std::path::absolute(&workspace.folder).context("the project's folder")?;
    let command = std::env::current_exe().context("the path of this command")?;
    let config = place.config.as_deref().map(std::path::absolute).transpose()?;
    say::line(text(&workspace, &command, &folder, config.as_deref())?.trim_end());
    Ok(ExitCode::SUCCESS)
}

/// One line per stream and schedule, under the time zone that it is meant in: a run serves all views of its stream.
fn text(
    workspace: &Workspace,
    command: &Path,
    folder: &Path,
    config: Option<&Path>,
) -> anyhow::Result<String> {
    let mut lines: BTreeSet<(String, String, String)> = BTreeSet::new();
    for view in &workspace.project.views {
        let Some(schedule) = &view.schedule else { continue };
        Calendar::of([schedule]).map_err(|reason| anyhow::anyhow!("view {}: {reason}", view.name))?;
        let Schedule { cron, time_zone } = schedule;
        lines.insert((time_zone.clone(), view.stream.name.clone(), cron.clone()));
    }
    let mut text = String::from(
        "# Batch runs of this project. A run that finds another one at work ends with exit code 75.\n\
         # Each prints a few lines, which cron sends by mail: append `>> /var/log/watershed.log 2>&1` to keep them in a file.\n\
         # CRON_TZ is honoured by cronie and its kin; under another cron, times are the machine's own.\n",
    );
    let mut zone = None;
    for (time_zone, stream, cron) in &lines {
        if zone != Some(time_zone) {
            text.push_str(&format!("CRON_TZ={time_zone}\n"));
            zone = Some(time_zone);
        }
        let mut call = vec![shown(command)?, "--project".to_string(), shown(folder)?];
        if let Some(config) = config {
            call.extend(["--config".to_string(), shown(config)?]);
        }
        call.extend(["batch", "run", "--stream"].map(str::to_string));
        call.push(stream.clone());
        let call: Vec<String> = call.iter().map(|word| word_for_cron(word)).collect();
        text.push_str(&format!("{cron} {}\n", call.join(" ")));
    }
    if lines.is_empty() {
        text.push_str(
            "# No view has a schedule: write `WITH (schedule = '*/15 * * * *')` in its definition.\n",
        );
    }
    Ok(text)
}

fn shown(path: &Path) -> anyhow::Result<String> {
    let text = path.to_str().with_context(|| format!("path {} is not UTF-8", path.display()))?;
    anyhow::ensure!(!text.contains('\n'), "path {text:?} holds a line break, which a crontab cannot");
    Ok(text.to_string())
}

/// A word as the shell reads it, in a line as cron reads it: cron takes a bare `%` for a line break.
fn word_for_cron(word: &str) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-:+,@=".contains(&byte);
    let quoted = if !word.is_empty() && word.bytes().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    };
    // A backslash before `%` is taken away by cron, within quotes too.
    quoted.replace('%', r"\%")
}
