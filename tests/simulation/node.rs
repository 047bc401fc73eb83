//! A simulated node of the speed layer: the decisions that ship, carried out upon the simulated world.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::sync::{Arc, RwLockWriteGuard};
use std::time::Duration;

use ::support::live::{self, STREAM, TOPIC};
use watershed_schemas::decode::Decoder;
use watershed_schemas::invariants;
use watershed_schemas::live::{LiveError, LiveStatus, Partials, PartialsRequest};
use watershed_schemas::log::{Log, LogError, Records};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};
use watershed_schemas::superseded;
use watershed_schemas::value::Value;
use watershed_serving::wire;
use watershed_speed::checkpoint::Checkpoint;
use watershed_speed::epoch::{Fold, FoldKey};
use watershed_speed::following::{Command, Event, Following};
use watershed_speed::held::{Broken, Held, Moves};
use watershed_speed::opening::{self, Found};
use watershed_speed::partials::Reply;
use watershed_speed::partition::PartitionEpochs;
use watershed_speed::replaying::{Missing, ReplayError, Replaying};
use watershed_speed::saving::{self, SaveError};
use watershed_speed::status::ReadyEpochs;
use watershed_speed::stretch::Stretch;
use watershed_speed::wanted::{Definitions, Known};
use watershed_speed::{known, loading};
use watershed_store::StoreError;

use super::fate::Task;
use super::fault::Fault;
use super::rides::{self, Definition, Question, VIEWS};
use super::world::{World, away};
use crate::following::shown;

const RETRY: Duration = Duration::from_millis(100);
/// A look and a save take no more steps than this once all is calm.
const STEPS: usize = 200;

pub struct Node {
    name: usize,
    definition: Definition,
    following: Following,
    replaying: Replaying,
    decoder: Decoder,
    known: Known,
    definitions: Definitions,
    refreshing: Option<Task<Refreshed>>,
    slots: BTreeMap<Partition, Slot>,
    /// What the group delivers next, of the partitions that were started.
    positions: BTreeMap<Partition, Offset>,
    /// Where the log ended when it was last asked.
    ends: Offsets,
    /// Asked and not answered yet.
    looks: Vec<Look>,
    /// One after the other.
    saves: VecDeque<Task<Result<(), SaveError>>>,
    quiet_until: Duration,
    /// Does nothing until then, and does not know it: a stall.
    pub stalled_until: Duration,
}

/// What a look at the store knows then, and how it went.
type Refreshed = (Known, Result<Option<StoreError>, StoreError>);

/// A look at what the log and the store hold of a partition.
struct Look {
    partition: Partition,
    look: u64,
    finding: Task<Result<Found, String>>,
}

/// A partition as whoever asks finds it.
enum Slot {
    Opening,
    Stuck(String),
    Open(Arc<Held>),
}

