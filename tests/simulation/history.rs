//! One history: what happens to whom, drawn from the seed.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::Rng;
use watershed_schemas::offsets::Partition;
use watershed_speed::following::Event;

use super::node::Node;
use super::world::{Fault, PARTITIONS, World};

const NODES: usize = 2;
const STEPS: usize = 120;
/// Once the faults end, all must be well after so many rounds.
const ROUNDS: usize = 400;

pub struct History {
    pub world: World,
    nodes: Vec<Node>,
    owners: BTreeMap<Partition, usize>,
    /// Who has yet to hear that a partition is its own no more.
    leaving: Vec<(usize, Partition)>,
}

impl History {
    /// Lives through a history, then waits until all is well.
    pub fn run(seed: u64) -> History {
        let world = World::new(seed);
        let nodes = (0..NODES).map(|name| Node::new(name, &world)).collect();
        let mut history = History { world, nodes, owners: BTreeMap::new(), leaving: Vec::new() };
        for partition in (0..PARTITIONS).map(Partition) {
            history.give(partition, partition.0 as usize % NODES);
        }
        for _ in 0..STEPS {
            history.world.now += Duration::from_millis(history.world.random.random_range(0..30));
            history.step();
        }
        history.settle();
        history
    }

    fn step(&mut self) {
        let world = &mut self.world;
        let chosen = world.random.random_range(0..NODES);
        let node = &mut self.nodes[chosen];
        match world.random.random_range(0..100) {
            0..15 => world.produce(),
            15..45 => node.poll(world),
            45..55 => node.answer(world),
            55..65 => node.refresh(world),
            65..78 => node.replay(world),
            78..82 => {
                let partition = world.any_partition();
                node.save(partition, world);
            }
            82..85 => node.check(world),
            85..88 => world.announce(),
            88..91 => world.publish(),
            91..92 => world.roll_back(),
            92..94 => world.trim(),
            94..97 => {
                let partition = world.any_partition();
                self.give(partition, chosen);
            }
            97..99 => self.part(),
            _ => self.crash(chosen),
        }
    }

    /// The group gives a partition to a node. Its owner before may hear of it only later.
    fn give(&mut self, partition: Partition, to: usize) {
        self.world.tell(format_args!("partition {partition} goes to node {to}"));
        match self.owners.insert(partition, to) {
            Some(from) if from == to => return,
            Some(from) => self.leaving.push((from, partition)),
            None => {}
        }
        // Whoever gets a partition back has heard that it lost it.
        self.leave(|leaving| *leaving == (to, partition));
        if self.leaving.is_empty() || !self.world.fault(Fault::Zombie, 3) {
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

    /// A node dies and begins anew, with nothing in memory; the group gives it back what it had.
    fn crash(&mut self, chosen: usize) {
        if !self.world.fault(Fault::Crash, 1) {
            return;
        }
        self.nodes[chosen] = Node::new(chosen, &self.world);
        self.leaving.retain(|(node, _)| *node != chosen);
        let owned = self.owners.iter().filter(|(_, owner)| **owner == chosen);
        let owned: Vec<Partition> = owned.map(|(partition, _)| *partition).collect();
        if !owned.is_empty() {
            self.nodes[chosen].happen(Event::Assigned(owned), &mut self.world);
        }
    }

    /// The faults end: soon every partition is followed to its end and every epoch that is wanted is ready.
    fn settle(&mut self) {
        self.world.calm = true;
        self.part();
        // A delivery that was lost is missed when the next one comes.
        (0..PARTITIONS).for_each(|partition| self.world.append(Partition(partition)));
        for _ in 0..ROUNDS {
            self.world.now += Duration::from_millis(25);
            for node in &mut self.nodes {
                node.refresh(&mut self.world);
                node.answer(&mut self.world);
                node.poll(&mut self.world);
                node.replay(&mut self.world);
                node.happen(Event::Tick, &mut self.world);
            }
            let settled = |(partition, owner): (&Partition, &usize)| {
                self.nodes[*owner].is_settled(*partition, &self.world)
            };
            if self.owners.iter().all(settled) {
                self.nodes.iter().for_each(|node| node.check(&mut self.world));
                return;
            }
        }
        panic!("after {ROUNDS} quiet rounds not all is well");
    }
}
