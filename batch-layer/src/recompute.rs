//! Recomputation: touched windows of a view, exactly, from the master dataset.
//!
//! Files are read verified and handed to Polars as they are in memory, one group of dates at a time, so
//! memory is bounded by the group and every kind of store is alike. Dates without a touched window are
//! carried over by reference, untouched windows of a touched date row by row.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use watershed_schemas::layout::Object;
use watershed_schemas::manifest::{EventFile, Version, ViewFile, ViewVersion};
use watershed_schemas::view::View;
use watershed_store::Store;

use crate::accuracy::Ledger;
use crate::engine::Engine;
use crate::groups::{Group, Select, groups};
use crate::touched::Touched;
use crate::{BatchError, view_files};

/// How many event files are fetched at once.
const READS: usize = 8;

/// What recomputation needs to know.
pub(crate) struct Recomputing<'a> {
    pub store: &'a Store,
    pub engine: &'a Arc<dyn Engine>,
    pub version: Version,
    pub run_id: &'a str,
    pub group_bytes: u64,
    /// The master dataset below the new watershed.
    pub events: &'a [EventFile],
}

/// A view made anew where it had to be.
#[derive(Debug)]
pub(crate) struct Recomputed {
    pub view: ViewVersion,
    pub windows: u64,
}

impl Recomputing<'_> {
    pub(crate) fn groups(&self, view: &View, touched: &Touched) -> Vec<Group> {
        groups(view.window.window, touched, self.events, self.group_bytes)
    }

    /// Makes the groups' windows anew beside what `base` holds; calls `done` after each group. Paths of files are
    /// added to `written` before they are written.
    pub(crate) async fn recompute(
        &self,
        view: &Arc<View>,
        groups: Vec<Group>,
        base: Option<&ViewVersion>,
        written: &mut Vec<String>,
        mut done: impl FnMut(),
    ) -> Result<Recomputed, BatchError> {
        let mut files: BTreeMap<i32, ViewFile> =
            base.iter().flat_map(|base| &base.files).map(|file| (file.date, file.clone())).collect();
        let mut ledger = Ledger::new(view);
        let mut windows = 0;
        for group in groups {
            let rows = self.compute(view, &group, &mut ledger).await?;
            windows += view_files::count_windows(&rows).map_err(|error| unreadable(view, error))?;
            for date in &group.dates {
                let old = files.remove(date);
                if let Some(file) = self.write(view, *date, &rows, &group.select, old, written).await? {
                    files.insert(*date, file);
                }
            }
            done();
        }
        // Nothing was compared where nothing was made anew: what was known of it still holds.
        let accuracy = match base {
            Some(base) if windows == 0 => base.accuracy.clone(),
            _ => ledger.finish(),
        };
        let files: Vec<ViewFile> = files.into_values().collect();
        let measures = view.measures.iter().map(|measure| measure.name.clone());
        let view = ViewVersion {
            hash: view.hash.clone(),
            sql: view.sql.clone(),
            window: view.window.name.clone(),
            columns: view.dimensions.iter().map(|dimension| dimension.name.clone()).chain(measures).collect(),
            rows: files.iter().map(|file| file.file.rows).sum(),
            files,
            accuracy,
        };
        Ok(Recomputed { view, windows })
    }

    async fn compute(
        &self,
        view: &Arc<View>,
        group: &Group,
        ledger: &mut Ledger,
    ) -> Result<RecordBatch, BatchError> {
        // Boxed, so that the compiler sees that a run may move between threads.
        let reads: Vec<BoxFuture<'_, _>> =
            group.events.iter().map(|file| self.store.read(&file.file).boxed()).collect();
        let files: Vec<Bytes> = futures::stream::iter(reads).buffered(READS).try_collect().await?;
        let (engine, view, select) = (self.engine.clone(), view.clone(), group.select.clone());
        let mut taken = std::mem::take(ledger);
        let computed = self.store.beside(move || {
            let rows = engine.compute(&view, &select, &files, &mut taken)?;
            Ok::<_, BatchError>((rows, taken))
        });
        let (rows, filled) = computed.await??;
        *ledger = filled;
        Ok(rows)
    }

    /// Writes one date's file; `None` when no window starts on it.
    async fn write(
        &self,
        view: &Arc<View>,
        date: i32,
        rows: &RecordBatch,
        select: &Select,
        old: Option<ViewFile>,
        written: &mut Vec<String>,
    ) -> Result<Option<ViewFile>, BatchError> {
        let mut rows = view_files::of_date(rows, date).map_err(|error| unreadable(view, error))?;
        if let (Select::Starts(starts), Some(old)) = (select, &old) {
            let bytes = self.store.read(&old.file).await?;
            let broken =
                |reason: String| BatchError::ViewFile { path: self.store.address(&old.file.path), reason };
            let old_rows = self.engine.read_rows(bytes).map_err(|error| broken(error.to_string()))?;
            let kept = view_files::without(&old_rows, starts).map_err(|error| broken(error.to_string()))?;
            rows = view_files::merged(rows, &kept).map_err(|error| broken(error.to_string()))?;
        }
        if rows.num_rows() == 0 {
            return Ok(None);
        }
        let object = Object::View {
            view: view.name.clone(),
            version: self.version,
            date,
            run: self.run_id.to_string(),
        };
        let path = object.path();
        written.push(path.clone());
        let (engine, of, count) = (self.engine.clone(), view.clone(), rows.num_rows() as u64);
        let encoded = self.store.beside(move || engine.write_rows(&of, &rows)).await?;
        let bytes = encoded
            .map_err(|error| BatchError::ViewFile { path: path.clone(), reason: error.to_string() })?;
        let file = self.store.write(&path, bytes, count).await?;
        Ok(Some(ViewFile { file, date }))
    }
}

fn unreadable(view: &View, error: arrow::error::ArrowError) -> BatchError {
    BatchError::ViewFile { path: format!("view {}", view.name), reason: error.to_string() }
}
