//! From producing an event to its being in an answer, over a bare consumer's receipt of such an event.

use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::producer::BaseProducer;
use support::platform::{PARTITIONS, send};

use crate::table::{Table, median, percentile};
use crate::world::{World, how_many, readings};

/// Events of each side in a round.
const EVENTS: i64 = 100;
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn measure(table: &mut Table, rounds: usize) {
    let world = World::start(0, Duration::from_millis(10)).await;
    let bare = world.bare_consumer();
    // The first poll begins to fetch; there is nothing yet.
    assert!(bare.poll(Duration::from_millis(500)).is_none());
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &world.kafka.brokers)
        .set("linger.ms", "0")
        .create()
        .expect("a producer");
    let produce = |sequence: i64| {
        // Both sides in turn go through all partitions.
        let partition = (sequence / 2 % i64::from(PARTITIONS)) as i32;
        let begun = Instant::now();
        send(&producer, &world.topic, partition, Some(&world.payload(sequence)));
        begun
    };
    let received = || {
        let message = bare.poll(PATIENCE).expect("the record is received in time");
        message.expect("a record");
    };

    let shares = [("p50", 0.5), ("p99", 0.99)];
    let mut figures = shares.map(|_| (Vec::new(), Vec::new()));
    let mut sequence = 0;
    for _ in 0..rounds {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        for _ in 0..EVENTS {
            // One side at a time, so that neither waits for the other.
            let begun = produce(sequence);
            answered(&world, sequence + 1).await;
            ours.push(millis(begun));
            received();

            let begun = produce(sequence + 1);
            received();
            theirs.push(millis(begun));
            sequence += 2;
            world.until_readings(sequence).await;
        }
        for ((_, share), (our_rounds, their_rounds)) in shares.iter().zip(&mut figures) {
            our_rounds.push(percentile(&mut ours, *share));
            their_rounds.push(percentile(&mut theirs, *share));
        }
    }
    for ((name, _), (ours, theirs)) in shares.iter().zip(&figures) {
        let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let shown = |rounds: &[f64]| format!("{:.2} ms", median(rounds));
        table.add(
            &format!("event to queryable over bare receipt, {name}"),
            shown(ours),
            shown(theirs),
            ratios,
        );
    }
    drop(bare);
    world.stop().await;
}

/// Asks until all readings are in the answer, and never more than there are.
async fn answered(world: &World, expected: i64) {
    let begun = Instant::now();
    loop {
        let (_, answer) = world.platform.ask(&how_many()).await;
        let found = readings(&answer);
        assert!(found <= expected && begun.elapsed() < PATIENCE, "{found} of {expected} readings: {answer}");
        if found == expected {
            return;
        }
    }
}

fn millis(begun: Instant) -> f64 {
    begun.elapsed().as_secs_f64() * 1e3
}
