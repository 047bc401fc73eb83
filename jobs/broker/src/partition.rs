//! One partition: its log behind a lock, and the fetches that wait at its end.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::locks::lock;
use crate::log::Log;

#[derive(Debug)]
pub struct Partition {
    pub index: i32,
    log: Mutex<Log>,
    deleted: AtomicBool,
    /// Rung when the log grows or goes away. A bell belongs to one waiting fetch and hangs on all its partitions.
    bells: Mutex<HashMap<u64, Arc<Notify>>>,
    next_bell: AtomicU64,
}

impl Partition {
    pub fn new(index: i32, log: Log) -> Partition {
        Partition {
            index,
            log: Mutex::new(log),
            deleted: AtomicBool::new(false),
            bells: Mutex::default(),
            next_bell: AtomicU64::new(0),
        }
    }

    /// Runs `work` on the log, alone.
    pub fn with_log<T>(&self, work: impl FnOnce(&mut Log) -> T) -> T {
        work(&mut lock(&self.log))
    }

    /// Wakes every fetch that waits here. A bell that is rung before its owner listens stays rung.
    pub fn ring(&self) {
        lock(&self.bells).values().for_each(|bell| bell.notify_one());
    }

    /// Hangs up a bell, until the returned value is dropped.
    pub fn hang(self: &Arc<Self>, bell: &Arc<Notify>) -> HungBell {
        let id = self.next_bell.fetch_add(1, Ordering::Relaxed);
        lock(&self.bells).insert(id, Arc::clone(bell));
        HungBell { partition: Arc::clone(self), id }
    }

    /// From now on the partition answers as if it had never been.
    pub fn delete(&self) {
        self.deleted.store(true, Ordering::Release);
        self.ring();
    }

    pub fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
pub struct HungBell {
    partition: Arc<Partition>,
    id: u64,
}

impl Drop for HungBell {
    fn drop(&mut self) {
        lock(&self.partition.bells).remove(&self.id);
    }
}
