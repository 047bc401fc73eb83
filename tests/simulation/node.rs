//! A simulated node of the speed layer: the decisions that ship, carried out upon the simulated world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use ::support::live::{self, STREAM, TOPIC};
use watershed_schemas::decode::Decoder;
use watershed_schemas::invariants;
use watershed_schemas::live::{LiveError, LiveStatus, Partials, PartialsRequest};
use watershed_schemas::log::{Log, LogError, Records};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};
use watershed_schemas::value::Value;
use watershed_speed::checkpoint::{Checkpoint, Snapshot};
use watershed_speed::following::{Command, Event, Following};
use watershed_speed::known;
use watershed_speed::opening::{self, Found};
use watershed_speed::partials::Reply;
use watershed_speed::partition::PartitionEpochs;
use watershed_speed::replaying::{Missing, ReplayError, Replaying};
use watershed_speed::status::ReadyEpochs;
use watershed_speed::stretch::Stretch;
use watershed_speed::wanted::{Known, wanted};
use watershed_store::StoreError;

use super::fate::Task;
use super::fault::Fault;
use super::rides::{Definition, Question};
use super::world::{World, away};
use crate::following::shown;

const RETRY: Duration = Duration::from_millis(100);
/// How many checkpoints of a partition the store keeps.
const KEPT: usize = 2;

pub struct Node {
    name: usize,
    definition: Definition,
    following: Following,
    replaying: Replaying,
    decoder: Decoder,
    known: Known,
    refreshing: Option<Task<Refreshed>>,
    slots: BTreeMap<Partition, Slot>,
    /// What the group delivers next, of the partitions that were started.
    positions: BTreeMap<Partition, Offset>,
    /// Where the log ended when it was last asked.
    ends: Offsets,
    /// Asked and not answered yet.
    looks: Vec<(Partition, u64)>,
    quiet_until: Duration,
    /// Does nothing until then, and does not know it: a stall.
    pub stalled_until: Duration,
}

/// What a look at the store knows then, and how it went.
type Refreshed = (Known, Result<Option<StoreError>, StoreError>);

/// A partition as whoever asks finds it.
#[expect(clippy::large_enum_variant, reason = "a node has a handful, and nearly all of them are open")]
enum Slot {
    Opening,
    Stuck(String),
    Open(PartitionEpochs),
}

impl Node {
    pub fn new(name: usize, world: &World) -> Node {
        let definition = world.definition.clone();
        let fields: BTreeSet<&str> = definition.views.values().flat_map(|view| view.fields_read()).collect();
        let stream = &definition.project.streams[0];
        Node {
            name,
            following: Following::new(definition.views.clone(), RETRY),
            replaying: Replaying::new(RETRY),
            decoder: Decoder::new(stream, &fields.into_iter().collect::<Vec<_>>()),
            definition,
            known: Known::default(),
            refreshing: None,
            slots: BTreeMap::new(),
            positions: BTreeMap::new(),
            ends: Offsets::new(),
            looks: Vec::new(),
            quiet_until: Duration::ZERO,
            stalled_until: Duration::ZERO,
        }
    }

    pub fn definition(&self) -> usize {
        self.definition.number
    }

