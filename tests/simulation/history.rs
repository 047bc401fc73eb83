//! One history: what happens to whom, drawn from the seed.

use std::collections::BTreeMap;
use std::time::Duration;

use ::support::live::{self, STREAM};
use watershed_schemas::invariants;
use watershed_schemas::layout::Object;
use watershed_schemas::live::LiveError;
use watershed_schemas::manifest::{Intent, Manifest, Version};
use watershed_schemas::offsets::{Offset, Offsets, Partition};
use watershed_schemas::states::StateTable;
use watershed_speed::following::Event;

use super::fate::Fate;
use super::fault::Fault;
use super::node::{self, Node};
use super::rides::{self, Question, VIEWS};
use super::run::{Kind, Run};
use super::server::Server;
use super::wire::{Asked, Wire};
use super::world::World;

const NODES: usize = 3;
const SERVERS: usize = 2;
const STEPS: usize = 160;
/// Once the faults end, all must be well after so many rounds.
const ROUNDS: usize = 600;
/// After so many every partition that can be opened is open.
const OPENED: usize = 20;
const ROUND: Duration = Duration::from_millis(25);

pub struct History {
    pub world: World,
    nodes: Vec<Node>,
    /// Which nodes are there.
    members: [bool; NODES],
    owners: BTreeMap<Partition, usize>,
    /// Who has yet to hear that a partition is its own no more.
    leaving: Vec<(usize, Partition)>,
    servers: Vec<Server>,
    wire: Wire,
    runs: Vec<Run>,
    started: u64,
    /// No run begins before this step.
    first_run: usize,
    /// The versions that were compared with the oracle.
    compared: usize,
}

impl History {
    /// Lives through a history, then waits until all is well.
    pub fn run(fate: &Fate) -> History {
        let mut world = World::new(fate);
        let wire = Wire::new(NODES);
        // Whoever was started first may have been told otherwise than runs and whoever comes later.
        if fate.fault(Fault::NewDefinition, 3) {
            world.definition = rides::definition(1);
        }
        let mut history = History {
            nodes: (0..NODES).map(|name| Node::new(name, &world)).collect(),
            members: [true, true, false],
            owners: BTreeMap::new(),
            leaving: Vec::new(),
            servers: (0..SERVERS).map(|name| Server::new(name, &world, &wire)).collect(),
            wire,
            runs: Vec::new(),
            started: 0,
            compared: 0,
            first_run: fate.below(STEPS / 3),
            world,
        };
        history.world.definition = rides::definition(0);
        history.assign();
        for step in 0..STEPS {
            let time = history.fate().below(20) as u64;
            history.world.fate.pass(Duration::from_millis(time));
            history.step(step);
            history.compare();
        }
        history.settle();
        history
    }

    fn fate(&self) -> &Fate {
        &self.world.fate
    }

    fn step(&mut self, step: usize) {
        let chosen = self.fate().below(NODES);
        match self.fate().below(100) {
            0..12 => self.world.produce(),
            12..50 => self.node_does(chosen),
            50..64 => self.server_does(),
            64..86 if step >= self.first_run => self.run_does(),
            64..86 => self.node_does(chosen),
            86..88 => self.world.trim(),
            88..90 => {
                let partition = self.world.any_partition();
                if self.members[chosen] {
                    self.give(partition, chosen);
                }
            }
            90 => self.part(),
            91 => self.crash(chosen),
            92..94 => self.come_and_go(chosen),
            94 => {
                self.world.add_partition();
                self.assign();
            }
            95 => {
                self.muddle_intents();
                self.world.spoil_checkpoints();
            }
            96 => self.redefine(),
            97 => self.restart_server(),
            98 => self.roll_back(),
            _ => self.stall(chosen),
        }
    }

