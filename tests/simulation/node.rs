//! A simulated node: the decisions that ship, carried out upon the simulated world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ::support::live::{self, STREAM, TOPIC};
use futures::executor::block_on;
use rand::Rng;
use watershed_schemas::decode::Decoder;
use watershed_schemas::invariants;
use watershed_schemas::log::{Log, LogError, Records};
use watershed_schemas::offsets::{Offset, OffsetRange, Partition};
use watershed_speed::checkpoint::{Checkpoint, Snapshot};
use watershed_speed::epoch::FoldKey;
use watershed_speed::following::{Command, Event, Following};
use watershed_speed::known;
use watershed_speed::opening::{self, Found};
use watershed_speed::partition::PartitionEpochs;
use watershed_speed::replaying::{Missing, ReplayError, Replaying};
use watershed_speed::stretch::Stretch;
use watershed_speed::wanted::{Known, wanted};

use super::world::{Fault, World, away};
use crate::following::shown;

const RETRY: Duration = Duration::from_millis(100);
/// How many checkpoints of a partition the store keeps.
const KEPT: usize = 2;

pub struct Node {
    name: usize,
    following: Following,
    replaying: Replaying,
    decoder: Decoder,
    known: Known,
    /// The folds that answer.
    open: BTreeMap<Partition, PartitionEpochs>,
    /// What the group delivers next, of the partitions that were started.
    positions: BTreeMap<Partition, Offset>,
    /// Asked and not answered yet.
    looks: Vec<(Partition, u64)>,
    quiet_until: Duration,
}

impl Node {
    pub fn new(name: usize, world: &World) -> Node {
        let fields: BTreeSet<&str> = world.views.values().flat_map(|view| view.fields_read()).collect();
        let stream = &world.views["rides_hourly"].stream;
        Node {
            name,
            following: Following::new(world.views.clone(), RETRY),
            replaying: Replaying::new(RETRY),
            decoder: Decoder::new(stream, &fields.into_iter().collect::<Vec<_>>()),
            known: Known::default(),
            open: BTreeMap::new(),
            positions: BTreeMap::new(),
            looks: Vec::new(),
            quiet_until: Duration::ZERO,
        }
    }

