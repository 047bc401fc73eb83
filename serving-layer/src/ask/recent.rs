//! What live answers are made of, found again for as long as neither half moves.
//!
//! A speed node within this process says when it has moved. Until then its states are the same folds (invariant `REPLAY`),
//! and need not be asked for, chosen and copied again; its end and age are said anew each time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use hashbrown::HashMap;
use watershed_schemas::live::Glance;
use watershed_schemas::scope::Scope;
use watershed_schemas::view::View;

use super::{Halves, Live, hand_over, same_version};
use crate::live::Chosen;
use crate::versions::{Loaded, StreamState};

/// Scopes of a view that are remembered, and live cells of all of them. The newest stays whatever its size.
const MOST: usize = 32;
const MOST_CELLS: usize = 1_000_000;

#[derive(Default)]
pub struct Recent(Mutex<HashMap<String, Entry>>);

/// What one view's answers are made of.
#[derive(Default)]
struct Entry {
    moved: u64,
    halves: VecDeque<(Scope, Halves)>,
}

impl Recent {
    /// `glance` was had before `current` was looked at.
    pub(super) fn find(
        &self,
        state: &StreamState,
        (view, scope): (&View, &Scope),
        glance: &Glance,
        current: Option<&Arc<Loaded>>,
    ) -> Option<Halves> {
        let held = self.lock();
        let entry = held.get(&view.hash).filter(|entry| entry.moved == glance.moved)?;
        let (_, Halves { loaded, live }) = entry.halves.iter().find(|(held, _)| held == scope)?;
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
    pub(super) fn keep(
        &self,
        state: &StreamState,
        (view, scope): (&View, &Scope),
        moved: u64,
        halves: &Halves,
    ) {
        if !lacks_nothing(state, view, halves) {
            return;
        }
        let mut held = self.lock();
        let entry = held.entry(view.hash.clone()).or_default();
        if entry.moved != moved {
            *entry = Entry { moved, ..Entry::default() };
        }
        entry.halves.retain(|(held, _)| held != scope);
        entry.halves.push_back((scope.clone(), halves.clone()));
        while entry.halves.len() > 1 && (entry.halves.len() > MOST || entry.live_cells() > MOST_CELLS) {
            entry.halves.pop_front();
        }
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().expect("no thread panics while it holds this lock")
    }
}

impl Entry {
    fn live_cells(&self) -> usize {
        self.halves.iter().map(|(_, halves)| halves.live_cells()).sum()
    }
}

/// True where no partition is on its way from one node to another, which is waited for.
fn lacks_nothing(state: &StreamState, view: &View, halves: &Halves) -> bool {
    let Some(Live { chosen, missing: None, .. }) = &halves.live else { return false };
    let watershed = halves.held(view).map(|held| &held.manifest.watershed);
    hand_over::unheld(&super::ends(state, chosen, watershed), chosen).is_empty()
}
