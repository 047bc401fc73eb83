//! Recomputation: touched windows of a view, exactly, from the master dataset.
//!
//! Files are read verified and computed with as they are in memory, group of dates by group of dates, a few groups at a
//! time; so memory is bounded by the groups, every core has work, and every kind of store is alike. Dates without a touched
//! window are carried over by reference, untouched windows of a touched date row by row.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use tokio::sync::Semaphore;
use watershed_schemas::layout::Object;
use watershed_schemas::manifest::{EventFile, Version, ViewFile, ViewVersion};
use watershed_schemas::view::View;
use watershed_store::Store;

use crate::accuracy::Ledger;
use crate::engine::Engine;
use crate::files::Files;
use crate::groups::{Group, Select, groups};
use crate::touched::Touched;
use crate::{BatchError, view_files};

/// How many files of a group are read or written at once.
const FILES_AT_ONCE: usize = 8;

/// What recomputation needs to know.
pub(crate) struct Recomputing<'a> {
    pub store: &'a Store,
    pub files: &'a Files,
    pub engine: &'a Arc<dyn Engine>,
    pub version: Version,
    pub run_id: &'a str,
    /// Bytes of event files that are held at once, and the number of groups that they belong to.
    pub group_bytes: u64,
    pub groups_at_once: usize,
    /// The master dataset below the new watershed.
    pub events: &'a [EventFile],
}

/// A view made anew where it had to be.
#[derive(Debug)]
pub(crate) struct Recomputed {
    pub view: ViewVersion,
    pub windows: u64,
}

/// What has become of one group.
struct Made {
    ledger: Ledger,
    windows: u64,
    /// By date, the new file; `None` where no window starts any more.
    files: Vec<(i32, Option<ViewFile>)>,
}

/// What all groups of a view have in common.
struct Work<'a> {
    view: &'a Arc<View>,
    /// By date, what the base has.
    base: &'a BTreeMap<i32, ViewFile>,
    /// For groups that are read and computed with: these hold event files in memory.
    turns: &'a Semaphore,
}

impl Recomputing<'_> {
    pub(crate) fn groups(&self, view: &View, touched: &Touched) -> Vec<Group> {
        groups(view.window.window, touched, self.events, self.group_bytes, self.groups_at_once)
    }

    /// Makes the groups' windows anew beside what `base` holds; calls `done` after each group.
    pub(crate) async fn recompute(
        &self,
        view: &Arc<View>,
        groups: Vec<Group>,
        base: Option<&ViewVersion>,
        mut done: impl FnMut(),
    ) -> Result<Recomputed, BatchError> {
        let mut files: BTreeMap<i32, ViewFile> =
            base.iter().flat_map(|base| &base.files).map(|file| (file.date, file.clone())).collect();
        let mut ledger = Ledger::new(view);
        let mut windows = 0;
        {
            let (before, turns) = (files.clone(), Semaphore::new(self.groups_at_once));
            let work = Work { view, base: &before, turns: &turns };
            // Boxed, so that the compiler sees that a run may move between threads.
            let making: Vec<BoxFuture<'_, _>> =
                groups.iter().map(|group| self.make(&work, group).boxed()).collect();
            // What is made is written while others are made.
            let mut made = futures::stream::iter(making).buffered(2 * self.groups_at_once);
            // In the order of the groups, so that sums of errors do not depend on which was done first.
            while let Some(group) = made.try_next().await? {
                ledger.add(group.ledger);
                windows += group.windows;
                for (date, file) in group.files {
                    match file {
                        Some(file) => _ = files.insert(date, file),
                        None => _ = files.remove(&date),
                    }
                }
                done();
            }
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

    async fn make(&self, work: &Work<'_>, group: &Group) -> Result<Made, BatchError> {
        let turn = work.turns.acquire().await.expect("nobody closes it");
        let ((rows, ledger), kept) =
            tokio::try_join!(self.compute(work.view, group), self.kept(work, group))?;
        drop(turn);
        let windows = view_files::count_windows(&rows).map_err(|error| unreadable(work.view, error))?;
        let writing: Vec<BoxFuture<'_, _>> = (group.dates.iter())
            .map(|date| {
                let write = self.write(work, *date, &rows, kept.get(date));
                write.map(|file| file.map(|file| (*date, file))).boxed()
            })
            .collect();
        let files = futures::stream::iter(writing).buffered(FILES_AT_ONCE).try_collect().await?;
        Ok(Made { ledger, windows, files })
    }

    async fn compute(&self, view: &Arc<View>, group: &Group) -> Result<(RecordBatch, Ledger), BatchError> {
        let reads: Vec<BoxFuture<'_, _>> =
            group.events.iter().map(|file| self.store.read(&file.file).boxed()).collect();
        let files: Vec<Bytes> = futures::stream::iter(reads).buffered(FILES_AT_ONCE).try_collect().await?;
        let (engine, view, select) = (self.engine.clone(), view.clone(), group.select.clone());
        let computed = self.store.beside(move || {
            let mut ledger = Ledger::new(&view);
            engine.compute(&view, &select, &files, &mut ledger).map(|rows| (rows, ledger))
        });
        computed.await?
    }

    /// What the base has of a group's dates, the windows that are made anew left out.
    async fn kept(&self, work: &Work<'_>, group: &Group) -> Result<BTreeMap<i32, RecordBatch>, BatchError> {
        let mut kept = BTreeMap::new();
        let Select::Starts(starts) = &group.select else { return Ok(kept) };
        for old in group.dates.iter().filter_map(|date| work.base.get(date)) {
            let bytes = self.store.read(&old.file).await?;
            let rows = self.engine.read_rows(bytes).map_err(|error| self.broken(old, &error))?;
            let rows = view_files::without(&rows, starts).map_err(|error| self.broken(old, &error))?;
            kept.insert(old.date, rows);
        }
        Ok(kept)
    }

    /// Writes one date's file: its rows among those made anew, and what is kept of it. `None` when no window starts on it.
    async fn write(
        &self,
        work: &Work<'_>,
        date: i32,
        rows: &RecordBatch,
        kept: Option<&RecordBatch>,
    ) -> Result<Option<ViewFile>, BatchError> {
        let view = work.view;
        let mut rows = view_files::of_date(rows, date).map_err(|error| unreadable(view, error))?;
        if let Some(kept) = kept {
            let merged = view_files::merged(rows, kept);
            rows = merged.map_err(|error| self.broken(&work.base[&date], &error))?;
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
        let (engine, of, count) = (self.engine.clone(), view.clone(), rows.num_rows() as u64);
        let encoded = self.store.beside(move || engine.write_rows(&of, &rows)).await?;
        let bytes = encoded
            .map_err(|error| BatchError::ViewFile { path: path.clone(), reason: error.to_string() })?;
        let file = self.files.write(path, bytes, count).await?;
        Ok(Some(ViewFile { file, date }))
    }

    /// A file of the base cannot be used.
    fn broken(&self, old: &ViewFile, error: &dyn Display) -> BatchError {
        BatchError::ViewFile { path: self.store.address(&old.file.path), reason: error.to_string() }
    }
}

fn unreadable(view: &View, error: arrow::error::ArrowError) -> BatchError {
    BatchError::ViewFile { path: format!("view {}", view.name), reason: error.to_string() }
}
