//! Readers whose brokers fail them: connections that are cut anywhere, brokers that die, and answers that never come.

use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use watershed_broker::BrokerConfig;
use watershed_kafka::{Fetching, KafkaLog, KafkaSettings};
use watershed_schemas::log::{Log, LogError, Reader};
use watershed_schemas::offsets::{Offset, Partition};
use watershed_wire::{FetchSettings, Fetched, Fetcher};

use crate::support::kafka::{EmbeddedBroker, PATIENCE, Target, eventually, numbered};

/// Passes bytes on between clients and a broker, for as long and as far as its mood goes.
struct Proxy {
    address: String,
    mood: Arc<Mood>,
}

#[derive(Default)]
struct Mood {
    /// Connections are cut after random numbers of bytes.
    cuts: AtomicBool,
    /// How many were.
    cut: AtomicU64,
    /// Connections are cut, and none are taken any more.
    is_gone: AtomicBool,
}

impl Proxy {
    fn start(listener: TcpListener, broker: String, seed: u64, most_bytes: usize) -> Proxy {
        let address = listener.local_addr().expect("it listens").to_string();
        let mood = Arc::new(Mood::default());
        let of_proxy = mood.clone();
        std::thread::spawn(move || {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            for client in listener.incoming() {
                if of_proxy.is_gone.load(Ordering::Relaxed) {
                    continue;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(&broker)) else { continue };
                let room = random.random_range(1..most_bytes);
                let (back, forth) = (client.try_clone().expect("clone"), server.try_clone().expect("clone"));
                let (there, here) = (of_proxy.clone(), of_proxy.clone());
                std::thread::spawn(move || pass(client, server, usize::MAX, &there));
                std::thread::spawn(move || pass(forth, back, room, &here));
            }
        });
        Proxy { address, mood }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream, mut room: usize, mood: &Mood) {
    let mut buffer = [0; 4096];
    while let Ok(read) = from.read(&mut buffer)
        && read > 0
        && !mood.is_gone.load(Ordering::Relaxed)
    {
        let passed = if mood.cuts.load(Ordering::Relaxed) { read.min(room) } else { read };
        if to.write_all(&buffer[..passed]).is_err() {
            break;
        }
        if mood.cuts.load(Ordering::Relaxed) {
            room -= passed.min(room);
            if room == 0 {
                mood.cut.fetch_add(1, Ordering::Relaxed);
                break;
            }
        }
    }
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
}

/// A broker that is only reached through a proxy.
fn behind_a_proxy(seed: u64, most_bytes: usize) -> (Target, Proxy) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let advertised = Some(listener.local_addr().expect("it listens").to_string());
    let broker = EmbeddedBroker::start(BrokerConfig { advertised, ..BrokerConfig::default() });
    let proxy = Proxy::start(listener, broker.address(), seed, most_bytes);
    (Target::embedded(broker), proxy)
}

fn batches(brokers: &str) -> KafkaSettings {
    KafkaSettings { fetch: Fetching::Batches, ..KafkaSettings::new(brokers) }
}

fn log(address: &str) -> KafkaLog {
    KafkaLog::connect(batches(address)).expect("the settings are sound")
}

/// Reads on until a position; every record in its place.
fn read_until(reader: &mut dyn Reader, until: i64) {
    let deadline = Instant::now() + PATIENCE;
    while reader.position() < Offset(until) {
        assert!(Instant::now() < deadline, "position {} of {until}", reader.position());
        let before = reader.position();
        let records = reader.next(1000, Duration::from_millis(100)).expect("nothing is lasting");
        assert_eq!(records.from, before.0);
        let wanted: Vec<i64> = (before.0..reader.position().0).collect();
        assert_eq!(records.offsets, wanted);
        for (index, offset) in records.offsets.iter().enumerate() {
            assert_eq!(records.payload(index), format!("record {offset}").as_bytes());
        }
    }
}

