//! The speed layer's core, step by step and without a thread: whatever happens, in whatever order,
//! every fold holds exactly the records that its span names.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ::support::live::{self, DAILY, HOURLY};
use ::support::log::{MemoryLog, Record};
use proptest::prelude::*;
use watershed_schemas::decode::Decoder;
use watershed_schemas::invariants;
use watershed_schemas::log::{Log, NotNext, Records};
use watershed_schemas::manifest::Version;
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};
use watershed_schemas::view::View;
use watershed_speed::checkpoint::{Checkpoint, Snapshot};
use watershed_speed::epoch::{Epoch, FoldKey};
use watershed_speed::opening::{self, Found};
use watershed_speed::partition::PartitionEpochs;
use watershed_speed::stretch::{Refused, Stretch};
use watershed_speed::wanted::{Known, Published, Wanted, wanted};

const PARTITIONS: i32 = 2;

/// What may happen to a node.
#[derive(Clone, Debug)]
enum Step {
    Produce {
        partition: i32,
        records: i64,
        hole: i64,
        bad: bool,
    },
    Deliver {
        partition: i32,
        records: usize,
    },
    Replay {
        partition: i32,
        records: usize,
    },
    /// A batch run announces the log's present end.
    Announce,
    /// The announced run publishes; its intent may never have been seen.
    Publish {
        seen: bool,
        new_view_too: bool,
    },
    /// The lease of the announced run runs out.
    Expire,
    Checkpoint {
        partition: i32,
    },
    /// The node dies, or the partition moves to another one.
    Lose {
        partition: i32,
    },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let partition = || 0..PARTITIONS;
    let step = prop_oneof![
        4 => (partition(), 1..30_i64, 0..4_i64, any::<bool>())
            .prop_map(|(partition, records, hole, bad)| Step::Produce { partition, records, hole, bad }),
        6 => (partition(), 1..40_usize).prop_map(|(partition, records)| Step::Deliver { partition, records }),
        4 => (partition(), 1..40_usize).prop_map(|(partition, records)| Step::Replay { partition, records }),
        1 => Just(Step::Announce),
        2 => (any::<bool>(), any::<bool>()).prop_map(|(seen, new_view_too)| Step::Publish { seen, new_view_too }),
        1 => Just(Step::Expire),
        2 => partition().prop_map(|partition| Step::Checkpoint { partition }),
        1 => partition().prop_map(|partition| Step::Lose { partition }),
    ];
    prop::collection::vec(step, 1..60)
}

/// A node without threads: the log, what the store says, and the partitions.
struct Node {
    log: MemoryLog,
    views: BTreeMap<String, Arc<View>>,
    known: Known,
    held: BTreeMap<Partition, PartitionEpochs>,
    checkpoints: BTreeMap<Partition, Vec<u8>>,
    produced: i64,
}

impl Node {
    fn new() -> Node {
        let log = MemoryLog::with_topic(live::TOPIC, PARTITIONS);
        let views = live::views(&live::project(&[HOURLY, DAILY]));
        let mut node = Node {
            log,
            views,
            known: Known::default(),
            held: BTreeMap::new(),
            checkpoints: BTreeMap::new(),
            produced: 0,
        };
        (0..PARTITIONS).for_each(|partition| node.assign(Partition(partition)));
        node
    }

    fn wanted(&self) -> Wanted {
        let hashes = self.views.iter().map(|(name, view)| (name.clone(), view.hash.clone())).collect();
        wanted(&hashes, &self.known, 0)
    }

    fn bounds(&self, partition: Partition) -> OffsetRange {
        let bounds = self.log.bounds(live::TOPIC).expect("the topic is there");
        bounds.into_iter().find(|(named, _)| *named == partition).expect("the partition is there").1
    }

    fn ends(&self) -> Offsets {
        let bounds = self.log.bounds(live::TOPIC).expect("the topic is there");
        bounds.into_iter().map(|(partition, held)| (partition, held.until)).collect()
    }

    fn assign(&mut self, partition: Partition) {
        let decode = |bytes: &Vec<u8>| {
            Checkpoint::decode(bytes, live::STREAM, partition, &self.views).expect("the checkpoint is whole")
        };
        let checkpoints = self.checkpoints.get(&partition).map(decode).into_iter().collect();
        let found = Found { partition, held: self.bounds(partition), topic_id: None, checkpoints };
        let epochs = opening::open(found, &self.wanted(), &self.views).expect("the log holds everything");
        self.held.insert(partition, epochs);
    }

