//! Partitions that are on their way from one speed node to another.
//!
//! While a consumer group rebalances, nobody holds some partition for a moment. A question then waits a little, rather
//! than be answered without it: but only while there is a speed layer that may be at it, which is when it held
//! every partition not long ago. Whatever is away for longer is told at once.

use std::time::Duration;

use watershed_schemas::offsets::{Offsets, Partition};
use watershed_store::Store;

use crate::live::Chosen;
use crate::versions::StreamState;

/// A hand-over takes no longer: the session of a node that died, and the rebalance after it.
const LONGEST: Duration = Duration::from_secs(20);
/// Between two questions to the speed layer.
const PAUSE: Duration = Duration::from_millis(50);

/// One question's patience.
pub(super) struct HandOver {
    limit: Duration,
    /// By the store's clock.
    until: Option<Duration>,
}

impl HandOver {
    /// `limit` is how long a question may wait altogether.
    pub fn new(limit: Duration) -> Self {
        HandOver { limit, until: None }
    }

    /// Waits a moment; false when there is nothing to wait for, or no longer.
    pub async fn wait(&mut self, state: &StreamState, store: &Store) -> bool {
        let now = store.now();
        let until = *self.until.get_or_insert(now + self.limit);
        if now >= until || !is_plausible(state, store) {
            return false;
        }
        store.sleep(PAUSE.min(until - now)).await;
        true
    }
}

/// True while what is missing may be in the middle of a hand-over.
pub(super) fn is_plausible(state: &StreamState, store: &Store) -> bool {
    state.covered_at().is_some_and(|covered_at| store.now() - covered_at < LONGEST)
}

/// The partitions of `end` that no node holds.
pub(super) fn unheld(end: &Offsets, chosen: &Chosen) -> Vec<Partition> {
    end.partitions().filter(|partition| !chosen.live.names(*partition)).collect()
}

/// Names all of them.
pub(super) fn told(unheld: &[Partition], partitions: usize) -> String {
    let names: Vec<String> = unheld.iter().map(Partition::to_string).collect();
    let noun = if names.len() == 1 { "partition" } else { "partitions" };
    let held = partitions - unheld.len();
    format!("no speed node holds {noun} {} ({held} of {partitions} are held)", names.join(", "))
}
