//! What the store holds of a partition, and what is to be written next.
//!
//! A chain is a base, which has whole folds, and links of which each has what changed since the one before. A new
//! link takes in the links before it that are not twice as large: what they hold is written again, and they are
//! no longer named. So sizes halve along a chain. It has no more links than its base has bits in its number of
//! rows, a row is written again no more often than that however long the node runs, and rows that change all
//! the time are held once. (The logarithmic method: Bentley and Saxe, "Decomposable searching problems", 1980.)
//!
//! Plain code over values. Sizes are numbers of rows.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use watershed_schemas::image::Extent;
use watershed_schemas::layout::Object;
use watershed_store::StoredObject;

use crate::changes::Changes;
use crate::epoch::FoldKey;

/// How many chains with bases of their own a partition keeps.
const BASES: usize = 2;

/// A partition's objects in the store, as far as this node knows.
#[derive(Debug, Default)]
pub struct Chain {
    links: Vec<Link>,
    /// The partition's revision that the last link has.
    revision: u64,
    /// What has changed since the last link and was taken from the folds: a save may fail.
    unsaved: BTreeMap<FoldKey, Changes>,
    /// Of the chain before the last save: what is no longer in this one.
    replaced: Vec<String>,
    /// Of chains before that.
    garbage: Vec<String>,
    /// How often changes were taken from the folds.
    cuts: u64,
    /// An object of this chain is gone: what continues it would be lost as well.
    is_broken: bool,
}

/// An object of a chain.
#[derive(Debug)]
pub struct Link {
    pub path: String,
    /// The partition's revision when it was taken.
    pub(crate) revision: u64,
    /// How often changes had been taken from the folds then.
    pub(crate) cut: u64,
    /// How many objects it continues.
    pub(crate) kept: usize,
    /// All folds that there were.
    pub(crate) parts: BTreeMap<FoldKey, Part>,
}

/// What a link has of a fold.
#[derive(Debug)]
pub(crate) struct Part {
    pub changes: Changes,
    /// The fold's, then.
    pub extent: Extent,
    /// How many rows it has states of.
    pub rows: usize,
}

/// What the next link is made of.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    /// The paths that it continues.
    pub continues: Vec<String>,
    /// By fold, what the link has of it.
    pub parts: BTreeMap<FoldKey, Changes>,
}

impl Chain {
    /// A chain as it was loaded.
    pub(crate) fn loaded(links: Vec<Link>) -> Chain {
        Chain { links, ..Chain::default() }
    }

