//! Simulated histories: two nodes' decisions, a log, a store and a clock, all from one seed.
//!
//! Invariant `COVER`, at every moment that is looked at: what a node holds of an epoch is the oracle's
//! fold of exactly the records that it names, and once the faults end every epoch that is wanted becomes
//! ready. A seed that fails prints itself; `WATERSHED_SEED=<seed>` replays it alone,
//! `WATERSHED_HISTORIES=<count>` runs more of them.

mod history;
mod node;
mod world;

use std::collections::BTreeMap;
use std::env;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use self::history::History;
use self::world::Fault;

/// How many histories are run unless the environment says otherwise.
const HISTORIES: u64 = 100;

fn setting(name: &str) -> Option<u64> {
    let value = env::var(name).ok()?;
    Some(value.parse::<u64>().unwrap_or_else(|error| panic!("{name} is {value:?}: {error}")))
}

#[test]
fn every_epoch_of_every_node_is_the_oracles_fold_in_every_history() {
    let seeds = match setting("WATERSHED_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("WATERSHED_HISTORIES").unwrap_or(HISTORIES),
    };
    let histories = seeds.end - seeds.start;
    let (mut checks, mut faults) = (0, BTreeMap::new());
    for seed in seeds {
        let history = catch_unwind(AssertUnwindSafe(|| History::run(seed))).unwrap_or_else(|panic| {
            eprintln!("history {seed} fails: replay it with WATERSHED_SEED={seed}");
            resume_unwind(panic)
        });
        checks += history.world.checks;
        for (fault, count) in history.world.faults {
            *faults.entry(fault).or_insert(0_u64) += count;
        }
    }
    println!("{histories} histories, {checks} folds compared with the oracle's, faults: {faults:?}");
    if histories >= HISTORIES {
        for fault in Fault::ALL {
            assert!(faults.contains_key(&fault), "{fault:?} never happened in {histories} histories");
        }
    }
}

#[test]
fn the_same_seed_tells_the_same_story_to_the_byte() {
    for seed in [1, 2, 3] {
        let (first, second) = (History::run(seed), History::run(seed));
        assert!(!first.world.story.is_empty());
        assert!(first.world.story == second.world.story, "seed {seed} told two stories");
    }
    assert!(History::run(1).world.story != History::run(2).world.story);
}
