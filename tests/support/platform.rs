//! The whole platform in one process: a broker (or the Apache Kafka named by `WATERSHED_TEST_KAFKA`),
//! a store in a temporary folder, a speed node and a server.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Message;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use serde_json::Value as Json;
use watershed_batch::{Job, Options, Outcome, Quiet};
use watershed_broker::{Broker, BrokerConfig};
use watershed_kafka::{KafkaLog, KafkaProducer, KafkaSettings};
use watershed_schemas::layout;
use watershed_schemas::log::Log;
use watershed_schemas::offsets::Partition;
use watershed_schemas::project::{Project, SourceFile};
use watershed_schemas::sink::Sink;
use watershed_serving::http::{ServeSettings, Server};
use watershed_speed::{SpeedNode, SpeedSettings};
use watershed_store::Store;

pub const PARTITIONS: i32 = 4;

/// Milliseconds since 1970-01-01.
pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis() as i64
}

/// A name that no other test uses.
pub fn unique(name: &str) -> String {
    format!("{name}-{}", uuid::Uuid::new_v4().simple())
}

/// A Kafka to test against.
pub struct Kafka {
    pub brokers: String,
    embedded: Option<Broker>,
}

impl Kafka {
    pub async fn start() -> Self {
        match std::env::var("WATERSHED_TEST_KAFKA") {
            Ok(brokers) => Kafka { brokers, embedded: None },
            Err(_) => {
                let config = BrokerConfig { listen: "127.0.0.1:0".into(), ..BrokerConfig::default() };
                let broker = Broker::start(config).await.expect("the embedded broker starts");
                Kafka { brokers: broker.address().to_string(), embedded: Some(broker) }
            }
        }
    }

    /// One that runs already.
    pub fn at(brokers: &str) -> Self {
        Kafka { brokers: brokers.to_string(), embedded: None }
    }

    pub async fn create_topic(&self, topic: &str) {
        let admin: AdminClient<DefaultClientContext> =
            ClientConfig::new().set("bootstrap.servers", &self.brokers).create().expect("an admin client");
        let new = NewTopic::new(topic, PARTITIONS, TopicReplication::Fixed(1));
        let created =
            admin.create_topics([&new], &AdminOptions::new()).await.expect("an answer from the broker");
        for outcome in created {
            outcome.expect("the topic is created");
        }
    }

    pub fn producer(&self) -> BaseProducer {
        ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("enable.idempotence", "true")
            .set("linger.ms", "2")
            .create()
            .expect("a producer")
    }

    pub fn log(&self) -> Arc<dyn Log> {
        let settings = KafkaSettings::new(&self.brokers);
        Arc::new(KafkaLog::connect(settings).expect("the log is reached"))
    }

    /// Where a topic ends, by partition; `None` while the broker does not say.
    pub fn ends(&self, topic: &str) -> Option<BTreeMap<i32, i64>> {
        let consumer: BaseConsumer =
            ClientConfig::new().set("bootstrap.servers", &self.brokers).create().expect("a consumer");
        let end = |partition| {
            let (_, end) = consumer.fetch_watermarks(topic, partition, Duration::from_secs(5)).ok()?;
            Some((partition, end))
        };
        (0..PARTITIONS).map(end).collect()
    }

    pub fn sink(&self) -> Arc<dyn Sink> {
        let settings = KafkaSettings::new(&self.brokers);
        Arc::new(KafkaProducer::connect(settings).expect("the settings are right"))
    }