    fn heed(&mut self) {
        let wanted = self.wanted();
        for epochs in self.held.values_mut() {
            opening::complete(epochs, &wanted, &self.views);
        }
    }

    fn read(&self, partition: Partition, from: Offset, records: usize) -> Records {
        let mut reader = self.log.reader(live::TOPIC, partition, from).expect("the log holds it");
        reader.next(records, std::time::Duration::ZERO).expect("the log answers")
    }

    fn take(&mut self, step: &Step) {
        match step {
            Step::Produce { partition, records, hole, bad } => {
                for _ in 0..*records {
                    live::produce(&self.log, *partition, self.produced);
                    self.produced += 1;
                }
                self.log.skip(live::TOPIC, *partition, *hole);
                if *bad {
                    self.log.append(live::TOPIC, *partition, live::RECORDED_AT, Some(b"{\"at\":"));
                }
            }
            Step::Deliver { partition, records } => {
                let partition = Partition(*partition);
                let live = self.held[&partition].live();
                let records = self.read(partition, live, *records);
                let epochs = self.held.get_mut(&partition).expect("all partitions are assigned");
                let range = OffsetRange::new(live, Offset(records.position));
                stretched(&records, range, &self.views, |stretch| epochs.fold(stretch))
                    .expect("it comes next");
            }
            Step::Replay { partition, records } => {
                let partition = Partition(*partition);
                let Some(missing) = self.held[&partition].missing().first().copied() else { return };
                let records = self.read(partition, missing.from, *records);
                let epochs = self.held.get_mut(&partition).expect("all partitions are assigned");
                let range = OffsetRange::new(missing.from, Offset(records.position));
                let served = stretched(&records, range, &self.views, |stretch| epochs.replay(stretch));
                assert!(served.expect("a replay of what is missing is taken") > 0, "{missing} is served");
            }
            Step::Announce => {
                let version = self.next_version();
                self.known.intents = vec![live::intent(version.0, &self.ends(), 1)];
                self.heed();
            }
            Step::Publish { seen, new_view_too } => {
                let version = self.next_version();
                let target = match self.known.intents.first() {
                    Some(intent) if *seen && intent.lease_until_ms > 0 => intent.target.clone(),
                    _ => self.ends(),
                };
                let mut published = Published::from(&live::manifest(version.0, &target, &self.views));
                if !new_view_too {
                    published.views.remove("rides_daily");
                }
                self.known.previous = self.known.newest.replace(published);
                self.heed();
            }
            Step::Expire => {
                self.known.intents.iter_mut().for_each(|intent| intent.lease_until_ms = 0);
                self.heed();
            }
            Step::Checkpoint { partition } => {
                let partition = Partition(*partition);
                let snapshot = Snapshot::of(live::STREAM, &self.held[&partition]);
                self.checkpoints.insert(partition, snapshot.encode().expect("states encode").to_vec());
            }
            Step::Lose { partition } => self.assign(Partition(*partition)),
        }
    }

    fn next_version(&self) -> Version {
        self.known.newest.as_ref().map_or(Version(1), |newest| newest.version.next())
    }

    /// Replays until no epoch lacks anything.
    fn catch_up(&mut self) {
        for partition in 0..PARTITIONS {
            while !self.held[&Partition(partition)].missing().is_empty() {
                self.take(&Step::Replay { partition, records: 1_000 });
            }
            self.take(&Step::Deliver { partition, records: 1_000_000 });
        }
    }

    /// Invariant `COVER`: every fold is the direct fold of the records that its span names.
    fn check(&self) {
        for (partition, epochs) in &self.held {
            let records = self.log.records(live::TOPIC, partition.0);
            for (key, fold) in epochs.folds() {
                let span = fold.span();
                assert!(span.is_sound(epochs.live()), "invariant {}: {span:?}", invariants::COVER);
                let ranges =
                    [OffsetRange::new(span.from, span.replayed), OffsetRange::new(span.joined, span.until)];
                let oracle = live::direct(fold.view(), *partition, &records, &ranges);
                assert_eq!(
                    live::cells(fold.table()),
                    live::cells(&oracle),
                    "invariant {}: partition {partition}, {key:?}, {span:?}",
                    invariants::COVER
                );
                let is_ready = fold.unready(*partition).is_none();
                assert_eq!(is_ready, span.replayed == span.joined);
            }
            let keys: BTreeSet<&FoldKey> = epochs.folds().keys().collect();
            let wanted = self.wanted();
            assert!(wanted.open.iter().all(|key| keys.contains(key)), "{:?} of {keys:?}", wanted.open);
        }
    }
}

