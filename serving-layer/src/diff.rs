//! What lies between two versions of a stream: which windows of which views changed, and why.
//!
//! A version names its files by path and hash, so most of the answer is in the manifests: a file that both name is
//! unchanged, and so is one that was written again with the same bytes. Only the windows of other files are compared.
//! A window is told of when its cells differ; having been made again is no change.

use std::collections::{BTreeMap, BTreeSet};

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use serde::Serialize;
use utoipa::ToSchema;
use watershed_schemas::manifest::{Manifest, StoredFile, ViewFile, ViewVersion};
use watershed_schemas::states::{WINDOW_END, WINDOW_START};

use crate::cells::CellsError;

const DAY_MICROS: i64 = 86_400_000_000;

/// What of a view may have changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewDiff {
    pub view: String,
    /// The view's hash differs, or only one of the versions holds the view.
    pub definition: bool,
    /// Files that both versions name.
    pub carried_over: usize,
    /// Files that were written again, with the same bytes.
    pub made_again: usize,
    /// The other ones, by date: their windows are to be compared.
    pub differing: Vec<DateDiff>,
}

/// A view's file of one date, as either version names it; at least one of them does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DateDiff {
    pub before: Option<StoredFile>,
    pub after: Option<StoredFile>,
}

/// Compares what two manifests name, view by view in the order of names.
pub fn compare(before: &Manifest, after: &Manifest) -> Vec<ViewDiff> {
    let names: BTreeSet<&String> = before.views.keys().chain(after.views.keys()).collect();
    names.into_iter().map(|name| compare_view(name, before.views.get(name), after.views.get(name))).collect()
}

fn compare_view(name: &str, before: Option<&ViewVersion>, after: Option<&ViewVersion>) -> ViewDiff {
    let hash = |version: Option<&ViewVersion>| version.map(|version| version.hash.clone());
    let mut view = ViewDiff {
        view: name.to_string(),
        definition: hash(before) != hash(after),
        carried_over: 0,
        made_again: 0,
        differing: Vec::new(),
    };
    let (before, after) = (by_date(before), by_date(after));
    let dates: BTreeSet<i32> = before.keys().chain(after.keys()).copied().collect();
    for date in dates {
        match (before.get(&date), after.get(&date)) {
            (Some(before), Some(after)) if before.sha256 == after.sha256 => match before.path == after.path {
                true => view.carried_over += 1,
                false => view.made_again += 1,
            },
            (before, after) => {
                let file = |file: Option<&&StoredFile>| file.map(|file| (*file).clone());
                view.differing.push(DateDiff { before: file(before), after: file(after) });
            }
        }
    }
    view
}

fn by_date(version: Option<&ViewVersion>) -> BTreeMap<i32, &StoredFile> {
    let files = version.iter().flat_map(|version| &version.files);
    files.map(|ViewFile { file, date }| (*date, file)).collect()
}

/// What became of a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    Added,
    Removed,
    Changed,
}

/// A window whose cells differ. Bounds are microseconds since 1970-01-01, `end` is exclusive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WindowDiff {
    pub start: i64,
    pub end: i64,
    pub change: Change,
    pub cells_before: usize,
    pub cells_after: usize,
}

/// The windows that differ between two files of one date, in order. Rows are sorted by window, as they are published.
/// Files with other columns have no cell in common.
pub fn windows(
    before: Option<&RecordBatch>,
    after: Option<&RecordBatch>,
) -> Result<Vec<WindowDiff>, CellsError> {
    let comparable = before.zip(after).is_none_or(|(before, after)| columns(before) == columns(after));
    let mut windows: BTreeMap<i64, WindowDiff> = BTreeMap::new();
    let old = before.map(runs).transpose()?.unwrap_or_default();
    let new = after.map(runs).transpose()?.unwrap_or_default();
    for (start, run) in &old {
        let Run { end, cells, .. } = *run;
        let gone = WindowDiff {
            start: *start,
            end,
            change: Change::Removed,
            cells_before: cells.len(),
            cells_after: 0,
        };
        windows.insert(*start, gone);
    }
    for (start, run) in &new {
        let Run { end, cells, .. } = *run;
        match old.get(start) {
            Some(known) if comparable && known.cells.same(cells) => {
                windows.remove(start);
            }
            known => {
                let change = if known.is_some() { Change::Changed } else { Change::Added };
                let cells_before = known.map_or(0, |known| known.cells.len());
                let diff = WindowDiff { start: *start, end, change, cells_before, cells_after: cells.len() };
                windows.insert(*start, diff);
            }
        }
    }
    Ok(windows.into_values().collect())
}

