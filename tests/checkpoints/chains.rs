//! Chains of checkpoints: whatever is saved, lost, damaged or taken over, what is loaded is one of the moments that
//! were saved, and what is written follows what has changed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::support::live::{self, DAILY, HOURLY};
use ::support::log::MemoryLog;
use ::support::meters;
use arrow::array::RecordBatch;
use bytes::Bytes;
use proptest::prelude::*;
use proptest::sample::Index;
use tokio::runtime::Runtime;
use watershed_schemas::decode::Decoder;
use watershed_schemas::invariants;
use watershed_schemas::layout::{self, Object};
use watershed_schemas::log::{Log, Records};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};
use watershed_schemas::view::View;
use watershed_speed::checkpoint::{Checkpoint, Snapshot};
use watershed_speed::epoch::{Epoch, FoldKey, Span};
use watershed_speed::loading;
use watershed_speed::opening::{self, Found};
use watershed_speed::partition::PartitionEpochs;
use watershed_speed::stretch::{Refused, Stretch};
use watershed_speed::wanted::Wanted;
use watershed_store::Store;

const PARTITION: Partition = Partition(0);
/// One that has the partition, and one that believes so.
const NODES: usize = 2;
/// A base and a link for each time that its rows can be halved, and one with no rows; there are less than 1,000 rows.
const LONGEST: usize = 12;

/// What becomes of an object that is written.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Written,
    /// It does not reach the store.
    Lost,
    /// It does, but nobody hears of it.
    Unheard,
    /// It does, and another save began before that was heard of.
    Overtaken,
}

#[derive(Clone, Debug)]
enum Step {
    Produce {
        records: i64,
        hole: i64,
    },
    Fold {
        node: usize,
        records: usize,
    },
    Replay {
        node: usize,
        records: usize,
    },
    /// An epoch begins: at some offset that was produced, or further on.
    Open {
        at: Index,
        beyond: i64,
    },
    Forget {
        which: Index,
    },
    Save {
        node: usize,
        outcome: Outcome,
    },
    /// A node dies and another goes on from what the store has, or the partition moves.
    Load {
        node: usize,
    },
    Damage {
        which: Index,
        place: Index,
        bit: u8,
    },
    Truncate {
        which: Index,
        place: Index,
    },
    Remove {
        which: Index,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let node = || 0..NODES;
    let outcome = prop_oneof![
        6 => Just(Outcome::Written),
        1 => Just(Outcome::Lost),
        1 => Just(Outcome::Unheard),
        1 => Just(Outcome::Overtaken),
    ];
    let step = prop_oneof![
        4 => (1..20_i64, 0..3_i64).prop_map(|(records, hole)| Step::Produce { records, hole }),
        8 => (node(), 1..30_usize).prop_map(|(node, records)| Step::Fold { node, records }),
        4 => (node(), 1..30_usize).prop_map(|(node, records)| Step::Replay { node, records }),
        2 => (any::<Index>(), 0..10_i64).prop_map(|(at, beyond)| Step::Open { at, beyond }),
        1 => any::<Index>().prop_map(|which| Step::Forget { which }),
        9 => (node(), outcome).prop_map(|(node, outcome)| Step::Save { node, outcome }),
        3 => node().prop_map(|node| Step::Load { node }),
        1 => (any::<Index>(), any::<Index>(), 0..8_u8)
            .prop_map(|(which, place, bit)| Step::Damage { which, place, bit }),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(which, place)| Step::Truncate { which, place }),
        1 => any::<Index>().prop_map(|which| Step::Remove { which }),
    ];
    prop::collection::vec(step, 1..80)
}

/// A partition's folds at one moment: their spans and their states, row by row.
#[derive(Clone, Debug, PartialEq)]
struct Moment {
    live: Offset,
    folds: BTreeMap<FoldKey, (Span, RecordBatch)>,
    continues: Vec<String>,
}

impl Moment {
    fn of(epochs: &PartitionEpochs, continues: Vec<String>) -> Moment {
        let folds = epochs
            .folds()
            .iter()
            .map(|(key, fold)| (key.clone(), (fold.span(), fold.table().to_live_batch())));
        Moment { live: epochs.live(), folds: folds.collect(), continues }
    }
}

struct World {
    runtime: Runtime,
    log: MemoryLog,
    store: Store,
    views: BTreeMap<String, Arc<View>>,
    keys: BTreeSet<FoldKey>,
    nodes: Vec<PartitionEpochs>,
    /// What each object that was ever written is to give back.
    moments: BTreeMap<String, Moment>,
    /// What was written at each path.
    written: BTreeMap<String, Bytes>,
    produced: i64,
}

