//! What happens by itself: sessions end, logs are synced, old records and forgotten producers go.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::{Instant, MissedTickBehavior, interval};
use tokio_util::sync::CancellationToken;

use crate::BrokerError;
use crate::config::FsyncPolicy;
use crate::shared::Shared;

/// How late a group may notice that time is up.
const GROUP_TICK: Duration = Duration::from_millis(50);
const MINUTE: Duration = Duration::from_secs(60);

pub async fn tick_groups(shared: Arc<Shared>, stop: CancellationToken) {
    let mut ticks = every(GROUP_TICK);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => shared.groups.tick(),
        }
    }
}

/// Syncs logs and journals as often as the policy asks.
pub async fn sync(shared: Arc<Shared>, stop: CancellationToken) {
    let FsyncPolicy::Interval(period) = shared.config.fsync else { return };
    let mut ticks = every(period.max(Duration::from_millis(1)));
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let shared = Arc::clone(&shared);
        // An fsync may take seconds: it must hold up neither the runtime nor, holding their locks, the logs.
        let done = tokio::task::spawn_blocking(move || sync_unlocked(&shared)).await;
        if let Ok(Err(error)) = done {
            tracing::error!(%error, "sync failed: records acknowledged since the last one may not survive a power failure");
        }
    }
}

fn sync_unlocked(shared: &Shared) -> Result<(), BrokerError> {
    for topic in shared.topics.all() {
        for partition in topic.partitions() {
            if let Some((file, path)) = partition.with_log(|log| log.take_unsynced()) {
                file.sync_data().map_err(BrokerError::io(&path))?;
            }
        }
    }
    shared.sync_journals()
}

/// Applies retention and forgets silent producers.
pub async fn retain(shared: Arc<Shared>, stop: CancellationToken) {
    let config = &shared.config;
    let mut ticks = every(config.housekeeping);
    let mut producers_checked = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now_ms = unix_ms(SystemTime::now());
        // Going through all of them costs something, and none is forgotten much too late.
        let check_producers = producers_checked.elapsed() > (config.producer_expiry / 10).min(MINUTE);
        if check_producers {
            producers_checked = Instant::now();
        }
        for topic in shared.topics.all() {
            let limits = topic.settings().limits(config);
            for partition in topic.partitions() {
                let retained = partition.with_log(|log| {
                    if check_producers {
                        log.forget_producers(
                            now_ms.saturating_sub(config.producer_expiry.as_millis() as i64),
                        );
                    }
                    log.retain(&limits, now_ms).map(|moved| moved.then(|| log.start_offset()))
                });
                match retained {
                    Ok(None) => {}
                    Ok(Some(start_offset)) => {
                        tracing::info!(
                            topic = topic.name,
                            partition = partition.index,
                            start_offset,
                            "old segments deleted"
                        );
                    }
                    Err(error) if partition.is_deleted() => {
                        tracing::debug!(%error, "retention met a deleted topic")
                    }
                    Err(error) => tracing::error!(topic = topic.name, %error, "retention failed"),
                }
            }
        }
    }
}

pub fn unix_ms(time: SystemTime) -> i64 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

fn every(period: Duration) -> tokio::time::Interval {
    let mut ticks = interval(period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
