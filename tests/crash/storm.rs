//! `kill -9` of everything but the broker, at random moments under load.

use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::seed;
use crate::support::command::Service;
use crate::support::deployment::Deployment;
use crate::support::load::{Judge, Orders, Questions, everything};

/// How long it rages: WATERSHED_TEST_STORM says for how many seconds.
fn length() -> Duration {
    let set = std::env::var("WATERSHED_TEST_STORM").ok().and_then(|seconds| seconds.parse().ok());
    Duration::from_secs(set.unwrap_or(20))
}

/// How many processes of each kind died.
#[derive(Debug, Default)]
struct Kills {
    speed: u32,
    serve: u32,
    batch: u32,
}

impl Kills {
    /// Enough of each kind, and of all, for the answers to mean something.
    fn enough(&self) -> bool {
        self.speed + self.serve + self.batch >= 24 && self.speed.min(self.serve).min(self.batch) > 0
    }
}

/// Kills one, if it still runs, and starts another in its place: not before, for they listen at the same address.
fn replace(service: &mut Service, count: &mut u32, start: impl FnOnce() -> Service) {
    *count += u32::from(service.exit_code().is_none());
    service.kill();
    *service = start();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_right_while_speed_nodes_servers_and_batch_runs_are_killed() {
    let seed = seed();
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let place = Deployment::start(2).await;
    let mut speed = [place.speed(0), place.speed(1)];
    let mut serve = place.serve();
    serve.line("ready: ");
    let orders = Orders::keep_coming(&place, 300, seed);
    let questions = Questions::keep_coming(&place);
    let mut batch = place.begin_batch();
    let mut ran = 0;

    let mut kills = Kills::default();
    // A batch run that finished before its turn came is no kill, so the count is not the clock's to promise.
    let (until, latest) = (Instant::now() + length(), Instant::now() + 5 * length());
    while Instant::now() < until || !(kills.enough() || Instant::now() > latest) {
        tokio::time::sleep(Duration::from_millis(random.random_range(50..700))).await;
        match random.random_range(0..10) {
            0..2 => {
                let index = random.random_range(0..speed.len());
                replace(&mut speed[index], &mut kills.speed, || place.speed(index));
            }
            2..5 => replace(&mut serve, &mut kills.serve, || place.serve()),
            _ => {
                ran += u32::from(batch.exit_code() == Some(0));
                replace(&mut batch, &mut kills.batch, || place.begin_batch());
            }
        }
    }
    println!("{kills:?}, {ran} batch runs finished in between");
    batch.kill();
    orders.end();
    place.publish();
    let last = place.until_current(&everything()).await;
    let asked = questions.end().await;
    let mut judge = Judge::of(&place.kafka, &place.topic);
    let verdict = judge.judge(&asked);
    println!("{} orders, {verdict:?}, wrong: 0", judge.orders());
    assert!(judge.would_notice(&last), "one record more would go unnoticed");
    assert!(kills.enough(), "{kills:?}");
    assert!(verdict.straddling > 0 && verdict.versions > 1, "{verdict:?}");
    let verified = place.finish(place.command("verify", &["verify"]));
    assert_eq!(verified.code, 0, "{verified:?}");
}
