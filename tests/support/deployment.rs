//! A deployment in processes of its own: a broker, a store in a folder, speed nodes, a server, batch runs. Any of them
//! can be killed at any moment.
//!
//! The broker is an `up` of another project, or the Apache Kafka named by `WATERSHED_TEST_KAFKA`: to everybody else it
//! is an address in `kafka.brokers`.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value as Json;

use crate::command::{Ended, Folder, Service, ended};
use crate::platform::{Kafka, unique};

/// The stream, whatever its topic is called.
pub const STREAM: &str = "orders";

const VIEW: &str = "CREATE MATERIALIZED VIEW sales WITH (schedule = '0 0 1 1 *') AS
SELECT shop, tumble(at, INTERVAL '10 minutes') AS slot,
       count(*) AS orders, sum(serial) AS serials, min(serial) AS lowest, max(serial) AS highest
FROM orders GROUP BY shop, slot;
";

const PATIENCE: Duration = Duration::from_secs(60);

/// Ports below those that systems give to clients, so that a process that was killed finds its own free again.
const PORTS: std::ops::Range<u16> = 20_000..32_000;

/// A broker that may be killed.
pub enum Broker {
    Embedded(Embedded),
    /// An Apache Kafka that is started again by whoever started it; the file has its process id.
    Supervised {
        address: String,
        pid_file: PathBuf,
    },
}

impl Broker {
    pub fn kill(&mut self) {
        match self {
            Broker::Embedded(broker) => broker.kill(),
            Broker::Supervised { pid_file, .. } => {
                let pid = std::fs::read_to_string(&*pid_file).expect("a process id");
                let killed = Command::new("kill").args(["-9", pid.trim()]).status().expect("kill runs");
                assert!(killed.success(), "kill -9 {pid}");
            }
        }
    }

    /// Starts it, or waits until it was started.
    pub fn start_again(&mut self) {
        match self {
            Broker::Embedded(broker) => broker.start_again(),
            Broker::Supervised { address, .. } => {
                let begun = Instant::now();
                while TcpStream::connect(address.as_str()).is_err() {
                    assert!(begun.elapsed() < PATIENCE, "nobody started the broker again");
                    std::thread::sleep(Duration::from_millis(50));
                }
            }
        }
    }
}

/// The embedded broker in a process of its own.
pub struct Embedded {
    folder: Folder,
    address: String,
    service: Option<Service>,
}

impl Embedded {
    fn start() -> Embedded {
        let folder = Folder::new();
        folder.write(
            "schemas/nobody.sql",
            "CREATE TABLE nobody (at TIMESTAMP NOT NULL) WITH (topic = 'nobody', format = 'json', event_time = 'at');",
        );
        let mut broker = Embedded { folder, address: format!("127.0.0.1:{}", free_port()), service: None };
        broker.start_again();
        broker
    }

    fn start_again(&mut self) {
        let mut command = self.folder.command(&["up"]);
        command.env("WATERSHED__BROKER__LISTEN", &self.address);
        command.stderr(appended(self.folder.path("broker.log")));
        let service = Service::start(command);
        assert_eq!(service.line("broker: "), self.address);
        self.service = Some(service);
    }

    fn kill(&mut self) {
        self.service.take().expect("the broker runs").kill();
    }
}

pub struct Deployment {
    pub folder: Folder,
    pub topic: String,
    pub kafka: Kafka,
    /// Where it may be killed: the embedded one, or one with a supervisor.
    pub broker: Option<Broker>,
    pub server: String,
    group: String,
    speed_ports: Vec<u16>,
    serve_port: u16,
    settings: Vec<(String, String)>,
}

impl Deployment {
    /// A broker with the topic, and a project; no node runs yet. Of `nodes` speed nodes the server knows the addresses.
    pub async fn start(nodes: usize) -> Deployment {
        let (kafka, broker) = match std::env::var("WATERSHED_TEST_KAFKA") {
            Ok(address) => {
                let pid_file = std::env::var("WATERSHED_TEST_KAFKA_PID_FILE").ok().map(PathBuf::from);
                let supervised = |pid_file| Broker::Supervised { address, pid_file };
                (Kafka::start().await, pid_file.map(supervised))
            }
            Err(_) => {
                let broker = Embedded::start();
                (Kafka::at(&broker.address), Some(Broker::Embedded(broker)))
            }
        };
        let topic = unique("orders");
        kafka.create_topic(&topic).await;
        let folder = Folder::new();
        folder.write(
            "schemas/orders.sql",
            &format!(
                "CREATE TABLE orders (at TIMESTAMP NOT NULL, shop TEXT NOT NULL, serial BIGINT NOT NULL)
                 WITH (topic = '{topic}', format = 'json', event_time = 'at', timestamp_format = 'epoch_millis');"
            ),
        );
        folder.write("jobs/sales.sql", VIEW);
        let serve_port = free_port();
        Deployment {
            folder,
            group: topic.clone(),
            topic,
            kafka,
            broker,
            server: format!("http://127.0.0.1:{serve_port}"),
            speed_ports: (0..nodes).map(|_| free_port()).collect(),
            serve_port,
            settings: Vec::new(),
        }
    }

    /// A setting of all processes that are started from now on.
    pub fn set(&mut self, setting: &str, value: &str) {
        self.set_variable(&format!("WATERSHED__{}", setting.to_uppercase().replace('.', "__")), value);
    }

    /// The same of a variable that is no setting of ours.
    pub fn set_variable(&mut self, name: &str, value: &str) {
        self.settings.push((name.to_string(), value.to_string()));
    }

