//! What pages were made of, kept for the pages that follow.
//!
//! Pages are pages of one answer only when all of them are a fold of the same records (invariant `COVER`).
//! The live half moves on with every record, so what a cursor was given for is held for a while; a cursor
//! that comes later is refused rather than continued over other records.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use watershed_schemas::scope::Scope;
use watershed_schemas::view::View;

use super::Halves;
use crate::answer::Pin;

const MOST: usize = 16;
/// Live cells of all that is kept; versions share what they have in common. The newest stays whatever its size.
const MOST_CELLS: usize = 1_000_000;
const LONGEST: Duration = Duration::from_secs(600);

#[derive(Default)]
pub struct Kept(Mutex<VecDeque<Entry>>);

struct Entry {
    view_hash: String,
    scope: Scope,
    pin: Pin,
    halves: Arc<Halves>,
    used: Instant,
}

impl Kept {
    /// Keeps what an answer is made of, in place of what was not asked for the longest.
    pub(super) fn keep(&self, view: &View, scope: &Scope, pin: Pin, halves: Arc<Halves>) {
        let mut kept = self.lock();
        kept.retain(|entry| !entry.is(view, scope, pin) && entry.used.elapsed() < LONGEST);
        let (view_hash, scope) = (view.hash.clone(), scope.clone());
        kept.push_back(Entry { view_hash, scope, pin, halves, used: Instant::now() });
        while kept.len() > 1 && (kept.len() > MOST || live_cells(&kept) > MOST_CELLS) {
            kept.pop_front();
        }
    }

    pub(super) fn find(&self, view: &View, scope: &Scope, pin: Pin) -> Option<Arc<Halves>> {
        self.lock().iter().find(|entry| entry.is(view, scope, pin)).map(|entry| entry.halves.clone())
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Entry>> {
        self.0.lock().expect("no thread panics while it holds this lock")
    }
}

fn live_cells(kept: &VecDeque<Entry>) -> usize {
    kept.iter().map(|entry| entry.halves.live_cells()).sum()
}

impl Entry {
    fn is(&self, view: &View, scope: &Scope, pin: Pin) -> bool {
        self.pin == pin && self.view_hash == view.hash && self.scope == *scope
    }
}