impl Node {
    pub fn new(name: usize, world: &World) -> Node {
        let definition = world.definition.clone();
        let fields: BTreeSet<&str> = definition.views.values().flat_map(|view| view.fields_read()).collect();
        let stream = &definition.project.streams[0];
        Node {
            name,
            following: Following::new(definition.views.clone(), RETRY),
            definitions: Definitions::new(definition.views.clone()),
            replaying: Replaying::new(RETRY),
            decoder: Decoder::new(stream, &fields.into_iter().collect::<Vec<_>>()),
            definition,
            known: Known::default(),
            refreshing: None,
            slots: BTreeMap::new(),
            positions: BTreeMap::new(),
            ends: Offsets::new(),
            looks: Vec::new(),
            saves: VecDeque::new(),
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

    fn carry_out(&mut self, command: Command, world: &mut World) -> Vec<Event> {
        match command {
            Command::Await(partition) => _ = self.slots.insert(partition, Slot::Opening),
            Command::Stick { partition, reason } => _ = self.slots.insert(partition, Slot::Stuck(reason)),
            Command::Look { partition, look } => {
                let finding = Task::new(self.find(partition, world));
                self.looks.push(Look { partition, look, finding });
            }
            Command::Open(epochs) => {
                let partition = epochs.partition();
                let result = self.start(partition, epochs.live(), world);
                if result.is_ok() {
                    self.slots.insert(partition, Slot::Open(Held::new(*epochs, &Moves::default())));
                }
                return vec![Event::Started { partition, result }];
            }
            Command::Start { partition, live } => {
                let result = self.start(partition, live, world);
                return vec![Event::Started { partition, result }];
            }
            Command::Fold(runs) => return runs.iter().map(|run| self.fold(run)).collect(),
            Command::Heed(wanted) => {
                for (_, held) in self.open() {
                    let mut epochs = whole(held.write());
                    opening::complete(&mut epochs, &wanted, &self.definition.views);
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
        Vec::new()
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
        let stretch = Stretch::new(partition, range, &decoded.events);
        match stretch.and_then(|stretch| self.opened(partition).fold(&stretch)) {
            Ok(()) => Event::Folded { partition, live: range.until },
            Err(refused) => Event::Refused { partition, refused },
        }
    }

    /// Goes on with one of the looks that were asked for.
    pub fn look(&mut self, world: &mut World) {
        if self.looks.is_empty() {
            return;
        }
        let chosen = world.fate.below(self.looks.len());
        let finding = &mut self.looks[chosen].finding;
        let Some(found) = steps(world).find_map(|_| finding.step()) else { return };
        let Look { partition, look, .. } = self.looks.swap_remove(chosen);
        self.happen(Event::Looked { partition, look, found }, world);
    }

    /// What the log and the store hold of a partition.
    fn find(
        &self,
        partition: Partition,
        world: &World,
    ) -> impl Future<Output = Result<Found, String>> + use<> {
        let (store, held, fate) = (world.store.clone(), world.held(partition), world.fate.clone());
        let views = self.definition.views.clone();
        async move {
            if fate.fault(Fault::FailedLook, 10) {
                return Err(away().to_string());
            }
            let loaded = loading::load(&store, STREAM, partition, held, &views).await;
            let checkpoints = loaded.map_err(|error| error.to_string())?.into_iter().collect();
            Ok(Found { partition, held, topic_id: None, checkpoints })
        }
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
                let wanted = self.definitions.wanted(&self.known, world.fate.now_ms());
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
                let mut runs = vec![records];
                if world.fate.below(2) == 0 {
                    runs.extend(self.others(partition, most, world));
                }
                for run in &runs {
                    self.positions.insert(Partition(run.partition), Offset(run.position));
                }
                runs.retain(|_| !world.fate.fault(Fault::LostDelivery, 25));
                if !runs.is_empty() {
                    self.happen(Event::Delivered(runs), world);
                }
            }
            Err(LogError::OutOfRange { partition, needed, held }) => {
                self.positions.remove(&partition);
                self.happen(Event::OutOfRange { partition, needed, held }, world);
            }
            Err(error) => self.happen(Event::Failed(error), world),
        }
    }

    /// What the partitions beside one have to deliver with it.
    fn others(&self, beside: Partition, most: usize, world: &World) -> Vec<Records> {
        let others = self.positions.iter().filter(|(partition, _)| **partition != beside);
        let read = others.filter_map(|(partition, position)| read(*partition, *position, most, world).ok());
        read.filter(|run| !run.range().is_empty()).collect()
    }

    /// Nothing came; the log's ends are news all the same.
    fn idle(&mut self, world: &mut World) {
        self.ends = world.ends();
        self.happen(Event::Ends(self.ends.clone()), world);
        self.happen(Event::Idle { answered_at: world.fate.now() }, world);
    }

    /// Replays one slice of what epochs lack.
    pub fn replay(&mut self, world: &mut World) {
        let lacking = self.open().flat_map(|(partition, held)| {
            let missing = whole(held.read()).missing().into_iter();
            missing.map(move |range| Missing { partition, range })
        });
        let lacking = lacking.collect::<Vec<_>>();
        let Some(missing) = self.replaying.next(lacking, world.fate.now()) else { return };
        world.fate.tell(format_args!("node {}: replay {} {}", self.name, missing.partition, missing.range));
        if let Err(error) = self.slice(&missing, world) {
            self.replaying.failed(&missing, world.fate.now());
            self.opened(missing.partition).hinder(missing.range.from, &error.to_string());
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
        self.opened(partition).replay(&stretch)?;
        Ok(())
    }

    /// The partitions that are open.
    fn open(&self) -> impl Iterator<Item = (Partition, &Arc<Held>)> {
        self.slots.iter().filter_map(|(partition, slot)| match slot {
            Slot::Open(held) => Some((*partition, held)),
            Slot::Opening | Slot::Stuck(_) => None,
        })
    }

    fn opened(&self, partition: Partition) -> RwLockWriteGuard<'_, PartitionEpochs> {
        match self.slots.get(&partition) {
            Some(Slot::Open(held)) => whole(held.write()),
            Some(Slot::Opening | Slot::Stuck(_)) | None => panic!("partition {partition} is not open"),
        }
    }

    /// Begins to write down what has changed of a partition, if it is here.
    pub fn save(&mut self, partition: Partition, world: &World) {
        let Some(Slot::Open(held)) = self.slots.get(&partition) else { return };
        let (store, held) = (world.store.clone(), held.clone());
        self.saves.push_back(Task::new(async move { saving::save(&store, STREAM, partition, &held).await }));
    }

    /// Goes on with the saves.
    pub fn keep_saving(&mut self, world: &World) {
        for _ in steps(world) {
            let Some(save) = self.saves.front_mut() else { return };
            // It took too long.
            if world.fate.fault(Fault::AbandonedSave, 60) {
                self.saves.pop_front();
                continue;
            }
            if let Some(saved) = save.step() {
                self.saves.pop_front();
                if let Err(error) = saved {
                    world.fate.tell(format_args!("node {}: not saved: {error}", self.name));
                }
            }
        }
    }

    /// Waits for the saves, as whoever leaves in peace does.
    pub fn finish_saving(&mut self, world: &World) {
        while !self.saves.is_empty() {
            self.keep_saving(world);
            world.fate.pass(Duration::from_millis(1));
        }
    }

    /// Invariant `COVER` of what the store has once all is saved. An object that was damaged where it lies shows
    /// only when it is read: an older one or none takes its place then.
    pub fn check_saved(&mut self, world: &World) {
        let open: Vec<(Partition, Arc<Held>)> =
            self.open().map(|(partition, held)| (partition, held.clone())).collect();
        for (partition, held) in open {
            // Only a save finds that an object of the chain is gone; the next one heals that.
            for _ in 0..2 {
                self.save(partition, world);
                self.finish_saving(world);
            }
            let mut finding = Task::new(self.find(partition, world));
            let found = std::iter::repeat_with(|| finding.step()).flatten().next();
            let found = found.expect("it repeats").expect("all is calm");
            let epochs = whole(held.read());
            let is_saved = !found.checkpoints.is_empty() || epochs.folds().values().all(Fold::is_void);
            assert!(
                is_saved || world.damaged.contains(&partition),
                "node {}: nothing is saved of {partition}",
                self.name
            );
            for checkpoint in found.checkpoints {
                assert!(checkpoint.live <= epochs.live());
                let Checkpoint { live, origin, folds, .. } = &checkpoint;
                self.check_folds("checkpoint", world, partition, (*origin, *live), folds);
            }
        }
    }

    /// What this node says of an epoch.
    pub fn partials(&self, request: &PartialsRequest) -> Result<Vec<Partials>, LiveError> {
        let views = &self.definition.views;
        let view = match self.following.wanted() {
            Some(wanted) => wanted.view(views, &request.view),
            None => views.get(&request.view),
        };
        let mut reply = Reply::begin(request, view.map(Arc::as_ref), self.ends.clone(), 0)?;
        for (partition, slot) in &self.slots {
            match slot {
                Slot::Opening => return Err(reply.opening(*partition)),
                Slot::Stuck(reason) => return Err(reply.not_ready(reason.clone())),
                Slot::Open(held) => {
                    let epochs = whole(held.read());
                    reply.add(*partition, reply.fold(&epochs)?);
                }
            }
        }
        let bytes = wire::encode(&[reply.partials]).expect("states are written");
        Ok(wire::decode(&bytes).expect("what was written is read"))
    }

    pub fn status(&self) -> LiveStatus {
        let mut status = LiveStatus { node: format!("node {}", self.name), ..LiveStatus::default() };
        let mut ready = ReadyEpochs::of(self.following.wanted().map(Arc::as_ref));
        for (partition, slot) in &self.slots {
            let Slot::Open(held) = slot else {
                ready.none();
                continue;
            };
            let epochs = whole(held.read());
            status.live.set(*partition, epochs.live());
            status.end.set(*partition, self.ends.get(*partition).max(epochs.live()));
            ready.see(&epochs);
        }
        status.epochs = ready.watersheds();
        status
    }

    /// Invariant `COVER`: every fold holds exactly the records that its span names.
    pub fn check(&self, world: &World) {
        for (partition, held) in self.open() {
            let epochs = whole(held.read());
            self.check_folds("memory", world, partition, (epochs.origin(), epochs.live()), epochs.folds());
        }
    }

    fn check_folds(
        &self,
        place: &str,
        world: &World,
        partition: Partition,
        (origin, live): (Offset, Offset),
        folds: &BTreeMap<FoldKey, Fold>,
    ) {
        assert!(live <= world.held(partition).until, "the log gives only what it has");
        for (key, fold) in folds {
            let span = fold.span();
            let what = format!(
                "invariant {}: node {} {place} partition {partition} {key:?}",
                invariants::COVER,
                self.name
            );
            assert!(span.is_sound(live), "{what}: {span:?} at {live}");
            assert_eq!(span.from, key.epoch.from(partition, origin), "{what}");
            let holes = fold.unready(partition).is_some();
            assert_eq!(holes, span.replayed < span.joined, "{what}: {span:?}");
            let ranges =
                vec![OffsetRange::new(span.from, span.replayed), OffsetRange::new(span.joined, span.until)];
            let view = VIEWS.into_iter().find(|view| *view == superseded::view_of(&key.view));
            let view = view.expect("there are no other views");
            let defined = rides::defined(view, &fold.view().hash).expect("there are no other definitions");
            let question = Question::whole(view, defined.number);
            let of = BTreeMap::from([(partition, (world.history(partition), ranges))]);
            assert_eq!(rows(fold.table()), question.answer(&of), "{what}: {span:?}");
            world.fate.checked();
        }
    }

    /// True when this partition is followed to the log's end.
    pub fn is_at_end(&self, partition: Partition, world: &World) -> bool {
        match self.slots.get(&partition) {
            Some(Slot::Open(held)) => whole(held.read()).live() == world.held(partition).until,
            Some(Slot::Opening | Slot::Stuck(_)) | None => false,
        }
    }
}

/// Folds that no panic has spoilt: one ends the history.
fn whole<T>(lock: Result<T, Broken>) -> T {
    lock.expect("no fold broke off")
}

/// As many steps as something gets at once.
fn steps(world: &World) -> Range<usize> {
    0..if world.fate.is_calm() { STEPS } else { 1 + world.fate.below(12) }
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
