//! Epochs: one fold per watershed that somebody may ask about.
//!
//! Guarantee of a [`Fold`] (invariant `COVER`): its states are the fold of exactly the records in
//! `[from, replayed)` and `[joined, until)`, where `from <= replayed <= joined <= until`. What lies
//! between, `[replayed, joined)`, is what it lacks; a fold that lacks nothing holds `[from, until)`.
//! Records are folded in any order, for states do not depend on it (invariant `FOLD`).

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};
use watershed_schemas::budget::Budget;
use watershed_schemas::invariants;
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};
use watershed_schemas::scope::Scope;
use watershed_schemas::states::StateTable;
use watershed_schemas::view::View;

use crate::changes::Changes;
use crate::stretch::Stretch;

/// Where an epoch begins.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Epoch {
    /// At the log's start: for views that no version holds.
    Origin,
    /// At the watershed of a version, published or announced.
    At(Offsets),
}

/// One view's part of an epoch.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FoldKey {
    pub epoch: Epoch,
    pub view: String,
}

impl Epoch {
    /// The epoch that a question means: without a watershed, the log's start.
    pub fn asked(watershed: &Offsets) -> Epoch {
        if watershed.is_empty() { Epoch::Origin } else { Epoch::At(watershed.clone()) }
    }

    /// The first offset of this epoch in a partition, `origin` being the log's start.
    pub fn from(&self, partition: Partition, origin: Offset) -> Offset {
        match self {
            Epoch::Origin => origin,
            Epoch::At(watershed) => watershed.get(partition),
        }
    }

    pub fn of(&self, view: &str) -> FoldKey {
        FoldKey { epoch: self.clone(), view: view.to_string() }
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Epoch::Origin => out.write_str("of the log's start"),
            Epoch::At(watershed) => watershed.fmt(out),
        }
    }
}

/// One view, one epoch, one partition.
#[derive(Debug)]
pub struct Fold {
    table: StateTable,
    span: Span,
    /// Why the states are void: an evaluation failed half-way. Void states are never given out.
    void: Option<String>,
    /// Why what it lacks could not be read when last tried.
    hindrance: Option<String>,
    /// What has changed since a checkpoint last asked.
    changes: Changes,
    /// A copy of the whole table, until the next change.
    copy: OnceLock<Arc<StateTable>>,
}

/// Which records a fold holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    pub from: Offset,
    pub replayed: Offset,
    pub joined: Offset,
    pub until: Offset,
}

impl Span {
    /// The span of a fold that opens when the partition is folded up to `live`: it joins there.
    pub fn opening(from: Offset, live: Offset) -> Span {
        let joined = from.max(live);
        Span { from, replayed: from, joined, until: joined }
    }

    pub fn is_sound(&self, live: Offset) -> bool {
        let Span { from, replayed, joined, until } = *self;
        from <= replayed && replayed <= joined && joined <= until && until == from.max(live)
    }

    /// What it lacks.
    pub fn missing(&self) -> Option<OffsetRange> {
        let missing = OffsetRange::new(self.replayed, self.joined);
        (!missing.is_empty()).then_some(missing)
    }
}

impl Fold {
    pub(crate) fn open(view: Arc<View>, span: Span) -> Fold {
        Fold { changes: Changes::All, ..Fold::restored(StateTable::new(view), span) }
    }

    pub(crate) fn restored(table: StateTable, span: Span) -> Fold {
        let (changes, copy) = (Changes::none(), OnceLock::new());
        Fold { table, span, void: None, hindrance: None, changes, copy }
    }

    /// Puts the fold under a budget. What it holds too much is told apart no more; true if there was any.
    pub(crate) fn limit(&mut self, budget: &Arc<Budget>) -> bool {
        let numbering = self.table.numbering();
        self.table.limit(budget);
        let changed = self.table.numbering() != numbering;
        if changed {
            self.changes = Changes::All;
            self.copy.take();
        }
        changed
    }

