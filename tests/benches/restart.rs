//! From starting a killed process anew to its first answer that holds every record, over a bare replay: a consumer that
//! decodes nothing, from the offsets of the last checkpoint on, and reading the bytes of the checkpoints.
//!
//! The process is `watershed up` with the embedded broker in it, killed by SIGKILL. So our side also starts the process, opens
//! the log after the crash and starts to serve; the bare side begins with a broker that runs. How long the process takes until it
//! answers at all is told on its own.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::{Offset, TopicPartitionList};
use reqwest::Client;
use serde_json::Value as Json;
use support::command::{Folder, Service};
use support::platform::{Kafka, PARTITIONS, flush, send, unique};
use support::serving::client;
use watershed_schemas::layout::{self, Object};
use watershed_schemas::offsets::Partition;

use crate::table::{Table, median};
use crate::world::{FIRST_MS, VIEW, how_many, payload, readings, schema};

const TOPIC: &str = "readings";
/// What the checkpoints hold.
const SAVED: i64 = 600_000;
/// Some half of the rate at which the platform takes events.
const PER_MILLISECOND: i64 = 200;
/// What lies behind them: what comes at that rate in two seconds, in five, and in all ten between two checkpoints.
const BEHIND: [i64; 3] = [400_000, 1_000_000, 2_000_000];
/// Event time between two records that are saved: they make some 40,000 groups in each partition.
const STEP_MS: i64 = 10_000;
const PATIENCE: Duration = Duration::from_secs(60);
const LOOK: Duration = Duration::from_millis(2);

pub async fn measure(table: &mut Table, rounds: usize) {
    let folder = Folder::new();
    folder.write("schemas/readings.sql", &format!("{};\n", schema(TOPIC)));
    folder.write("jobs/by_site.sql", &format!("{VIEW};\n"));
    let begun = Up::start(&folder, &[]);
    begun.fill(0, SAVED);
    begun.until_answered(SAVED).await;
    assert_eq!(begun.service.stop().0, 0, "it saves all that it has folded and ends");
    let mut up = Up::start(&folder, NEVER_SAVE);
    let (mut heard, mut filled) = (Vec::new(), 0);
    for behind in BEHIND {
        up.fill(SAVED + filled, SAVED + behind);
        filled = behind;
        up.until_answered(SAVED + behind).await;
        let (mut answered, mut bare) = (Vec::new(), Vec::new());
        for _ in 0..rounds {
            up.service.kill();
            up = Up::start(&folder, NEVER_SAVE);
            let times = up.until_answered(SAVED + behind).await;
            heard.push(times.heard * 1e3);
            answered.push(times.answered);
            bare.push(replay(&folder, &up.broker(), behind));
        }
        let shown = |seconds: &[f64]| format!("{:.0} ms", median(seconds) * 1e3);
        table.add(
            &format!(
                "restart after kill -9, to the first answer with every record, {behind} of them behind the last checkpoint, over a bare replay"
            ),
            shown(&answered),
            shown(&bare),
            answered.iter().zip(&bare).map(|(ours, bare)| ours / bare).collect(),
        );
    }
    table.fact("restart after kill -9, to the first byte of /healthz", "ms", heard);
}

/// Checkpoints stay as the process before left them.
const NEVER_SAVE: &[(&str, &str)] = &[("WATERSHED__SPEED__CHECKPOINT_INTERVAL", "1day")];

/// A `watershed up` that has just been started.
pub struct Up {
    pub service: Service,
    begun: Instant,
    address: SocketAddr,
    client: Client,
    broker: std::cell::OnceCell<String>,
}

/// Seconds since it was started.
pub struct Times {
    /// Until the first byte of an answer at all.
    pub heard: f64,
    /// Until the answer that was waited for.
    pub answered: f64,
}

impl Up {
    pub fn start(folder: &Folder, settings: &[(&str, &str)]) -> Up {
        let address = free_address();
        let mut command = folder.command(&["up"]);
        command.env("WATERSHED__SERVE__LISTEN", address.to_string()).env("RUST_LOG", "warn");
        command.envs(settings.iter().copied());
        let begun = Instant::now();
        let service = Service::start(command);
        Up { service, begun, address, client: client(), broker: std::cell::OnceCell::new() }
    }

    /// Where its broker listens.
    fn broker(&self) -> String {
        self.broker.get_or_init(|| self.service.line("broker: ")).clone()
    }

    fn fill(&self, from: i64, until: i64) {
        let producer = Kafka::at(&self.broker()).producer();
        for sequence in from..until {
            // What comes after the last checkpoint happens as it comes.
            let saved_ms = FIRST_MS + sequence.min(SAVED) * STEP_MS;
            let event = payload(sequence, saved_ms + (sequence - SAVED).max(0) / PER_MILLISECOND);
            send(&producer, TOPIC, (sequence % i64::from(PARTITIONS)) as i32, Some(&event));
        }
        flush(&producer);
    }