    /// Everything that a topic holds, by partition and offset, read with a stock consumer.
    pub fn read_all(&self, topic: &str) -> BTreeMap<(i32, i64), Option<Vec<u8>>> {
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", &self.brokers)
            .set("group.id", unique("reader"))
            .set("enable.auto.commit", "false")
            .create()
            .expect("a consumer");
        let mut ends = BTreeMap::new();
        let mut assignment = TopicPartitionList::new();
        for partition in 0..PARTITIONS {
            let (_, end) =
                consumer.fetch_watermarks(topic, partition, Duration::from_secs(10)).expect("watermarks");
            ends.insert(partition, end);
            assignment.add_partition_offset(topic, partition, Offset::Beginning).expect("an offset");
        }
        consumer.assign(&assignment).expect("an assignment");
        let expected: i64 = ends.values().sum();
        let mut records = BTreeMap::new();
        let deadline = Instant::now() + Duration::from_secs(60);
        while (records.len() as i64) < expected {
            assert!(Instant::now() < deadline, "only {} of {expected} records were read", records.len());
            if let Some(message) = consumer.poll(Duration::from_millis(200)) {
                let message = message.expect("a record");
                let payload = message.payload().map(<[u8]>::to_vec);
                records.insert((message.partition(), message.offset()), payload);
            }
        }
        records
    }

    pub async fn stop(self) {
        if let Some(broker) = self.embedded {
            broker.stop().await.expect("the broker stops cleanly");
        }
    }
}

/// Sends one record; retries while the producer's queue is full.
pub fn send(producer: &BaseProducer, topic: &str, partition: i32, payload: Option<&[u8]>) {
    loop {
        let mut record: BaseRecord<'_, (), [u8]> =
            BaseRecord::to(topic).partition(partition).timestamp(now_ms());
        if let Some(payload) = payload {
            record = record.payload(payload);
        }
        match producer.send(record) {
            Ok(()) => break,
            Err(_) => {
                producer.poll(Duration::from_millis(10));
            }
        }
    }
    producer.poll(Duration::ZERO);
}

pub fn flush(producer: &BaseProducer) {
    producer.flush(Duration::from_secs(30)).expect("everything is delivered");
}

/// Speed layer, batch layer and serving layer over one project.
pub struct Platform {
    pub project: Arc<Project>,
    pub store: Store,
    pub log: Arc<dyn Log>,
    pub node: Option<Arc<SpeedNode>>,
    pub server: Server,
    pub folder: tempfile::TempDir,
    pub client: reqwest::Client,
}

impl Platform {
    pub async fn start(kafka: &Kafka, schema: &str, view: &str) -> Self {
        let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
        let project = Project::parse(&[file("schemas/stream.sql", schema)], &[file("jobs/view.sql", view)])
            .unwrap_or_else(|problems| {
                panic!("{}", problems.iter().map(|p| format!("{p}\n")).collect::<String>())
            });
        let project = Arc::new(project);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let store =
            Store::open(folder.path().to_str().expect("a path in UTF-8"), folder.path()).expect("a store");
        let log = kafka.log();
        let (node, server) = start_services(&project, &store, &log, &kafka.sink()).await;
        let client = crate::serving::client();
        let platform = Platform { project, store, log, node: Some(node), server, folder, client };
        platform.until_ready().await;
        platform
    }

    /// The speed node and the server stop and begin anew: the node in a group of its own, with nothing in memory.
    pub async fn restart(self, kafka: &Kafka) -> Self {
        let Platform { project, store, node, server, folder, client, .. } = self;
        server.stop().await;
        if let Some(node) = node {
            node.shutdown().await;
        }
        for partition in 0..PARTITIONS {
            let written = layout::checkpoints(&project.streams[0].name, Partition(partition));
            for path in store.list(&written).await.expect("the store is well") {
                store.delete(&path).await.expect("the store is well");
            }
        }
        let log = kafka.log();
        let (node, server) = start_services(&project, &store, &log, &kafka.sink()).await;
        let platform = Platform { project, store, log, node: Some(node), server, folder, client };
        platform.until_ready().await;
        platform
    }

