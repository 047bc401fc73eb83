//! Checkpoints to the store.
//!
//! What has changed of a partition continues its [`Chain`](crate::checkpoint::Chain) with one object. A save that fails
//! leaves the chain before it; the next one has what that one had.

use std::sync::{Arc, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::{MissedTickBehavior, interval, timeout};
use watershed_schemas::layout;
use watershed_schemas::offsets::Partition;
use watershed_store::{Interrupted, Store, StoreError};

use crate::checkpoint::{CheckpointError, Link, Snapshot};
use crate::held::{Broken, Held};
use crate::partition::PartitionEpochs;
use crate::shared::{Shared, now_ms};
use crate::trouble::Source;

/// Why a partition is not saved.
#[derive(Debug, thiserror::Error)]
pub enum SaveError {
    #[error("{0}")]
    Folds(Broken),
    #[error(transparent)]
    Encode(#[from] CheckpointError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

/// Saves what has changed, time and again, until the task is aborted.
pub(crate) async fn keep_saving(shared: Arc<Shared>) {
    let period = shared.settings.checkpoint_interval;
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first tick is due at once.
    ticks.tick().await;
    loop {
        ticks.tick().await;
        let open = shared.open_partitions();
        save_all(&shared, open, Duration::MAX).await;
    }
}

/// Saves these partitions where they have changed, within `limit`.
pub(crate) async fn save_all(shared: &Arc<Shared>, partitions: Vec<(Partition, Arc<Held>)>, limit: Duration) {
    if partitions.is_empty() {
        return;
    }
    let saves = partitions.iter().map(async |(partition, held)| {
        let _one_at_a_time = shared.saving.lock().await;
        save(&shared.store, &shared.stream.name, *partition, held).await
    });
    let trouble = match timeout(limit, join_all(saves)).await {
        Ok(results) => results.into_iter().find_map(Result::err).map(|error| format!("checkpoint: {error}")),
        Err(_) => Some(format!("checkpoint: not written within {limit:?}")),
    };
    if trouble.is_none() {
        shared.set_saved_at_ms(now_ms());
    }
    shared.set_trouble(Source::Checkpoint, trouble);
}

/// Saves a partition if it has changed, and removes what is then needed no more. Two saves of a node must not overlap.
pub async fn save(
    store: &Store,
    stream: &str,
    partition: Partition,
    held: &Arc<Held>,
) -> Result<(), SaveError> {
    let sealing = {
        let (stream, held) = (stream.to_string(), held.clone());
        store.beside(move || seal(&stream, &held))
    };
    let Some((link, bytes)) = sealing.await?? else { return Ok(()) };
    store.put(&link.path, bytes).await?;
    change(store, held, move |epochs| epochs.chain_mut().wrote(link)).await?;
    tidy(store, stream, partition, held).await
}

/// `None` if nothing has changed since the last checkpoint.
fn seal(stream: &str, held: &Held) -> Result<Option<(Link, Bytes)>, SaveError> {
    let is_saved = |epochs: &PartitionEpochs| epochs.chain().has(epochs.revision());
    if is_saved(&*held.read().map_err(SaveError::Folds)?) {
        return Ok(None);
    }
    let snapshot = {
        let mut epochs = held.write().map_err(SaveError::Folds)?;
        epochs.cut();
        // Nothing is folded until the rows are copied; whoever only reads need not wait for that.
        let epochs = RwLockWriteGuard::downgrade(epochs);
        Snapshot::next(stream, &epochs)
    };
    Ok(Some(snapshot.seal()?))
}

/// Removes what nobody needs any more, and looks whether all that is needed is there.
async fn tidy(store: &Store, stream: &str, partition: Partition, held: &Arc<Held>) -> Result<(), SaveError> {
    let listed = store.list_objects(&layout::checkpoints(stream, partition)).await?;
    let look = move |epochs: &mut PartitionEpochs| {
        (epochs.chain().missing(&listed), epochs.chain_mut().removable(&listed))
    };
    let (missing, removable) = change(store, held, look).await?;
    for path in missing {
        // A listing may be late.
        if !store.exists(&path).await? {
            tracing::warn!(stream, path, "a checkpoint is gone: the next one is written whole");
            change(store, held, |epochs| epochs.chain_mut().break_off()).await?;
        }
    }
    for path in removable {
        store.delete(&path).await?;
    }
    Ok(())
}

/// Changes a partition as soon as its readers let go of it.
async fn change<T: Send + 'static>(
    store: &Store,
    held: &Arc<Held>,
    change: impl FnOnce(&mut PartitionEpochs) -> T + Send + 'static,
) -> Result<T, SaveError> {
    let held = held.clone();
    let changed = store.beside(move || held.write().map(|mut epochs| change(&mut epochs)));
    changed.await?.map_err(SaveError::Folds)
}