    fn node_does(&mut self, chosen: usize) {
        let node = &mut self.nodes[chosen];
        if !self.members[chosen] || self.world.fate.now() < node.stalled_until {
            return;
        }
        let world = &mut self.world;
        for _ in 0..1 + world.fate.below(8) {
            match world.fate.below(60) {
                0..20 => node.poll(world),
                20..30 => node.look(world),
                30..38 => node.refresh(world),
                38..52 => node.replay(world),
                52..54 => {
                    let partition = world.any_partition();
                    node.save(partition, world);
                }
                54..58 => node.keep_saving(world),
                58 => node.check(world),
                _ => node.happen(Event::Tick, world),
            }
        }
    }

    fn server_does(&mut self) {
        let chosen = self.fate().below(SERVERS);
        let questions = self.fate().one_in(2);
        for _ in 0..1 + self.fate().below(16) {
            let server = &mut self.servers[chosen];
            if questions {
                if !server.is_asked() {
                    server.ask_something(&self.world);
                }
                if server.answer(&self.world).is_some() {
                    return;
                }
            } else if server.refresh() {
                return;
            }
            self.answer_calls(2);
        }
    }

    /// Some of the calls that wait are answered, or fail.
    fn answer_calls(&mut self, most: usize) {
        for _ in 0..most {
            let waiting = self.wire.waiting();
            if waiting == 0 {
                return;
            }
            let call = self.wire.take(self.fate().below(waiting));
            let node = &self.nodes[call.node];
            let away = !self.members[call.node]
                || self.fate().now() < node.stalled_until
                || self.fate().fault(Fault::NodeAway, 40);
            let reason = || LiveError::Unavailable { reason: format!("node {} is away", call.node) };
            match call.asked {
                Asked::Partials(_, answering) if away => answering.answer(Err(reason())),
                Asked::Status(answering) if away => answering.answer(Err(reason())),
                Asked::Partials(request, answering) => answering.answer(node.partials(&request)),
                Asked::Status(answering) => answering.answer(Ok(vec![node.status()])),
            }
        }
    }

    fn run_does(&mut self) {
        let fate = self.world.fate.clone();
        let begins = match self.runs.len() {
            0 => fate.one_in(3),
            1 => fate.fault(Fault::OverlappingRun, 10),
            _ => false,
        };
        if begins {
            let full = fate.fault(Fault::FullRun, 8);
            let accept_gap = fate.fault(Fault::AcceptedGap, 4);
            self.begin(Kind::Batch { full, accept_gap });
        }
        if self.runs.is_empty() {
            return;
        }
        let chosen = fate.below(self.runs.len());
        if fate.now() < self.runs[chosen].stalled_until {
            return;
        }
        if fate.fault(Fault::StalledRun, 20) {
            self.runs[chosen].stalled_until = fate.now() + Duration::from_millis(fate.within(50..900) as u64);
            return;
        }
        for _ in 0..1 + fate.below(50) {
            if fate.fault(Fault::CrashedRun, 400) {
                let run = self.runs.swap_remove(chosen);
                fate.tell(format_args!("{} dies", run.id));
                return;
            }
            if self.runs[chosen].step(&self.world).is_some() {
                self.runs.swap_remove(chosen);
                return;
            }
        }
    }

    fn begin(&mut self, kind: Kind) {
        self.started += 1;
        self.runs.push(Run::start(self.started, kind, &self.world));
    }

    fn roll_back(&mut self) {
        let published = self.world.objects.count();
        if published > 0 && self.runs.len() < 2 && self.fate().fault(Fault::Rollback, 1) {
            let to = published - self.fate().below(published.min(3));
            self.begin(Kind::Rollback(Version(to as u64)));
        }
    }

    /// The group gives a partition to a node. Its owner before may hear of it only later.
    fn give(&mut self, partition: Partition, to: usize) {
        self.fate().tell(format_args!("partition {partition} goes to node {to}"));
        match self.owners.insert(partition, to) {
            Some(from) if from == to => return,
            Some(from) => self.leaving.push((from, partition)),
            None => {}
        }
        // Whoever gets a partition back has heard that it lost it.
        self.leave(|leaving| *leaving == (to, partition));
        if self.leaving.is_empty() || !self.fate().fault(Fault::Zombie, 3) {
            self.part();
        }
        self.nodes[to].happen(Event::Assigned(vec![partition]), &mut self.world);
    }

