//! Which node's states of a partition an answer takes.
//!
//! While ownership moves, two nodes may hold a partition. Taking both would count its records twice,
//! so each partition is taken from one reply, the one that has folded furthest (invariant `COVER`).

use watershed_schemas::live::{Partials, PartitionStates};
use watershed_schemas::offsets::{Offset, Offsets, Partition};

/// The live half of an answer.
#[derive(Clone, Debug, Default)]
pub struct Chosen {
    pub watershed: Offsets,
    /// Exactly the partitions that a reply holds.
    pub live: Offsets,
    pub end: Offsets,
    /// The oldest of the times at which the chosen nodes were known to be at the log's end.
    pub current_at_ms: Option<i64>,
    /// States by partition and how far they reach; a partition may have several tables.
    pub states: Vec<(Partition, Offset, PartitionStates)>,
}

impl Chosen {
    /// A partition whose states do not begin where `origin` says that the log began: the node that sent them has not
    /// heard of the version which says so.
    pub fn begins_elsewhere(&self, origin: &Offsets) -> Option<(Partition, Offset)> {
        self.watershed.iter().find(|(partition, from)| *from != origin.get(*partition))
    }
}

/// Takes each partition from the reply that reaches furthest. `watershed` is what was asked for, `None` for the
/// log's start: then the furthest reply says where that is. A reply of another epoch is not looked at.
pub fn choose(replies: Vec<Partials>, watershed: Option<&Offsets>) -> Chosen {
    let same = |reply: &&Partials| {
        let held = |watershed: &Offsets| {
            reply
                .live
                .partitions()
                .all(|partition| reply.watershed.get(partition) == watershed.get(partition))
        };
        watershed.is_none_or(held)
    };
    let mut holders: Vec<(Partition, usize)> = Vec::new();
    let end = replies.iter().fold(Offsets::new(), |end, reply| end.furthest(&reply.end));
    let usable: Vec<&Partials> = replies.iter().filter(same).collect();
    let mut chosen = Chosen { end, watershed: watershed.cloned().unwrap_or_default(), ..Chosen::default() };
    for (index, reply) in usable.iter().enumerate() {
        for (partition, offset) in reply.live.iter() {
            match holders.iter_mut().find(|(held, _)| *held == partition) {
                Some((_, holder)) if offset > usable[*holder].live.get(partition) => *holder = index,
                Some(_) => {}
                None => holders.push((partition, index)),
            }
        }
    }
    for (partition, holder) in &holders {
        let reply = usable[*holder];
        let start = reply.watershed.get(*partition);
        if watershed.is_none() {
            chosen.watershed.set(*partition, start);
        }
        // What lies below the watershed is in the version, however far this node has come.
        let live = reply.live.get(*partition).max(start);
        chosen.live.set(*partition, live);
        let oldest =
            chosen.current_at_ms.map_or(reply.current_at_ms, |oldest| oldest.min(reply.current_at_ms));
        chosen.current_at_ms = Some(oldest);
        let tables = reply.partitions.iter().zip(&reply.states).filter(|(of, _)| *of == partition);
        chosen.states.extend(tables.map(|(_, table)| (*partition, live, table.clone())));
    }
    chosen
}