fn stretched<R>(
    records: &Records,
    range: OffsetRange,
    views: &BTreeMap<String, Arc<View>>,
    fold: impl FnOnce(&Stretch) -> Result<R, Refused>,
) -> Result<R, Refused> {
    let fields: BTreeSet<&str> = views.values().flat_map(|view| view.fields_read()).collect();
    let stream = &views.values().next().expect("there is a view").stream;
    let decoded = Decoder::new(stream, &fields.into_iter().collect::<Vec<_>>()).decode(records);
    let stretch = Stretch::new(Partition(records.partition), range, &decoded.events)?;
    fold(&stretch)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_fold_holds_exactly_the_records_its_span_names_whatever_happens(steps in steps()) {
        let mut node = Node::new();
        for step in &steps {
            node.take(step);
        }
        node.check();
        node.catch_up();
        node.check();
        let lacking: Vec<OffsetRange> = node.held.values().flat_map(PartitionEpochs::missing).collect();
        prop_assert!(lacking.is_empty(), "{:?}", lacking);
    }
}

/// A partition with rides at these offsets, opened at `live` for one view's origin epoch.
fn opened(live: i64) -> (PartitionEpochs, Arc<View>) {
    let views = live::views(&live::project(&[HOURLY]));
    let view = views["rides_hourly"].clone();
    let mut epochs = PartitionEpochs::new(Partition(0), Offset(0), Offset(live));
    epochs.open(Epoch::Origin.of(&view.name), &view);
    (epochs, view)
}

fn records(offsets: &[i64], position: i64) -> Records {
    let mut records = Records::new(Partition(0), Offset(0));
    for offset in offsets {
        records.push(Offset(*offset), live::RECORDED_AT, Some(live::ride(*offset).as_bytes()));
    }
    records.position = position;
    records
}

fn rides(offsets: &[i64]) -> Vec<Record> {
    let record = |offset: &i64| Record {
        offset: *offset,
        timestamp: live::RECORDED_AT,
        payload: Some(live::ride(*offset).into_bytes()),
    };
    offsets.iter().map(record).collect()
}

fn range(from: i64, until: i64) -> OffsetRange {
    OffsetRange::new(Offset(from), Offset(until))
}

fn give(
    epochs: &mut PartitionEpochs,
    view: &Arc<View>,
    offsets: &[i64],
    range: OffsetRange,
) -> Result<(), Refused> {
    let views = BTreeMap::from([(view.name.clone(), view.clone())]);
    stretched(&records(offsets, range.until.0), range, &views, |stretch| epochs.fold(stretch))
}

#[test]
fn a_range_that_does_not_begin_at_the_live_offset_is_refused_and_changes_nothing() {
    let (mut epochs, view) = opened(0);
    give(&mut epochs, &view, &[0, 1, 2], range(0, 3)).expect("it comes next");
    let revision = epochs.revision();
    for (offsets, found) in [(&[2, 3][..], range(2, 4)), (&[5], range(5, 6)), (&[], range(0, 0))] {
        let refused = give(&mut epochs, &view, offsets, found).expect_err("it does not come next");
        assert!(matches!(refused, Refused::NotNext(NotNext { expected: Offset(3), .. })), "{refused}");
        assert!(refused.to_string().contains(invariants::COVER), "{refused}");
    }
    assert_eq!((epochs.live(), epochs.revision()), (Offset(3), revision));
}

#[test]
fn events_outside_their_range_or_out_of_order_are_refused() {
    let (mut epochs, view) = opened(0);
    for (offsets, found) in [(&[4][..], range(0, 4)), (&[1, 1], range(0, 4)), (&[2, 1], range(0, 4))] {
        let refused = give(&mut epochs, &view, offsets, found).expect_err("the events are astray");
        assert!(matches!(refused, Refused::Astray { .. }), "{refused}");
    }
    let refused = give(&mut epochs, &view, &[], range(4, 0)).expect_err("the range is backwards");
    assert!(matches!(refused, Refused::Backwards { .. }), "{refused}");
    assert_eq!(epochs.live(), Offset(0));
}

