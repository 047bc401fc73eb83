//! Checkpoints to and from the store.
//!
//! A partition keeps its last two. One that cannot be read is reported and passed over: an older one or
//! a replay takes its place, so a checkpoint saves time and is never needed.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::task::{JoinError, spawn_blocking};
use tokio::time::{MissedTickBehavior, interval, timeout};
use watershed_schemas::layout::{self, Object};
use watershed_schemas::offsets::{Offset, Partition};
use watershed_store::StoreError;

use crate::checkpoint::{Checkpoint, CheckpointError, Snapshot};
use crate::shared::{Held, Shared, now_ms};
use crate::trouble::Source;

/// How many checkpoints a partition keeps.
const KEPT: usize = 2;

#[derive(Debug, thiserror::Error)]
enum SaveError {
    #[error("{0}")]
    Folds(String),
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
    let taken = {
        let (shared, held) = (shared.clone(), held.clone());
        spawn_blocking(move || encode(&shared, &held)).await??
    };
    let Some((snapshot, bytes)) = taken else { return Ok(()) };
    let object = Object::Checkpoint {
        stream: shared.stream.name.clone(),
        partition,
        offset: snapshot.live,
        node: shared.settings.node.clone(),
    };
    shared.store.put(&object.path(), bytes).await?;
    held.saved.store(snapshot.revision, Ordering::Release);
    prune(shared, partition).await?;
    Ok(())
}

/// Which moment was encoded.
struct Taken {
    revision: u64,
    live: Offset,
}

/// `None` if nothing has changed since the last checkpoint.
fn encode(shared: &Shared, held: &Held) -> Result<Option<(Taken, Bytes)>, SaveError> {
    let snapshot = {
        let epochs = held.read().map_err(|broken| SaveError::Folds(broken.to_string()))?;
        if epochs.revision() == held.saved.load(Ordering::Acquire) {
            return Ok(None);
        }
        Snapshot::of(&shared.stream.name, &epochs)
    };
    let taken = Taken { revision: snapshot.revision, live: snapshot.live };
    Ok(Some((taken, snapshot.encode()?)))
}

/// Removes all but the last written ones. Written, not furthest: of a topic that was created anew, offsets begin again.
async fn prune(shared: &Shared, partition: Partition) -> Result<(), StoreError> {
    let folder = layout::checkpoints(&shared.stream.name, partition);
    let mut objects = shared.store.list_objects(&folder).await?;
    objects.sort_by(|left, right| (right.modified_ms, &right.path).cmp(&(left.modified_ms, &left.path)));
    for object in objects.into_iter().skip(KEPT) {
        shared.store.delete(&object.path).await?;
    }
    Ok(())
}

/// The readable checkpoints of a partition, by any node, the furthest first.
pub(crate) async fn load(shared: &Arc<Shared>, partition: Partition) -> Result<Vec<Checkpoint>, StoreError> {
    let stream = &shared.stream.name;
    let mut checkpoints = Vec::new();
    let mut paths = shared.store.list(&layout::checkpoints(stream, partition)).await?;
    paths.retain(|path| matches!(Object::parse(path), Some(Object::Checkpoint { .. })));
    for path in paths.into_iter().rev() {
        let Some(bytes) = shared.store.get(&path).await? else { continue };
        let decoding = {
            let shared = shared.clone();
            spawn_blocking(move || Checkpoint::decode(&bytes, &shared.stream.name, partition, &shared.views))
        };
        match decoding.await {
            Ok(Ok(checkpoint)) => checkpoints.push(checkpoint),
            Ok(Err(error)) => tracing::warn!(stream, path, %error, "a checkpoint is passed over"),
            Err(error) => tracing::warn!(stream, path, %error, "a checkpoint is passed over"),
        }
    }
    Ok(checkpoints)
}
