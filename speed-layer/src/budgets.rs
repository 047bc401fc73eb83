//! What the live states of a project's views may take on this node.
//!
//! Up to three epochs of a view are there at once: of the newest version, of the one before, and of the one that a batch
//! run is about to publish. Each has a share of its own, so that an epoch which begins finds room however full
//! the others are: that is how the next version heals what overflowed.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use watershed_schemas::budget::{Budget, Limits};

use crate::epoch::Epoch;

const EPOCHS_AT_ONCE: u64 = 3;

/// By view. States of a view that has none may take whatever they need.
pub type Budgets = BTreeMap<String, Arc<ViewBudget>>;

/// One view's budget: groups are limited for each epoch, memory for all of them together.
#[derive(Debug)]
pub struct ViewBudget {
    limits: Limits,
    all: Arc<Budget>,
    shares: Mutex<BTreeMap<Epoch, Weak<Budget>>>,
}

impl ViewBudget {
    pub fn new(limits: Limits) -> Arc<ViewBudget> {
        let all = Budget::new(Limits { groups: None, ..limits });
        Arc::new(ViewBudget { limits, all, shares: Mutex::default() })
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// The budget of all epochs together.
    pub fn all(&self) -> &Budget {
        &self.all
    }

    /// The budget of an epoch, the same for all partitions.
    pub fn of(&self, epoch: &Epoch) -> Arc<Budget> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(epoch).and_then(Weak::upgrade) {
            return share;
        }
        shares.retain(|_, share| share.strong_count() > 0);
        let bytes = self.limits.bytes.map(|bytes| bytes / EPOCHS_AT_ONCE);
        let share = Budget::within(&self.all, Limits { bytes, ..self.limits });
        shares.insert(epoch.clone(), Arc::downgrade(&share));
        share
    }

    /// Whether anything overflows, once each time that this changes.
    pub fn turned(&self) -> Option<bool> {
        self.all.turned()
    }
}