/// Names and types, in order.
fn columns(rows: &RecordBatch) -> Vec<(String, arrow::datatypes::DataType)> {
    let schema = rows.schema();
    schema.fields().iter().map(|field| (field.name().clone(), field.data_type().clone())).collect()
}

/// The rows of one window.
#[derive(Clone, Copy)]
struct Run<'a> {
    end: i64,
    cells: Rows<'a>,
}

#[derive(Clone, Copy)]
struct Rows<'a> {
    of: &'a RecordBatch,
    from: usize,
    until: usize,
}

impl Rows<'_> {
    fn len(&self) -> usize {
        self.until - self.from
    }

    /// True when both hold the same values in the same order, bit for bit.
    fn same(&self, other: Rows<'_>) -> bool {
        let pairs = self.of.columns().iter().zip(other.of.columns());
        self.len() == other.len()
            && pairs.into_iter().all(|(left, right)| {
                left.slice(self.from, self.len()).as_ref() == right.slice(other.from, other.len()).as_ref()
            })
    }
}

/// The rows of each window, by its start.
fn runs(rows: &RecordBatch) -> Result<BTreeMap<i64, Run<'_>>, CellsError> {
    let (starts, ends) = (times(rows, WINDOW_START)?, times(rows, WINDOW_END)?);
    let mut runs = BTreeMap::new();
    let mut from = 0;
    for run in starts.chunk_by(|left, right| left == right) {
        let cells = Rows { of: rows, from, until: from + run.len() };
        if runs.insert(run[0], Run { end: ends[from], cells }).is_some() {
            return Err(CellsError::Unsorted);
        }
        from = cells.until;
    }
    Ok(runs)
}

fn times<'a>(rows: &'a RecordBatch, name: &str) -> Result<&'a [i64], CellsError> {
    let column = rows.column_by_name(name);
    let times = column.and_then(|column| column.as_primitive_opt::<TimestampMicrosecondType>());
    let times = times.filter(|times| times.null_count() == 0);
    Ok(times.ok_or_else(|| CellsError::Missing { name: name.to_string() })?.values())
}

/// Why a window's cells differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Why {
    /// The view is defined otherwise, or only one of the versions holds it.
    Definition,
    /// The watershed went back over records of the window's dates.
    Rollback,
    /// Records of the window's dates landed between the watersheds.
    Late,
    /// Neither: it was recomputed from the same records.
    Rerun,
}

/// The dates of the records that only one of two versions has folded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Moved {
    /// Dates (days since 1970-01-01) of records above the earlier version's watershed that the later one has folded.
    landed: BTreeSet<i32>,
    /// The other way round.
    given_back: BTreeSet<i32>,
}

impl Moved {
    pub fn between(before: &Manifest, after: &Manifest) -> Moved {
        Moved { landed: beyond(after, before), given_back: beyond(before, after) }
    }

    /// Why a window of a view differs. Dates are as fine as manifests tell: a rerun that changes a window of a date on which
    /// records landed counts as late.
    pub fn why(&self, definition: bool, window: &WindowDiff) -> Why {
        let first = date_of(window.start);
        let last = date_of(window.end.saturating_sub(1)).max(first);
        let holds = |dates: &BTreeSet<i32>| dates.range(first..=last).next().is_some();
        match () {
            () if definition => Why::Definition,
            () if holds(&self.given_back) => Why::Rollback,
            () if holds(&self.landed) => Why::Late,
            () => Why::Rerun,
        }
    }
}

/// The dates of events of `version` that lie above the watershed of `other`.
fn beyond(version: &Manifest, other: &Manifest) -> BTreeSet<i32> {
    let events = version.events.iter();
    let beyond = events.filter(|events| events.range.until > other.watershed.get(events.partition));
    beyond.map(|events| events.date).collect()
}

fn date_of(micros: i64) -> i32 {
    i32::try_from(micros.div_euclid(DAY_MICROS)).unwrap_or(if micros < 0 { i32::MIN } else { i32::MAX })
}
