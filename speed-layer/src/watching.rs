//! Watches the log beside whoever follows it: where it ends, so that replies can say how far behind they are, and
//! whether it is still the one that is folded.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};
use watershed_schemas::identity::TopicId;
use watershed_schemas::log::{Log, LogError, refuse_fewer};
use watershed_schemas::offsets::{OffsetRange, Partition};

use crate::recognising::{Followed, Suspicions};
use crate::shared::{Shared, now_ms};
use crate::trouble::Source;

/// The topic's id is asked for once in so many looks at its ends.
const LOOKS_PER_ID: u64 = 10;

/// What one look brought.
struct Seen {
    followed: Vec<Followed>,
    topic_id: Result<Option<TopicId>, LogError>,
    bounds: Result<Vec<(Partition, OffsetRange)>, LogError>,
}

/// Runs until the task is aborted.
pub(crate) async fn watch(shared: Arc<Shared>, log: Arc<dyn Log>) {
    let mut ticks = interval(shared.settings.end_interval);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut suspicions = Suspicions::new(shared.settings.retry_interval);
    for looks in 0_u64.. {
        ticks.tick().await;
        let (asked_at, asked_at_ms) = (shared.now(), now_ms());
        let looked = {
            let (shared, log) = (shared.clone(), log.clone());
            spawn_blocking(move || look(&shared, &*log, looks % LOOKS_PER_ID == 0)).await
        };
        let trouble = match looked {
            Ok(Seen { followed, topic_id, bounds }) => {
                let found = match (&topic_id, &bounds) {
                    (Ok(id), Ok(bounds)) => suspicions.of(&followed, bounds, id.as_ref(), shared.now()),
                    // A topic that was created anew may have fewer partitions, which is refused: its id says more.
                    (Ok(id), Err(_)) => suspicions.of(&followed, &[], id.as_ref(), shared.now()),
                    (Err(_), _) => Vec::new(),
                };
                shared.suspect(found);
                bounds
                    .and_then(|bounds| note(&shared, &bounds, asked_at, asked_at_ms))
                    .err()
                    .map(|error| error.to_string())
            }
            Err(error) => Some(error.to_string()),
        };
        shared.set_trouble(Source::End, trouble.map(|trouble| format!("the log's end: {trouble}")));
    }
}

/// What is folded, before what there is.
fn look(shared: &Shared, log: &dyn Log, with_id: bool) -> Seen {
    let followed = shared.open_partitions().into_iter().filter_map(|(partition, held)| {
        let epochs = held.read().ok()?;
        Some(Followed { partition, live: epochs.live(), log: epochs.log().clone() })
    });
    let (followed, topic) = (followed.collect(), &shared.stream.topic);
    let topic_id = if with_id { log.topic_id(topic) } else { Ok(None) };
    Seen { followed, topic_id, bounds: log.bounds(topic) }
}

fn note(
    shared: &Shared,
    bounds: &[(Partition, OffsetRange)],
    asked_at: Duration,
    asked_at_ms: i64,
) -> Result<(), LogError> {
    let mut progress = shared.progress();
    refuse_fewer(&shared.stream.topic, progress.end.partitions(), bounds)?;
    progress.end = bounds.iter().map(|(partition, held)| (*partition, held.until)).collect();
    (progress.answered_at, progress.end_at_ms) = (asked_at, asked_at_ms);
    Ok(())
}
