//! A log in memory: partitions with holes, retention, producers and consumer groups; topics that are truncated, or deleted
//! and created anew.
//!
//! Clones share one log. Every call takes one lock, so what one thread appended is what the next
//! call of any thread sees.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use watershed_schemas::identity::TopicId;
use watershed_schemas::log::{Delivery, Log, LogError, Reader, Records, Subscription};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};

/// One record as it was produced. A tombstone has no payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: i64,
    pub timestamp: i64,
    pub payload: Option<Vec<u8>>,
}

/// A log of any number of topics.
#[derive(Clone, Debug, Default)]
pub struct MemoryLog {
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    topics: BTreeMap<String, Vec<PartitionLog>>,
    /// How often a topic was created anew: part of its id.
    recreated: BTreeMap<String, u64>,
    /// Brokers that are too old to tell topics' ids.
    hides_ids: bool,
    cleanup_policies: BTreeMap<String, String>,
    groups: BTreeMap<(String, String), Group>,
    next_member: u64,
}

#[derive(Clone, Debug, Default)]
struct PartitionLog {
    start: i64,
    /// The next offset that a producer gets: the last stable offset, for nothing here is uncommitted.
    end: i64,
    records: Vec<Record>,
}

/// Who shares a topic. Partitions go round robin over the members in the order in which they joined.
#[derive(Debug, Default)]
struct Group {
    members: Vec<u64>,
    generation: u64,
}

impl MemoryLog {
    pub fn new() -> Self {
        Self::default()
    }

    /// A log with one topic.
    pub fn with_topic(topic: &str, partitions: i32) -> Self {
        let log = Self::new();
        log.create(topic, partitions);
        log
    }

    /// Creates a topic, or gives an existing one more partitions.
    pub fn create(&self, topic: &str, partitions: i32) {
        let mut state = self.lock();
        let logs = state.topics.entry(topic.to_string()).or_default();
        let count = logs.len().max(partitions as usize);
        logs.resize(count, PartitionLog::default());
        for ((of, _), group) in &mut state.groups {
            if of == topic {
                group.generation += 1;
            }
        }
        self.shared.changed.notify_all();
    }

    /// Appends a record and gives its offset.
    pub fn append(&self, topic: &str, partition: i32, timestamp: i64, payload: Option<&[u8]>) -> i64 {
        let offset = self.change(topic, partition, |log| {
            let offset = log.end;
            log.records.push(Record { offset, timestamp, payload: payload.map(<[u8]>::to_vec) });
            log.end += 1;
            offset
        });
        self.shared.changed.notify_all();
        offset
    }

    /// Lets offsets pass that no reader will ever see, as transaction markers and compaction do.
    pub fn skip(&self, topic: &str, partition: i32, offsets: i64) {
        self.change(topic, partition, |log| log.end += offsets);
        self.shared.changed.notify_all();
    }

    /// Removes one record and leaves a hole, as compaction does.
    pub fn compact(&self, topic: &str, partition: i32, offset: i64) {
        self.change(topic, partition, |log| log.records.retain(|record| record.offset != offset));
    }

    /// Retention: everything below `start` is gone.
    pub fn trim(&self, topic: &str, partition: i32, start: i64) {
        self.change(topic, partition, |log| {
            log.start = start;
            log.end = log.end.max(start);
            log.records.retain(|record| record.offset >= start);
        });
    }

    /// An unclean election: the records from `end` on are gone, and their offsets are given out again.
    pub fn truncate(&self, topic: &str, partition: i32, end: i64) {
        self.change(topic, partition, |log| {
            log.end = end;
            log.records.retain(|record| record.offset < end);
        });
    }

    /// From now on nobody is told topics' ids, as by brokers that are too old.
    pub fn hide_ids(&self) {
        self.lock().hides_ids = true;
    }

    pub fn set_cleanup_policy(&self, topic: &str, policy: &str) {
        self.lock().cleanup_policies.insert(topic.to_string(), policy.to_string());
    }

    /// The topic is deleted and created anew, empty.
    pub fn recreate(&self, topic: &str) {
        let mut state = self.lock();
        *state.recreated.entry(topic.to_string()).or_default() += 1;
        for log in state.topics.get_mut(topic).into_iter().flatten() {
            *log = PartitionLog::default();
        }
    }

    /// Every record of a partition that is still there: what an oracle folds.
    pub fn records(&self, topic: &str, partition: i32) -> Vec<Record> {
        self.change(topic, partition, |log| log.records.clone())
    }

    pub fn partitions(&self, topic: &str) -> i32 {
        self.lock().topics.get(topic).map_or(0, |logs| logs.len() as i32)
    }

