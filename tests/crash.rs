//! Real processes, killed and starved: the hand-over holds when they die at any moment, when nodes join and leave, and
//! when the broker, the store or the disk fails under them.
//!
//! Every answer of every test is recomputed from what the topic holds, at the answer's own watershed and live offsets
//! (`invariants::COVER`). The broker is the embedded one in a process of its own, or the Apache Kafka that
//! `WATERSHED_TEST_KAFKA` names.

mod nodes;
mod outages;
mod points;
mod room;
mod stops;
mod storm;

/// The seed of a test's random choices.
fn seed() -> u64 {
    let set = std::env::var("WATERSHED_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = set.unwrap_or_else(rand::random);
    println!("seed {seed} (WATERSHED_TEST_SEED)");
    seed
}