impl World {
    fn new() -> World {
        let views = live::views(&live::project(&[HOURLY, DAILY]));
        let mut world = World {
            runtime: tokio::runtime::Builder::new_current_thread().build().expect("a runtime starts"),
            log: MemoryLog::with_topic(live::TOPIC, 1),
            store: live::memory_store(),
            keys: views.keys().map(|view| Epoch::Origin.of(view)).collect(),
            views,
            nodes: Vec::new(),
            moments: BTreeMap::new(),
            written: BTreeMap::new(),
            produced: 0,
        };
        world.nodes = (0..NODES).map(|_| world.opened(None)).collect();
        world
    }

    fn held(&self) -> OffsetRange {
        self.log.bounds(live::TOPIC).expect("the topic is there")[0].1
    }

    fn wanted(&self) -> Wanted {
        Wanted {
            open: self.keys.clone(),
            keep: self.keys.clone(),
            newest: Epoch::Origin,
            origin: Some(Offsets::from_iter([(PARTITION, Offset(0))])),
            log: Default::default(),
            landed: Default::default(),
            superseded: Default::default(),
        }
    }

    fn opened(&self, checkpoint: Option<Checkpoint>) -> PartitionEpochs {
        let checkpoints = checkpoint.into_iter().collect();
        let found = Found { partition: PARTITION, held: self.held(), topic_id: None, checkpoints };
        opening::open(found, &self.wanted(), &self.views).expect("the log holds everything")
    }