    async fn until_ready(&self) {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let reply = self.client.get(self.url("/readyz")).send().await.expect("the server answers");
            if reply.status() == 200 {
                return;
            }
            assert!(Instant::now() < deadline, "not ready: {}", reply.text().await.unwrap_or_default());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    /// Asks; the status and the body.
    pub async fn ask(&self, question: &Json) -> (u16, Json) {
        let reply = self.client.post(self.url("/v1/query")).json(question).send().await.expect("an answer");
        let status = reply.status().as_u16();
        (status, reply.json().await.expect("the body is JSON"))
    }

    pub async fn get(&self, path: &str) -> (u16, Json) {
        let reply = self.client.get(self.url(path)).send().await.expect("an answer");
        let status = reply.status().as_u16();
        (status, reply.json().await.expect("the body is JSON"))
    }

    /// Another store of the same kind, beside the platform's own.
    pub fn store_beside(&self, name: &str) -> Store {
        let folder = self.folder.path().join(name);
        Store::open(folder.to_str().expect("a path in UTF-8"), &folder).expect("a store")
    }

    /// One batch run over the project's only stream.
    pub async fn batch(&self) -> Outcome {
        self.run_batch(false).await
    }

    /// One batch run that makes every view anew.
    pub async fn batch_full(&self) -> Outcome {
        self.run_batch(true).await
    }

    async fn run_batch(&self, full: bool) -> Outcome {
        let mut job = self.job();
        job.options.full = full;
        watershed_batch::run(&job).await.expect("the run succeeds")
    }

    /// A run of its own over the project's only stream.
    pub fn job(&self) -> Job {
        let stream = self.project.streams[0].clone();
        Job {
            views: self.project.views_of(&stream.name),
            stream,
            store: self.store.clone(),
            log: self.log.clone(),
            options: Options::new(uuid::Uuid::new_v4().simple().to_string(), "test"),
            now: Arc::new(now_ms),
            progress: Arc::new(Quiet),
        }
    }

    /// Asks until the answer's live offsets reach the log's end.
    pub async fn until_current(&self, question: &Json) -> Json {
        let deadline = Instant::now() + Duration::from_secs(30);
        let topic = self.project.streams[0].topic.clone();
        loop {
            let log = self.log.clone();
            let named = topic.clone();
            let bounds = tokio::task::spawn_blocking(move || log.bounds(&named)).await.expect("a thread");
            let (status, answer) = self.ask(question).await;
            let live = &answer["answer"]["live"];
            let reached = bounds.expect("bounds").iter().all(|(partition, range)| {
                live[partition.to_string()].as_i64().is_some_and(|live| live >= range.until.0)
            });
            if status == 200 && reached {
                return answer;
            }
            if Instant::now() >= deadline {
                let (_, status) = self.get("/v1/status").await;
                panic!("the speed layer never caught up: {}, status {status}", answer["answer"]);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn stop(mut self) {
        self.server.stop().await;
        if let Some(node) = self.node.take() {
            node.shutdown().await;
        }
    }
}

/// A speed node with a group of its own, and a server that answers from it.
async fn start_services(
    project: &Arc<Project>,
    store: &Store,
    log: &Arc<dyn Log>,
    sink: &Arc<dyn Sink>,
) -> (Arc<SpeedNode>, Server) {
    let node = start_node(project, store, log);
    let settings = ServeSettings { workers: Some(1), ..ServeSettings::new("127.0.0.1:0") };
    let (live, log, sink) = (node.clone(), Some(log.clone()), Some(sink.clone()));
    let server = Server::start(settings, project.clone(), store.clone(), live, log, sink).await;
    (node, server.expect("the server starts"))
}

/// A speed node with a group of its own.
pub fn start_node(project: &Arc<Project>, store: &Store, log: &Arc<dyn Log>) -> Arc<SpeedNode> {
    let settings = SpeedSettings {
        checkpoint_interval: Duration::from_millis(500),
        ..SpeedSettings::new(unique("group"), unique("node"))
    };
    let runtime = tokio::runtime::Handle::current();
    Arc::new(SpeedNode::start(&settings, project, store, log, runtime).expect("the node starts"))
}
