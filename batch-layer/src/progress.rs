//! How far a run has come, for whoever shows it.

/// The steps of a run, in their order. Up to and including `Check`, nothing of the run is visible.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Reads the log's bounds and the newest version.
    Bounds,
    /// Announces the target.
    Intent,
    /// Writes event and dead-letter files; counts records.
    Land,
    /// Writes view files; counts groups of dates.
    Recompute,
    /// Creates the manifest: the one step that makes a version visible.
    Publish,
    /// Writes `catalog.sql`.
    Catalog,
    /// Removes versions past retention and what dead runs left behind.
    Retain,
}

impl Stage {
    /// `bounds`, `intent`, `land`, `recompute`, `publish`, `catalog`, `retain`.
    pub fn name(self) -> &'static str {
        match self {
            Stage::Bounds => "bounds",
            Stage::Intent => "intent",
            Stage::Land => "land",
            Stage::Recompute => "recompute",
            Stage::Publish => "publish",
            Stage::Catalog => "catalog",
            Stage::Retain => "retain",
        }
    }
}

/// Hears how far a run has come.
pub trait Progress: Send + Sync {
    /// `done` of `total` units of a stage. A stage begins with `done` 0 and may end early, for offsets have holes.
    fn report(&self, stage: Stage, done: u64, total: u64);
}

/// Hears nothing.
pub struct Quiet;

impl Progress for Quiet {
    fn report(&self, _stage: Stage, _done: u64, _total: u64) {}
}
