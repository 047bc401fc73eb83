//! Is the topic the log that the newest version was folded from?
//!
//! Asked before a run reads anything, and once more when it has read everything. A log that is another one is refused: its
//! offsets mean other records, so what would be landed from the watershed on is not what follows it
//! (invariants `COVER`, `NOTHING_VANISHES`).

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use watershed_schemas::identity::{LogIdentity, OtherLog, TopicId, compacts};
use watershed_schemas::log::LogError;
use watershed_schemas::manifest::{Manifest, Version};
use watershed_schemas::offsets::{OffsetRange, Partition};

use crate::plan::refuse_shrunken_log;
use crate::{BatchError, Job};

/// How many partitions are asked for a record at once.
const PARTITIONS_AT_ONCE: usize = 8;

/// The topic as the brokers tell it now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recognised {
    pub topic_id: Option<TopicId>,
    /// It has another id than the one that was folded, and the operator has accepted it in that one's place.
    pub accepted: bool,
}

impl Recognised {
    /// What the next version remembers of the log, before it has landed anything.
    pub fn remembered(&self, base: Option<&Manifest>) -> LogIdentity {
        let known = base.map(|base| base.log.clone()).unwrap_or_default();
        LogIdentity { topic_id: self.topic_id.clone().or(known.topic_id), ..known }
    }
}

/// Recognises the topic that `base` was folded from by its id, or refuses it.
pub(crate) fn recognise_topic(
    job: &Job,
    base: Option<&Manifest>,
    topic_id: Option<TopicId>,
) -> Result<Recognised, BatchError> {
    let checked = base.map_or(Ok(()), |base| base.log.check_topic(topic_id.as_ref()));
    match (checked, base) {
        (Err(found), Some(base)) if !job.options.accept_topic => Err(other(job, base.version, found)),
        // Only the id is accepted: what the topic holds must be the same.
        (checked, _) => Ok(Recognised { topic_id, accepted: checked.is_err() }),
    }
}

/// Recognises the log that `base` was folded from by the last records below its watershed, or refuses it.
pub(crate) async fn recognise_records(
    job: &Job,
    base: Option<&Manifest>,
    bounds: &[(Partition, OffsetRange)],
) -> Result<(), BatchError> {
    let Some(base) = base else { return Ok(()) };
    refuse_shrunken_log(&job.stream, base, bounds)?;
    // Boxed, so that the compiler sees that a run may move between threads.
    let checks: Vec<BoxFuture<'_, _>> = (bounds.iter())
        .map(|(partition, held)| recognise_record(job, base, *partition, *held).boxed())
        .collect();
    futures::stream::iter(checks).buffered(PARTITIONS_AT_ONCE).try_collect().await
}

async fn recognise_record(
    job: &Job,
    base: &Manifest,
    partition: Partition,
    held: OffsetRange,
) -> Result<(), BatchError> {
    let Some(offset) = base.log.witness(partition, held) else { return Ok(()) };
    let (log, topic) = (job.log.clone(), job.stream.topic.clone());
    let found = asked(job, move || log.record_at(&topic, partition, offset)).await?;
    if found.is_none() {
        tracing::debug!(%partition, %offset, "the log no longer holds the record that it is recognised by");
    }
    let checked = base.log.check_record(partition, found.as_ref());
    checked.map_err(|found| other(job, base.version, found))
}

/// Refuses to go on if the topic was created anew while a run read it.
pub(crate) async fn recheck(
    job: &Job,
    version: Version,
    recognised: &Option<TopicId>,
) -> Result<(), BatchError> {
    let found = topic_id(job).await?;
    let log = LogIdentity { topic_id: recognised.clone(), ..LogIdentity::default() };
    log.check_topic(found.as_ref()).map_err(|found| other(job, version, found))
}

/// A compacted topic forgets events that are folded already, and those that are not.
pub(crate) async fn refuse_compacted(job: &Job) -> Result<(), BatchError> {
    let (log, topic) = (job.log.clone(), job.stream.topic.clone());
    match asked(job, move || log.cleanup_policy(&topic)).await? {
        Some(policy) if compacts(&policy) => {
            Err(BatchError::Compacted { topic: job.stream.topic.clone(), policy })
        }
        Some(_) | None => Ok(()),
    }
}

fn other(job: &Job, version: Version, found: OtherLog) -> BatchError {
    BatchError::OtherLog { topic: job.stream.topic.clone(), version, found }
}

/// What tells the topic from another of its name, as the brokers tell it now.
pub(crate) async fn topic_id(job: &Job) -> Result<Option<TopicId>, BatchError> {
    let (log, topic) = (job.log.clone(), job.stream.topic.clone());
    asked(job, move || log.topic_id(&topic)).await
}

/// What the log answers, asked beside the runtime's threads.
async fn asked<R: Send + 'static>(
    job: &Job,
    ask: impl FnOnce() -> Result<R, LogError> + Send + 'static,
) -> Result<R, BatchError> {
    job.store.beside(ask).await?.map_err(BatchError::Log)
}
