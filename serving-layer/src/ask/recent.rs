//! What live answers are made of, found again for as long as neither half moves.
//!
//! A speed node within this process says when it has moved. Until then its states are the same folds (invariant `REPLAY`),
//! and need not be asked for, chosen and decoded again; its end and age are said anew each time.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use watershed_schemas::live::Glance;
use watershed_schemas::view::View;

use super::{Halves, Live, hand_over, same_version};
use crate::live::Chosen;
use crate::versions::{Loaded, StreamState};

#[derive(Default)]
pub struct Recent(Mutex<HashMap<String, Entry>>);

struct Entry {
    moved: u64,
    halves: Halves,
}

impl Recent {
    /// `glance` was had before `current` was looked at.
    pub(super) fn find(
        &self,
        state: &StreamState,
        view: &View,
        glance: &Glance,
        current: Option<&Arc<Loaded>>,
    ) -> Option<Halves> {
        let held = self.lock();
        let entry = held.get(&view.hash).filter(|entry| entry.moved == glance.moved)?;
        let Halves { loaded, live } = &entry.halves;
        let Live { chosen, tables, .. } = live.as_ref()?;
        if !same_version(loaded.as_ref(), current) {
            return None;
        }
        let end = glance.end.furthest(&chosen.live);
        let current_at_ms = chosen.current_at_ms.map(|_| glance.current_at_ms);
        let live = Live {
            chosen: Chosen { end, current_at_ms, ..chosen.clone() },
            tables: tables.clone(),
            missing: None,
        };
        let halves = Halves { loaded: loaded.clone(), live: Some(live) };
        drop(held);
        lacks_nothing(state, view, &halves).then_some(halves)
    }

    /// `moved` was so before the halves were made.
    pub(super) fn keep(&self, state: &StreamState, view: &View, moved: u64, halves: &Halves) {
        if lacks_nothing(state, view, halves) {
            self.lock().insert(view.hash.clone(), Entry { moved, halves: halves.clone() });
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().expect("no thread panics while it holds this lock")
    }
}

/// True where no partition is on its way from one node to another, which is waited for.
fn lacks_nothing(state: &StreamState, view: &View, halves: &Halves) -> bool {
    let Some(Live { chosen, missing: None, .. }) = &halves.live else { return false };
    let watershed = halves.held(view).map(|held| &held.manifest.watershed);
    hand_over::unheld(&super::ends(state, chosen, watershed), chosen).is_empty()
}
