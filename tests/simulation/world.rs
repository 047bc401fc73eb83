//! What surrounds the layers: the log with its producers and its retention, the store, and what there ever was.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use ::support::live::{self, STREAM, TOPIC};
use ::support::log::MemoryLog;
use watershed_schemas::layout;
use watershed_schemas::log::{Log, LogError, Reader, Records, Subscription};
use watershed_schemas::manifest::Manifest;
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};
use watershed_store::Store;

use super::fate::Fate;
use super::fault::Fault;
use super::objects::Objects;
use super::rides::{self, Definition, History, Ride};
use super::tables::Tables;

const PARTITIONS: i32 = 2;
const MOST_PARTITIONS: i32 = 3;

pub struct World {
    pub fate: Fate,
    pub log: MemoryLog,
    pub objects: Objects,
    pub store: Store,
    pub tables: Tables,
    /// What a process that starts now is told to answer.
    pub definition: Definition,
    /// How many versions every run keeps: a rollback counts on it.
    pub keep_versions: usize,
    /// Partitions of whose checkpoints an object was damaged where it lies.
    pub damaged: BTreeSet<Partition>,
    records: BTreeMap<Partition, History>,
    /// What is written to a partition behind the first record of a transaction that is not over.
    open: BTreeMap<Partition, Vec<Pending>>,
}

struct Pending {
    transactional: bool,
    ride: Option<Ride>,
    payload: Option<String>,
}

impl World {
    pub fn new(fate: &Fate) -> World {
        let objects = Objects::new(fate);
        World {
            log: MemoryLog::with_topic(TOPIC, PARTITIONS),
            store: objects.store(),
            tables: Tables::default(),
            definition: rides::definition(0),
            keep_versions: 1 + fate.below(3),
            damaged: BTreeSet::new(),
            records: BTreeMap::new(),
            open: BTreeMap::new(),
            objects,
            fate: fate.clone(),
        }
    }

    pub fn partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        (0..self.log.partitions(TOPIC)).map(Partition)
    }

    pub fn any_partition(&self) -> Partition {
        Partition(self.fate.below(self.log.partitions(TOPIC) as usize) as i32)
    }

    pub fn held(&self, partition: Partition) -> OffsetRange {
        let bounds = self.log.bounds(TOPIC).expect("the topic is there");
        bounds.into_iter().find(|(named, _)| *named == partition).expect("the partition is there").1
    }

    /// Where the log ends.
    pub fn ends(&self) -> Offsets {
        self.partitions().map(|partition| (partition, self.held(partition).until)).collect()
    }

    /// Everything a partition ever held.
    pub fn history(&self, partition: Partition) -> &History {
        static NOTHING: History = History::new();
        self.records.get(&partition).unwrap_or(&NOTHING)
    }

    /// The records below `until` that answers from a version (or, without one, from `origin` on) are made of.
    pub fn below(&self, until: &Offsets, origin: &Offsets, version: Option<&Manifest>) -> Ranges<'_> {
        let ranges = |(partition, until): (Partition, Offset)| {
            let mut ranges = vec![OffsetRange::new(origin.get(partition), until)];
            let gaps = version.iter().flat_map(|version| &version.gaps);
            for gap in gaps.filter(|gap| gap.partition == partition) {
                let cut = |range: OffsetRange| {
                    let before = OffsetRange::new(range.from, range.until.min(gap.from));
                    [before, OffsetRange::new(range.from.max(gap.until), range.until)]
                };
                ranges = ranges.into_iter().flat_map(cut).filter(|range| !range.is_empty()).collect();
            }
            (partition, (self.history(partition), ranges))
        };
        until.iter().map(ranges).collect()
    }

    pub fn produce(&mut self) {
        let partition = self.any_partition();
        if !self.open.contains_key(&partition) && self.fate.fault(Fault::OpenTransaction, 5) {
            self.open.insert(partition, Vec::new());
        }
        for _ in 0..1 + self.fate.below(12) {
            self.produce_one(partition);
        }
        if !self.open.contains_key(&partition) && self.fate.fault(Fault::Hole, 4) {
            // Compaction removed records before anybody read them.
            self.log.skip(TOPIC, partition.0, self.fate.within(1..4));
        }
        if self.fate.one_in(2) {
            self.end_transaction(partition);
        }
    }

    pub fn produce_one(&mut self, partition: Partition) {
        let (ride, payload) = if self.fate.fault(Fault::Tombstone, 40) {
            (None, None)
        } else if self.fate.fault(Fault::BadRecord, 20) {
            (None, Some("{\"at\":".to_string()))
        } else {
            let ride = Ride::random(&self.fate);
            (Some(ride), Some(ride.payload()))
        };
        let copies = if self.fate.fault(Fault::DuplicateRecord, 20) { 2 } else { 1 };
        for _ in 0..copies {
            let payload = payload.clone();
            match self.open.get_mut(&partition) {
                Some(open) => {
                    let transactional = open.is_empty() || self.fate.one_in(2);
                    open.push(Pending { transactional, ride, payload });
                }
                None => self.append(partition, ride, payload),
            }
        }
    }

    fn append(&mut self, partition: Partition, ride: Option<Ride>, payload: Option<String>) {
        let payload = payload.as_ref().map(String::as_bytes);
        let offset = self.log.append(TOPIC, partition.0, live::RECORDED_AT, payload);
        self.records.entry(partition).or_default().push((Offset(offset), ride));
    }

    /// A transaction is committed or aborted: its control record takes an offset, as aborted records do.
    pub fn end_transaction(&mut self, partition: Partition) {
        let Some(pending) = self.open.remove(&partition) else { return };
        let aborted = self.fate.fault(Fault::AbortedTransaction, 2);
        for Pending { transactional, ride, payload } in pending {
            match transactional && aborted {
                true => self.log.skip(TOPIC, partition.0, 1),
                false => self.append(partition, ride, payload),
            }
        }
        self.log.skip(TOPIC, partition.0, 1);
    }

    pub fn add_partition(&mut self) {
        let partitions = self.log.partitions(TOPIC);
        if partitions < MOST_PARTITIONS && self.fate.fault(Fault::AddedPartition, 2) {
            self.log.create(TOPIC, partitions + 1);
        }
    }

    /// Retention takes what neither of the newest two versions needs; or more.
    pub fn trim(&mut self) {
        let partition = self.any_partition();
        let held = self.held(partition);
        let published = self.objects.published();
        let needed = published.iter().rev().take(2).map(|version| version.watershed.get(partition)).min();
        let needed = needed.unwrap_or(held.until);
        let until = match held.until > needed && self.fate.fault(Fault::Loss, 4) {
            true => held.until,
            false if held.from < needed && self.fate.fault(Fault::Retention, 2) => needed,
            false => return,
        };
        let start = self.fate.within(held.from.0..until.0 + 1);
        self.fate.tell(format_args!("partition {partition} begins at {start}, {needed} is needed"));
        self.log.trim(TOPIC, partition.0, start);
    }

    /// An intent vanishes, or one of a run that died long ago turns up.
    pub fn muddle_intents(&mut self) {
        let intents = self.objects.list_all(&layout::intents(STREAM));
        if !intents.is_empty() && self.fate.fault(Fault::LostIntent, 1) {
            self.objects.remove(&intents[self.fate.below(intents.len())]);
        }
    }

    /// A checkpoint's object vanishes, or is damaged where it lies.
    pub fn spoil_checkpoints(&mut self) {
        let partition = self.any_partition();
        let checkpoints = self.objects.list_all(&layout::checkpoints(STREAM, partition));
        if checkpoints.is_empty() {
            return;
        }
        let chosen = &checkpoints[self.fate.below(checkpoints.len())];
        if self.fate.fault(Fault::LostCheckpoint, 2) {
            self.objects.remove(chosen);
        } else if self.fate.fault(Fault::DamagedCheckpoint, 1) {
            self.objects.damage(chosen);
            self.damaged.insert(partition);
        }
    }

    /// The log as a batch run has it.
    pub fn run_log(&self) -> RunLog {
        RunLog { log: self.log.clone(), fate: self.fate.clone() }
    }
}