    /// All hear what they have lost.
    fn part(&mut self) {
        self.leave(|_| true);
    }

    fn leave(&mut self, which: impl Fn(&(usize, Partition)) -> bool) {
        for (node, partition) in self.leaving.extract_if(.., |leaving| which(leaving)) {
            self.nodes[node].happen(Event::Revoked(vec![partition]), &mut self.world);
        }
    }

    /// Partitions that no member owns go to one.
    fn assign(&mut self) {
        for partition in self.world.partitions() {
            let owner = self.owners.get(&partition);
            if owner.is_none_or(|owner| !self.members[*owner]) {
                let members: Vec<usize> = (0..NODES).filter(|node| self.members[*node]).collect();
                let to = members[self.fate().below(members.len())];
                self.owners.remove(&partition);
                self.give(partition, to);
            }
        }
    }

    /// A node dies and begins anew, with nothing in memory; the group gives it back what it had.
    fn crash(&mut self, chosen: usize) {
        if self.members[chosen] && self.fate().fault(Fault::Crash, 1) {
            self.replace(chosen);
            let owned = self.owners.iter().filter(|(_, owner)| **owner == chosen);
            let owned: Vec<Partition> = owned.map(|(partition, _)| *partition).collect();
            if !owned.is_empty() {
                self.nodes[chosen].happen(Event::Assigned(owned), &mut self.world);
            }
        }
    }

    fn replace(&mut self, chosen: usize) {
        self.nodes[chosen] = Node::new(chosen, &self.world);
        self.leaving.retain(|(node, _)| *node != chosen);
    }

    /// A node leaves the group, in peace or not; or one joins it.
    fn come_and_go(&mut self, chosen: usize) {
        if !self.members[chosen] {
            self.replace(chosen);
            self.members[chosen] = true;
            let partition = self.world.any_partition();
            return self.give(partition, chosen);
        }
        let others = self.members.iter().filter(|member| **member).count() > 1;
        if others && self.fate().fault(Fault::Leave, 1) {
            if self.fate().one_in(2) {
                let owned = self.world.partitions().collect();
                self.nodes[chosen].happen(Event::Revoked(owned), &mut self.world);
                self.nodes[chosen].finish_saving(&self.world);
            }
            self.members[chosen] = false;
            self.replace(chosen);
            self.assign();
        }
    }

    fn stall(&mut self, chosen: usize) {
        if self.fate().fault(Fault::Stall, 1) {
            let pause = Duration::from_millis(self.fate().within(20..600) as u64);
            self.nodes[chosen].stalled_until = self.fate().now() + pause;
        }
    }

    fn muddle_intents(&mut self) {
        self.world.muddle_intents();
        if !self.fate().fault(Fault::StaleIntent, 2) {
            return;
        }
        let fate = self.world.fate.clone();
        let target: Offsets = (self.world.ends().iter())
            .map(|(partition, end)| (partition, Offset(fate.within(0..end.0 + 1))))
            .collect();
        let version = 1 + fate.below(self.world.objects.count() + 2) as u64;
        let intent = live::intent(version, &target, fate.now_ms() + fate.within(0..900));
        let intent = Intent { run_id: format!("dead{}", fate.below(9)), ..intent };
        self.world.objects.announce(&intent);
    }

    /// Whoever starts from now on answers otherwise.
    fn redefine(&mut self) {
        if self.fate().fault(Fault::NewDefinition, 1) {
            let number = (self.world.definition.number + 1) % rides::definitions();
            self.world.definition = rides::definition(number);
        }
    }

