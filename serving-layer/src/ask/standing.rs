//! What was found for a question, found again for as long as neither half moves.
//!
//! Two answers of one coverage are folds of the same records (invariant `COVER`), so what follows from those records
//! alone is the same in both. What an answer says of its own age and reach is said anew each time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use hashbrown::HashMap;
use watershed_schemas::offsets::Offsets;
use watershed_schemas::view::View;

use crate::answer::{Block, Found};
use crate::query::Query;

/// Coverages of views that are remembered: those that were asked last.
const MOST: usize = 32;
/// Values remembered for each, and of one question.
const MOST_VALUES: usize = 100_000;
const LARGEST: usize = 10_000;

#[derive(Default)]
pub struct Standing(Mutex<VecDeque<Coverage>>);

/// One view at one version and live offsets.
struct Coverage {
    view_hash: String,
    version: Option<u64>,
    watershed: Offsets,
    live: Offsets,
    found: HashMap<Arc<Query>, Arc<Found>>,
    values: usize,
}

impl Standing {
    /// `block` says which records the answer is to be made of.
    pub fn find(&self, view: &View, block: &Block, query: &Arc<Query>) -> Option<Arc<Found>> {
        let mut coverages = self.lock();
        let index = position(&coverages, view, block)?;
        let found = coverages[index].found.get(query)?.clone();
        if index + 1 < coverages.len() {
            let asked = coverages.remove(index)?;
            coverages.push_back(asked);
        }
        Some(found)
    }

    pub fn keep(&self, view: &View, block: &Block, query: &Arc<Query>, found: &Arc<Found>) {
        let values = found.values();
        if values > LARGEST {
            return;
        }
        let mut coverages = self.lock();
        let index = position(&coverages, view, block).unwrap_or_else(|| {
            if coverages.len() == MOST {
                coverages.pop_front();
            }
            coverages.push_back(Coverage::of(view, block));
            coverages.len() - 1
        });
        let coverage = &mut coverages[index];
        if coverage.values + values > MOST_VALUES {
            coverage.found.clear();
            coverage.values = 0;
        }
        // Questions without rows are not free either.
        coverage.values += values.max(100);
        coverage.found.insert(query.clone(), found.clone());
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Coverage>> {
        self.0.lock().expect("no thread panics while it holds this lock")
    }
}

impl Coverage {
    fn of(view: &View, block: &Block) -> Coverage {
        Coverage {
            view_hash: view.hash.clone(),
            version: block.version,
            watershed: block.watershed.clone(),
            live: block.live.clone(),
            found: HashMap::new(),
            values: 0,
        }
    }

    fn is(&self, view: &View, block: &Block) -> bool {
        self.version == block.version
            && self.live == block.live
            && self.watershed == block.watershed
            && self.view_hash == view.hash
    }
}

/// The newest are asked most.
fn position(coverages: &VecDeque<Coverage>, view: &View, block: &Block) -> Option<usize> {
    coverages.iter().rposition(|coverage| coverage.is(view, block))
}