#[test]
fn connections_that_are_cut_anywhere_lose_nothing_and_repeat_nothing() {
    for seed in 0..4 {
        let (target, proxy) = behind_a_proxy(seed, 60_000);
        let topic = target.new_topic(1);
        target.produce(&topic, 0, &numbered(20_000), &[("batch.num.messages", "100")]);
        // Some answers come through whole before a connection is cut.
        let client = [("max.partition.fetch.bytes".to_string(), "8000".to_string())].into_iter().collect();
        let settings = KafkaSettings { client, ..batches(&proxy.address) };
        let log = KafkaLog::connect(settings).expect("the settings are sound");
        let mut reader = log.reader(&topic, Partition(0), Offset(0)).expect("it opens");
        proxy.mood.cuts.store(true, Ordering::Relaxed);
        read_until(&mut *reader, 20_000);
        let cuts = proxy.mood.cut.load(Ordering::Relaxed);
        println!("seed {seed}: {cuts} connections were cut");
        assert!(cuts >= 3, "seed {seed}: {cuts} connections were cut");
    }
}

#[test]
fn a_reader_goes_on_after_its_broker_died_and_came_back() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let target = Target::embedded(EmbeddedBroker::in_dir(dir.path()));
    let topic = target.new_topic(1);
    target.produce(&topic, 0, &numbered(100), &[]);
    let mut reader = log(&target.address()).reader(&topic, Partition(0), Offset(0)).expect("it opens");
    read_until(&mut *reader, 100);
    let broker = target.restartable().expect("it is embedded");
    broker.kill();
    let none = reader.next(10, Duration::from_millis(300)).expect("a broker that is away is waited for");
    assert_eq!((none.len(), none.position), (0, 100));
    broker.start_again();
    let more: Vec<_> = numbered(150).split_off(100);
    target.produce(&topic, 0, &more, &[]);
    read_until(&mut *reader, 150);
}

#[test]
fn a_leader_that_is_gone_for_good_is_left_for_the_one_that_comes_after() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let config = |advertised: Option<String>, listen: String| BrokerConfig {
        advertised,
        listen,
        dir: Some(dir.path().to_owned()),
        ..BrokerConfig::default()
    };
    // The leader is reached at another address than the one to begin with.
    let elsewhere = listener.local_addr().expect("it listens").to_string();
    let broker = EmbeddedBroker::start(config(Some(elsewhere), BrokerConfig::default().listen));
    let address = broker.address();
    let proxy = Proxy::start(listener, address.clone(), 0, 2);
    let target = Target::embedded(broker);
    let topic = target.new_topic(1);
    target.produce(&topic, 0, &numbered(100), &[]);
    let mut reader = log(&address).reader(&topic, Partition(0), Offset(0)).expect("it opens");
    read_until(&mut *reader, 100);
    // The metadata goes on naming the leader that is gone, for longer than one attempt takes.
    proxy.mood.is_gone.store(true, Ordering::Relaxed);
    let none = reader.next(10, Duration::from_secs(1)).expect("a leader that is away is waited for");
    assert_eq!((none.len(), none.position), (0, 100));
    target.restartable().expect("it is embedded").stop();
    let broker = EmbeddedBroker::start(config(None, address));
    let target = Target::embedded(broker);
    target.produce(&topic, 0, &numbered(150).split_off(100), &[]);
    read_until(&mut *reader, 150);
}

#[test]
fn a_log_that_lost_what_was_read_is_truncated_whatever_lies_there_now() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let (home, older) = (dir.path().join("broker"), dir.path().join("older"));
    let target = Target::embedded(EmbeddedBroker::in_dir(&home));
    let broker = target.restartable().expect("it is embedded");
    let topic = target.new_topic(1);
    target.produce(&topic, 0, &numbered(50), &[]);
    broker.stop();
    copy(&home, &older);
    broker.start_again();
    target.produce(&topic, 0, &numbered(100).split_off(50), &[]);
    let mut reader = log(&target.address()).reader(&topic, Partition(0), Offset(0)).expect("it opens");
    read_until(&mut *reader, 100);
    broker.stop();
    std::fs::remove_dir_all(&home).expect("it goes");
    copy(&older, &home);
    // As an election does: other records at the same offsets, under a leader of a later epoch.
    for _ in 0..2 {
        broker.start_again();
        broker.stop();
    }
    broker.start_again();
    target.produce(&topic, 0, &numbered(120).split_off(50), &[]);
    let told = eventually("the loss is told", || reader.next(10, Duration::from_millis(100)).err());
    match told {
        LogError::Truncated { partition: Partition(0), position: Offset(100), .. } => {}
        other => panic!("{other}"),
    }
}