    fn restart_server(&mut self) {
        let chosen = self.fate().below(SERVERS);
        if self.fate().fault(Fault::RestartedServer, 1) {
            self.servers[chosen] = Server::new(chosen, &self.world, &self.wire);
        }
    }

    /// Every version that appeared is compared with the oracle, file by file.
    fn compare(&mut self) {
        if self.compared == self.world.objects.count() {
            return;
        }
        let published = self.world.objects.published();
        for version in &published[self.compared..] {
            self.compare_version(version);
        }
        self.compared = published.len();
    }

    fn compare_version(&self, version: &Manifest) {
        let what =
            format!("invariant {}: version {} of {}", invariants::COVER, version.version, version.run_id);
        for (partition, watershed) in version.watershed.iter() {
            assert!(watershed <= self.world.held(partition).until, "{what}: it holds more than the log");
        }
        let ranges = self.world.below(&version.watershed, &version.origin, Some(version));
        let counts = ranges.values().map(|(history, ranges)| rides::count(history, ranges));
        let expected = counts.fold((0, 0), |all, some| (all.0 + some.0, all.1 + some.1));
        let events = version.events.iter().map(|file| file.file.rows).sum::<u64>();
        let dead_letters = version.dead_letters.iter().map(|file| file.file.rows).sum::<u64>();
        assert_eq!(
            (events, dead_letters),
            expected,
            "{what}: events and dead letters, {}",
            version.watershed
        );
        for view in VIEWS {
            let published = &version.views[view];
            let definition = rides::defined(view, &published.hash);
            let definition = definition.unwrap_or_else(|| panic!("{what}: {view} is of no definition"));
            let mut rows = Vec::new();
            for file in &published.files {
                let bytes = self.world.objects.peek(&file.file.path);
                let bytes = bytes.unwrap_or_else(|| panic!("{what}: {} is not there", file.file.path));
                let table = self.world.tables.rows(&bytes).expect("a view file names its rows");
                let table = StateTable::from_record_batch(definition.views[view].clone(), &table);
                rows.extend(node::rows(&table.expect("its rows are states")));
            }
            let question = Question::whole(view, definition.number);
            assert_eq!(rows, question.answer(&ranges), "{what}: {view}, {}", version.watershed);
            self.fate().checked();
        }
    }

    /// The faults end: soon the newest version is in service everywhere, holds what there was, and every server's
    /// answer reaches the log's end.
    fn settle(&mut self) {
        self.world.fate.calm();
        self.part();
        self.world.partitions().for_each(|partition| self.world.end_transaction(partition));
        let definition = self.world.definition.number;
        for chosen in 0..NODES {
            self.nodes[chosen].stalled_until = Duration::ZERO;
            if self.members[chosen] && self.nodes[chosen].definition() != definition {
                self.replace(chosen);
                let owned = self.owners.iter().filter(|(_, owner)| **owner == chosen);
                let owned: Vec<Partition> = owned.map(|(partition, _)| *partition).collect();
                self.nodes[chosen].happen(Event::Assigned(owned), &mut self.world);
            }
        }
        for chosen in 0..SERVERS {
            if self.servers[chosen].definition() != definition {
                self.servers[chosen] = Server::new(chosen, &self.world, &self.wire);
            }
        }
        for round in 0..ROUNDS {
            self.world.fate.pass(ROUND);
            self.quiet_round(round);
            self.compare();
            if self.is_settled() && (0..SERVERS).all(|server| self.answers_all(server)) {
                self.nodes.iter().for_each(|node| node.check(&self.world));
                self.check_checkpoints();
                self.check_named_files();
                return;
            }
        }
        let services: Vec<Option<Version>> =
            self.servers.iter().map(|server| server.service().map(|service| service.version())).collect();
        panic!(
            "after {ROUNDS} quiet rounds not all is well: {} versions, in service {services:?}, the log ends at {}",
            self.world.objects.count(),
            self.world.ends()
        );
    }

