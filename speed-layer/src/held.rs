//! The folds of an open partition, as threads and tasks share them.
//!
//! Each partition has a lock of its own: readers see one consistent cut per partition, and the fold of
//! one partition waits for readers of that partition only.

use std::fmt;
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use crate::partition::PartitionEpochs;

/// The folds of an open partition.
#[derive(Debug)]
pub struct Held {
    epochs: RwLock<PartitionEpochs>,
}

/// A thread broke an invariant while it changed the partition: nobody may look at it any more.
#[derive(Clone, Copy, Debug)]
pub struct Broken;

impl Held {
    pub fn new(epochs: PartitionEpochs) -> Arc<Held> {
        Arc::new(Held { epochs: RwLock::new(epochs) })
    }

    pub fn read(&self) -> Result<RwLockReadGuard<'_, PartitionEpochs>, Broken> {
        self.epochs.read().map_err(|_| Broken)
    }

    /// Never waits, unlike a look at the folds.
    pub(crate) fn is_broken(&self) -> bool {
        self.epochs.is_poisoned()
    }

    /// `Ok(None)` when a writer is at it.
    pub(crate) fn try_read(&self) -> Result<Option<RwLockReadGuard<'_, PartitionEpochs>>, Broken> {
        match self.epochs.try_read() {
            Ok(epochs) => Ok(Some(epochs)),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Poisoned(_)) => Err(Broken),
        }
    }

    pub fn write(&self) -> Result<RwLockWriteGuard<'_, PartitionEpochs>, Broken> {
        self.epochs.write().map_err(|_| Broken)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a fold broke off; the partition is opened anew")
    }
}
