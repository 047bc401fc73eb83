//! One partition, read forward without a group.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use watershed_schemas::log::{LogError, Reader, Records};
use watershed_schemas::offsets::{Offset, Partition};

use crate::fetch::{Cause, Fault, Fetch};
use crate::log::Inner;

/// How long to wait for records before looking at what keeps the brokers from being reached.
const GLANCE: Duration = Duration::from_millis(100);

pub(crate) struct KafkaReader {
    log: Arc<Inner>,
    topic: String,
    partition: Partition,
    position: Offset,
    /// Fetched, and said in the next call.
    pending: VecDeque<Result<Records, Fault>>,
    fetch: Box<dyn Fetch>,
}

impl KafkaReader {
    pub fn open(
        log: Arc<Inner>,
        mut fetch: Box<dyn Fetch>,
        topic: &str,
        partition: Partition,
        from: Offset,
    ) -> Result<Self, LogError> {
        // Negative offsets are librdkafka's names for places in a partition.
        if from.0 < 0 {
            return Err(log.out_of_range(topic, partition, from));
        }
        fetch.start(partition, from)?;
        let (topic, pending) = (topic.to_string(), VecDeque::new());
        Ok(KafkaReader { log, topic, partition, position: from, pending, fetch })
    }
}

impl Reader for KafkaReader {
    fn next(&mut self, max_records: usize, timeout: Duration) -> Result<Records, LogError> {
        let deadline = Instant::now() + timeout;
        let mut trouble = None;
        loop {
            match self.pending.pop_front() {
                Some(Ok(records)) => {
                    self.position = Offset(records.position);
                    return Ok(records);
                }
                Some(Err(Fault { cause: Cause::OutOfRange, .. })) => {
                    return Err(self.log.out_of_range(&self.topic, self.partition, self.position));
                }
                Some(Err(Fault { cause: Cause::Truncated, .. })) => {
                    let (topic, partition, position) = (self.topic.clone(), self.partition, self.position);
                    return Err(LogError::Truncated { topic, partition, position });
                }
                Some(Err(Fault { cause: Cause::Other(error), .. })) => return Err(error),
                None => {}
            }
            let wait = deadline.saturating_duration_since(Instant::now());
            self.pending.extend(self.fetch.take(max_records.max(1), wait.min(GLANCE)));
            if self.pending.is_empty() {
                trouble = self.fetch.lasting().or(trouble);
                if Instant::now() >= deadline {
                    return match trouble {
                        Some(error) => Err(error),
                        None => Ok(Records::new(self.partition, self.position)),
                    };
                }
            }
        }
    }

    fn position(&self) -> Offset {
        self.position
    }
}
