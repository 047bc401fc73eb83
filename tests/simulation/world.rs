//! What surrounds the nodes: the log, the store, batch runs, the clock, and every fault.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::time::Duration;

use ::support::live::{self, DAILY, HOURLY, TOPIC};
use ::support::log::{MemoryLog, Record};
use bytes::Bytes;
use futures::executor::block_on;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use watershed_schemas::log::{Log, LogError};
use watershed_schemas::manifest::{Intent, Manifest};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};
use watershed_schemas::view::View;
use watershed_store::{Publication, Store};

pub const PARTITIONS: i32 = 2;

/// What goes wrong, or otherwise than usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    BadRecord,
    Hole,
    Retention,
    LostDelivery,
    FalseGap,
    FailedPoll,
    FailedStart,
    FailedLook,
    FailedReplay,
    LostSlice,
    MissedIntent,
    StaleIntent,
    NewView,
    Rollback,
    DamagedCheckpoint,
    LostCheckpoint,
    Crash,
    Zombie,
}

impl Fault {
    pub const ALL: [Fault; 18] = [
        Fault::BadRecord,
        Fault::Hole,
        Fault::Retention,
        Fault::LostDelivery,
        Fault::FalseGap,
        Fault::FailedPoll,
        Fault::FailedStart,
        Fault::FailedLook,
        Fault::FailedReplay,
        Fault::LostSlice,
        Fault::MissedIntent,
        Fault::StaleIntent,
        Fault::NewView,
        Fault::Rollback,
        Fault::DamagedCheckpoint,
        Fault::LostCheckpoint,
        Fault::Crash,
        Fault::Zombie,
    ];
}

pub struct World {
    pub random: ChaCha8Rng,
    /// Since the history began.
    pub now: Duration,
    pub log: MemoryLog,
    pub store: Store,
    pub views: BTreeMap<String, Arc<View>>,
    /// By partition, the last two written ones.
    pub checkpoints: BTreeMap<Partition, Vec<Bytes>>,
    pub faults: BTreeMap<Fault, u64>,
    /// Comparisons with the oracle.
    pub checks: u64,
    /// Everything that was done, and what came of it.
    pub story: String,
    /// No more faults.
    pub calm: bool,
    /// Every record there ever was: retention does not reach the oracle.
    records: BTreeMap<Partition, Vec<Record>>,
    published: Vec<Manifest>,
    announced: Option<Intent>,
    rides: i64,
}

impl World {
    pub fn new(seed: u64) -> World {
        World {
            random: ChaCha8Rng::seed_from_u64(seed),
            now: Duration::ZERO,
            log: MemoryLog::with_topic(TOPIC, PARTITIONS),
            store: live::memory_store(),
            views: live::views(&live::project(&[HOURLY, DAILY])),
            checkpoints: BTreeMap::new(),
            faults: BTreeMap::new(),
            checks: 0,
            story: String::new(),
            calm: false,
            records: BTreeMap::new(),
            published: Vec::new(),
            announced: None,
            rides: 0,
        }
    }

    pub fn tell(&mut self, what: std::fmt::Arguments<'_>) {
        writeln!(self.story, "{} ms: {what}", self.now.as_millis()).expect("text takes text");
    }

    /// True in one of `rarity` cases, unless all is calm.
    pub fn fault(&mut self, fault: Fault, rarity: u32) -> bool {
        let strikes = !self.calm && self.random.random_ratio(1, rarity);
        if strikes {
            *self.faults.entry(fault).or_default() += 1;
            self.tell(format_args!("{fault:?}"));
        }
        strikes
    }

    pub fn now_ms(&self) -> i64 {
        live::RECORDED_AT + self.now.as_millis() as i64
    }

    pub fn any_partition(&mut self) -> Partition {
        Partition(self.random.random_range(0..PARTITIONS))
    }

    pub fn held(&self, partition: Partition) -> OffsetRange {
        let bounds = self.log.bounds(TOPIC).expect("the topic is there");
        bounds.into_iter().find(|(named, _)| *named == partition).expect("the partition is there").1
    }

    /// What the oracle folds.
    pub fn records(&self, partition: Partition) -> &[Record] {
        self.records.get(&partition).map_or(&[], Vec::as_slice)
    }

    pub fn produce(&mut self) {
        let partition = self.any_partition();
        for _ in 0..self.random.random_range(1..25) {
            self.append(partition);
        }
        if self.fault(Fault::Hole, 3) {
            let offsets = self.random.random_range(1..4);
            self.log.skip(TOPIC, partition.0, offsets);
        }
    }

