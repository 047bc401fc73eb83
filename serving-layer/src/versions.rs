//! Published versions, held ready for reading and swapped whole.
//!
//! A question sees one version from beginning to end. A newer one takes its place when all its files
//! are loaded and verified and the speed layer's epoch of its watershed is ready. Of versions with a
//! damaged file none is served: the older one stays in service, or is looked for after a restart.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use watershed_schemas::manifest::{Manifest, StoredFile, Version};
use watershed_schemas::superseded;
use watershed_schemas::view::View;
use watershed_store::{Interrupted, Store, StoreError};

use crate::cells::{Cells, CellsError};

mod refresh;

pub use refresh::{Readiness, StreamState, Streams};

/// A version whose views are in memory.
#[derive(Debug)]
pub struct Loaded {
    pub manifest: Manifest,
    /// The project's views that this version holds, by the names of the definitions in which it does: the project's own,
    /// or one that took its leave since ([`superseded`]).
    pub views: BTreeMap<String, Arc<LoadedView>>,
}

/// A view as of a version.
#[derive(Debug)]
pub struct LoadedView {
    pub view: Arc<View>,
    pub files: Vec<LoadedFile>,
}

#[derive(Clone, Debug)]
pub struct LoadedFile {
    pub cells: Arc<Cells>,
    file: StoredFile,
}

/// Reads all rows of a view file: [`cells::rows`](crate::cells::rows), unless a simulator writes files otherwise.
pub type ReadRows = Arc<dyn Fn(Bytes) -> Result<RecordBatch, CellsError> + Send + Sync>;

/// Why a version could not be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("{path} is not a view file that this build can read: {source}")]
    Cells { path: String, source: CellsError },
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl LoadError {
    /// True when the version itself is at fault, so that another one may do.
    fn is_damage(&self) -> bool {
        match self {
            LoadError::Store(error) => error.is_damage(),
            LoadError::Cells { .. } => true,
            LoadError::Interrupted { .. } => false,
        }
    }
}

impl Loaded {
    /// Reads what `before` does not hold already; files are compared by path and hash.
    pub async fn read(
        store: &Store,
        read_rows: ReadRows,
        manifest: Manifest,
        views: &[Arc<View>],
        before: Option<&Loaded>,
    ) -> Result<Loaded, LoadError> {
        let mut loaded = BTreeMap::new();
        for view in views {
            let Some(stored) = manifest.views.get(&view.name) else { continue };
            let view = match stored.hash == view.hash {
                true => view.clone(),
                false => match superseded::view(view, &stored.hash, &stored.sql) {
                    Some(view) => view,
                    None => continue,
                },
            };
            let before = before.and_then(|before| before.views.get(&view.name));
            let known: HashMap<(&str, &str), &LoadedFile> = (before.iter())
                .flat_map(|before| &before.files)
                .map(|known| ((known.file.path.as_str(), known.file.sha256.as_str()), known))
                .collect();
            let mut files = Vec::with_capacity(stored.files.len());
            for file in &stored.files {
                let file = &file.file;
                let cells = match known.get(&(file.path.as_str(), file.sha256.as_str())) {
                    Some(known) => known.cells.clone(),
                    None => read_cells(store, &read_rows, &view, file).await?,
                };
                files.push(LoadedFile { cells, file: file.clone() });
            }
            loaded.insert(view.name.clone(), Arc::new(LoadedView { view, files }));
        }
        Ok(Loaded { manifest, views: loaded })
    }

    pub fn version(&self) -> Version {
        self.manifest.version
    }

    /// True when a manifest says something newer: a later version, or this one published again, which comes of
    /// removing its manifest by hand.
    fn is_older_than(&self, manifest: &Manifest) -> bool {
        let Manifest { version, run_id, .. } = manifest;
        self.version() < *version || self.version() == *version && self.manifest.run_id != *run_id
    }

    /// The definition in which this version holds a view of the project.
    pub fn definition(&self, view: &str) -> Option<&Arc<View>> {
        let mut held = self.views.values().map(|held| &held.view);
        held.find(|held| superseded::view_of(&held.name) == view)
    }
}

async fn read_cells(
    store: &Store,
    read_rows: &ReadRows,
    view: &Arc<View>,
    file: &StoredFile,
) -> Result<Arc<Cells>, LoadError> {
    let bytes = store.read(file).await?;
    let (view, read_rows) = (view.clone(), read_rows.clone());
    let cells = store.beside(move || Cells::of(&view, &read_rows(bytes)?)).await?;
    cells.map(Arc::new).map_err(|source| LoadError::Cells { path: file.path.clone(), source })
}

impl LoadedView {
    /// A view that no version holds yet.
    pub fn empty(view: Arc<View>) -> Self {
        LoadedView { view, files: Vec::new() }
    }

    pub fn rows(&self) -> usize {
        self.files.iter().map(|file| file.cells.table.cells()).sum()
    }

    pub fn bytes(&self) -> usize {
        self.files.iter().map(|file| file.cells.bytes()).sum()
    }
}