    /// Has an event decided and carries out what follows of it, as the node's thread does.
    pub fn happen(&mut self, event: Event, world: &mut World) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for command in self.following.on(event, world.fate.now()) {
                world.fate.tell(format_args!("node {}: {}", self.name, shown(&command)));
                events.extend(self.carry_out(command, world));
            }
        }
    }

    fn carry_out(&mut self, command: Command, world: &mut World) -> Option<Event> {
        match command {
            Command::Await(partition) => _ = self.slots.insert(partition, Slot::Opening),
            Command::Stick { partition, reason } => _ = self.slots.insert(partition, Slot::Stuck(reason)),
            Command::Look { partition, look } => self.looks.push((partition, look)),
            Command::Open(epochs) => {
                let partition = epochs.partition();
                let result = self.start(partition, epochs.live(), world);
                if result.is_ok() {
                    self.slots.insert(partition, Slot::Open(epochs));
                }
                return Some(Event::Started { partition, result });
            }
            Command::Start { partition, live } => {
                let result = self.start(partition, live, world);
                return Some(Event::Started { partition, result });
            }
            Command::Fold(records) => return Some(self.fold(&records)),
            Command::Heed(wanted) => {
                let views = &self.definition.views;
                for slot in self.slots.values_mut() {
                    if let Slot::Open(epochs) = slot {
                        opening::complete(epochs, &wanted, views);
                    }
                }
            }
            Command::Release(partitions) => {
                for partition in partitions {
                    self.positions.remove(&partition);
                    self.save(partition, world);
                    self.slots.remove(&partition);
                }
            }
            Command::Pause(pause) => self.quiet_until = world.fate.now() + pause,
            Command::Replay | Command::Tell(..) => {}
        }
        None
    }

    fn start(&mut self, partition: Partition, live: Offset, world: &World) -> Result<(), LogError> {
        if world.fate.fault(Fault::FailedStart, 10) {
            return Err(away());
        }
        self.positions.insert(partition, live);
        Ok(())
    }

    fn fold(&mut self, records: &Records) -> Event {
        let (partition, range) = (Partition(records.partition), records.range());
        let decoded = self.decoder.decode(records);
        let Some(Slot::Open(epochs)) = self.slots.get_mut(&partition) else {
            panic!("only open partitions are folded");
        };
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
        let (partition, look) = self.looks.swap_remove(world.fate.below(self.looks.len()));
        let found = match world.fate.fault(Fault::FailedLook, 10) {
            true => Err(away().to_string()),
            false => Ok(self.found(partition, world)),
        };
        self.happen(Event::Looked { partition, look, found }, world);
    }

    /// What the log and the store hold of a partition; a damaged checkpoint is passed over.
    fn found(&self, partition: Partition, world: &World) -> Found {
        let written = world.checkpoints.get(&partition).into_iter().flatten();
        let decoded =
            written.map(|bytes| Checkpoint::decode(bytes, STREAM, partition, &self.definition.views));
        let mut checkpoints: Vec<Checkpoint> = decoded.filter_map(Result::ok).collect();
        checkpoints.sort_by_key(|checkpoint| std::cmp::Reverse(checkpoint.live));
        Found { partition, held: world.held(partition), topic_id: None, checkpoints }
    }

    /// Looks for versions and intents, a little further.
    pub fn refresh(&mut self, world: &mut World) {
        let refreshing = self.refreshing.get_or_insert_with(|| {
            let (store, mut known, full) = (world.store.clone(), self.known.clone(), world.fate.one_in(8));
            Task::new(async move {
                let refreshed = known::refresh(&store, STREAM, &mut known, full).await;
                (known, refreshed)
            })
        });
        for _ in 0..1 + world.fate.below(12) {
            let Some((known, refreshed)) = refreshing.step() else { continue };
            self.refreshing = None;
            self.known = known;
            if refreshed.is_ok() {
                let hashes = self.definition.views.iter();
                let hashes = hashes.map(|(name, view)| (name.clone(), view.hash.clone())).collect();
                let wanted = wanted(&hashes, &self.known, world.fate.now_ms());
                if self.following.wanted().is_none_or(|heeded| **heeded != wanted) {
                    self.happen(Event::Wanted(Arc::new(wanted)), world);
                }
            }
            return;
        }
    }

    /// Hears the log once.
    pub fn poll(&mut self, world: &mut World) {
        if world.fate.now() < self.quiet_until {
            return;
        }
        if world.fate.fault(Fault::FailedPoll, 25) {
            return self.happen(Event::Failed(away()), world);
        }
        let chosen = world.fate.below(self.positions.len().max(1));
        let Some((&partition, &position)) = self.positions.iter().nth(chosen) else {
            return self.idle(world);
        };
        let most = 1 + world.fate.below(40);
        let read = match world.fate.fault(Fault::FalseGap, 25) {
            true => Err(LogError::OutOfRange { partition, needed: position, held: world.held(partition) }),
            false => read(partition, position, most, world),
        };
        match read {
            Ok(records) if records.range().is_empty() => self.idle(world),
            Ok(records) => {
                self.positions.insert(partition, Offset(records.position));
                if !world.fate.fault(Fault::LostDelivery, 25) {
                    self.happen(Event::Delivered(records), world);
                }
            }
            Err(LogError::OutOfRange { partition, needed, held }) => {
                self.positions.remove(&partition);
                self.happen(Event::OutOfRange { partition, needed, held }, world);
            }
            Err(error) => self.happen(Event::Failed(error), world),
        }
    }

    /// Nothing came; the log's ends are news all the same.
    fn idle(&mut self, world: &mut World) {
        self.ends = world.ends();
        self.happen(Event::Ends(self.ends.clone()), world);
        self.happen(Event::Idle { answered_at: world.fate.now() }, world);
    }

    /// Replays one slice of what epochs lack.
    pub fn replay(&mut self, world: &mut World) {
        let lacking = self.slots.values().filter_map(Slot::epochs).flat_map(|epochs| {
            let missing = epochs.missing().into_iter();
            missing.map(|range| Missing { partition: epochs.partition(), range })
        });
        let Some(missing) = self.replaying.next(lacking.collect::<Vec<_>>(), world.fate.now()) else {
            return;
        };
        world.fate.tell(format_args!("node {}: replay {} {}", self.name, missing.partition, missing.range));
        if let Err(error) = self.slice(&missing, world) {
            self.replaying.failed(&missing, world.fate.now());
            self.open(missing.partition).hinder(missing.range.from, &error.to_string());
        }
    }

    fn slice(&mut self, missing: &Missing, world: &World) -> Result<(), ReplayError> {
        let Missing { partition, range } = *missing;
        if world.fate.fault(Fault::FailedReplay, 8) {
            return Err(away().into());
        }
        let most = 1 + world.fate.below(40);
        let mut records = read(partition, range.from, most, world)?;
        if world.fate.fault(Fault::LostSlice, 8) {
            records = read(partition, Offset(records.position), most, world)?;
        }
        let Some(range) = self.replaying.read(missing, &records, world.fate.now())? else { return Ok(()) };
        let decoded = self.decoder.decode(&records);
        let stretch = Stretch::new(partition, range, &decoded.events)?;
        self.open(partition).replay(&stretch)?;
        Ok(())
    }

    fn open(&mut self, partition: Partition) -> &mut PartitionEpochs {
        match self.slots.get_mut(&partition) {
            Some(Slot::Open(epochs)) => epochs,
            Some(Slot::Opening | Slot::Stuck(_)) | None => panic!("partition {partition} is not open"),
        }
    }

    /// Writes down the folds of a partition, if they are here.
    pub fn save(&self, partition: Partition, world: &mut World) {
        let Some(Slot::Open(epochs)) = self.slots.get(&partition) else { return };
        if world.fate.fault(Fault::LostCheckpoint, 4) {
            return;
        }
        let mut bytes = Snapshot::of(STREAM, epochs).encode().expect("states encode").to_vec();
        if world.fate.fault(Fault::DamagedCheckpoint, 4) {
            let at = world.fate.below(bytes.len());
            bytes[at] ^= 1 << world.fate.below(8);
        }
        let kept = world.checkpoints.entry(partition).or_default();
        kept.push(bytes.into());
        kept.drain(..kept.len().saturating_sub(KEPT));
    }

    /// What this node says of an epoch.
    pub fn partials(&self, request: &PartialsRequest) -> Result<Vec<Partials>, LiveError> {
        let view = self.definition.views.get(&request.view);
        if view.is_none_or(|view| view.hash != request.view_hash) {
            return Err(LiveError::UnknownView { view: request.view.clone() });
        }
        let mut reply = Reply::begin(request, self.ends.clone(), 0);
        for (partition, slot) in &self.slots {
            match slot {
                Slot::Opening => return Err(reply.opening(*partition)),
                Slot::Stuck(reason) => return Err(reply.not_ready(reason.clone())),
                Slot::Open(epochs) => reply.add(*partition, reply.fold(epochs)?),
            }
        }
        Ok(vec![reply.partials])
    }

    pub fn status(&self) -> LiveStatus {
        let mut status = LiveStatus { node: format!("node {}", self.name), ..LiveStatus::default() };
        let mut ready = ReadyEpochs::of(self.following.wanted().map(Arc::as_ref));
        for (partition, slot) in &self.slots {
            let Slot::Open(epochs) = slot else {
                ready.none();
                continue;
            };
            status.live.set(*partition, epochs.live());
            status.end.set(*partition, self.ends.get(*partition).max(epochs.live()));
            ready.see(epochs);
        }
        status.epochs = ready.watersheds();
        status
    }

    /// Invariant `COVER`: every fold holds exactly the records that its span names.
    pub fn check(&self, world: &World) {
        for epochs in self.slots.values().filter_map(Slot::epochs) {
            let (partition, live) = (epochs.partition(), epochs.live());
            assert!(live <= world.held(partition).until, "the log gives only what it has");
            for (key, fold) in epochs.folds() {
                let span = fold.span();
                let what = format!(
                    "invariant {}: node {} partition {partition} {key:?}",
                    invariants::COVER,
                    self.name
                );
                assert!(span.is_sound(live), "{what}: {span:?} at {live}");
                assert_eq!(span.from, key.epoch.from(partition, epochs.origin()), "{what}");
                let holes = fold.unready(partition).is_some();
                assert_eq!(holes, span.replayed < span.joined, "{what}: {span:?}");
                let ranges = vec![
                    OffsetRange::new(span.from, span.replayed),
                    OffsetRange::new(span.joined, span.until),
                ];
                let view = super::rides::VIEWS.into_iter().find(|view| *view == key.view);
                let question = Question::whole(view.expect("there are no other views"), self.definition());
                let of = BTreeMap::from([(partition, (world.history(partition), ranges))]);
                assert_eq!(rows(fold.table()), question.answer(&of), "{what}: {span:?}");
                world.fate.checked();
            }
        }
    }

    /// True when this partition is followed to the log's end.
    pub fn is_at_end(&self, partition: Partition, world: &World) -> bool {
        match self.slots.get(&partition) {
            Some(Slot::Open(epochs)) => epochs.live() == world.held(partition).until,
            Some(Slot::Opening | Slot::Stuck(_)) | None => false,
        }
    }
}

impl Slot {
    fn epochs(&self) -> Option<&PartitionEpochs> {
        match self {
            Slot::Open(epochs) => Some(epochs),
            Slot::Opening | Slot::Stuck(_) => None,
        }
    }
}

/// A table as answers show it: window, dimensions, measures.
pub fn rows(table: &watershed_schemas::states::StateTable) -> Vec<Vec<Value>> {
    let row = |(window, dimensions, measures): (i64, Vec<Value>, Vec<Value>)| {
        [vec![Value::Timestamp(window)], dimensions, measures].concat()
    };
    live::cells(table).into_iter().map(row).collect()
}

/// What the log gives from a position on.
fn read(partition: Partition, from: Offset, most: usize, world: &World) -> Result<Records, LogError> {
    world.log.reader(TOPIC, partition, from)?.next(most, Duration::ZERO)
}