    /// Has an event decided and carries out what follows of it, as the node's thread does.
    pub fn happen(&mut self, event: Event, world: &mut World) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for command in self.following.on(event, world.now) {
                world.tell(format_args!("node {}: {}", self.name, shown(&command)));
                events.extend(self.carry_out(command, world));
            }
        }
    }

    fn carry_out(&mut self, command: Command, world: &mut World) -> Option<Event> {
        match command {
            Command::Await(partition) | Command::Stick { partition, .. } => {
                self.open.remove(&partition);
            }
            Command::Look { partition, look } => self.looks.push((partition, look)),
            Command::Open(epochs) => {
                let partition = epochs.partition();
                let result = self.start(partition, epochs.live(), world);
                if result.is_ok() {
                    self.open.insert(partition, epochs);
                }
                return Some(Event::Started { partition, result });
            }
            Command::Start { partition, live } => {
                let result = self.start(partition, live, world);
                return Some(Event::Started { partition, result });
            }
            Command::Fold(records) => return Some(self.fold(&records)),
            Command::Heed(wanted) => {
                self.open.values_mut().for_each(|epochs| opening::complete(epochs, &wanted, &world.views));
            }
            Command::Release(partitions) => {
                for partition in partitions {
                    self.positions.remove(&partition);
                    self.save(partition, world);
                    self.open.remove(&partition);
                }
            }
            Command::Pause(pause) => self.quiet_until = world.now + pause,
            Command::Replay | Command::Tell(..) => {}
        }
        None
    }

    fn start(&mut self, partition: Partition, live: Offset, world: &mut World) -> Result<(), LogError> {
        if world.fault(Fault::FailedStart, 8) {
            return Err(away());
        }
        self.positions.insert(partition, live);
        Ok(())
    }

    fn fold(&mut self, records: &Records) -> Event {
        let (partition, range) = (Partition(records.partition), records.range());
        let decoded = self.decoder.decode(records);
        let epochs = self.open.get_mut(&partition).expect("only open partitions are folded");
        let stretch = Stretch::new(partition, range, &decoded.events);
        match stretch.and_then(|stretch| epochs.fold(&stretch)) {
            Ok(()) => Event::Folded { partition, live: range.until },
            Err(refused) => Event::Refused { partition, refused },
        }
    }

    /// One of the looks that were asked for is answered.
    pub fn answer(&mut self, world: &mut World) {
        if self.looks.is_empty() {
            return;
        }
        let chosen = world.random.random_range(0..self.looks.len());
        let (partition, look) = self.looks.swap_remove(chosen);
        let found = match world.fault(Fault::FailedLook, 8) {
            true => Err(away().to_string()),
            false => Ok(found(partition, world)),
        };
        self.happen(Event::Looked { partition, look, found }, world);
    }

    /// Looks for versions and intents.
    pub fn refresh(&mut self, world: &mut World) {
        let full = world.random.random_ratio(1, 8);
        let refreshed = block_on(known::refresh(&world.store, STREAM, &mut self.known, full));
        refreshed.expect("the store answers");
        let hashes = world.views.iter().map(|(name, view)| (name.clone(), view.hash.clone())).collect();
        let wanted = wanted(&hashes, &self.known, world.now_ms());
        if self.following.wanted().is_none_or(|heeded| **heeded != wanted) {
            self.happen(Event::Wanted(Arc::new(wanted)), world);
        }
    }

    /// Hears the log once.
    pub fn poll(&mut self, world: &mut World) {
        if world.now < self.quiet_until {
            return;
        }
        if world.fault(Fault::FailedPoll, 20) {
            return self.happen(Event::Failed(away()), world);
        }
        let chosen = world.random.random_range(0..self.positions.len().max(1));
        let Some((&partition, &position)) = self.positions.iter().nth(chosen) else {
            return self.happen(Event::Idle { answered_at: world.now }, world);
        };
        let most = world.random.random_range(1..40);
        let read = match world.fault(Fault::FalseGap, 20) {
            true => Err(LogError::OutOfRange { partition, needed: position, held: world.held(partition) }),
            false => read(partition, position, most, world),
        };
        match read {
            Ok(records) if records.range().is_empty() => {
                self.happen(Event::Idle { answered_at: world.now }, world);
            }
            Ok(records) => {
                self.positions.insert(partition, Offset(records.position));
                if !world.fault(Fault::LostDelivery, 20) {
                    self.happen(Event::Delivered(records), world);
                }
            }
            Err(LogError::OutOfRange { partition, needed, held }) => {
                // Silent until it is started again.
                self.positions.remove(&partition);
                self.happen(Event::OutOfRange { partition, needed, held }, world);
            }
            Err(error) => self.happen(Event::Failed(error), world),
        }
    }

    /// Replays one slice of what epochs lack.
    pub fn replay(&mut self, world: &mut World) {
        let lacking = self.open.iter().flat_map(|(partition, epochs)| {
            let missing = epochs.missing().into_iter();
            missing.map(|range| Missing { partition: *partition, range })
        });
        let Some(missing) = self.replaying.next(lacking.collect::<Vec<_>>(), world.now) else { return };
        world.tell(format_args!("node {}: replay {} {}", self.name, missing.partition, missing.range));
        if let Err(error) = self.slice(&missing, world) {
            self.replaying.failed(&missing, world.now);
            let epochs = self.open.get_mut(&missing.partition).expect("it lacks something");
            epochs.hinder(missing.range.from, &error.to_string());
        }
    }

    fn slice(&mut self, missing: &Missing, world: &mut World) -> Result<(), ReplayError> {
        let Missing { partition, range } = *missing;
        if world.fault(Fault::FailedReplay, 10) {
            return Err(away().into());
        }
        let most = world.random.random_range(1..40);
        let mut records = read(partition, range.from, most, world)?;
        if world.fault(Fault::LostSlice, 10) {
            records = read(partition, Offset(records.position), most, world)?;
        }
        let Some(range) = self.replaying.read(missing, &records, world.now)? else { return Ok(()) };
        let decoded = self.decoder.decode(&records);
        let stretch = Stretch::new(partition, range, &decoded.events)?;
        self.open.get_mut(&partition).expect("it lacks something").replay(&stretch)?;
        Ok(())
    }

    /// Writes down the folds of a partition, if they are here.
    pub fn save(&self, partition: Partition, world: &mut World) {
        let Some(epochs) = self.open.get(&partition) else { return };
        if world.fault(Fault::LostCheckpoint, 4) {
            return;
        }
        let bytes = Snapshot::of(STREAM, epochs).encode().expect("states encode");
        let mut bytes = bytes.to_vec();
        if world.fault(Fault::DamagedCheckpoint, 4) {
            let at = world.random.random_range(0..bytes.len());
            bytes[at] ^= 1 << world.random.random_range(0..8_u32);
        }
        let kept = world.checkpoints.entry(partition).or_default();
        kept.push(bytes.into());
        kept.drain(..kept.len().saturating_sub(KEPT));
    }

    /// Invariant `COVER`: every fold holds exactly the records that its span names, and a fold that may be given
    /// out names all from its watershed to the live offset.
    pub fn check(&self, world: &mut World) {
        for (partition, epochs) in &self.open {
            let live = epochs.live();
            assert!(live <= world.held(*partition).until, "the log gives only what it has");
            for (key, fold) in epochs.folds() {
                let span = fold.span();
                let what = format!(
                    "invariant {}: node {} partition {partition} {key:?}",
                    invariants::COVER,
                    self.name
                );
                assert!(span.is_sound(live), "{what}: {span:?} at {live}");
                assert_eq!(span.from, key.epoch.from(*partition, epochs.origin()), "{what}");
                let holes = fold.unready(*partition).is_some();
                assert_eq!(holes, span.replayed < span.joined, "{what}: {span:?}");
                let ranges =
                    [OffsetRange::new(span.from, span.replayed), OffsetRange::new(span.joined, span.until)];
                let oracle = live::direct(fold.view(), *partition, world.records(*partition), &ranges);
                let (found, expected) = (live::cells(fold.table()), live::cells(&oracle));
                assert_eq!(found, expected, "{what}: {span:?}");
                world.checks += 1;
                world.tell(format_args!("node {} {partition} {key:?} {span:?}: {found:?}", self.name));
            }
        }
    }

    /// True when this partition is followed to the log's end and every fold that is wanted can be given out.
    pub fn is_settled(&self, partition: Partition, world: &World) -> bool {
        let (Some(epochs), Some(wanted)) = (self.open.get(&partition), self.following.wanted()) else {
            return false;
        };
        let ready =
            |key: &FoldKey| epochs.folds().get(key).is_some_and(|fold| fold.unready(partition).is_none());
        epochs.live() == world.held(partition).until && wanted.open.iter().all(ready)
    }
}

/// What the log gives from a position on.
fn read(partition: Partition, from: Offset, most: usize, world: &World) -> Result<Records, LogError> {
    world.log.reader(TOPIC, partition, from)?.next(most, Duration::ZERO)
}

/// What the log and the store hold of a partition; a damaged checkpoint is passed over.
fn found(partition: Partition, world: &World) -> Found {
    let written = world.checkpoints.get(&partition).into_iter().flatten();
    let decoded = written.map(|bytes| Checkpoint::decode(bytes, STREAM, partition, &world.views));
    let mut checkpoints: Vec<Checkpoint> = decoded.filter_map(Result::ok).collect();
    checkpoints.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.live));
    Found { partition, held: world.held(partition), topic_id: None, checkpoints }
}
