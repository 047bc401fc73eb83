//! How much the live states of a view may take.
//!
//! Tables share a [`Budget`], and budgets may be shares of another. A table takes room before it folds and settles afterwards for what it holds, so that two tables never count on the same room. What does not
//! fit goes to overflow groups: a budget decides how finely records are told apart, never whether they
//! count (invariant `NOTHING_VANISHES`). It is no part of a view's definition.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What is allowed; `None`: any number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// Groups of an epoch, and windows that have an overflow group, so many of each.
    pub groups: Option<u64>,
    /// Memory of the states of all epochs together with the copies that are made to send and save them.
    pub bytes: Option<u64>,
}

impl Limits {
    /// These limits, and where there is none, the other's.
    pub fn or(self, other: Limits) -> Limits {
        Limits { groups: self.groups.or(other.groups), bytes: self.bytes.or(other.bytes) }
    }
}

/// What a table holds, or all tables of a view together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Holding {
    pub groups: u64,
    /// Overflow groups of one window each.
    pub overflow_windows: u64,
    /// Overflow groups of all windows: one in each table that has no room for more of the others.
    pub overflow_rests: u64,
    /// Records that were folded into overflow groups.
    pub overflow_records: u64,
    pub bytes: u64,
}

/// What a table may add until it settles. The overflow group of all windows needs no room.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Room {
    pub groups: u64,
    pub overflow_windows: u64,
}

/// Room that was taken and not yet settled for.
#[derive(Clone, Copy, Debug, Default)]
struct Taken {
    room: Room,
    bytes: u64,
}

/// What tables share.
#[derive(Debug, Default)]
struct Shared {
    held: Holding,
    taken: Taken,
}

/// What all tables of a view hold beyond its limits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Excess {
    pub groups: u64,
    pub overflow_windows: u64,
    pub bytes: u64,
}

/// Limits, and what tables hold of them.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    shared: Mutex<Shared>,
    /// A budget that this one is a share of.
    all: Option<Arc<Budget>>,
    /// What [`Budget::turned`] last said.
    overflows: AtomicBool,
}

impl Holding {
    pub fn overflow_groups(&self) -> u64 {
        self.overflow_windows + self.overflow_rests
    }
}

impl Budget {
    pub fn new(limits: Limits) -> Arc<Budget> {
        Arc::new(Budget { limits, shared: Mutex::default(), all: None, overflows: AtomicBool::new(false) })
    }

    /// A share of another budget: what is held of the one is held of the other, and the limits of both hold.
    pub fn within(all: &Arc<Budget>, limits: Limits) -> Arc<Budget> {
        let overflows = AtomicBool::new(false);
        Arc::new(Budget { limits, shared: Mutex::default(), all: Some(all.clone()), overflows })
    }

    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// What all tables hold together, as they last settled.
    pub fn held(&self) -> Holding {
        self.lock().held
    }

    /// Whether anything overflows, once each time that this changes.
    pub fn turned(&self) -> Option<bool> {
        let now = self.held().overflow_groups() > 0;
        (self.overflows.swap(now, Ordering::Relaxed) != now).then_some(now)
    }

    fn most_groups(&self) -> u64 {
        self.limits.groups.unwrap_or(u64::MAX)
    }

    fn most_bytes(&self) -> u64 {
        self.limits.bytes.unwrap_or(u64::MAX)
    }

    /// The last eighth is for overflow groups, and for sketches that grow while no group is added.
    fn most_bytes_of_groups(&self) -> u64 {
        self.most_bytes() - self.most_bytes() / 8
    }

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // It is whole after every statement.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, wanted: Room, bytes: u64) -> Room {
        let mut shared = self.lock();
        let Shared { held, taken } = &mut *shared;
        let left = |most: u64, held: u64, taken: u64| most.saturating_sub(held).saturating_sub(taken);
        let (groups, windows) = (taken.room.groups, taken.room.overflow_windows);
        let room = Room {
            groups: (wanted.groups)
                .min(left(self.most_groups(), held.groups, groups))
                .min(left(self.most_bytes_of_groups(), held.bytes, taken.bytes) / bytes),
            overflow_windows: (wanted.overflow_windows)
                .min(left(self.most_groups(), held.overflow_windows, windows))
                .min(left(self.most_bytes(), held.bytes, taken.bytes) / bytes),
        };
        let room = self.all.as_ref().map_or(room, |all| all.take(room, bytes));
        taken.add(Taken { room, bytes: room.groups * bytes });
        room
    }

    fn replace(&self, before: Holding, now: Holding, taken: Taken) -> Excess {
        let mut shared = self.lock();
        shared.taken.subtract(taken);
        let held = &mut shared.held;
        let replace = |all: &mut u64, before: u64, now: u64| {
            *all = all.saturating_sub(before).saturating_add(now);
        };
        replace(&mut held.groups, before.groups, now.groups);
        replace(&mut held.overflow_windows, before.overflow_windows, now.overflow_windows);
        replace(&mut held.overflow_rests, before.overflow_rests, now.overflow_rests);
        replace(&mut held.overflow_records, before.overflow_records, now.overflow_records);
        replace(&mut held.bytes, before.bytes, now.bytes);
        let beyond = held.bytes > self.most_bytes();
        let excess = Excess {
            groups: held.groups.saturating_sub(self.most_groups()),
            overflow_windows: held.overflow_windows.saturating_sub(self.most_groups()),
            bytes: if beyond { held.bytes - self.most_bytes_of_groups() } else { 0 },
        };
        let larger = self.all.as_ref().map_or(Excess::default(), |all| all.replace(before, now, taken));
        Excess {
            groups: excess.groups.max(larger.groups),
            overflow_windows: excess.overflow_windows.max(larger.overflow_windows),
            bytes: excess.bytes.max(larger.bytes),
        }
    }
}

/// One table's part of a budget; given back when the table goes.
#[derive(Debug)]
pub struct Account {
    budget: Arc<Budget>,
    held: Holding,
    taken: Taken,
}

impl Account {
    pub fn open(budget: Arc<Budget>) -> Account {
        Account { budget, held: Holding::default(), taken: Taken::default() }
    }

    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    /// Takes room for up to `groups` new groups of about `bytes` each, as far as there is room.
    pub fn take(&mut self, groups: u64, bytes: u64) -> Room {
        let bytes = bytes.max(1);
        let room = self.budget.take(Room { groups, overflow_windows: groups }, bytes);
        self.taken.add(Taken { room, bytes: room.groups * bytes });
        room
    }

    /// Replaces what was taken by what the table holds now. Says what all tables together hold beyond the limits.
    pub fn settle(&mut self, now: Holding) -> Excess {
        let before = std::mem::replace(&mut self.held, now);
        self.budget.replace(before, now, std::mem::take(&mut self.taken))
    }
}

impl Taken {
    fn add(&mut self, more: Taken) {
        self.room.groups += more.room.groups;
        self.room.overflow_windows += more.room.overflow_windows;
        self.bytes += more.bytes;
    }

    fn subtract(&mut self, less: Taken) {
        self.room.groups -= less.room.groups;
        self.room.overflow_windows -= less.room.overflow_windows;
        self.bytes -= less.bytes;
    }
}

impl Room {
    pub const UNLIMITED: Room = Room { groups: u64::MAX, overflow_windows: u64::MAX };
}

impl Drop for Account {
    fn drop(&mut self) {
        let _ = self.settle(Holding::default());
    }
}
