//! What stops a batch run. Nothing of a stopped run is visible, unless its error says so.

use std::time::Duration;

use polars::prelude::PolarsError;
use watershed_schemas::identity::{OtherLog, REPAIR};
use watershed_schemas::log::{LogError, NotNext};
use watershed_schemas::manifest::Version;
use watershed_schemas::measure::StateError;
use watershed_schemas::offsets::{Gap, Offset, OffsetRange, Partition};
use watershed_store::{Interrupted, StoreError};

#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Log(LogError),
    /// Its intent is withdrawn, so that nobody waits for its lease to end.
    #[error("stopped by a signal: what was published stands, nothing else of this run is visible")]
    Stopped,
    /// Nothing was published; the next run reads the same range again.
    #[error("the log's reader lost its place: {0}; nothing was published, run again")]
    NotNext(#[from] NotNext),
    #[error(
        "gap at partition {partition}: needed offset {needed}, log starts at {start}; the records between are gone \
         from topic {topic}: restore them, or accept their loss with --accept-gap, which every answer will then say"
    )]
    Gap { topic: String, partition: Partition, needed: Offset, start: Offset },
    #[error(
        "topic {topic} ends at offset {end} in partition {partition}, but with version {version} it has been read \
         up to {watershed}: the topic was truncated or created anew; restore it, or begin anew under another stream name \
         or store.url"
    )]
    Truncated { topic: String, partition: Partition, version: Version, watershed: Offset, end: Offset },
    /// Offsets of this log mean other records than those that were folded.
    #[error(
        "topic {topic} is not the log that version {version} was folded from: {found}; nothing was published; {REPAIR}"
    )]
    OtherLog { topic: String, version: Version, found: OtherLog },
    #[error(
        "topic {topic} is compacted (cleanup.policy={policy}): Kafka keeps only the last record of each key, so events \
         would vanish before or after they are folded; set its cleanup.policy to delete, or declare the stream over a \
         topic that keeps every event"
    )]
    Compacted { topic: String, policy: String },
    #[error(
        "topic {topic} shows no partition {partition}, which with version {version} has been read up to {watershed}: \
         the broker may be starting; run again when it shows all of the topic"
    )]
    PartitionMissing { topic: String, partition: Partition, version: Version, watershed: Offset },
    #[error(
        "partition {partition} of topic {topic} stands still: at offset {position} for {waited:?}, expected to reach \
         {target}; check the broker, then run again"
    )]
    Stalled { topic: String, partition: Partition, position: Offset, target: Offset, waited: Duration },
    /// Two independent computations of the same numbers disagree, so neither is published.
    #[error(
        "view {view}: the second path found {found}, expected {expected} ({what}); nothing was published; \
         this is a defect, please report it with the view's SQL"
    )]
    SecondPath { view: String, what: String, found: String, expected: String },
    #[error("view {view}: {source}")]
    Compute { view: String, source: PolarsError },
    #[error("view {view}: {source}")]
    States { view: String, source: StateError },
    #[error("{path} cannot be read as Parquet: {reason}")]
    ViewFile { path: String, reason: String },
    #[error("events of partition {partition} cannot be written: {source}")]
    Encode { partition: Partition, source: PolarsError },
    #[error("stream {stream} has no version {version} in the store; retained are {retained}")]
    UnknownVersion { stream: String, version: Version, retained: String },
    #[error(
        "version {version} of stream {stream} is past retention (batch.keep_versions), so its files may be gone at any \
         moment: go back to one of {oldest} to {newest}"
    )]
    PastRetention { stream: String, version: Version, oldest: Version, newest: Version },
    /// What would be live again after a rollback has landed only in part, and the log has let go of the rest.
    #[error(
        "topic {topic} begins at offset {start} in partition {partition}, but records have landed only up to {landed}: \
         what lies between is gone, so no live answer above version {version} would be whole; a batch run with \
         --accept-gap writes the loss down, and one can go back to what it publishes"
    )]
    Forgotten { topic: String, partition: Partition, version: Version, landed: Offset, start: Offset },
    #[error(
        "version {version} lies below a loss that was accepted, {gap}: what was live above it cannot be made live \
         again; go back to a version whose watershed is {until} or later there",
        until = .gap.until
    )]
    BelowGap { version: Version, gap: Gap },
    #[error(
        "{path} holds events on both sides of version {version}'s watershed {watershed} in partition {partition} \
         ({range}), so they cannot be told apart by file; go back to another version"
    )]
    Straddles { path: String, version: Version, partition: Partition, range: OffsetRange, watershed: Offset },
    #[error(transparent)]
    Interrupted(#[from] Interrupted),
}

impl BatchError {
    /// True when the version may yet appear, so that its files must be left alone.
    pub(crate) fn may_have_published(&self) -> bool {
        match self {
            BatchError::Store(error) => error.may_have_landed(),
            BatchError::Stopped => true,
            _ => false,
        }
    }
}