    /// A process of this deployment; what it logs is appended to `<name>.log`.
    pub fn command(&self, name: &str, arguments: &[&str]) -> Command {
        let peers: Vec<String> = self.speed_ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let mut command = self.folder.command(arguments);
        command
            .env("WATERSHED__KAFKA__BROKERS", &self.kafka.brokers)
            // The least that brokers allow: a node that was killed holds its partitions for so long.
            .env("WATERSHED__KAFKA__CLIENT__SESSION_TIMEOUT_MS", "6000")
            .env("WATERSHED__KAFKA__CLIENT__HEARTBEAT_INTERVAL_MS", "300")
            .env("WATERSHED__SPEED__GROUP", &self.group)
            .env("WATERSHED__SPEED__PEERS", peers.join(","))
            .env("WATERSHED__SPEED__CHECKPOINT_INTERVAL", "500ms")
            .env("WATERSHED__SERVE__LISTEN", format!("127.0.0.1:{}", self.serve_port))
            .env("WATERSHED__BATCH__LEASE", "500ms")
            .env("WATERSHED__BATCH__KEEP_VERSIONS", "3")
            .env("WATERSHED__BATCH__KEEP_SUPERSEDED", "5s")
            .envs(self.settings.iter().map(|(name, value)| (name, value)))
            .stderr(appended(self.folder.path(&format!("{name}.log"))));
        command
    }

    /// Starts speed node `index`; the server finds it by its address.
    pub fn speed(&self, index: usize) -> Service {
        let mut command = self.command(&node_name(index), &["speed"]);
        command.env("WATERSHED__SPEED__LISTEN", format!("127.0.0.1:{}", self.speed_ports[index]));
        command.env("WATERSHED__SPEED__NODE", node_name(index));
        Service::start(command)
    }

    pub fn serve(&self) -> Service {
        Service::start(self.command("serve", &["serve"]))
    }

    /// Starts a batch run and does not wait for it.
    pub fn begin_batch(&self) -> Service {
        Service::start(self.command("batch", &["batch", "run"]))
    }

    /// A batch run from beginning to end.
    pub fn batch(&self) -> Ended {
        self.finish(self.command("batch", &["batch", "run"]))
    }

    /// Runs a command to its end, what it says on standard error included.
    pub fn finish(&self, mut command: Command) -> Ended {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        ended(command.output().expect("the command runs"))
    }

    /// A batch run that publishes, or finds that all is published; leases of dead runs are waited for.
    pub fn publish(&self) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let ended = self.batch();
            if ended.code == 0 {
                return ended.out;
            }
            assert!(ended.code == 75 && Instant::now() < deadline, "{ended:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// What a process has logged so far.
    pub fn logged(&self, name: &str) -> String {
        std::fs::read_to_string(self.folder.path(&format!("{name}.log"))).unwrap_or_default()
    }

    /// Names of the objects below a folder of the store, by their paths.
    pub fn stored(&self, folder: &str) -> Vec<String> {
        files(&self.folder.path("data").join(folder))
    }

    /// The numbers of the published versions.
    pub fn versions(&self) -> Vec<u64> {
        let names = self.stored(&format!("versions/{STREAM}"));
        let number = |name: &String| name.rsplit('/').next()?.strip_suffix(".json")?.parse().ok();
        let mut versions: Vec<u64> = names.iter().filter_map(number).collect();
        versions.sort_unstable();
        versions
    }

    /// Waits until the speed nodes that answer hold all partitions and have folded all that the topic holds.
    pub async fn until_current(&self, question: &Json) -> Json {
        let deadline = Instant::now() + PATIENCE;
        let client = client();
        let mut last = Json::Null;
        loop {
            if let Ok(response) = client.post(format!("{}/v1/query", self.server)).json(question).send().await
            {
                last = response.json().await.unwrap_or_default();
                let answer = &last["answer"];
                let reached = |ends: BTreeMap<i32, i64>| {
                    ends.iter().all(|(partition, end)| answer["live"][partition.to_string()] == *end)
                };
                if answer["complete"] == true && self.kafka.ends(&self.topic).is_some_and(reached) {
                    return last;
                }
            }
            assert!(
                Instant::now() < deadline,
                "never complete and current: {last}\n{}",
                self.tails(&["serve", "speed-0", "speed-1", "speed-2", "batch"])
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// `/v1/status` of the stream.
    pub async fn status(&self) -> Json {
        let answer =
            client().get(format!("{}/v1/status", self.server)).send().await.expect("the server answers");
        let status: Json = answer.json().await.expect("status is JSON");
        status["streams"][0].clone()
    }

    /// The last lines of logs, for whoever has to find out what went wrong.
    pub fn tails(&self, names: &[&str]) -> String {
        let tail = |name: &&str| {
            let log = self.logged(name);
            let lines: Vec<&str> = log.lines().collect();
            let last = lines[lines.len().saturating_sub(12)..].join("\n");
            format!("--- {name}\n{last}\n")
        };
        names.iter().map(tail).collect()
    }
}

pub fn node_name(index: usize) -> String {
    format!("speed-{index}")
}

/// One that waits for nobody longer than a person would.
pub fn client() -> reqwest::Client {
    // Whoever came first has installed a provider; which one does not matter here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let client = reqwest::Client::builder().no_proxy().connect_timeout(Duration::from_secs(1));
    client.timeout(Duration::from_secs(10)).build().expect("a client")
}

fn appended(path: PathBuf) -> File {
    OpenOptions::new().create(true).append(true).open(path).expect("a log file")
}

/// A port on which nobody listens.
fn free_port() -> u16 {
    loop {
        let port = rand::random_range(PORTS);
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// All files below a folder, also those that are being written.
fn files(folder: &std::path::Path) -> Vec<String> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else { return found };
    for entry in entries.flatten() {
        let path = entry.path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path.display().to_string()),
        }
    }
    found
}
