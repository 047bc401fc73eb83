//! Cells below the watershed ⊕ live cells at or above it → groups.
//!
//! Sources are disjoint folds: each record below the answer's live offsets is in exactly one of them
//! (invariant `COVER`). Merging their states by group is therefore the fold of all of them
//! (invariant `FOLD`), and nothing here may drop or repeat a cell that passes the selection.

use std::ops::Range;

use arrow::array::ArrayRef;
use watershed_schemas::keys::Keys;
use watershed_schemas::measure::{self, States};
use watershed_schemas::predicate::Mask;
use watershed_schemas::scope::Scope;
use watershed_schemas::states::StateTable;
use watershed_schemas::value::Value;
use watershed_schemas::view::{Measure, View};

use crate::cells;
use crate::grain::Buckets;
use crate::overflow::Overflow;

/// A table of cells of one side of the watershed.
#[derive(Clone, Copy)]
pub struct Source<'a> {
    pub table: &'a StateTable,
    /// Exact values of sketched measures, by the view's measures; `None` for live cells, which have none.
    pub exact: Option<&'a [Option<ArrayRef>]>,
    /// True where cells come in the order of their windows.
    pub sorted: bool,
}

impl Source<'_> {
    /// Where cells of windows that start in `[from, to)` lie.
    fn reach(&self, from: i64, to: i64) -> Range<usize> {
        let windows = self.table.keys.windows();
        match self.sorted {
            true => {
                let until = windows.partition_point(|window| *window < to);
                windows.partition_point(|window| *window < from).min(until)..until
            }
            false => 0..windows.len(),
        }
    }
}

/// Which cells take part, and what becomes of them.
pub struct Selection<'a> {
    pub view: &'a View,
    /// Which cells; the measures are named below.
    pub scope: &'a Scope,
    /// By source, what the asker may see of it; none: everything.
    pub masks: Option<&'a [Vec<Mask>]>,
    pub buckets: Buckets,
    /// Indices into the view's dimensions and measures.
    pub dimensions: &'a [usize],
    pub measures: &'a [usize],
}

/// What cells of one bucket and the same dimension values came to. Its number is its row in [`Groups::keys`].
#[derive(Clone, Copy, Debug, Default)]
struct Group {
    /// How many cells took part; none in a group that only fills a bucket.
    cells: u32,
    live: bool,
    /// Where a single cell lies.
    source: u32,
    row: u32,
    /// Where several cells were merged to.
    merged: u32,
}

/// Groups, ready to be finished.
pub struct Groups<'a> {
    /// Buckets and the values of the dimensions that are grouped by, in the selection's order.
    pub keys: Keys,
    pub batch_cells: usize,
    pub live_cells: usize,
    /// What live groups beyond the view's budget mean for these.
    pub overflow: Overflow,
    groups: Vec<Group>,
    sources: &'a [Source<'a>],
    selection: &'a Selection<'a>,
    /// Per measure of the selection: the states of groups of several cells.
    merged: Vec<Box<dyn States>>,
}

/// A finished measure of a group.
#[derive(Clone, Debug, PartialEq)]
pub struct Finished {
    pub value: Value,
    /// False where a sketch had a part in it, or where an overflow group may hold records that belong to it.
    pub exact: bool,
}