/// A folder with all that lies in it.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("it is there") {
        let entry = entry.expect("an entry");
        let to = to.join(entry.file_name());
        match entry.file_type().expect("a type").is_dir() {
            true => copy(&entry.path(), &to),
            false => _ = std::fs::copy(entry.path(), to).expect("it is copied"),
        }
    }
}

#[test]
fn a_broker_that_says_nothing_keeps_nobody_waiting_beyond_the_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let target = Target::embedded(EmbeddedBroker::in_dir(dir.path()));
    let topic = target.new_topic(1);
    target.produce(&topic, 0, &numbered(100), &[]);
    // The first of two addresses accepts connections and is never heard of again.
    let brokers = format!("{},{}", silent.local_addr().expect("it listens"), target.address());
    let settings = KafkaSettings { timeout: Duration::from_millis(500), ..batches(&brokers) };
    let log = KafkaLog::connect(settings).expect("the settings are sound");
    let began = Instant::now();
    let mut reader = loop {
        // librdkafka asks for the topic's partitions, and may choose the silent one first.
        match log.reader(&topic, Partition(0), Offset(0)) {
            Ok(reader) => break reader,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error}"),
        }
    };
    read_until(&mut *reader, 100);
}

#[test]
fn a_partition_that_starts_soon_after_another_does_not_wait_until_that_one_has_records() {
    let max_wait = Duration::from_secs(30);
    let target = Target::embedded(EmbeddedBroker::start(BrokerConfig::default()));
    let topic = target.new_topic(2);
    target.produce(&topic, 1, &numbered(10), &[]);
    let settings = FetchSettings {
        bootstrap: vec![target.address().to_string()],
        client_id: "test".to_string(),
        max_wait,
        min_bytes: 1,
        max_bytes: 1 << 20,
        partition_max_bytes: 1 << 20,
        request_timeout: PATIENCE,
        reconnect_backoff: Duration::from_millis(20),
        reconnect_backoff_max: Duration::from_secs(1),
    };
    let mut fetcher = Fetcher::new(settings, &topic).expect("the system lets it wait");
    fetcher.start(Partition(0), Offset(0));
    assert!(fetcher.take(10, Duration::from_millis(300)).is_empty(), "it holds nothing");
    let began = Instant::now();
    fetcher.start(Partition(1), Offset(0));
    let fetched = fetcher.take(10, max_wait);
    assert!(matches!(&fetched[..], [Fetched::Records(records)] if records.len() == 10), "{fetched:?}");
    assert!(began.elapsed() < max_wait / 3, "it waited for {:?}", began.elapsed());
}

#[test]
fn what_only_librdkafka_can_do_is_left_to_it() {
    let fetching = |brokers: &str, client: &[(&str, &str)]| {
        let client = client.iter().map(|(name, value)| (name.to_string(), value.to_string())).collect();
        KafkaSettings { client, ..batches(brokers) }.fetching().expect("the settings are sound")
    };
    let plain = "127.0.0.1:9092, PLAINTEXT://kafka";
    assert_eq!(fetching(plain, &[]), Fetching::Batches);
    assert_eq!(fetching(plain, &[("client.id", "me"), ("fetch.wait.max.ms", "20")]), Fetching::Batches);
    assert_eq!(fetching(plain, &[("security.protocol", "SASL_PLAINTEXT")]), Fetching::Messages);
    assert_eq!(fetching(plain, &[("client.rack", "a")]), Fetching::Messages);
    assert_eq!(fetching("kafka:9092,SSL://kafka:9093", &[]), Fetching::Messages);
}
