//! A log that counts what is read from it and fails at named calls.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use watershed_schemas::identity::{Fingerprint, TopicId};
use watershed_schemas::log::{Delivery, Log, LogError, Reader, Records, Subscription};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};

use crate::log::MemoryLog;

/// Clones watch the same log together.
#[derive(Clone)]
pub struct WatchedLog {
    pub log: MemoryLog,
    watch: Arc<Watch>,
}

#[derive(Default)]
struct Watch {
    delivered: AtomicU64,
    replayed: AtomicU64,
    failing: Mutex<BTreeSet<Call>>,
    /// Partitions of which a member is told next that the log does not hold its position.
    gaps: Mutex<BTreeSet<Partition>>,
    /// Partitions whose readers are given nothing.
    silent: Mutex<BTreeSet<Partition>>,
    /// Partitions whose next records do not arrive.
    losing: Mutex<BTreeSet<Partition>>,
    /// Partitions that answers about the topic leave out.
    hidden: Mutex<BTreeSet<Partition>>,
}

/// A call that can be made to fail.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Bounds,
    Reader,
    Subscribe,
    Poll,
    Start,
}

impl WatchedLog {
    pub fn of(log: &MemoryLog) -> Self {
        WatchedLog { log: log.clone(), watch: Arc::default() }
    }

    /// Records that members of a group were given.
    pub fn delivered(&self) -> u64 {
        self.watch.delivered.load(Ordering::SeqCst)
    }

    /// Records that readers of single partitions were given.
    pub fn replayed(&self) -> u64 {
        self.watch.replayed.load(Ordering::SeqCst)
    }

    /// From now on these calls fail, and no others.
    pub fn fail(&self, calls: &[Call]) {
        *self.watch.failing.lock().expect("no test panics while it holds the watch") =
            calls.iter().copied().collect();
    }

    /// The next poll says that the log does not hold this partition's position, whether that is so or not.
    pub fn claim_gap(&self, partition: Partition) {
        self.watch.gaps.lock().expect("no test panics while it holds the watch").insert(partition);
    }

    /// From now on readers of this partition wait in vain.
    pub fn silence(&self, partition: Partition) {
        self.watch.silent.lock().expect("no test panics while it holds the watch").insert(partition);
    }

    /// The next records of this partition are lost on their way to whoever reads them, and nothing says so.
    pub fn lose(&self, partition: Partition) {
        self.watch.losing.lock().expect("no test panics while it holds the watch").insert(partition);
    }

    /// From now on answers about the topic leave these partitions out, and no others.
    pub fn hide(&self, partitions: &[Partition]) {
        *self.watch.hidden.lock().expect("no test panics while it holds the watch") =
            partitions.iter().copied().collect();
    }

    /// True until the records were lost.
    pub fn is_losing(&self, partition: Partition) -> bool {
        self.watch.losing.lock().expect("no test panics while it holds the watch").contains(&partition)
    }

    /// True once for records that are to be lost.
    fn loses(&self, records: &Records) -> bool {
        let mut losing = self.watch.losing.lock().expect("no test panics while it holds the watch");
        !records.is_empty() && losing.remove(&Partition(records.partition))
    }

    fn is_silent(&self, partition: Partition) -> bool {
        self.watch.silent.lock().expect("no test panics while it holds the watch").contains(&partition)
    }

    fn claimed_gap(&self) -> Result<(), LogError> {
        let claimed = self.watch.gaps.lock().expect("no test panics while it holds the watch").pop_first();
        let Some(partition) = claimed else { return Ok(()) };
        let bounds = self.log.bounds(crate::live::TOPIC)?;
        let held = bounds.iter().find(|(named, _)| *named == partition).expect("the partition is there").1;
        Err(LogError::OutOfRange { partition, needed: held.until, held })
    }

    fn check(&self, call: Call) -> Result<(), LogError> {
        let failing = self.watch.failing.lock().expect("no test panics while it holds the watch");
        match failing.contains(&call) {
            true => Err(LogError::Unavailable {
                brokers: "memory".to_string(),
                reason: format!("{call:?} fails"),
            }),
            false => Ok(()),
        }
    }
}

impl Log for WatchedLog {
    fn bounds(&self, topic: &str) -> Result<Vec<(Partition, OffsetRange)>, LogError> {
        self.check(Call::Bounds)?;
        let hidden = self.watch.hidden.lock().expect("no test panics while it holds the watch").clone();
        let bounds = self.log.bounds(topic)?;
        Ok(bounds.into_iter().filter(|(partition, _)| !hidden.contains(partition)).collect())
    }

    /// No replay: a record that is looked at again is folded nowhere.
    fn record_at(
        &self,
        topic: &str,
        partition: Partition,
        offset: Offset,
    ) -> Result<Option<Fingerprint>, LogError> {
        self.check(Call::Reader)?;
        self.log.record_at(topic, partition, offset)
    }

    fn topic_id(&self, topic: &str) -> Result<Option<TopicId>, LogError> {
        self.check(Call::Bounds)?;
        self.log.topic_id(topic)
    }

    fn cleanup_policy(&self, topic: &str) -> Result<Option<String>, LogError> {
        self.check(Call::Bounds)?;
        self.log.cleanup_policy(topic)
    }

    fn reader(&self, topic: &str, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, LogError> {
        self.check(Call::Reader)?;
        let reader = self.log.reader(topic, partition, from)?;
        Ok(Box::new(WatchedReader { log: self.clone(), partition, reader }))
    }

    fn subscribe(&self, topic: &str, group: &str) -> Result<Box<dyn Subscription>, LogError> {
        self.check(Call::Subscribe)?;
        let subscription = self.log.subscribe(topic, group)?;
        Ok(Box::new(WatchedSubscription { log: self.clone(), subscription }))
    }
}

struct WatchedReader {
    log: WatchedLog,
    partition: Partition,
    reader: Box<dyn Reader>,
}

impl Reader for WatchedReader {
    fn next(&mut self, max_records: usize, timeout: Duration) -> Result<Records, LogError> {
        self.log.check(Call::Reader)?;
        if self.log.is_silent(self.partition) {
            std::thread::sleep(timeout);
            return Ok(Records::new(self.partition, self.reader.position()));
        }
        let mut records = self.reader.next(max_records, timeout)?;
        if self.log.loses(&records) {
            records = self.reader.next(max_records, timeout)?;
        }
        self.log.watch.replayed.fetch_add(records.len() as u64, Ordering::SeqCst);
        Ok(records)
    }

    fn position(&self) -> Offset {
        self.reader.position()
    }
}

struct WatchedSubscription {
    log: WatchedLog,
    subscription: Box<dyn Subscription>,
}

impl Subscription for WatchedSubscription {
    fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Delivery, LogError> {
        self.log.check(Call::Poll)?;
        self.log.claimed_gap()?;
        let mut runs = match self.subscription.poll(max_records, timeout)? {
            Delivery::Records(runs) => runs,
            other => return Ok(other),
        };
        runs.retain(|run| !self.log.loses(run));
        let delivered: usize = runs.iter().map(Records::len).sum();
        self.log.watch.delivered.fetch_add(delivered as u64, Ordering::SeqCst);
        Ok(if runs.is_empty() { Delivery::Idle } else { Delivery::Records(runs) })
    }

    fn start(&mut self, positions: &Offsets) -> Result<(), LogError> {
        self.log.check(Call::Start)?;
        self.subscription.start(positions)
    }
}
