//! What an answer says of overflow groups: live groups that a view's budget had no room for.
//!
//! An overflow group is a fold of records like any other, but nothing is known of their dimensions, and of the one of all
//! windows not even when they were. Where a question asks for neither, it is merged like any cell, and the answer is
//! what it would be without a budget. Where a question tells dimensions apart, it is a group of its own, and what is
//! told apart may lack its records. Where a question leaves records out by what is not known, nobody can say
//! whether they belong: they are counted as undecided, never dropped in silence (invariant `NOTHING_VANISHES`).

use std::collections::BTreeSet;

use serde::Serialize;
use utoipa::ToSchema;
use watershed_schemas::keys::ANY_WINDOW;
use watershed_schemas::states::StateTable;

use crate::grain::Buckets;
use crate::merge::Selection;

/// What the sources of an answer hold in overflow groups.
#[derive(Clone, Debug, PartialEq)]
pub struct Overflow {
    found: bool,
    undecided: bool,
    /// Records in the overflow groups that matter to the question, and of these the undecided ones; `None` where
    /// some were not counted.
    records: Option<u64>,
    undecided_records: Option<u64>,
    windows: BTreeSet<i64>,
    any_window: bool,
    /// Buckets whose groups may lack records.
    lacking: BTreeSet<i64>,
    all_lacking: bool,
}

/// What an answer tells of it.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = Overflow)]
pub struct Told {
    /// Records in groups beyond the budget that may belong to what was asked; `null` where they were not counted.
    #[schema(required)]
    pub records: Option<u64>,
    /// Of these, the records that are in no row, since nobody can tell whether they belong.
    #[schema(required)]
    pub undecided_records: Option<u64>,
    /// How many of the view's windows they lie in; `null` where that was not kept.
    #[schema(required)]
    pub windows: Option<u64>,
    pub because: String,
}

impl Default for Overflow {
    fn default() -> Self {
        Overflow {
            found: false,
            undecided: false,
            records: Some(0),
            undecided_records: Some(0),
            windows: BTreeSet::new(),
            any_window: false,
            lacking: BTreeSet::new(),
            all_lacking: false,
        }
    }
}

impl Overflow {
    /// Looks at a source's overflow groups. Gives the rows of those that take part.
    pub fn take(&mut self, table: &StateTable, selection: &Selection<'_>) -> Vec<u32> {
        let mut taken = Vec::new();
        for (row, records) in table.overflow() {
            let window = table.keys.windows()[row as usize];
            let known = window != ANY_WINDOW;
            let scope = selection.scope;
            if known && !(scope.from <= window && window < scope.to) {
                continue;
            }
            let all_time = scope.from == i64::MIN && scope.to == i64::MAX;
            let placed = known || (all_time && selection.buckets == Buckets::All);
            let restricted = selection.masks.is_some();
            let decided = placed && scope.conditions.is_empty() && !restricted;
            // Whose records these are is not known, so how many there are is not told to those who see some rows only.
            let (known, records) = if restricted { (false, None) } else { (known, records) };
            self.found = true;
            self.records = sum(self.records, records);
            if known {
                self.windows.insert(window);
            } else {
                self.any_window = true;
            }
            if decided {
                taken.push(row);
            } else {
                self.undecided = true;
                self.undecided_records = sum(self.undecided_records, records);
            }
            if !decided || !selection.dimensions.is_empty() {
                if placed {
                    self.lacking.insert(selection.buckets.start(window));
                } else {
                    self.all_lacking = true;
                }
            }
        }
        taken
    }

    /// True where a group of this bucket may lack records that an overflow group holds.
    pub fn lacks(&self, bucket: i64) -> bool {
        self.all_lacking || self.lacking.contains(&bucket)
    }

    /// True where records of the question may be in no row.
    pub fn is_undecided(&self) -> bool {
        self.undecided
    }

    pub fn told(&self) -> Option<Told> {
        let counted = |records: Option<u64>| match records {
            Some(1) => "1 record".to_string(),
            Some(records) => format!("{records} records"),
            None => "an unknown number of records".to_string(),
        };
        let fate = match (self.undecided, self.all_lacking || !self.lacking.is_empty()) {
            (true, _) => {
                let undecided = counted(self.undecided_records);
                format!("whether {undecided} belong to the answer is not known, so no row holds them")
            }
            (false, true) => "they are in rows of their own, and other rows may lack them".to_string(),
            (false, false) => "the answer holds them all".to_string(),
        };
        self.found.then(|| Told {
            records: self.records,
            undecided_records: self.undecided_records,
            windows: (!self.any_window).then_some(self.windows.len() as u64),
            because: format!(
                "the speed layer had no room to tell {} apart: {fate}; the next batch run tells them apart",
                counted(self.records)
            ),
        })
    }
}

fn sum(records: Option<u64>, more: Option<u64>) -> Option<u64> {
    records.zip(more).map(|(records, more)| records + more)
}