    /// Waits for the first byte of an answer to anything; seconds since the start.
    pub async fn until_heard(&self) -> f64 {
        let address = self.address;
        let hear = move || {
            let begun = Instant::now();
            while !is_heard(address) {
                assert!(begun.elapsed() < PATIENCE, "nobody answers at {address}");
                std::thread::sleep(LOOK);
            }
        };
        tokio::task::spawn_blocking(hear).await.expect("somebody listens");
        self.begun.elapsed().as_secs_f64()
    }

    /// Waits until the server says that it is ready; seconds since the start.
    pub async fn until_ready(&self) -> f64 {
        self.until_heard().await;
        while self.get("/readyz").await.is_none() {
            self.pause().await;
        }
        self.begun.elapsed().as_secs_f64()
    }

    /// Waits for an answer that holds so many records.
    async fn until_answered(&self, records: i64) -> Times {
        let heard = self.until_heard().await;
        // Status costs little to ask for: so whoever waits takes nothing from those who fold.
        while self.folded().await < records {
            self.pause().await;
        }
        loop {
            let url = format!("http://{}/v1/query", self.address);
            let reply = self.client.post(url).json(&how_many()).send().await.expect("an answer");
            let answer: Json = reply.json().await.expect("the body is JSON");
            let found = readings(&answer);
            assert!(found <= records, "{found} readings of {records}: {answer}");
            if found == records && answer["answer"]["complete"] == true {
                return Times { heard, answered: self.begun.elapsed().as_secs_f64() };
            }
            self.pause().await;
        }
    }

    /// The records below the live offsets; the topic has no holes.
    async fn folded(&self) -> i64 {
        let Some(status) = self.get("/v1/status").await else { return 0 };
        let nodes = status["streams"][0]["nodes"].as_array().cloned().unwrap_or_default();
        let live = nodes.iter().filter_map(|node| node["live"].as_object());
        live.flat_map(|live| live.values()).filter_map(Json::as_i64).sum()
    }

    async fn get(&self, path: &str) -> Option<Json> {
        let reply = self.client.get(format!("http://{}{path}", self.address)).send().await.ok()?;
        if reply.status() == 200 { reply.json().await.ok() } else { None }
    }

    async fn pause(&self) {
        assert!(self.begun.elapsed() < PATIENCE, "what is waited for never comes");
        tokio::time::sleep(LOOK).await;
    }
}

fn is_heard(address: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(address) else { return false };
    let asked = stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    asked.is_ok() && stream.read_exact(&mut [0]).is_ok()
}

/// One that is free now.
fn free_address() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("it has an address")
}

/// Seconds of reading the checkpoints, and then the log behind them, with nothing decoded.
fn replay(folder: &Folder, brokers: &str, behind: i64) -> f64 {
    let begun = Instant::now();
    let consumer: BaseConsumer = ClientConfig::new()
        .set("bootstrap.servers", brokers)
        .set("group.id", unique("bare"))
        .set("enable.auto.commit", "false")
        // As ours has them: by default one that is faster than its queue pauses for a second.
        .set("fetch.queue.backoff.ms", "5")
        .set("queued.max.messages.kbytes", "16384")
        .create()
        .expect("a consumer");
    let mut assignment = TopicPartitionList::new();
    let mut below = 0;
    for partition in 0..PARTITIONS {
        let saved = read_checkpoints(folder, Partition(partition));
        assignment.add_partition_offset(TOPIC, partition, Offset::Offset(saved)).expect("an offset");
        below += saved;
    }
    assert_eq!(below, SAVED, "the checkpoints are those that the first process left");
    consumer.assign(&assignment).expect("an assignment");
    let mut drained = 0;
    while drained < behind {
        if let Some(message) = consumer.poll(Duration::from_secs(1)) {
            message.expect("a record");
            drained += 1;
        }
    }
    begun.elapsed().as_secs_f64()
}

/// Reads all bytes of a partition's checkpoints; where the last of them ends.
fn read_checkpoints(folder: &Folder, partition: Partition) -> i64 {
    let within = layout::checkpoints(TOPIC, partition);
    let place: PathBuf = folder.path("data").join(&within);
    let mut last = 0;
    for entry in std::fs::read_dir(&place).unwrap_or_else(|error| panic!("{}: {error}", place.display())) {
        let file = entry.expect("the folder is read").file_name().into_string().expect("a name in UTF-8");
        let bytes = std::fs::read(place.join(&file)).expect("the file is read");
        let Some(Object::Checkpoint { offset, .. }) = Object::parse(&format!("{within}{file}")) else {
            continue;
        };
        assert!(!bytes.is_empty());
        last = last.max(offset.0);
    }
    last
}