/// By partition: what it ever held, and which ranges of that are meant.
pub type Ranges<'a> = BTreeMap<Partition, (&'a History, Vec<OffsetRange>)>;

/// The error of a log that does not answer.
pub fn away() -> LogError {
    LogError::Unavailable { brokers: "memory".to_string(), reason: "away".to_string() }
}

/// A log that fails, forgets partitions for a moment, and loses records on their way.
pub struct RunLog {
    log: MemoryLog,
    fate: Fate,
}

impl Log for RunLog {
    fn bounds(&self, topic: &str) -> Result<Vec<(Partition, OffsetRange)>, LogError> {
        if self.fate.fault(Fault::FailedBounds, 12) {
            return Err(away());
        }
        let mut bounds = self.log.bounds(topic)?;
        if self.fate.fault(Fault::FewerPartitions, 12) {
            bounds.remove(self.fate.below(bounds.len()));
        }
        Ok(bounds)
    }

    fn reader(&self, topic: &str, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, LogError> {
        let reader = self.log.reader(topic, partition, from)?;
        Ok(Box::new(RunReader { reader, partition, fate: self.fate.clone() }))
    }

    fn subscribe(&self, _topic: &str, _group: &str) -> Result<Box<dyn Subscription>, LogError> {
        Err(away())
    }
}

struct RunReader {
    reader: Box<dyn Reader>,
    partition: Partition,
    fate: Fate,
}

impl Reader for RunReader {
    fn next(&mut self, max_records: usize, _timeout: Duration) -> Result<Records, LogError> {
        if self.fate.fault(Fault::FailedRead, 30) {
            return Err(away());
        }
        if self.fate.fault(Fault::SilentRead, 20) {
            return Ok(Records::new(self.partition, self.reader.position()));
        }
        let most = max_records.min(1 + self.fate.below(40));
        let records = self.reader.next(most, Duration::ZERO)?;
        match !records.is_empty() && self.fate.fault(Fault::LostRead, 40) {
            true => self.reader.next(most, Duration::ZERO),
            false => Ok(records),
        }
    }

    fn position(&self) -> Offset {
        self.reader.position()
    }
}
