//! Watches the store for versions and intents, and says which folds are wanted.

use std::sync::Arc;

use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};
use watershed_schemas::manifest::{Manifest, Version};
use watershed_store::{Newest, Store, StoreError};

use crate::shared::{Shared, now_ms};
use crate::trouble::Source;
use crate::wanted::{Definitions, Known, Published};

/// Every so many looks the newest version is looked up anew and not only its successor: a node that slept
/// while retention removed that successor would otherwise never wake up.
const FULL_LOOK: u64 = 32;

/// Runs until the task is aborted; `look` asks for a look at once.
pub(crate) async fn watch(shared: Arc<Shared>, look: Arc<Notify>) {
    let mut known = Known::default();
    let mut definitions = Definitions::new(shared.views.clone());
    let mut ticks = interval(shared.settings.refresh_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for looks in 0_u64.. {
        tokio::select! {
            _ = ticks.tick() => {}
            () = look.notified() => {}
        }
        let full = looks % FULL_LOOK == 0;
        match refresh(&shared.store, &shared.stream.name, &mut known, full).await {
            Ok(damaged) => {
                let trouble = damaged.map(|error| format!("a version is passed over: {error}"));
                shared.set_trouble(Source::Store, trouble);
                shared.set_wanted(definitions.wanted(&known, now_ms()));
            }
            Err(error) => shared.set_trouble(Source::Store, Some(format!("versions and intents: {error}"))),
        }
    }
}

/// Brings what is known up to date, or leaves it as it is. A `full` look does not count on finding the successor of
/// the version that was last seen. Serving nodes answer from the newest version that is sound, so that one counts; what is
/// wrong with a later one is given back.
pub async fn refresh(
    store: &Store,
    stream: &str,
    known: &mut Known,
    full: bool,
) -> Result<Option<StoreError>, StoreError> {
    let version = known.newest.as_ref().map(|newest| newest.version);
    // Intents before versions: one that is gone because its version is out is then seen as that version, and the
    // epoch that both name stays open.
    let intents = store.intents(stream).await?;
    let found = match version {
        Some(version) if !full => match store.manifest(stream, version.next()).await {
            Ok(None) => Newest::default(),
            Err(error) if !error.is_damage() => return Err(error),
            _ => store.newest_sound(stream, Some(version)).await?,
        },
        _ => store.newest_sound(stream, version).await?,
    };
    let damaged = found.damaged.into_iter().next_back().map(|(_, error)| error);
    if version.is_none() && found.sound.is_none() {
        // There are versions, and it is not known where their watersheds lie.
        if let Some(damaged) = damaged {
            return Err(damaged);
        }
    }
    // Another version of the same number comes of removing a manifest by hand.
    let found = found.sound.filter(|found| Some(found.version) >= version);
    let news = |found: &Published| known.newest.as_ref() != Some(found);
    if let Some(newest) = found.as_ref().map(Published::from).filter(news) {
        let previous = match &known.newest {
            Some(last) if last.version.next() == newest.version => Some(last.clone()),
            _ => before(store, stream, newest.version).await?.as_ref().map(Published::from),
        };
        tracing::info!(stream, version = %newest.version, watershed = %newest.watershed, "version seen");
        known.previous = previous;
        known.newest = Some(newest);
    }
    known.intents = intents;
    Ok(damaged)
}

/// The sound version before: servers that are behind answer from it, and those that find a file of the newest damaged.
async fn before(store: &Store, stream: &str, version: Version) -> Result<Option<Manifest>, StoreError> {
    let retained = store.versions(stream).await?;
    for before in retained.into_iter().rev().filter(|before| *before < version) {
        match store.manifest(stream, before).await {
            Ok(None) => {}
            Err(error) if error.is_damage() => {
                tracing::warn!(stream, version = %before, %error, "a version is passed over");
            }
            found => return found,
        }
    }
    Ok(None)
}