#[test]
fn another_partitions_stretch_is_refused() {
    let (mut epochs, view) = opened(0);
    let decoded = Decoder::new(&view.stream, &view.fields_read()).decode(&records(&[0], 1));
    let stretch = Stretch::new(Partition(1), range(0, 1), &decoded.events).expect("a sound stretch");
    assert!(matches!(epochs.fold(&stretch), Err(Refused::OtherPartition { .. })));
    assert!(matches!(epochs.replay(&stretch), Err(Refused::OtherPartition { .. })));
}

#[test]
fn the_position_advances_over_holes_without_records() {
    let (mut epochs, view) = opened(0);
    give(&mut epochs, &view, &[1, 4], range(0, 9)).expect("holes are normal");
    give(&mut epochs, &view, &[], range(9, 20)).expect("a hole is a range like any other");
    assert_eq!(epochs.live(), Offset(20));
    let fold = &epochs.folds()[&Epoch::Origin.of(&view.name)];
    let oracle = live::direct(&view, Partition(0), &rides(&[1, 4]), &[range(0, 20)]);
    assert_eq!(live::cells(fold.table()), live::cells(&oracle));
}

#[test]
fn records_below_an_epochs_watershed_are_not_its_own() {
    let (mut epochs, view) = opened(0);
    let target = Epoch::At(live::offsets(&[(0, 5)]));
    epochs.open(target.of(&view.name), &view);
    let offsets: Vec<i64> = (0..8).collect();
    give(&mut epochs, &view, &offsets[..3], range(0, 3)).expect("it comes next");
    assert_eq!(epochs.folds()[&target.of(&view.name)].table().cells(), 0, "nothing of it has come yet");
    assert_eq!(epochs.folds()[&target.of(&view.name)].unready(Partition(0)), None, "it lacks nothing");
    give(&mut epochs, &view, &offsets[3..], range(3, 8)).expect("it comes next");
    let fold = &epochs.folds()[&target.of(&view.name)];
    let oracle = live::direct(&view, Partition(0), &rides(&offsets), &[range(5, 8)]);
    assert_eq!(live::cells(fold.table()), live::cells(&oracle));
    assert_eq!(fold.span().until, Offset(8));
}

#[test]
fn an_epoch_opened_late_is_not_ready_until_what_it_lacks_was_replayed() {
    let (mut epochs, view) = opened(0);
    let offsets: Vec<i64> = (0..10).collect();
    give(&mut epochs, &view, &offsets, range(0, 10)).expect("it comes next");
    let late = Epoch::At(live::offsets(&[(0, 4)])).of(&view.name);
    epochs.open(late.clone(), &view);
    assert_eq!(epochs.missing(), [range(4, 10)]);
    assert!(epochs.folds()[&late].unready(Partition(0)).is_some_and(|reason| reason.contains("[4, 10)")));

    let views = BTreeMap::from([(view.name.clone(), view.clone())]);
    let replay = |epochs: &mut PartitionEpochs, from: i64, until: i64| {
        let read: Vec<i64> = (from..until).collect();
        stretched(&records(&read, until), range(from, until), &views, |stretch| epochs.replay(stretch))
    };
    assert_eq!(
        replay(&mut epochs, 5, 9).expect("sound, though of no use"),
        0,
        "it does not begin with what lacks"
    );
    assert_eq!(replay(&mut epochs, 2, 7).expect("sound"), 1, "more than needed is read, no more is folded");
    assert_eq!(epochs.missing(), [range(7, 10)]);
    give(&mut epochs, &view, &[10], range(10, 11)).expect("live goes on meanwhile");
    assert_eq!(replay(&mut epochs, 7, 11).expect("sound"), 1);
    assert!(epochs.missing().is_empty());
    let all: Vec<i64> = (0..11).collect();
    let oracle = live::direct(&view, Partition(0), &rides(&all), &[range(4, 11)]);
    assert_eq!(live::cells(epochs.folds()[&late].table()), live::cells(&oracle));
}

#[test]
fn why_a_replay_failed_is_told_until_it_succeeds() {
    let (mut epochs, view) = opened(6);
    epochs.hinder(Offset(0), "the log begins at 3");
    let key = Epoch::Origin.of(&view.name);
    assert!(
        epochs.folds()[&key]
            .unready(Partition(0))
            .is_some_and(|reason| reason.contains("the log begins at 3"))
    );
    let views = BTreeMap::from([(view.name.clone(), view.clone())]);
    let read: Vec<i64> = (0..3).collect();
    stretched(&records(&read, 3), range(0, 3), &views, |stretch| epochs.replay(stretch)).expect("sound");
    assert!(
        epochs.folds()[&key].unready(Partition(0)).is_some_and(|reason| reason.contains("replaying [3, 6)"))
    );
}