    /// Takes note of objects on the same base: those that are not of this chain are not needed for long.
    pub(crate) fn beside<'a>(&mut self, paths: impl Iterator<Item = &'a str>) {
        let others = paths.filter(|path| !self.paths().any(|own| own == *path)).map(str::to_string);
        let others: Vec<String> = others.collect();
        self.replaced.extend(others);
    }

    /// True when the last link has all up to this revision of the partition.
    pub fn has(&self, revision: u64) -> bool {
        self.revision == revision && !self.is_broken
    }

    pub fn paths(&self) -> impl ExactSizeIterator<Item = &str> {
        self.links.iter().map(|link| link.path.as_str())
    }

    /// Takes note of what changed of each fold since this was last called.
    pub(crate) fn note(&mut self, changes: impl Iterator<Item = (FoldKey, Changes)>) {
        self.cuts += 1;
        for (key, mut changes) in changes {
            if let Some(earlier) = self.unsaved.remove(&key) {
                changes.unite(&earlier);
            }
            self.unsaved.insert(key, changes);
        }
    }

    pub(crate) fn cuts(&self) -> u64 {
        self.cuts
    }

    /// What the extent of a fold was in the link at `kept - 1`.
    pub(crate) fn extent(&self, kept: usize, key: &FoldKey) -> Option<&Extent> {
        Some(&self.links.get(kept.checked_sub(1)?)?.parts.get(key)?.extent)
    }

    /// Plans the next link; `cells` are the present folds' numbers of rows.
    pub(crate) fn plan(&self, cells: &BTreeMap<FoldKey, usize>) -> Plan {
        let mut parts: BTreeMap<FoldKey, Changes> = (cells.keys())
            .map(|key| (key.clone(), self.unsaved.get(key).cloned().unwrap_or(Changes::none())))
            .collect();
        let needed = self.needed(&parts);
        // A link that is mostly of folds that are gone is not worth keeping.
        let spoilt = self.links.iter().zip(&needed).position(|(link, needed)| link.rows() > 2 * needed);
        let mut kept = if self.is_broken { 0 } else { spoilt.unwrap_or(self.links.len()) };
        self.links[kept..].iter().rev().for_each(|link| take_in(&mut parts, link));
        while kept > 0 {
            let size: usize = parts.iter().map(|(key, changes)| changes.count(cells[key])).sum();
            if needed[kept - 1] > 2 * size {
                break;
            }
            kept -= 1;
            take_in(&mut parts, &self.links[kept]);
        }
        for (key, changes) in &mut parts {
            if self.extent(kept, key).is_none() {
                *changes = Changes::All;
            }
        }
        Plan { continues: self.paths().take(kept).map(str::to_string).collect(), parts }
    }

    /// How many rows of each link are still of use: those of present folds that no later link has whole.
    fn needed(&self, unsaved: &BTreeMap<FoldKey, Changes>) -> Vec<usize> {
        let whole = unsaved.iter().filter(|(_, changes)| **changes == Changes::All);
        let mut replaced: BTreeSet<&FoldKey> = whole.map(|(key, _)| key).collect();
        let mut needed = Vec::with_capacity(self.links.len());
        for link in self.links.iter().rev() {
            let useful =
                (link.parts.iter()).filter(|(key, _)| unsaved.contains_key(*key) && !replaced.contains(key));
            needed.push(useful.map(|(_, part)| part.rows).sum());
            let whole = link.parts.iter().filter(|(_, part)| part.changes == Changes::All);
            replaced.extend(whole.map(|(key, _)| key));
        }
        needed.reverse();
        needed
    }

    /// Takes in that a link was written. One that was overtaken by another is not continued.
    pub fn wrote(&mut self, link: Link) {
        if link.cut != self.cuts {
            self.garbage.push(link.path);
            return;
        }
        let absorbed = self.links.split_off(link.kept);
        self.garbage.append(&mut self.replaced);
        self.replaced = absorbed.into_iter().map(|link| link.path).collect();
        self.revision = link.revision;
        self.links.push(link);
        self.unsaved.clear();
        self.is_broken = false;
    }

    /// Objects of this chain that a listing of the folder does not show.
    pub fn missing(&self, listed: &[StoredObject]) -> Vec<String> {
        let present = |path: &&str| listed.iter().any(|object| object.path == **path);
        self.paths().filter(|path| !present(path)).map(str::to_string).collect()
    }

    /// Takes in that an object of this chain is gone: what continued it would be lost, so the next is a base.
    pub fn break_off(&mut self) {
        self.is_broken = true;
    }

    /// What may be removed of the objects in the folder: what this chain named before the last save, and all but
    /// the last two bases with whatever continues them. The chain before the last save stays, should the last object
    /// be damaged, and what somebody else wrote on one of these bases is left to him.
    pub fn removable(&mut self, listed: &[StoredObject]) -> Vec<String> {
        let own = self.paths().next().and_then(base);
        let mut bases: BTreeMap<String, i64> = BTreeMap::new();
        for object in listed {
            if let Some(base) = base(&object.path) {
                let modified_ms = bases.entry(base).or_insert(object.modified_ms);
                *modified_ms = object.modified_ms.max(*modified_ms);
            }
        }
        let mut bases: Vec<(String, i64)> = bases.into_iter().collect();
        bases.sort_by_key(|(base, modified_ms)| (Some(base) != own.as_ref(), Reverse(*modified_ms)));
        let old: BTreeSet<String> = bases.into_iter().skip(BASES).map(|(base, _)| base).collect();
        let garbage: BTreeSet<String> = std::mem::take(&mut self.garbage).into_iter().collect();
        let is_removable = |path: &&String| match base(path) {
            Some(base) if Some(&base) == own.as_ref() => garbage.contains(*path),
            Some(base) => old.contains(&base),
            None => false,
        };
        let is_named =
            |path: &&String| self.paths().any(|named| named == path.as_str()) || self.replaced.contains(path);
        let paths = listed.iter().map(|object| &object.path);
        paths.filter(is_removable).filter(|path| !is_named(path)).cloned().collect()
    }
}

impl Link {
    /// How many of the chain's objects it continues.
    pub fn kept(&self) -> usize {
        self.kept
    }

    fn rows(&self) -> usize {
        self.parts.values().map(|part| part.rows).sum()
    }
}

/// Takes into what a link shall have what the link before it has.
fn take_in(parts: &mut BTreeMap<FoldKey, Changes>, link: &Link) {
    for (key, changes) in parts {
        if let Some(part) = link.parts.get(key) {
            changes.unite(&part.changes);
        }
    }
}

/// The base of the chain that an object belongs to.
fn base(path: &str) -> Option<String> {
    match Object::parse(path)? {
        Object::Checkpoint { base, .. } => Some(base),
        _ => None,
    }
}