    fn change<R>(&self, topic: &str, partition: i32, act: impl FnOnce(&mut PartitionLog) -> R) -> R {
        let mut state = self.lock();
        let logs = state.topics.get_mut(topic).unwrap_or_else(|| panic!("no topic {topic}"));
        act(logs.get_mut(partition as usize).unwrap_or_else(|| panic!("no partition {partition} of {topic}")))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.shared.state.lock().expect("no test panics while it holds the log")
    }

    /// Waits until `look` finds something or the timeout has passed.
    fn wait<R>(&self, timeout: Duration, mut look: impl FnMut(&mut State) -> Option<R>) -> Option<R> {
        let deadline = Instant::now() + timeout;
        let mut state = self.lock();
        loop {
            if let Some(found) = look(&mut state) {
                return Some(found);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            state = self
                .shared
                .changed
                .wait_timeout(state, left)
                .expect("no test panics while it holds the log")
                .0;
        }
    }
}

impl State {
    fn partition(&self, topic: &str, partition: Partition) -> Result<&PartitionLog, LogError> {
        let logs =
            self.topics.get(topic).ok_or_else(|| LogError::UnknownTopic { topic: topic.to_string() })?;
        logs.get(partition.0 as usize).ok_or_else(|| LogError::OutOfRange {
            partition,
            needed: Offset(0),
            held: OffsetRange::new(Offset(0), Offset(0)),
        })
    }

    fn assignment(&self, topic: &str, group: &str, member: u64) -> Vec<Partition> {
        let Some(Group { members, .. }) = self.groups.get(&(topic.to_string(), group.to_string())) else {
            return Vec::new();
        };
        let partitions = self.topics.get(topic).map_or(0, Vec::len);
        (0..partitions)
            .filter(|partition| members[partition % members.len()] == member)
            .map(|partition| Partition(partition as i32))
            .collect()
    }
}

impl PartitionLog {
    fn held(&self) -> OffsetRange {
        OffsetRange::new(Offset(self.start), Offset(self.end))
    }

    /// What lies at `position`: `None` when nothing does yet, and records (maybe none, over a hole) otherwise.
    fn fetch(
        &self,
        partition: Partition,
        position: i64,
        max_records: usize,
    ) -> Result<Option<Records>, LogError> {
        if position < self.start || position > self.end {
            return Err(LogError::OutOfRange { partition, needed: Offset(position), held: self.held() });
        }
        if position == self.end {
            return Ok(None);
        }
        let mut records = Records::new(partition, Offset(position));
        let first = self.records.partition_point(|record| record.offset < position);
        for record in self.records[first..].iter().take(max_records) {
            records.push(Offset(record.offset), record.timestamp, record.payload.as_deref());
        }
        if first + records.len() == self.records.len() {
            records.position = self.end;
        }
        Ok(Some(records))
    }
}

impl Log for MemoryLog {
    fn bounds(&self, topic: &str) -> Result<Vec<(Partition, OffsetRange)>, LogError> {
        let state = self.lock();
        let logs =
            state.topics.get(topic).ok_or_else(|| LogError::UnknownTopic { topic: topic.to_string() })?;
        Ok(logs.iter().enumerate().map(|(index, log)| (Partition(index as i32), log.held())).collect())
    }

    fn reader(&self, topic: &str, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, LogError> {
        let held = self.lock().partition(topic, partition)?.held();
        if from < held.from || from > held.until {
            return Err(LogError::OutOfRange { partition, needed: from, held });
        }
        Ok(Box::new(MemoryReader {
            log: self.clone(),
            topic: topic.to_string(),
            partition,
            position: from.0,
        }))
    }

    fn subscribe(&self, topic: &str, group: &str) -> Result<Box<dyn Subscription>, LogError> {
        let mut state = self.lock();
        if !state.topics.contains_key(topic) {
            return Err(LogError::UnknownTopic { topic: topic.to_string() });
        }
        state.next_member += 1;
        let member = state.next_member;
        let shared = state.groups.entry((topic.to_string(), group.to_string())).or_default();
        shared.members.push(member);
        shared.generation += 1;
        self.shared.changed.notify_all();
        Ok(Box::new(MemorySubscription {
            log: self.clone(),
            topic: topic.to_string(),
            group: group.to_string(),
            member,
            generation: 0,
            owned: Vec::new(),
            positions: BTreeMap::new(),
            turn: 0,
        }))
    }

    fn topic_id(&self, topic: &str) -> Result<Option<TopicId>, LogError> {
        let state = self.lock();
        if !state.topics.contains_key(topic) {
            return Err(LogError::UnknownTopic { topic: topic.to_string() });
        }
        let times = state.recreated.get(topic).copied().unwrap_or_default();
        Ok((!state.hides_ids).then(|| TopicId(format!("{topic}#{times}"))))
    }

    fn cleanup_policy(&self, topic: &str) -> Result<Option<String>, LogError> {
        Ok(self.lock().cleanup_policies.get(topic).cloned())
    }
}

struct MemoryReader {
    log: MemoryLog,
    topic: String,
    partition: Partition,
    position: i64,
}

impl Reader for MemoryReader {
    fn next(&mut self, max_records: usize, timeout: Duration) -> Result<Records, LogError> {
        let fetched = self.log.wait(timeout, |state| {
            let log = match state.partition(&self.topic, self.partition) {
                Ok(log) => log,
                Err(error) => return Some(Err(error)),
            };
            log.fetch(self.partition, self.position, max_records).transpose()
        });
        let records = fetched.unwrap_or_else(|| Ok(Records::new(self.partition, Offset(self.position))))?;
        self.position = records.position;
        Ok(records)
    }

