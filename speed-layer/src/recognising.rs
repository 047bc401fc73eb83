//! Is the log still the one that is folded?
//!
//! Asked when a partition is opened, and time and again while it is followed: a client that was away while a topic was
//! deleted and created anew would go on at its offset, among other records (invariant `COVER`). What is found out
//! here makes a partition be opened anew, and what is then held against the newest version refuses another log.

use std::collections::BTreeMap;
use std::time::Duration;

use watershed_schemas::identity::{LogIdentity, REPAIR, TopicId};
use watershed_schemas::log::{Log, LogError};
use watershed_schemas::offsets::{Offset, OffsetRange, Partition};

use crate::checkpoint::Checkpoint;

/// An open partition, as it was before the log was asked.
#[derive(Clone, Debug)]
pub struct Followed {
    pub partition: Partition,
    pub live: Offset,
    pub log: LogIdentity,
}

/// What speaks against the log that is followed. Plain code over values; `now` never goes back.
#[derive(Debug)]
pub struct Suspicions {
    /// A log that ends below what was folded of it is believed to after so long: its end may go back for a moment
    /// while brokers are restarted.
    patience: Duration,
    shorter_since: BTreeMap<Partition, Duration>,
}

impl Suspicions {
    pub fn new(patience: Duration) -> Self {
        Suspicions { patience, shorter_since: BTreeMap::new() }
    }

    /// Which partitions must be opened anew, and why. `topic_id` is `None` where it was not asked for.
    pub fn of(
        &mut self,
        followed: &[Followed],
        bounds: &[(Partition, OffsetRange)],
        topic_id: Option<&TopicId>,
        now: Duration,
    ) -> Vec<(Partition, String)> {
        let end =
            |partition| bounds.iter().find(|(named, _)| *named == partition).map(|(_, held)| held.until);
        self.shorter_since.retain(|partition, _| {
            followed.iter().any(|of| of.partition == *partition && end(*partition) < Some(of.live))
        });
        let mut suspicions = Vec::new();
        for Followed { partition, live, log } in followed {
            if let Err(other) = log.check_topic(topic_id) {
                suspicions.push((*partition, other.to_string()));
                continue;
            }
            let Some(until) = end(*partition).filter(|until| until < live) else { continue };
            let since = *self.shorter_since.entry(*partition).or_insert(now);
            if now - since >= self.patience {
                self.shorter_since.remove(partition);
                suspicions.push((
                    *partition,
                    format!(
                        "partition {partition} was folded up to {live}, but ends at {until}: it was truncated"
                    ),
                ));
            }
        }
        suspicions
    }
}

/// Refuses a log that is not the one that `expected`, a version's, was folded from.
pub fn recognise(
    log: &dyn Log,
    topic: &str,
    partition: Partition,
    held: OffsetRange,
    topic_id: Option<&TopicId>,
    expected: &LogIdentity,
) -> Result<(), String> {
    let other = |found| {
        format!("topic {topic} is not the log that the newest version was folded from: {found}; {REPAIR}")
    };
    expected.check_topic(topic_id).map_err(other)?;
    let Some(offset) = expected.witness(partition, held) else { return Ok(()) };
    let found = log.record_at(topic, partition, offset).map_err(|error| error.to_string())?;
    expected.check_record(partition, found.as_ref()).map_err(other)
}

/// The first of these checkpoints that was made from this very log.
pub fn recognised(
    log: &dyn Log,
    topic: &str,
    partition: Partition,
    held: OffsetRange,
    topic_id: Option<&TopicId>,
    checkpoints: impl IntoIterator<Item = Checkpoint>,
) -> Result<Option<Checkpoint>, LogError> {
    for checkpoint in checkpoints {
        let found = match checkpoint.log.witness(partition, held) {
            Some(offset) => log.record_at(topic, partition, offset)?,
            None => None,
        };
        let checked = checkpoint.log.check_topic(topic_id);
        match checked.and_then(|()| checkpoint.log.check_record(partition, found.as_ref())) {
            Ok(()) => return Ok(Some(checkpoint)),
            Err(other) => {
                let live = checkpoint.live;
                tracing::warn!(topic, %partition, %live, %other, "a checkpoint is not used: it is of another log");
            }
        }
    }
    Ok(None)
}