    pub fn view(&self) -> &Arc<View> {
        &self.table.view
    }

    pub fn table(&self) -> &StateTable {
        &self.table
    }

    pub fn span(&self) -> Span {
        self.span
    }

    /// What is still to be replayed; void states are not worth it.
    pub fn missing(&self) -> Option<OffsetRange> {
        if self.void.is_some() { None } else { self.span.missing() }
    }

    /// Why this fold may not be given out, if so.
    pub fn unready(&self, partition: Partition) -> Option<String> {
        if let Some(reason) = &self.void {
            return Some(format!("partition {partition}: {reason}"));
        }
        let missing = self.span.missing()?;
        Some(match &self.hindrance {
            Some(reason) => format!("partition {partition} lacks {missing}: {reason}"),
            None => format!("partition {partition} is replaying {missing}"),
        })
    }

    /// Why the last replay failed or the states are void: what an operator should know.
    pub fn trouble(&self) -> Option<&str> {
        self.void.as_deref().or(self.hindrance.as_deref())
    }

    /// A copy of the states that lie in a scope; of all of them it is made once per change.
    pub fn states(&self, scope: &Scope) -> Arc<StateTable> {
        match scope.is_whole() {
            true => self.copy.get_or_init(|| Arc::new(self.table.clone())).clone(),
            false => Arc::new(self.table.part(scope)),
        }
    }

    /// True while a copy of the whole table is there.
    pub(crate) fn is_copied(&self) -> bool {
        self.copy.get().is_some()
    }

    /// What has changed since this was last called.
    pub(crate) fn take_changes(&mut self) -> Changes {
        std::mem::replace(&mut self.changes, Changes::none())
    }

    pub fn is_void(&self) -> bool {
        self.void.is_some()
    }

    /// Folds the part of the live stretch that is this epoch's own.
    pub(crate) fn extend(&mut self, stretch: &Stretch) {
        let range = stretch.range();
        assert!(
            self.span.until == self.span.from.max(range.from),
            "invariant {}: a fold that reaches {} is given {range}",
            invariants::COVER,
            self.span.until
        );
        let own = OffsetRange::new(self.span.until, range.until);
        self.take(stretch, own);
        self.span.until = self.span.until.max(range.until);
    }

    /// Folds the part of a replayed stretch that comes next in what it lacks; false if nothing does.
    pub(crate) fn replay(&mut self, stretch: &Stretch) -> bool {
        let range = stretch.range();
        let Some(missing) = self.missing().filter(|missing| range.contains(missing.from)) else {
            return false;
        };
        let own = OffsetRange::new(missing.from, missing.until.min(range.until));
        self.take(stretch, own);
        self.span.replayed = own.until;
        self.hindrance = None;
        true
    }

    pub(crate) fn hinder(&mut self, reason: &str) {
        self.hindrance = Some(reason.to_string());
    }

    fn take(&mut self, stretch: &Stretch, own: OffsetRange) {
        if self.void.is_some() {
            return;
        }
        let Some(events) = stretch.events(own) else { return };
        self.copy.take();
        // One view's failure, even a panic inside the engine that evaluates it, leaves the others alone.
        let numbering = self.table.numbering();
        let folded = catch_unwind(AssertUnwindSafe(|| self.table.fold_run(&events)));
        let error = match folded {
            Ok(Ok(rows)) if self.table.numbering() == numbering => return self.changes.note(&rows),
            Ok(Ok(_)) => {
                self.changes = Changes::All;
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(panic) => panic_text(panic.as_ref()),
        };
        let view = self.table.view.clone();
        tracing::error!(view = view.name, partition = %stretch.partition(), range = %own, error, "live states are void");
        self.void = Some(format!("view {} could not be evaluated in {own}: {error}", view.name));
        // What was folded before the failure cannot be told from what was not.
        let empty = StateTable::new(view);
        self.table = match self.table.budget() {
            Some(budget) => empty.within(budget),
            None => empty,
        };
    }
}

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| text.to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "panic".to_string())
}
