//! Intents with leases: who is at it, and until when.
//!
//! A lease is a courtesy. Two runs that miss each other's waste work and nothing else.

use std::pin::pin;
use std::time::Duration;

use futures::future::{Either, select};
use tokio::sync::Notify;
use watershed_schemas::manifest::Intent;
use watershed_store::{Store, StoreError};

use crate::Clock;

/// A lease is never renewed more often than this.
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);

/// Whether a run may go on.
#[derive(Debug)]
pub(crate) enum Lease {
    Held(Intent),
    Busy(Intent),
}

/// Removes the leases of a stream that ran out: their runs died. One that cannot be read has run out when it was not
/// renewed for as long as a `lease` lasts.
pub(crate) async fn sweep(
    store: &Store,
    stream: &str,
    lease: Duration,
    now_ms: i64,
) -> Result<(), StoreError> {
    for stale in store.intents(stream).await?.iter().filter(|intent| intent.lease_until_ms <= now_ms) {
        tracing::info!(run = stale.run_id, holder = stale.holder, "removing the intent of a run that died");
        store.remove_intent(stale).await?;
    }
    for damaged in store.damaged_intents(stream).await? {
        if damaged.modified_ms.saturating_add(lease.as_millis() as i64) <= now_ms {
            tracing::info!(path = damaged.path, "removing an intent that cannot be read");
            store.delete(&damaged.path).await?;
        }
    }
    Ok(())
}

/// Announces `intent` unless another run's lease is live.
pub(crate) async fn announce(store: &Store, intent: Intent, now_ms: i64) -> Result<Lease, StoreError> {
    let others = store.intents(&intent.stream).await?;
    if let Some(other) = others.iter().find(|other| competes(other, &intent, now_ms)) {
        return Ok(Lease::Busy(other.clone()));
    }
    store.put_intent(&intent).await?;
    // Of two runs that began in the same moment, the one with the smaller id goes on.
    let others = store.intents(&intent.stream).await?;
    let elder = others.iter().find(|other| competes(other, &intent, now_ms) && other.run_id < intent.run_id);
    if let Some(elder) = elder {
        store.remove_intent(&intent).await?;
        return Ok(Lease::Busy(elder.clone()));
    }
    Ok(Lease::Held(intent))
}

/// Takes an intent back, so that nobody waits for its lease.
pub(crate) async fn withdraw(store: &Store, intent: &Intent) {
    if let Err(error) = store.remove_intent(intent).await {
        tracing::warn!(%error, "the intent could not be removed: it lapses with its lease");
    }
}

/// A run whose version is out already only tidies up behind itself.
fn competes(other: &Intent, intent: &Intent, now_ms: i64) -> bool {
    other.run_id != intent.run_id && other.lease_until_ms > now_ms && other.version >= intent.version
}

/// Renews a lease until `done` is notified. No renewal is under way when this returns, so that a lease
/// which is then removed stays removed.
pub(crate) async fn renew(store: &Store, mut intent: Intent, lease: Duration, now: &Clock, done: &Notify) {
    let pause = (lease / 3).max(SHORTEST_PAUSE);
    while let Either::Right(_) = select(pin!(done.notified()), pin!(store.sleep(pause))).await {
        intent.lease_until_ms = now() + lease.as_millis() as i64;
        if let Err(error) = store.put_intent(&intent).await {
            tracing::warn!(%error, "the lease could not be renewed, trying again");
        }
    }
}