    fn heed(&mut self) {
        let wanted = self.wanted();
        self.nodes.iter_mut().for_each(|epochs| opening::complete(epochs, &wanted, &self.views));
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Produce { records, hole } => {
                for _ in 0..*records {
                    live::produce(&self.log, PARTITION.0, self.produced);
                    self.produced += 1;
                }
                self.log.skip(live::TOPIC, PARTITION.0, *hole);
            }
            Step::Fold { node, records } => self.fold(*node, *records),
            Step::Replay { node, records } => self.replay(*node, *records),
            Step::Open { at, beyond } => {
                let at = at.index(self.held().until.0 as usize + 1) as i64 + beyond;
                let epoch = Epoch::At(live::offsets(&[(PARTITION.0, at)]));
                self.keys.extend(self.views.keys().map(|view| epoch.of(view)));
                self.heed();
            }
            Step::Forget { which } => {
                let key = which.get(&self.keys.iter().cloned().collect::<Vec<_>>()).clone();
                if self.keys.len() > 1 {
                    self.keys.remove(&key);
                    self.heed();
                }
            }
            Step::Save { node, outcome } => self.save(*node, *outcome),
            Step::Load { node } => self.load(*node),
            Step::Damage { which, place, bit } => self.spoil(*which, |bytes| {
                let place = place.index(bytes.len());
                bytes[place] ^= 1 << bit;
            }),
            Step::Truncate { which, place } => {
                self.spoil(*which, |bytes| bytes.truncate(place.index(bytes.len())));
            }
            Step::Remove { which } => {
                let paths = self.listed();
                if !paths.is_empty() {
                    let path: &String = which.get(&paths);
                    self.runtime.block_on(self.store.delete(path)).expect("the store deletes");
                }
            }
        }
    }

    fn read(&self, from: Offset, records: usize) -> Records {
        let mut reader = self.log.reader(live::TOPIC, PARTITION, from).expect("the log holds it");
        reader.next(records, std::time::Duration::ZERO).expect("the log answers")
    }

    fn fold(&mut self, node: usize, records: usize) {
        let from = self.nodes[node].live();
        let records = self.read(from, records);
        let epochs = &mut self.nodes[node];
        stretched(&self.views, from, &records, |stretch| epochs.fold(stretch)).expect("it comes next");
    }

    fn replay(&mut self, node: usize, records: usize) {
        let Some(missing) = self.nodes[node].missing().first().copied() else { return };
        let records = self.read(missing.from, records);
        let epochs = &mut self.nodes[node];
        let served = stretched(&self.views, missing.from, &records, |stretch| epochs.replay(stretch));
        assert!(served.expect("what is missing is taken") > 0, "{missing} is served");
    }

    fn listed(&self) -> Vec<String> {
        let folder = layout::checkpoints(live::STREAM, PARTITION);
        self.runtime.block_on(self.store.list(&folder)).expect("the store lists")
    }

    /// As a node saves.
    fn save(&mut self, node: usize, outcome: Outcome) {
        let epochs = &mut self.nodes[node];
        if epochs.chain().has(epochs.revision()) {
            return;
        }
        epochs.cut();
        let (link, bytes) = Snapshot::next(live::STREAM, epochs).seal().expect("states encode");
        let continues: Vec<String> = epochs.chain().paths().take(link.kept()).map(str::to_string).collect();
        self.moments.insert(link.path.clone(), Moment::of(epochs, continues));
        if !matches!(outcome, Outcome::Lost) {
            self.written.insert(link.path.clone(), bytes.clone());
            self.runtime.block_on(self.store.put(&link.path, bytes)).expect("the store takes it");
        }
        match outcome {
            Outcome::Lost | Outcome::Unheard => {}
            Outcome::Overtaken => {
                epochs.cut();
                epochs.chain_mut().wrote(link);
            }
            Outcome::Written => {
                epochs.chain_mut().wrote(link);
                assert!(epochs.chain().paths().len() <= LONGEST, "{:?}", epochs.chain());
                self.tidy(node);
            }
        }
    }

    fn tidy(&mut self, node: usize) {
        let folder = layout::checkpoints(live::STREAM, PARTITION);
        let listed = self.runtime.block_on(self.store.list_objects(&folder)).expect("the store lists");
        let chain = self.nodes[node].chain_mut();
        if !chain.missing(&listed).is_empty() {
            chain.break_off();
        }
        for path in chain.removable(&listed) {
            assert!(!chain.paths().any(|named| named == path), "what is named stays");
            self.runtime.block_on(self.store.delete(&path)).expect("the store deletes");
        }
    }

    fn spoil(&mut self, which: Index, spoil: impl FnOnce(&mut Vec<u8>)) {
        let paths = self.listed();
        if paths.is_empty() {
            return;
        }
        let path = which.get(&paths);
        let bytes = self.runtime.block_on(self.store.get(path)).expect("the store answers");
        let mut bytes = bytes.expect("it was listed").to_vec();
        if bytes.is_empty() {
            return;
        }
        spoil(&mut bytes);
        self.runtime.block_on(self.store.put(path, bytes.into())).expect("the store takes it");
    }

    /// The last written checkpoints of which nothing is damaged or gone: more than one if the store's clock does not
    /// tell them apart.
    fn last(&self) -> Vec<String> {
        let folder = layout::checkpoints(live::STREAM, PARTITION);
        let listed = self.runtime.block_on(self.store.list_objects(&folder)).expect("the store lists");
        let is_whole = |path: &String| {
            let bytes = self.runtime.block_on(self.store.get(path)).expect("the store answers");
            bytes.is_some() && bytes.as_ref() == self.written.get(path)
        };
        let whole = listed.iter().filter(|object| {
            let moment = &self.moments[&object.path];
            !moment.folds.is_empty() && is_whole(&object.path) && moment.continues.iter().all(is_whole)
        });
        let whole: Vec<_> = whole.collect();
        let last = whole.iter().map(|object| object.modified_ms).max();
        let last = whole.into_iter().filter(|object| Some(object.modified_ms) == last);
        last.map(|object| object.path.clone()).collect()
    }

    /// What is loaded is what was there when it was saved, and it is the last that can be.
    fn load(&mut self, node: usize) {
        let loading = loading::load(&self.store, live::STREAM, PARTITION, self.held(), &self.views);
        let checkpoint = self.runtime.block_on(loading).expect("the store answers");
        assert_eq!(
            checkpoint.is_none(),
            self.last().is_empty(),
            "nothing is loaded only if there is nothing"
        );
        if let Some(checkpoint) = &checkpoint {
            let path = checkpoint.chain().paths().last().expect("it was read from something");
            assert!(self.last().iter().any(|last| last == path), "{path} is none of {:?}", self.last());
            let moment = &self.moments[path];
            let folds = checkpoint.folds.iter();
            let folds: BTreeMap<FoldKey, (Span, RecordBatch)> =
                folds.map(|(key, fold)| (key.clone(), (fold.span(), fold.table().to_live_batch()))).collect();
            assert_eq!(checkpoint.live, moment.live);
            assert_eq!(folds, moment.folds, "invariant {}: {path}", invariants::REPLAY);
        }
        self.nodes[node] = self.opened(checkpoint);
    }

    /// Invariant `COVER`: every fold is the direct fold of the records that its span names.
    fn check(&self) {
        let records = self.log.records(live::TOPIC, PARTITION.0);
        for epochs in &self.nodes {
            for (key, fold) in epochs.folds() {
                let span = fold.span();
                let ranges =
                    [OffsetRange::new(span.from, span.replayed), OffsetRange::new(span.joined, span.until)];
                let oracle = live::direct(fold.view(), PARTITION, &records, &ranges);
                let (found, expected) = (live::cells(fold.table()), live::cells(&oracle));
                assert_eq!(found, expected, "invariant {}: {key:?}, {span:?}", invariants::COVER);
            }
        }
    }

    fn catch_up(&mut self) {
        for node in 0..NODES {
            while !self.nodes[node].missing().is_empty() {
                self.replay(node, 1_000);
            }
            self.fold(node, 1_000_000);
        }
    }
}