    fn quiet_round(&mut self, round: usize) {
        for chosen in (0..NODES).filter(|chosen| self.members[*chosen]) {
            let (node, world) = (&mut self.nodes[chosen], &mut self.world);
            node.refresh(world);
            node.look(world);
            node.keep_saving(world);
            node.poll(world);
            node.replay(world);
            node.happen(Event::Tick, world);
        }
        for server in 0..SERVERS {
            for _ in 0..20 {
                let before = self.servers[server].service().map(|service| service.version());
                self.servers[server].refresh();
                if round >= OPENED && before.is_some() {
                    self.check_switch(server, before);
                }
                self.answer_calls(usize::MAX);
            }
        }
        for _ in 0..40 {
            let world = &self.world;
            self.runs.retain_mut(|run| run.step(world).is_none());
            self.compare();
        }
        if self.runs.is_empty() && round >= OPENED && round.is_multiple_of(8) && !self.all_is_published() {
            self.begin(Kind::Batch { full: false, accept_gap: true });
        }
    }

    /// A version comes into service when its epoch is ready, so that no answer lacks its live half.
    fn check_switch(&self, server: usize, before: Option<Version>) {
        let Some(service) =
            self.servers[server].service().filter(|service| Some(service.version()) != before)
        else {
            return;
        };
        let members = (0..NODES).filter(|node| self.members[*node]).map(|node| self.nodes[node].status());
        for status in members.filter(|status| !status.live.is_empty()) {
            let ready = status.epochs.contains(&service.manifest.watershed);
            assert!(
                ready,
                "server {server} answers from version {} before {} is ready",
                service.version(),
                status.node
            );
        }
    }

    /// What the nodes saved holds what its spans name.
    fn check_checkpoints(&mut self) {
        for chosen in (0..NODES).filter(|chosen| self.members[*chosen]) {
            self.nodes[chosen].check_saved(&self.world);
        }
    }

    /// What a retained version names is there.
    fn check_named_files(&self) {
        for version in self.world.objects.published() {
            let path = Object::Manifest { stream: STREAM.to_string(), version: version.version }.path();
            if self.world.objects.peek(&path).is_none() {
                continue;
            }
            let events = version.events.iter().map(|file| &file.file);
            let dead_letters = version.dead_letters.iter().map(|file| &file.file);
            let views = version.views.values().flat_map(|view| &view.files).map(|file| &file.file);
            for file in events.chain(dead_letters).chain(views) {
                let there = self.world.objects.peek(&file.path).is_some();
                assert!(there, "version {} names {}, which is not there", version.version, file.path);
            }
        }
    }

    /// True when the newest version holds everything, as it is defined now.
    fn all_is_published(&self) -> bool {
        let Some(newest) = self.world.objects.newest() else { return false };
        let views = &self.world.definition.views;
        newest.watershed.covers(&self.world.ends())
            && newest.views.iter().all(|(name, view)| views[name].hash == view.hash)
    }

    fn is_settled(&self) -> bool {
        let newest = self.world.objects.newest().map(|newest| newest.version);
        let at_end =
            |(partition, owner): (&Partition, &usize)| self.nodes[*owner].is_at_end(*partition, &self.world);
        self.runs.is_empty()
            && self.all_is_published()
            && self.servers.iter().all(|server| server.service().map(|service| service.version()) == newest)
            && self.owners.iter().all(at_end)
    }

    /// True when a server answers for every view, of all that the log holds.
    fn answers_all(&mut self, server: usize) -> bool {
        VIEWS.into_iter().all(|view| {
            self.servers[server].ask_all(view);
            let answer = loop {
                if let Some(answer) = self.servers[server].answer(&self.world) {
                    break answer;
                }
                self.answer_calls(usize::MAX);
                // A question may wait for partitions that are handed over.
                self.world.fate.pass(Duration::from_millis(1));
            };
            answer.is_ok_and(|answer| {
                let block = answer.block;
                block.live == self.world.ends() && (block.complete || !block.gaps.is_empty())
            })
        })
    }
}