fn published(version: u64, at: i64, views: &[(&str, &str)]) -> Published {
    Published {
        version: Version(version),
        watershed: live::offsets(&[(0, at)]),
        origin: live::offsets(&[(0, 7)]),
        log: Default::default(),
        views: views.iter().map(|(name, hash)| (name.to_string(), hash.to_string())).collect(),
        sql: BTreeMap::new(),
        landed: Arc::default(),
    }
}

/// Keys as `epoch/view`, an epoch being `origin` or its offset in partition 0.
fn shown(keys: &BTreeSet<FoldKey>) -> Vec<String> {
    let epoch = |epoch: &Epoch| match epoch {
        Epoch::Origin => "origin".to_string(),
        Epoch::At(watershed) => watershed.get(Partition(0)).to_string(),
    };
    keys.iter().map(|key| format!("{}/{}", epoch(&key.epoch), key.view)).collect()
}

#[test]
fn which_epochs_are_wanted() {
    struct Case {
        what: &'static str,
        newest: Option<Published>,
        previous: Option<Published>,
        /// Version, target, lease end; it is 1000 now.
        intents: &'static [(u64, i64, i64)],
        open: &'static [&'static str],
        /// Beyond `open`.
        keep: &'static [&'static str],
    }
    let both = [("a", "1"), ("b", "1")];
    let cases = [
        Case {
            what: "before the first version everything is live from the log's start",
            newest: None,
            previous: None,
            intents: &[],
            open: &["origin/a", "origin/b"],
            keep: &[],
        },
        Case {
            what: "the first run's target opens beside the log's start",
            newest: None,
            previous: None,
            intents: &[(1, 50, 1_001)],
            open: &["origin/a", "origin/b", "50/a", "50/b"],
            keep: &[],
        },
        Case {
            what: "after the first version the log's start stays for servers that have not moved on",
            newest: Some(published(1, 50, &both)),
            previous: None,
            intents: &[],
            open: &["50/a", "50/b"],
            keep: &["origin/a", "origin/b"],
        },
        Case {
            what: "the newest two versions are kept",
            newest: Some(published(3, 90, &both)),
            previous: Some(published(2, 50, &both)),
            intents: &[],
            open: &["50/a", "50/b", "90/a", "90/b"],
            keep: &[],
        },
        Case {
            what: "a previous version that retention took needs no epoch",
            newest: Some(published(3, 90, &both)),
            previous: None,
            intents: &[],
            open: &["90/a", "90/b"],
            keep: &[],
        },
        Case {
            what: "a view that no version holds is live from the log's start",
            newest: Some(published(3, 90, &[("a", "1")])),
            previous: Some(published(2, 50, &[("a", "1")])),
            intents: &[],
            open: &["origin/b", "50/a", "90/a"],
            keep: &[],
        },
        Case {
            what: "a view with another definition counts as one that no version holds",
            newest: Some(published(3, 90, &[("a", "1"), ("b", "0")])),
            previous: None,
            intents: &[],
            open: &["origin/b", "90/a"],
            keep: &[],
        },
        Case {
            what: "a view that the newest version is the first to hold keeps its log's start for a while",
            newest: Some(published(3, 90, &both)),
            previous: Some(published(2, 50, &[("a", "1")])),
            intents: &[],
            open: &["50/a", "90/a", "90/b"],
            keep: &["origin/b"],
        },
        Case {
            what: "an older result published again is an epoch like any other",
            newest: Some(published(4, 50, &both)),
            previous: Some(published(3, 90, &both)),
            intents: &[],
            open: &["50/a", "50/b", "90/a", "90/b"],
            keep: &[],
        },
        Case {
            what: "a dead run's target and a published one are no targets",
            newest: Some(published(3, 90, &both)),
            previous: None,
            intents: &[(4, 120, 1_000), (4, 110, 999), (3, 80, 2_000), (4, 130, 2_000)],
            open: &["90/a", "90/b", "130/a", "130/b"],
            keep: &[],
        },
    ];
    let views = BTreeMap::from(both.map(|(name, hash)| (name.to_string(), hash.to_string())));
    for Case { what, newest, previous, intents, open, keep } in cases {
        let intents = intents
            .iter()
            .map(|(version, at, lease)| live::intent(*version, &live::offsets(&[(0, *at)]), *lease));
        let origin = newest.as_ref().map(|newest| newest.origin.clone());
        let start = newest.as_ref().map_or(Epoch::Origin, |newest| Epoch::At(newest.watershed.clone()));
        let wanted = wanted(&views, &Known { newest, previous, intents: intents.collect() }, 1_000);
        assert_eq!(shown(&wanted.open), open, "{what}");
        let extra: BTreeSet<FoldKey> = wanted.keep.difference(&wanted.open).cloned().collect();
        assert_eq!(shown(&extra), keep, "{what}");
        assert!(wanted.keep.is_superset(&wanted.open), "{what}");
        assert_eq!((wanted.newest, wanted.origin), (start, origin), "{what}");
    }
}