/// Groups and merges the cells that pass.
pub fn merge<'a>(sources: &'a [Source<'a>], selection: &'a Selection<'a>) -> Groups<'a> {
    let types = selection.dimensions.iter().map(|dimension| &selection.view.dimensions[*dimension]);
    let mut keys = Keys::new(types.map(|dimension| dimension.scalar.data_type.clone()).collect());
    let mut groups: Vec<Group> = Vec::new();
    let (mut batch_cells, mut live_cells) = (0, 0);
    let mut overflow = Overflow::default();
    // Per source: the rows that pass, and the group of each.
    let mut taken = Vec::with_capacity(sources.len());
    for (index, source) in sources.iter().enumerate() {
        let masks = selection.masks.map_or(&[][..], |masks| &masks[index]);
        let mut rows = passing(source, selection, masks);
        rows.extend(overflow.take(source.table, selection));
        let into = keys
            .regroup(&source.table.keys, &rows, selection.dimensions, |start| selection.buckets.start(start));
        groups.resize(keys.len(), Group::default());
        for (row, group) in rows.iter().zip(&into) {
            let group = &mut groups[*group as usize];
            group.cells += 1;
            group.live |= source.exact.is_none();
            (group.source, group.row) = (index as u32, *row);
        }
        *if source.exact.is_some() { &mut batch_cells } else { &mut live_cells } += rows.len();
        taken.push((rows, into));
    }

    let mut several = 0;
    for group in groups.iter_mut().filter(|group| group.cells > 1) {
        group.merged = several;
        several += 1;
    }
    let mut merged: Vec<Box<dyn States>> = Vec::with_capacity(selection.measures.len());
    for measure in selection.measures {
        let mut states = measure::empty(&selection.view.measures[*measure]);
        states.resize(several as usize);
        merged.push(states);
    }
    for (source, (rows, into)) in sources.iter().zip(&taken) {
        let shared = rows.iter().zip(into).filter(|(_, group)| groups[**group as usize].cells > 1);
        let (from, into): (Vec<u32>, Vec<u32>) =
            shared.map(|(row, group)| (*row, groups[*group as usize].merged)).unzip();
        if from.is_empty() {
            continue;
        }
        for (states, measure) in merged.iter_mut().zip(selection.measures) {
            states.merge(&into, source.table.measures[*measure].as_ref(), &from);
        }
    }
    Groups { keys, batch_cells, live_cells, overflow, groups, sources, selection, merged }
}

/// The rows whose window and dimensions are known and pass.
fn passing(source: &Source<'_>, selection: &Selection<'_>, masks: &[Mask]) -> Vec<u32> {
    let (keys, scope) = (&source.table.keys, selection.scope);
    let within = scope.within(keys);
    let rows = source.reach(scope.from, scope.to).map(|row| row as u32);
    let seen = |row: u32| masks.iter().all(|mask| mask.passes(row, keys.row_codes(row)));
    rows.filter(|row| within.has(*row) && seen(*row)).collect()
}

impl Groups<'_> {
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    pub fn bucket(&self, group: u32) -> i64 {
        self.keys.windows()[group as usize]
    }

    /// True when a live cell took part.
    pub fn is_live(&self, group: u32) -> bool {
        self.groups[group as usize].live
    }

    /// True for a group of records whose dimensions are not known.
    pub fn is_overflow(&self, group: u32) -> bool {
        self.keys.is_overflow(group)
    }

    /// True where an overflow group may hold records that belong to this one.
    pub fn lacks(&self, group: u32) -> bool {
        !self.is_overflow(group) && self.overflow.lacks(self.bucket(group))
    }

    /// Cells that were merged with others of their group.
    pub fn merged_cells(&self) -> usize {
        self.groups.iter().map(|group| group.cells as usize).filter(|cells| *cells > 1).sum()
    }

    /// True for a group that only fills a bucket.
    pub fn is_filled(&self, group: u32) -> bool {
        self.groups[group as usize].cells == 0
    }

    /// Adds a group without cells, unless there is one of that bucket and those codes.
    pub fn fill(&mut self, bucket: i64, codes: &[u32]) {
        self.keys.row(bucket, codes);
        self.groups.resize(self.keys.len(), Group::default());
    }

    /// The value of one of the selection's measures; `None` in a group that only fills a bucket.
    pub fn finish(&self, number: u32, measure: usize) -> Option<Finished> {
        let group = &self.groups[number as usize];
        let index = self.selection.measures[measure];
        let Measure { aggregate, result_type, .. } = &self.selection.view.measures[index];
        let whole = !self.lacks(number);
        let algebraic = whole && !aggregate.is_sketched();
        match group.cells {
            0 => None,
            1 => {
                let source = &self.sources[group.source as usize];
                Some(match source.exact.and_then(|exact| exact[index].as_ref()) {
                    // One batch cell and no live one: what the batch layer computed is the answer.
                    Some(column) => {
                        let value = cells::value(column, result_type, group.row as usize);
                        Finished { value, exact: whole }
                    }
                    None => {
                        Finished { value: source.table.measures[index].finish(group.row), exact: algebraic }
                    }
                })
            }
            _ => Some(Finished { value: self.merged[measure].finish(group.merged), exact: algebraic }),
        }
    }
}