fn stretched<R>(
    views: &BTreeMap<String, Arc<View>>,
    from: Offset,
    records: &Records,
    fold: impl FnOnce(&Stretch) -> Result<R, Refused>,
) -> Result<R, Refused> {
    let fields: BTreeSet<&str> = views.values().flat_map(|view| view.fields_read()).collect();
    let stream = &views.values().next().expect("there is a view").stream;
    let decoded = Decoder::new(stream, &fields.into_iter().collect::<Vec<_>>()).decode(records);
    let range = OffsetRange::new(from, Offset(records.position));
    fold(&Stretch::new(PARTITION, range, &decoded.events)?)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn what_is_loaded_is_the_last_whole_moment_and_folding_on_from_it_is_as_if_nothing_had_happened(
        steps in steps(),
    ) {
        let mut world = World::new();
        for step in &steps {
            world.take(step);
        }
        world.check();
        (0..NODES).for_each(|node| world.load(node));
        world.check();
        world.catch_up();
        world.check();
        for node in 0..NODES {
            world.save(node, Outcome::Written);
            world.load(node);
            prop_assert!(world.nodes[node].chain().has(world.nodes[node].revision()), "nothing is new");
        }
        world.check();
    }
}

/// Saves what is new of a partition, and gives its size.
fn saved(epochs: &mut PartitionEpochs) -> usize {
    epochs.cut();
    let (link, bytes) = Snapshot::next(meters::STREAM, epochs).seal().expect("states encode");
    epochs.chain_mut().wrote(link);
    bytes.len()
}

#[test]
fn what_is_written_follows_what_has_changed_and_not_what_there_is() {
    for sketched in [false, true] {
        let project = meters::project(sketched);
        let mut epochs = meters::partition(&project);
        meters::fold(&mut epochs, &project, 0..10_000);
        let base = saved(&mut epochs);
        let before = epochs.chain().paths().len();
        meters::fold(&mut epochs, &project, (0..10_000).step_by(100));
        let changed = saved(&mut epochs);
        assert!(changed * 20 < base, "{changed} bytes for 1 % of the groups of {base} bytes");
        assert_eq!(epochs.chain().paths().len(), before + 1);

        // The same rows again: they are held once.
        for _ in 0..20 {
            meters::fold(&mut epochs, &project, (0..10_000).step_by(100));
            assert!(saved(&mut epochs) * 20 < base);
        }
        assert_eq!(epochs.chain().paths().len(), before + 1);

        // Other rows each time: the chain stays short, and all of it together was written a few times only.
        let mut written = 0;
        for round in 0..100 {
            meters::fold(&mut epochs, &project, (round..10_000).step_by(100));
            written += saved(&mut epochs);
            assert!(epochs.chain().paths().len() <= 9, "{} objects", epochs.chain().paths().len());
        }
        assert!(written < 10 * base, "{written} bytes for {base}");
    }
}

#[test]
fn nothing_new_but_a_hole_takes_a_header() {
    let project = meters::project(false);
    let mut epochs = meters::partition(&project);
    meters::fold(&mut epochs, &project, 0..1_000);
    let base = saved(&mut epochs);
    meters::fold(&mut epochs, &project, 0..1);
    let one = saved(&mut epochs);
    assert!(one * 10 < base, "{one} of {base}");
    assert!(epochs.chain().has(epochs.revision()));
}

#[test]
fn a_checkpoint_that_continues_others_is_nothing_without_them() {
    let project = meters::project(false);
    let mut epochs = meters::partition(&project);
    meters::fold(&mut epochs, &project, 0..1_000);
    saved(&mut epochs);
    meters::fold(&mut epochs, &project, 0..1);
    epochs.cut();
    let bytes = Snapshot::next(meters::STREAM, &epochs).encode().expect("states encode");
    let views = [(meters::VIEW.to_string(), project.views[0].clone())].into();
    let refused =
        Checkpoint::decode(&bytes, meters::STREAM, PARTITION, &views).expect_err("its base is not there");
    assert!(refused.to_string().contains("it continues"), "{refused}");
    assert!(
        epochs.chain().paths().all(|path| matches!(Object::parse(path), Some(Object::Checkpoint { .. })))
    );
}
