//! Positions in a log.
//!
//! One convention for bounds: `from` is inclusive, `until` is exclusive. An [`Offset`] is always the
//! *next* record to examine, never the last one seen; offsets may have holes, so nothing is ever
//! counted by subtracting them.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Partition(pub i32);

/// The next offset to examine in a partition.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub i64);

impl fmt::Display for Partition {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

impl fmt::Display for Offset {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The half-open range `[from, until)` of one partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OffsetRange {
    pub from: Offset,
    pub until: Offset,
}

impl OffsetRange {
    pub fn new(from: Offset, until: Offset) -> Self {
        OffsetRange { from, until }
    }

    pub fn is_empty(&self) -> bool {
        self.from >= self.until
    }

    pub fn contains(&self, offset: Offset) -> bool {
        self.from <= offset && offset < self.until
    }
}

impl fmt::Display for OffsetRange {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "[{}, {})", self.from, self.until)
    }
}

/// A vector of positions, one per partition: a watershed, or how far a fold has reached.
///
/// A partition that is not named stands at offset 0, so a partition that joins a topic later
/// starts at its beginning. A copy shares what it has in common. Serialised as `{"0": 1200, "1": 1180}`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offsets(Arc<BTreeMap<Partition, Offset>>);

impl Offsets {
    pub fn new() -> Self {
        Self::default()
    }

    pub fn get(&self, partition: Partition) -> Offset {
        self.0.get(&partition).copied().unwrap_or_default()
    }

    pub fn names(&self, partition: Partition) -> bool {
        self.0.contains_key(&partition)
    }

    pub fn set(&mut self, partition: Partition, offset: Offset) {
        Arc::make_mut(&mut self.0).insert(partition, offset);
    }

    pub fn remove(&mut self, partition: Partition) {
        Arc::make_mut(&mut self.0).remove(&partition);
    }

    pub fn iter(&self) -> impl Iterator<Item = (Partition, Offset)> + '_ {
        self.0.iter().map(|(partition, offset)| (*partition, *offset))
    }

    pub fn partitions(&self) -> impl Iterator<Item = Partition> + '_ {
        self.0.keys().copied()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// True when no partition of `other` lies beyond this vector.
    pub fn covers(&self, other: &Offsets) -> bool {
        other.iter().all(|(partition, offset)| offset <= self.get(partition))
    }

    /// True when this names every partition of `other`, and none of them lies further there.
    fn surpasses(&self, other: &Offsets) -> bool {
        let mut own = self.0.iter();
        Arc::ptr_eq(&self.0, &other.0)
            || other.0.iter().all(|(partition, offset)| {
                let found = own.find(|(own, _)| *own >= partition);
                found.is_some_and(|(own, reached)| own == partition && reached >= offset)
            })
    }

    /// Each partition's larger position. A copy of either shares what it has in common with it.
    pub fn furthest(&self, other: &Offsets) -> Offsets {
        if self.surpasses(other) {
            return self.clone();
        }
        if other.surpasses(self) {
            return other.clone();
        }
        let mut furthest = self.clone();
        for (partition, offset) in other.iter() {
            if offset > furthest.get(partition) || !furthest.names(partition) {
                furthest.set(partition, offset);
            }
        }
        furthest
    }
}

impl FromIterator<(Partition, Offset)> for Offsets {
    fn from_iter<I: IntoIterator<Item = (Partition, Offset)>>(positions: I) -> Self {
        Offsets(Arc::new(positions.into_iter().collect()))
    }
}

impl fmt::Display for Offsets {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("{")?;
        for (index, (partition, offset)) in self.iter().enumerate() {
            let separator = if index == 0 { "" } else { ", " };
            write!(out, "{separator}{partition}: {offset}")?;
        }
        out.write_str("}")
    }
}

/// A range of a partition that no longer exists in the log and was accepted as lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Gap {
    pub partition: Partition,
    pub from: Offset,
    pub until: Offset,
}

impl fmt::Display for Gap {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "partition {} [{}, {})", self.partition, self.from, self.until)
    }
}
