//! DuckDB's recomputation of published views.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use watershed_duckdb::{Comparison, Engine, Published, compare};
use watershed_schemas::manifest::{Manifest, StoredFile};
use watershed_schemas::view::View;
use watershed_store::Store;

use super::Arguments;
use crate::project::{Place, unknown};
use crate::say;

/// Differences that are printed of one view; the rest are counted.
const PRINTED: usize = 1000;

/// What became of a verification.
#[derive(Clone, Copy, Debug, Default)]
pub struct Verified {
    pub views: usize,
    pub cells: i64,
    pub differences: usize,
}

pub async fn verify(place: &Place, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let workspace = place.open()?;
    let views: Vec<Arc<View>> = match &arguments.view {
        None => workspace.project.views.clone(),
        Some(name) => match workspace.project.view(name) {
            Some(view) => vec![view.clone()],
            None => {
                let known: Vec<&str> =
                    workspace.project.views.iter().map(|view| view.name.as_str()).collect();
                bail!(unknown("view", name, &known))
            }
        },
    };
    let verified = verified(&workspace.store()?, &views).await?;
    match verified.differences {
        0 => Ok(ExitCode::SUCCESS),
        differences => bail!("{differences} of {} cells differ from what the events say", verified.cells),
    }
}

/// Compares views one after the other and prints what it finds.
pub async fn verified(store: &Store, views: &[Arc<View>]) -> anyhow::Result<Verified> {
    let mut verified = Verified::default();
    for view in views {
        let stream = &view.stream.name;
        let Some(manifest) = store.newest(stream, None).await? else {
            say::line(format!("{}: stream {stream} has no version yet", view.name));
            continue;
        };
        let comparison = one(store, view, &manifest).await.with_context(|| format!("view {}", view.name))?;
        let Some(comparison) = comparison else {
            say::line(format!(
                "{}: version {} holds no such view in this definition: run `watershed batch run`",
                view.name, manifest.version
            ));
            continue;
        };
        print(view, &manifest, &comparison);
        verified.views += 1;
        verified.cells += comparison.cells;
        verified.differences += comparison.differences.len();
    }
    Ok(verified)
}

async fn one(store: &Store, view: &Arc<View>, manifest: &Manifest) -> anyhow::Result<Option<Comparison>> {
    let Some(published) = manifest.views.get(&view.name).filter(|published| published.hash == view.hash)
    else {
        return Ok(None);
    };
    let mut files = Files::new(store)?;
    let events = files.checked(manifest.events.iter().map(|file| &file.file)).await?;
    let cells = files.checked(published.files.iter().map(|file| &file.file)).await?;
    // Nobody reads these until somebody needs them: a damaged one is to be known before.
    for file in &manifest.dead_letters {
        store.read(&file.file).await?;
    }
    let view = view.clone();
    let compared = tokio::task::spawn_blocking(move || {
        compare(&Engine::new()?, &view, &Published { events, view: cells })
    });
    let comparison = compared.await??;
    files.check_again().await?;
    let rows: u64 = manifest.events.iter().map(|file| file.file.rows).sum();
    if i64::try_from(rows) != Ok(comparison.events) {
        bail!("the manifest says {rows} events, the files hold {}", comparison.events);
    }
    Ok(Some(comparison))
}

fn print(view: &View, manifest: &Manifest, comparison: &Comparison) {
    let Comparison { events, published_rows, recomputed_rows, cells, differences } = comparison;
    for difference in differences.iter().take(PRINTED) {
        say::line(format!(
            "{}: {}: {} is {}, expected {}",
            view.name, difference.key, difference.column, difference.published, difference.recomputed
        ));
    }
    if differences.len() > PRINTED {
        say::line(format!("{}: … and {} more", view.name, differences.len() - PRINTED));
    }
    say::line(format!(
        "{}: version {}, {events} events, {published_rows} rows published, {recomputed_rows} recomputed, {cells} cells compared, \
         {} differences",
        view.name,
        manifest.version,
        differences.len()
    ));
}

/// Files that DuckDB reads by path: where they lie for a local store, copies otherwise.
struct Files<'a> {
    store: &'a Store,
    copies: tempfile::TempDir,
    /// Those that DuckDB reads where they lie.
    in_place: Vec<&'a StoredFile>,
}

impl<'a> Files<'a> {
    fn new(store: &'a Store) -> anyhow::Result<Self> {
        let copies = tempfile::tempdir().context("a temporary folder")?;
        Ok(Files { store, copies, in_place: Vec::new() })
    }

    /// Checks each file against its manifest before anybody reads it.
    async fn checked(&mut self, files: impl Iterator<Item = &'a StoredFile>) -> anyhow::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for file in files {
            let bytes = self.store.read(file).await?;
            paths.push(match self.store.local_path() {
                Some(folder) => {
                    self.in_place.push(file);
                    folder.join(&file.path)
                }
                None => {
                    let copy = self.copies.path().join(file.path.replace('/', "_"));
                    std::fs::write(&copy, &bytes).with_context(|| copy.display().to_string())?;
                    copy
                }
            });
        }
        Ok(paths)
    }

    /// DuckDB opens files after they were checked. What it read is what a manifest names if they are that still.
    async fn check_again(&self) -> anyhow::Result<()> {
        for file in &self.in_place {
            self.store.read(file).await?;
        }
        Ok(())
    }
}
