//! Random histories of runs, rollbacks, retention and crashes, each from its seed.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use support::whole::{Whole, question};
use watershed_batch::{BatchError, Outcome, Retention};

/// How many histories are run unless `WATERSHED_HISTORIES` says otherwise; `WATERSHED_SEED` replays one alone.
const HISTORIES: u64 = 12;
const STEPS: usize = 40;
const PARTITIONS: i32 = 4;

fn setting(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|error| panic!("{name} is {value:?}: {error}")))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_of_every_history_is_the_oracles_whatever_is_rolled_back_and_let_go() {
    let seeds = match setting("WATERSHED_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..setting("WATERSHED_HISTORIES").unwrap_or(HISTORIES),
    };
    let (mut answers, mut happened) = (0, BTreeMap::new());
    for seed in seeds {
        println!("history {seed}: replay it with WATERSHED_SEED={seed}");
        answers += history(seed, &mut happened).await;
    }
    println!("{answers} answers compared with the oracle's; {happened:?}");
    if setting("WATERSHED_SEED").is_none() {
        for what in ["run", "full run", "rollback", "retention", "restart"] {
            assert!(happened.contains_key(what), "no {what} ever happened: {happened:?}");
        }
    }
}

/// Lives through a history; gives the number of answers that were compared.
async fn history(seed: u64, happened: &mut BTreeMap<&'static str, u64>) -> u64 {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut whole = Whole::start().await;
    whole.world.options.chunk_rows = 10;
    let retention = Retention { versions: 4, superseded: Duration::ZERO, orphans: Duration::ZERO };
    whole.world.options.retention = retention;
    for _ in 0..STEPS {
        let what = match random.random_range(0..100) {
            0..40 => produce(&mut whole, &mut random),
            40..60 => run(&mut whole, random.random_ratio(1, 6)).await,
            60..75 => rollback(&mut whole, &mut random).await,
            75..90 => retain(&mut whole, &mut random).await,
            90..94 => {
                whole.restart().await;
                Some("restart")
            }
            _ => {
                whole.until_current().await;
                Some("quiet")
            }
        };
        if let Some(what) = what {
            *happened.entry(what).or_default() += 1;
        }
        whole.check(&question()).await;
        if random.random_bool(0.3) {
            whole.check(&below("batch")).await;
        }
    }
    whole.until_current().await;
    for version in whole.world.store.versions("readings").await.expect("the store is well") {
        let mut question = below("batch");
        question["as_of"] = json!(version.0);
        let answer = whole.check(&question).await.expect("a retained version answers");
        assert_eq!(answer["answer"]["version"], json!(version.0));
    }
    whole.checked
}

fn below(accuracy: &str) -> serde_json::Value {
    let mut question = question();
    question["accuracy"] = json!(accuracy);
    question
}

fn produce(whole: &mut Whole, random: &mut ChaCha8Rng) -> Option<&'static str> {
    let partition = random.random_range(0..PARTITIONS);
    for _ in 0..random.random_range(1..30) {
        let site = ["a", "b", "c"][random.random_range(0..3)];
        whole.produce(partition, random.random_range(0..60), site, random.random_range(-9..9));
    }
    if random.random_ratio(1, 4) {
        whole.world.log.append("readings", partition, 0, Some(b"{ not json"));
    }
    if random.random_ratio(1, 4) {
        whole.world.log.skip("readings", partition, random.random_range(1..5));
    }
    Some("produce")
}

async fn run(whole: &mut Whole, full: bool) -> Option<&'static str> {
    whole.world.options.full = full;
    let outcome = whole.world.run().await;
    whole.world.options.full = false;
    match outcome.expect("nothing is lost before it has landed") {
        Outcome::Published(report) => {
            assert!(report.manifest.ahead.is_empty(), "a run's watershed is beyond all that has landed");
            Some(if full { "full run" } else { "run" })
        }
        Outcome::Unchanged(_) => None,
        other => panic!("nobody else is at it: {other:?}"),
    }
}

async fn rollback(whole: &mut Whole, random: &mut ChaCha8Rng) -> Option<&'static str> {
    let versions = whole.world.store.versions("readings").await.expect("the store is well");
    let landed = whole.world.newest().await?.landed();
    let to = versions[random.random_range(0..versions.len())];
    match whole.try_rollback(to.0).await {
        Ok(Outcome::Published(report)) => {
            assert_eq!(report.manifest.landed(), landed, "what has landed stays so");
            Some("rollback")
        }
        Ok(Outcome::Unchanged(_)) | Err(BatchError::PastRetention { .. }) => None,
        other => panic!("nothing stands against going back: {other:?}"),
    }
}

/// The log lets go of records that have landed, and of no others.
async fn retain(whole: &mut Whole, random: &mut ChaCha8Rng) -> Option<&'static str> {
    let landed = whole.world.newest().await?.landed();
    let mut moved = None;
    for (partition, held) in whole.held() {
        let furthest = landed.get(partition).0;
        if held.from.0 < furthest && random.random_bool(0.6) {
            whole.trim(partition.0, random.random_range(held.from.0..=furthest));
            moved = Some("retention");
        }
    }
    moved
}
