//! Checkpoints to the store.
//!
//! What has changed of a partition continues its [`Chain`](crate::checkpoint::Chain) with one object. A save that fails
//! leaves the chain before it; the next one has what that one had.

use std::sync::{Arc, RwLockWriteGuard};
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};
use watershed_schemas::layout;
use watershed_schemas::offsets::Partition;
use watershed_store::StoreError;

use crate::checkpoint::{CheckpointError, Link, Snapshot};
use crate::partition::PartitionEpochs;
use crate::shared::{Broken, Held, Shared, now_ms};
use crate::trouble::Source;

#[derive(Debug, thiserror::Error)]
enum SaveError {
    #[error("{0}")]
    Folds(Broken),
    #[error(transparent)]
    Encode(#[from] CheckpointError),
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("encoding broke off: {0}")]
    Broken(#[from] JoinError),
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
    let saves = partitions.iter().map(|(partition, held)| save(shared, *partition, held));
    let trouble = match timeout(limit, join_all(saves)).await {
        Ok(results) => results.into_iter().find_map(Result::err).map(|error| format!("checkpoint: {error}")),
        Err(_) => Some(format!("checkpoint: not written within {limit:?}")),
    };
    if trouble.is_none() {
        shared.set_saved_at_ms(now_ms());
    }
    shared.set_trouble(Source::Checkpoint, trouble);
}

async fn save(shared: &Arc<Shared>, partition: Partition, held: &Arc<Held>) -> Result<(), SaveError> {
    let _one_at_a_time = shared.saving.lock().await;
    let sealing = {
        let (shared, held) = (shared.clone(), held.clone());
        spawn_blocking(move || seal(&shared, &held))
    };
    let Some((link, bytes)) = sealing.await?? else { return Ok(()) };
    shared.store.put(&link.path, bytes).await?;
    change(held, move |epochs| epochs.chain_mut().wrote(link)).await?;
    tidy(shared, partition, held).await
}

/// `None` if nothing has changed since the last checkpoint.
fn seal(shared: &Shared, held: &Held) -> Result<Option<(Link, Bytes)>, SaveError> {
    let is_saved = |epochs: &PartitionEpochs| epochs.chain().has(epochs.revision());
    if is_saved(&*held.read().map_err(SaveError::Folds)?) {
        return Ok(None);
    }
    let snapshot = {
        let mut epochs = held.write().map_err(SaveError::Folds)?;
        epochs.cut();
        // Nothing is folded until the rows are copied; whoever only reads need not wait for that.
        let epochs = RwLockWriteGuard::downgrade(epochs);
        Snapshot::next(&shared.stream.name, &epochs)
    };
    Ok(Some(snapshot.seal()?))
}

/// Removes what nobody needs any more, and looks whether all that is needed is there.
async fn tidy(shared: &Arc<Shared>, partition: Partition, held: &Arc<Held>) -> Result<(), SaveError> {
    let listed = shared.store.list_objects(&layout::checkpoints(&shared.stream.name, partition)).await?;
    let (missing, removable) =
        change(held, move |epochs| (epochs.chain().missing(&listed), epochs.chain_mut().removable(&listed)))
            .await?;
    for path in missing {
        // A listing may be late.
        if !shared.store.exists(&path).await? {
            let stream = &shared.stream.name;
            tracing::warn!(stream, path, "a checkpoint is gone: the next one is written whole");
            change(held, |epochs| epochs.chain_mut().break_off()).await?;
        }
    }
    for path in removable {
        shared.store.delete(&path).await?;
    }
    Ok(())
}

/// Changes a partition as soon as its readers let go of it.
async fn change<T: Send + 'static>(
    held: &Arc<Held>,
    change: impl FnOnce(&mut PartitionEpochs) -> T + Send + 'static,
) -> Result<T, SaveError> {
    let held = held.clone();
    spawn_blocking(move || held.write().map(|mut epochs| change(&mut epochs)).map_err(SaveError::Folds))
        .await?
}
