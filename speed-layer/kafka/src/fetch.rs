//! What readers and members fetch records with: whole batches from the brokers, or message by message where only
//! librdkafka can reach them.

use std::sync::Arc;
use std::time::Duration;

use watershed_schemas::log::{LogError, Records};
use watershed_schemas::offsets::{Offset, Partition};
use watershed_wire::{self as wire, FetchSettings, Fetcher};

use crate::log::Inner;

/// The fetches of some partitions of a topic.
pub(crate) trait Fetch: Send {
    /// Begins a partition at an offset that is not negative, or moves one that was begun there.
    fn start(&mut self, partition: Partition, offset: Offset) -> Result<(), LogError>;

    /// Nothing more of this partition.
    fn stop(&mut self, partition: Partition);

    /// Waits for something to be there, then takes at most so many records: runs of consecutive ones, of a partition each.
    /// One without records only moves the position.
    fn take(&mut self, most_records: usize, wait: Duration) -> Vec<Result<Records, Fault>>;

    /// What keeps the brokers from being reached, and is not mended by trying again.
    fn lasting(&mut self) -> Option<LogError> {
        None
    }
}

/// Why a partition gives no records.
pub(crate) struct Fault {
    pub partition: Partition,
    pub cause: Cause,
}

pub(crate) enum Cause {
    /// The log does not hold the position: nothing more comes until the partition is started anew.
    OutOfRange,
    /// Records below the position are no longer what the log holds. As above.
    Truncated,
    Other(LogError),
}

/// Whole batches, over connections of our own.
pub(crate) struct Batches {
    log: Arc<Inner>,
    topic: String,
    fetcher: Fetcher,
}

impl Batches {
    pub fn new(log: Arc<Inner>, topic: &str, settings: FetchSettings) -> Result<Self, LogError> {
        let fetcher = Fetcher::new(settings, topic).map_err(|error| log.unavailable(error.to_string()))?;
        Ok(Batches { log, topic: topic.to_string(), fetcher })
    }

    fn cause(&self, fault: wire::Fault) -> Cause {
        match fault {
            wire::Fault::OutOfRange => Cause::OutOfRange,
            wire::Fault::Truncated => Cause::Truncated,
            wire::Fault::Unknown => Cause::Other(LogError::UnknownTopic { topic: self.topic.clone() }),
            fault => Cause::Other(self.log.unavailable(format!("topic {}: {fault}", self.topic))),
        }
    }
}

impl Fetch for Batches {
    fn start(&mut self, partition: Partition, offset: Offset) -> Result<(), LogError> {
        self.fetcher.start(partition, offset);
        Ok(())
    }

    fn stop(&mut self, partition: Partition) {
        self.fetcher.stop(partition);
    }

    fn take(&mut self, most_records: usize, wait: Duration) -> Vec<Result<Records, Fault>> {
        let fetched = self.fetcher.take(most_records, wait);
        let runs = fetched.into_iter().map(|fetched| match fetched {
            wire::Fetched::Records(records) => Ok(records),
            wire::Fetched::Fault(partition, fault) => Err(Fault { partition, cause: self.cause(fault) }),
        });
        runs.collect()
    }
}
