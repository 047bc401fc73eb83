//! A project's folder: `schemas/*.sql`, `jobs/*.sql`, `watershed.toml`.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use watershed_schemas::problem::{Problem, ProblemKind};
use watershed_schemas::project::{Project, SourceFile};
use watershed_store::Store;

use crate::config::Settings;

/// Where the command was told to work.
#[derive(Clone, Debug)]
pub struct Place {
    pub folder: PathBuf,
    /// A settings file named on the command line; it must exist.
    pub config: Option<PathBuf>,
}

/// A project with its settings, read and checked.
#[derive(Clone, Debug)]
pub struct Workspace {
    pub folder: PathBuf,
    pub settings: Settings,
    pub project: Project,
}

impl Place {
    pub fn settings(&self) -> anyhow::Result<Settings> {
        match &self.config {
            Some(file) => Settings::read(file, true),
            None => Settings::read(&self.folder.join("watershed.toml"), false),
        }
    }

    pub fn open(&self) -> anyhow::Result<Workspace> {
        let settings = self.settings()?;
        let project = read(&self.folder)?;
        Ok(Workspace { folder: self.folder.clone(), settings, project })
    }
}

impl Workspace {
    pub fn store(&self) -> anyhow::Result<Store> {
        Ok(Store::open(&self.settings.store.url.0, &self.folder)?)
    }

    /// The names of the streams to work on: the one asked for, or all.
    pub fn streams(&self, wanted: Option<&str>) -> anyhow::Result<Vec<String>> {
        let names: Vec<&str> = self.project.streams.iter().map(|stream| stream.name.as_str()).collect();
        match wanted {
            None => Ok(names.into_iter().map(str::to_string).collect()),
            Some(name) if names.contains(&name) => Ok(vec![name.to_string()]),
            Some(name) => bail!(unknown("stream", name, &names)),
        }
    }
}

/// `unknown stream flihts, did you mean flights?`
pub fn unknown(what: &str, name: &str, known: &[&str]) -> String {
    match watershed_schemas::problem::nearest(name, known.iter().copied()) {
        Some(near) => format!("unknown {what} {name}, did you mean {near}?"),
        None if known.is_empty() => format!("unknown {what} {name}: the project has none"),
        None => format!("unknown {what} {name}, expected one of {}", known.join(", ")),
    }
}

/// Every mistake in a project's definitions.
#[derive(Debug)]
pub struct Mistakes(pub Vec<Problem>);

impl fmt::Display for Mistakes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.0 {
            writeln!(out, "{problem}")?;
        }
        match self.0.iter().filter(|problem| problem.kind == ProblemKind::Mistake).count() {
            1 => out.write_str("1 mistake in the project's definitions"),
            count => write!(out, "{count} mistakes in the project's definitions"),
        }
    }
}

impl std::error::Error for Mistakes {}

fn read(folder: &Path) -> anyhow::Result<Project> {
    let (schemas, jobs) = (sql_files(folder, "schemas")?, sql_files(folder, "jobs")?);
    if schemas.is_empty() {
        bail!(
            "{} holds no SQL file: a project has schemas/*.sql and jobs/*.sql, and `watershed init DIR` makes one",
            folder.join("schemas").display()
        );
    }
    parse(&schemas, &jobs)
}

pub fn parse(schemas: &[SourceFile], jobs: &[SourceFile]) -> anyhow::Result<Project> {
    Project::parse(schemas, jobs).map_err(|problems| Mistakes(problems).into())
}

/// The SQL files of one of the project's folders, by name; messages show them as `jobs/a.sql`.
fn sql_files(project: &Path, folder: &str) -> anyhow::Result<Vec<SourceFile>> {
    let path = project.join(folder);
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| path.display().to_string()),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.with_context(|| path.display().to_string())?.path();
        if path.extension().is_some_and(|extension| extension == "sql") && path.is_file() {
            let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            files.push(SourceFile { path: format!("{folder}/{name}"), text });
        }
    }
    files.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(files)
}