    fn position(&self) -> Offset {
        Offset(self.position)
    }
}

/// A member of a group. After an error a partition is silent until it is started again. A rebalance first revokes what moves away, then assigns what is new; what stays is left alone.
struct MemorySubscription {
    log: MemoryLog,
    topic: String,
    group: String,
    member: u64,
    generation: u64,
    owned: Vec<Partition>,
    positions: BTreeMap<Partition, i64>,
    /// Which partition is looked at first, so that a busy one does not starve the others.
    turn: usize,
}

impl MemorySubscription {
    fn rebalance(&mut self, state: &State) -> Option<Delivery> {
        let generation = state.groups.get(&(self.topic.clone(), self.group.clone()))?.generation;
        if generation == self.generation {
            return None;
        }
        let wanted = state.assignment(&self.topic, &self.group, self.member);
        let revoked: Vec<_> = self.owned.iter().copied().filter(|owned| !wanted.contains(owned)).collect();
        if !revoked.is_empty() {
            self.owned.retain(|owned| wanted.contains(owned));
            self.positions.retain(|partition, _| wanted.contains(partition));
            return Some(Delivery::Revoked(revoked));
        }
        let assigned: Vec<_> = wanted.iter().copied().filter(|wanted| !self.owned.contains(wanted)).collect();
        self.generation = generation;
        self.owned = wanted;
        (!assigned.is_empty()).then_some(Delivery::Assigned(assigned))
    }

    fn fetch(&mut self, state: &State, max_records: usize) -> Option<Result<Delivery, LogError>> {
        let started: Vec<_> = self.positions.iter().map(|(partition, at)| (*partition, *at)).collect();
        let (mut runs, mut left) = (Vec::new(), max_records);
        for index in 0..started.len() {
            let (partition, position) = started[(self.turn + index) % started.len()];
            let fetched =
                state.partition(&self.topic, partition).and_then(|log| log.fetch(partition, position, left));
            match fetched {
                Ok(None) => {}
                Ok(Some(records)) => {
                    self.positions.insert(partition, records.position);
                    left -= records.len();
                    runs.push(records);
                }
                // Said the next time, behind what comes before it.
                Err(_) if !runs.is_empty() => break,
                Err(error) => {
                    self.positions.remove(&partition);
                    return Some(Err(error));
                }
            }
            if left == 0 {
                break;
            }
        }
        self.turn = self.turn.wrapping_add(1);
        (!runs.is_empty()).then_some(Ok(Delivery::Records(runs)))
    }
}

impl Subscription for MemorySubscription {
    fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Delivery, LogError> {
        let log = self.log.clone();
        let delivery = log.wait(timeout, |state| match self.rebalance(state) {
            Some(delivery) => Some(Ok(delivery)),
            None => self.fetch(state, max_records),
        });
        delivery.unwrap_or(Ok(Delivery::Idle))
    }

    fn start(&mut self, positions: &Offsets) -> Result<(), LogError> {
        for (partition, offset) in positions.iter() {
            if self.owned.contains(&partition) {
                self.positions.insert(partition, offset.0);
            }
        }
        Ok(())
    }
}

/// Leaving a group gives its partitions to the members that stay.
impl Drop for MemorySubscription {
    fn drop(&mut self) {
        let Ok(mut state) = self.log.shared.state.lock() else { return };
        let key = (self.topic.clone(), self.group.clone());
        if let Some(group) = state.groups.get_mut(&key) {
            group.members.retain(|member| *member != self.member);
            group.generation += 1;
            if group.members.is_empty() {
                state.groups.remove(&key);
            }
        }
        drop(state);
        self.log.shared.changed.notify_all();
    }
}
