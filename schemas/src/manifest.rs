//! A version: what "published" means.
//!
//! A version exists exactly when its manifest does. The manifest names every file of the version
//! with size and SHA-256; nothing else in the store is part of it.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::identity::LogIdentity;
use crate::offsets::{Gap, OffsetRange, Offsets, Partition};

/// The number of a version; 1 is the first of a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    pub fn next(self) -> Version {
        Version(self.0 + 1)
    }
}

impl fmt::Display for Version {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// A published version of a stream and all its views.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    pub stream: String,
    pub version: Version,
    /// The run that published it; after an ambiguous outcome a run looks for its own id here.
    pub run_id: String,
    /// Everything below is folded into this version.
    pub watershed: Offsets,
    /// Where the log began when the first version was made: nothing before it was ever seen.
    pub origin: Offsets,
    /// The log that it was folded from; versions of before this was remembered know nothing of it.
    #[serde(default)]
    pub log: LogIdentity,
    /// When the run began, RFC 3339.
    pub created_at: String,
    pub seconds: f64,
    /// Rows that this run landed.
    pub rows_landed: u64,
    pub windows_recomputed: u64,
    /// The whole master dataset below the watershed.
    pub events: Vec<EventFile>,
    pub dead_letters: Vec<DeadLetterFile>,
    pub views: BTreeMap<String, ViewVersion>,
    pub gaps: Vec<Gap>,
    #[serde(default, skip_serializing_if = "Ahead::is_empty")]
    pub ahead: Ahead,
}

/// What has landed above the watershed. A rollback leaves it: newer versions had folded it, so the log may hold it no
/// more, while it is live again and the next run has yet to fold it anew.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ahead {
    /// Every record of `[watershed, until)` is in these files, in the partitions that are named.
    pub until: Offsets,
    pub events: Vec<EventFile>,
    pub dead_letters: Vec<DeadLetterFile>,
}

impl Ahead {
    pub fn is_empty(&self) -> bool {
        self.until.is_empty() && self.events.is_empty() && self.dead_letters.is_empty()
    }
}

impl Manifest {
    /// How far records have landed, at the watershed or above it: from here on they are in the log only.
    pub fn landed(&self) -> Offsets {
        self.watershed.furthest(&self.ahead.until)
    }

    /// Every file of events that has landed, below the watershed and above it.
    pub fn landed_events(&self) -> impl Iterator<Item = &EventFile> {
        self.events.iter().chain(&self.ahead.events)
    }

    /// Every file of dead letters that has landed, below the watershed and above it.
    pub fn landed_dead_letters(&self) -> impl Iterator<Item = &DeadLetterFile> {
        self.dead_letters.iter().chain(&self.ahead.dead_letters)
    }
}

/// A stored object as a manifest names it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredFile {
    /// Relative to the store's root.
    pub path: String,
    pub bytes: u64,
    pub sha256: String,
    pub rows: u64,
}

/// Events of one date (UTC) from one partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventFile {
    #[serde(flatten)]
    pub file: StoredFile,
    /// Days since 1970-01-01 of the events' own time.
    pub date: i32,
    pub partition: Partition,
    /// The offsets that were examined for this file.
    pub range: OffsetRange,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetterFile {
    #[serde(flatten)]
    pub file: StoredFile,
    pub partition: Partition,
    pub range: OffsetRange,
    pub reasons: BTreeMap<String, u64>,
}

/// A view as of a version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ViewVersion {
    /// The hash of the definition that made it.
    pub hash: String,
    /// That definition as it was written; empty where it was not kept.
    #[serde(default)]
    pub sql: String,
    /// The name that the view gives its window's start.
    pub window: String,
    /// The view's dimensions, then its measures, as its files name them.
    pub columns: Vec<String>,
    pub files: Vec<ViewFile>,
    pub rows: u64,
    pub accuracy: Vec<Accuracy>,
}

/// The windows of a view that start on one date (UTC).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewFile {
    #[serde(flatten)]
    pub file: StoredFile,
    pub date: i32,
}

/// One line of the accuracy ledger: how far a measure's sketches were from the truth in the windows
/// that the run recomputed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Accuracy {
    pub measure: String,
    /// `relative` (of the value) or `count` (of an item's occurrences, as a share of all of them).
    pub kind: String,
    /// The sketch's stated bound.
    pub bound: f64,
    pub confidence: f64,
    /// Cells compared.
    pub cells: u64,
    pub mean_error: f64,
    pub max_error: f64,
    /// Cells whose error lay beyond the bound.
    pub beyond_bound: u64,
}

/// A batch run's announcement: a hint to the speed layer and a courtesy to other runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Intent {
    pub stream: String,
    pub version: Version,
    pub target: Offsets,
    pub run_id: String,
    /// Who runs: host name and process id.
    pub holder: String,
    /// The lease runs out at this time (milliseconds since 1970-01-01) unless renewed.
    pub lease_until_ms: i64,
}