    pub fn append(&mut self, partition: Partition) {
        let bad = self.fault(Fault::BadRecord, 20);
        let payload = if bad { "{\"at\":".to_string() } else { live::ride(self.rides) };
        self.rides += 1;
        let offset = self.log.append(TOPIC, partition.0, live::RECORDED_AT, Some(payload.as_bytes()));
        let record = Record { offset, timestamp: live::RECORDED_AT, payload: Some(payload.into_bytes()) };
        self.records.entry(partition).or_default().push(record);
    }

    /// A batch run reads where the log ends, or ended not long ago, and says so.
    pub fn announce(&mut self) {
        let target = self.target();
        let lease = self.random.random_range(50..2_000);
        let intent = live::intent(self.next_version(), &target, self.now_ms() + lease);
        self.tell(format_args!("version {} is announced at {target}", intent.version));
        block_on(self.store.put_intent(&intent)).expect("the store takes it");
        self.announced = Some(intent);
    }

    /// The announced run publishes, or one that nobody has heard of.
    pub fn publish(&mut self) {
        let version = self.next_version();
        let announced = self.announced.take().filter(|intent| intent.version.0 == version);
        let target = match &announced {
            Some(intent) if !self.fault(Fault::MissedIntent, 3) => intent.target.clone(),
            Some(_) | None => self.target(),
        };
        let mut manifest = live::manifest(version, &target, &self.views);
        if self.start() == Offsets::from_iter(self.partitions().map(|partition| (partition, Offset(0))))
            && self.fault(Fault::NewView, 4)
        {
            manifest.views.remove("rides_daily");
        }
        self.publish_manifest(manifest);
        if let Some(intent) = announced
            && !self.fault(Fault::StaleIntent, 4)
        {
            block_on(self.store.remove_intent(&intent)).expect("the store takes it");
        }
    }

    /// An older result becomes the newest version, if the log still holds what lies above it.
    pub fn roll_back(&mut self) {
        let start = self.start();
        let possible: Vec<Manifest> =
            self.published.iter().filter(|of| self.needed(of).covers(&start)).cloned().collect();
        if possible.is_empty() || !self.fault(Fault::Rollback, 2) {
            return;
        }
        let mut manifest = possible[self.random.random_range(0..possible.len())].clone();
        let older = live::manifest(self.next_version(), &manifest.watershed, &self.views);
        (manifest.version, manifest.run_id) = (older.version, older.run_id);
        self.publish_manifest(manifest);
    }

    /// Retention takes what neither of the newest two versions needs.
    pub fn trim(&mut self) {
        let [.., previous, newest] = self.published.as_slice() else { return };
        let (previous, newest) = (self.needed(previous), self.needed(newest));
        let partition = self.any_partition();
        let (start, limit) = (self.held(partition).from, newest.get(partition).min(previous.get(partition)));
        if start < limit && self.fault(Fault::Retention, 2) {
            let start = self.random.random_range(start.0..=limit.0);
            self.log.trim(TOPIC, partition.0, start);
        }
    }

    fn publish_manifest(&mut self, manifest: Manifest) {
        self.tell(format_args!("version {} is published at {}", manifest.version, manifest.watershed));
        let published = block_on(self.store.publish(&manifest)).expect("the store answers");
        assert_eq!(published, Publication::Published);
        self.published.push(manifest);
    }

    fn partitions(&self) -> impl Iterator<Item = Partition> + use<> {
        (0..PARTITIONS).map(Partition)
    }

    /// Where the log starts.
    fn start(&self) -> Offsets {
        self.partitions().map(|partition| (partition, self.held(partition).from)).collect()
    }

    /// Where a run that begins now may put its watershed.
    fn target(&mut self) -> Offsets {
        let newest = self.published.last().map_or(Offsets::new(), |newest| newest.watershed.clone());
        let mut target = Offsets::new();
        for partition in self.partitions() {
            let held = self.held(partition);
            let least = newest.get(partition).max(held.from).0;
            target.set(partition, Offset(self.random.random_range(least..=held.until.0)));
        }
        target
    }

    fn next_version(&self) -> u64 {
        self.published.last().map_or(1, |newest| newest.version.0 + 1)
    }

    /// Where epochs begin that questions about a version need.
    fn needed(&self, version: &Manifest) -> Offsets {
        match version.views.len() == self.views.len() {
            true => version.watershed.clone(),
            false => Offsets::new(),
        }
    }
}

/// The error of a log or store that does not answer.
pub fn away() -> LogError {
    LogError::Unavailable { brokers: "memory".to_string(), reason: "away".to_string() }
}
