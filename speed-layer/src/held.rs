//! The folds of an open partition, as threads and tasks share them.
//!
//! Each partition has a lock of its own: readers see one consistent cut per partition, and the fold of
//! one partition waits for readers of that partition only.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard, TryLockError};

use crate::partition::PartitionEpochs;

/// The folds of an open partition.
#[derive(Debug)]
pub struct Held {
    epochs: RwLock<PartitionEpochs>,
    moves: Moves,
}

/// Counts what may have changed any reply. A change is counted before it can be seen: whoever looks at the number, then at
/// what is held, and finds the number the same later on, knows that what is held is the same too.
#[derive(Clone, Debug, Default)]
pub struct Moves(Arc<AtomicU64>);

impl Moves {
    pub fn count(&self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }

    pub fn number(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}

/// A thread broke an invariant while it changed the partition: nobody may look at it any more.
#[derive(Clone, Copy, Debug)]
pub struct Broken;

impl Held {
    /// `moves` counts the changes of all partitions of a stream.
    pub fn new(epochs: PartitionEpochs, moves: &Moves) -> Arc<Held> {
        Arc::new(Held { epochs: RwLock::new(epochs), moves: moves.clone() })
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
        let epochs = self.epochs.write().map_err(|_| Broken)?;
        self.moves.count();
        Ok(epochs)
    }
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a fold broke off; the partition is opened anew")
    }
}