fn at_open(known: &Known, held: OffsetRange) -> Result<(i64, Vec<OffsetRange>), String> {
    let views = live::views(&live::project(&[HOURLY]));
    let hashes = views.iter().map(|(name, view)| (name.clone(), view.hash.clone())).collect();
    let found = Found { partition: Partition(0), held, topic_id: None, checkpoints: Vec::new() };
    let epochs =
        opening::open(found, &wanted(&hashes, known, 0), &views).map_err(|unopened| unopened.to_string())?;
    Ok((epochs.live().0, epochs.missing()))
}

#[test]
fn a_partition_without_a_checkpoint_begins_at_the_newest_watershed_that_the_log_holds() {
    let views = live::views(&live::project(&[HOURLY]));
    let known = |newest: i64, target: Option<i64>| {
        let at = |offset| live::offsets(&[(0, offset)]);
        let mut newest = Published::from(&live::manifest(2, &at(newest), &views));
        newest.origin = at(7);
        let intents = target.map(|target| live::intent(3, &at(target), 1)).into_iter().collect();
        Known { newest: Some(newest), previous: None, intents }
    };
    assert_eq!(at_open(&Known::default(), range(3, 20)), Ok((3, vec![])), "the log's start");
    assert_eq!(at_open(&known(10, None), range(3, 20)), Ok((10, vec![])));
    assert_eq!(at_open(&known(20, None), range(3, 20)), Ok((20, vec![])), "the log's end can be followed");
    assert_eq!(at_open(&known(10, Some(15)), range(3, 20)), Ok((10, vec![])), "targets lie ahead");
    assert_eq!(
        at_open(&known(10, Some(15)), range(12, 20)),
        Ok((15, vec![range(10, 15)])),
        "the gap stays a gap"
    );
    // A run may be ahead of where this node sees the log's end; a version cannot be.
    assert_eq!(at_open(&known(20, Some(30)), range(3, 20)), Ok((20, vec![])), "a target beyond the end");
    let recreated = at_open(&known(30, Some(15)), range(0, 20)).expect_err("the log ends below a version");
    assert!(recreated.contains("created anew"), "{recreated}");
    for (newest, held) in [(10, range(12, 20)), (30, range(3, 20))] {
        let refused = at_open(&known(newest, None), held).expect_err("the log does not hold it");
        assert!(refused.starts_with("gap at partition 0"), "{refused}");
        assert!(
            refused.contains(&format!("offset {newest}")) && refused.contains(&held.to_string()),
            "{refused}"
        );
    }
}

#[test]
fn a_view_that_a_version_lacks_is_opened_anew_where_that_version_says_that_the_log_began() {
    let views = live::views(&live::project(&[HOURLY]));
    let view = &views["rides_hourly"];
    let hashes = BTreeMap::from([(view.name.clone(), view.hash.clone())]);
    let at = |offset| live::offsets(&[(0, offset)]);
    // The run saw an earlier start of the log than this node, a later one, the same.
    for (origin, missing) in [(0, vec![range(0, 20)]), (7, vec![range(7, 20)]), (3, vec![])] {
        let found =
            Found { partition: Partition(0), held: range(3, 20), topic_id: None, checkpoints: Vec::new() };
        let mut epochs =
            opening::open(found, &wanted(&hashes, &Known::default(), 0), &views).expect("it opens");
        give(&mut epochs, view, &[3, 8, 19], range(3, 20)).expect("it is folded");
        let mut newest = Published::from(&live::manifest(1, &at(10), &views));
        (newest.origin, newest.views) = (at(origin), BTreeMap::new());
        let known = Known { newest: Some(newest), previous: None, intents: Vec::new() };
        opening::complete(&mut epochs, &wanted(&hashes, &known, 0), &views);
        assert_eq!(epochs.missing(), missing, "the log began at {origin}");
        assert_eq!(epochs.origin(), Offset(origin));
    }
}
