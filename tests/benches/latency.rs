//! From producing an event to its being in an answer, over a bare consumer's receipt of such an event: of single events, and
//! among as many others as make half of what the platform can take.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::BaseConsumer;
use rdkafka::producer::BaseProducer;
use serde_json::{Value as Json, json};
use support::platform::{PARTITIONS, flush, send, unique};
use tokio::task::{JoinHandle, spawn_blocking};

use crate::table::{Table, median, percentile};
use crate::world::{World, bare_consumer, how_many, probe, readings};

/// Events of each side in a round.
const EVENTS: i64 = 100;
const PATIENCE: Duration = Duration::from_secs(10);
/// Of what the platform can take, this many are sent to find out how fast that is.
const FLOOD: i64 = 400_000;
/// How often other events are sent, and how often one that is waited for.
const SLICE: Duration = Duration::from_millis(5);
const PROBE_EVERY: Duration = Duration::from_millis(15);
const SHARES: [(&str, f64); 2] = [("p50", 0.5), ("p99", 0.99)];

pub async fn measure(table: &mut Table, rounds: usize) {
    single(table, rounds).await;
    among_others(table, rounds).await;
}

/// One event at a time.
async fn single(table: &mut Table, rounds: usize) {
    let world = World::start(0, Duration::from_millis(10)).await;
    let bare = world.bare_consumer();
    // The first poll begins to fetch; there is nothing yet.
    assert!(bare.poll(Duration::from_millis(500)).is_none());
    let producer = prompt_producer(&world.kafka.brokers);
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

    let mut figures = SHARES.map(|_| (Vec::new(), Vec::new()));
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
        note(&mut figures, &mut ours, &mut theirs);
    }
    add(table, "event to queryable over bare receipt", &figures);
    drop(bare);
    world.stop().await;
}

/// The same while others come at half of the rate that the platform can take.
async fn among_others(table: &mut Table, rounds: usize) {
    let world = World::start(0, Duration::from_millis(1)).await;
    let payloads: Arc<Vec<Vec<u8>>> = Arc::new((0..20_000).map(|sequence| world.payload(sequence)).collect());
    let begun = Instant::now();
    world.fill(0, FLOOD);
    world.until_readings(FLOOD).await;
    let rate = FLOOD as f64 / begun.elapsed().as_secs_f64() / 2.0;

    // Nobody but the bare consumer follows this one.
    let quiet = unique("readings");
    world.kafka.create_topic(&quiet).await;
    let listener = Listener::of(bare_consumer(&world.kafka.brokers, &quiet));
    let producer = prompt_producer(&world.kafka.brokers);
    let mut figures = SHARES.map(|_| (Vec::new(), Vec::new()));
    let (mut probes, mut sent) = (0, FLOOD);
    for _ in 0..rounds {
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        let others = Others::come(&world, &world.topic, &payloads, rate);
        for _ in 0..EVENTS {
            tokio::time::sleep(PROBE_EVERY).await;
            let begun = Instant::now();
            send(
                &producer,
                &world.topic,
                (probes % i64::from(PARTITIONS)) as i32,
                Some(&probe(world.at_ms(0))),
            );
            probes += 1;
            probed(&world, probes).await;
            ours.push(millis(begun));
        }
        sent += others.stop().await + EVENTS;
        world.until_readings(sent).await;

        let others = Others::come(&world, &quiet, &payloads, rate);
        for number in 0..EVENTS {
            tokio::time::sleep(PROBE_EVERY).await;
            let begun = Instant::now();
            send(&producer, &quiet, (number % i64::from(PARTITIONS)) as i32, Some(&probe(world.at_ms(0))));
            let received = listener.heard.recv_timeout(PATIENCE).expect("the record is received in time");
            theirs.push((received - begun).as_secs_f64() * 1e3);
        }
        others.stop().await;
        note(&mut figures, &mut ours, &mut theirs);
    }
    add(table, &format!("event to queryable over bare receipt among {rate:.0} others a second"), &figures);
    listener.stop().await;
    world.stop().await;
}

/// Events that come at a steady rate until they are told to stop.
struct Others {
    stop: Arc<AtomicBool>,
    coming: JoinHandle<i64>,
}

impl Others {
    fn come(world: &World, topic: &str, payloads: &Arc<Vec<Vec<u8>>>, rate: f64) -> Others {
        let stop = Arc::new(AtomicBool::new(false));
        let (producer, topic) = (world.kafka.producer(), topic.to_string());
        let (payloads, stopped) = (payloads.clone(), stop.clone());
        let coming = spawn_blocking(move || {
            let (begun, mut sent) = (Instant::now(), 0);
            while !stopped.load(Ordering::Acquire) {
                let due = (begun.elapsed().as_secs_f64() * rate) as i64;
                for sequence in sent..due {
                    let partition = (sequence % i64::from(PARTITIONS)) as i32;
                    send(&producer, &topic, partition, Some(&payloads[sequence as usize % payloads.len()]));
                }
                sent = sent.max(due);
                std::thread::sleep(SLICE);
            }
            flush(&producer);
            sent
        });
        Others { stop, coming }
    }

    /// How many there were.
    async fn stop(self) -> i64 {
        self.stop.store(true, Ordering::Release);
        self.coming.await.expect("the producer ends")
    }
}

/// A bare consumer that tells when it received a probe.
struct Listener {
    heard: Receiver<Instant>,
    stop: Arc<AtomicBool>,
    listening: JoinHandle<()>,
}

impl Listener {
    fn of(consumer: BaseConsumer) -> Listener {
        let (tell, heard) = channel();
        let stop = Arc::new(AtomicBool::new(false));
        let (length, stopped) = (probe(0).len(), stop.clone());
        let listening = spawn_blocking(move || {
            while !stopped.load(Ordering::Acquire) {
                let Some(message) = consumer.poll(Duration::from_millis(100)) else { continue };
                if message.expect("a record").payload_len() == length {
                    tell.send(Instant::now()).expect("somebody hears it");
                }
            }
        });
        Listener { heard, stop, listening }
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.listening.await.expect("the consumer ends");
    }
}

/// Asks until so many probes are in the answer.
async fn probed(world: &World, expected: i64) {
    let question: Json = json!({
        "view": "by_site", "group_by": [], "grain": "all", "measures": ["readings"], "where": { "site": "probe" }
    });
    let begun = Instant::now();
    loop {
        let (_, answer) = world.platform.ask(&question).await;
        let found = readings(&answer);
        assert!(found <= expected && begun.elapsed() < PATIENCE, "{found} of {expected} probes: {answer}");
        if found == expected {
            return;
        }
    }
}

type Figures = [(Vec<f64>, Vec<f64>); SHARES.len()];

/// Notes a round of both sides.
fn note(figures: &mut Figures, ours: &mut [f64], theirs: &mut [f64]) {
    for ((_, share), (our_rounds, their_rounds)) in SHARES.iter().zip(figures) {
        our_rounds.push(percentile(ours, *share));
        their_rounds.push(percentile(theirs, *share));
    }
}

fn add(table: &mut Table, what: &str, figures: &Figures) {
    for ((name, _), (ours, theirs)) in SHARES.iter().zip(figures) {
        let ratios = ours.iter().zip(theirs).map(|(ours, theirs)| ours / theirs).collect();
        let shown = |rounds: &[f64]| format!("{:.2} ms", median(rounds));
        table.add(&format!("{what}, {name}"), shown(ours), shown(theirs), ratios);
    }
}

fn prompt_producer(brokers: &str) -> BaseProducer {
    ClientConfig::new().set("bootstrap.servers", brokers).set("linger.ms", "0").create().expect("a producer")
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
