//! Kafka as tests see it: an embedded broker with a runtime of its own, or whatever listens at
//! `WATERSHED_TEST_KAFKA`; librdkafka clients in a few words; and a plain connection for what no client will send.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, FromClientConfig};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{Header, Headers, Message, OwnedHeaders};
use rdkafka::producer::{FutureProducer, FutureRecord, Producer};
use rdkafka::{Offset, TopicPartitionList};
use tokio::runtime::Runtime;
use watershed_broker::{Broker, BrokerConfig, BrokerError};

/// Longer than anything here takes on a busy machine; a test that waits so long has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Any Kafka that clients can reach.
pub struct Target {
    pub name: &'static str,
    embedded: Option<EmbeddedBroker>,
    external: Option<String>,
}

impl Target {
    pub fn embedded(broker: EmbeddedBroker) -> Target {
        Target { name: "the embedded broker", embedded: Some(broker), external: None }
    }

    /// The Kafka at `WATERSHED_TEST_KAFKA`, when that is set.
    pub fn external() -> Option<Target> {
        let address = std::env::var("WATERSHED_TEST_KAFKA").ok().filter(|address| !address.is_empty())?;
        Some(Target { name: "WATERSHED_TEST_KAFKA", embedded: None, external: Some(address) })
    }

    pub fn address(&self) -> String {
        let embedded = || self.embedded.as_ref().map(EmbeddedBroker::address);
        self.external.clone().or_else(embedded).expect("a target is one or the other")
    }

    /// The broker, where the test may stop and start it.
    pub fn restartable(&self) -> Option<&EmbeddedBroker> {
        self.embedded.as_ref()
    }

    pub fn config(&self, settings: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", self.address());
        settings.iter().for_each(|(name, value)| {
            config.set(*name, *value);
        });
        config
    }

    pub fn client<C: FromClientConfig>(&self, settings: &[(&str, &str)]) -> C {
        self.config(settings).create().expect("the client's settings are sound")
    }

    pub fn admin(&self) -> AdminClient<DefaultClientContext> {
        self.client(&[])
    }

    pub fn connect(&self) -> Connection {
        Connection::to(&self.address())
    }

    /// Creates a topic under a name no other test uses.
    pub fn new_topic(&self, partitions: i32) -> String {
        self.new_topic_with(partitions, &[])
    }

    pub fn new_topic_with(&self, partitions: i32, settings: &[(&str, &str)]) -> String {
        let name = unique("topic");
        let mut topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
        for (setting, value) in settings {
            topic = topic.set(setting, value);
        }
        let made = block_on(self.admin().create_topics(&[topic], &AdminOptions::new()));
        assert_eq!(made.expect("the broker answers"), [Ok(name.clone())]);
        // A broker may answer before its metadata shows the topic.
        let consumer: BaseConsumer = self.client(&[]);
        eventually("the topic is in the metadata", || {
            let metadata = consumer.fetch_metadata(Some(&name), PATIENCE).ok()?;
            let topic = metadata.topics().first()?;
            let ready = topic.error().is_none() && topic.partitions().len() == partitions as usize;
            ready.then_some(())
        });
        name
    }

    /// A consumer that starts at `offset` of one partition and does not commit.
    pub fn reader(
        &self,
        topic: &str,
        partition: i32,
        offset: i64,
        settings: &[(&str, &str)],
    ) -> BaseConsumer {
        let mut config = self.config(&[
            ("group.id", "readers"),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "error"),
        ]);
        settings.iter().for_each(|(name, value)| {
            config.set(*name, *value);
        });
        let consumer: BaseConsumer = config.create().expect("the client's settings are sound");
        let mut start = TopicPartitionList::new();
        start.add_partition_offset(topic, partition, Offset::Offset(offset)).expect("the offset is sound");
        consumer.assign(&start).expect("the assignment is taken");
        consumer
    }

    /// A member of a group.
    pub fn member(&self, group: &str, topic: &str, settings: &[(&str, &str)]) -> BaseConsumer {
        let mut config = self.config(&[
            ("group.id", group),
            ("enable.auto.commit", "false"),
            ("auto.offset.reset", "earliest"),
            ("session.timeout.ms", "6000"),
            ("heartbeat.interval.ms", "200"),
        ]);
        settings.iter().for_each(|(name, value)| {
            config.set(*name, *value);
        });
        let consumer: BaseConsumer = config.create().expect("the client's settings are sound");
        consumer.subscribe(&[topic]).expect("the subscription is taken");
        consumer
    }

    /// Sends the records in as few batches as the client makes of them; returns their offsets.
    pub fn produce(
        &self,
        topic: &str,
        partition: i32,
        records: &[Sent],
        settings: &[(&str, &str)],
    ) -> Vec<i64> {
        let mut config = self.config(&[("linger.ms", "100"), ("acks", "all")]);
        settings.iter().for_each(|(name, value)| {
            config.set(*name, *value);
        });
        let producer: FutureProducer = config.create().expect("the client's settings are sound");
        let sent: Vec<_> = records
            .iter()
            .map(|record| {
                let mut message = FutureRecord::<[u8], [u8]>::to(topic).partition(partition);
                message.key = record.key.as_deref();
                message.payload = record.payload.as_deref();
                message.timestamp = record.timestamp;
                if let Some((key, value)) = &record.header {
                    let header = Header { key: key.as_str(), value: Some(value.as_bytes()) };
                    message.headers = Some(OwnedHeaders::new().insert(header));
                }
                producer.send_result(message).map_err(|(error, _)| error).expect("the queue has room")
            })
            .collect();
        producer.flush(PATIENCE).expect("everything is delivered");
        let delivered = sent.into_iter().map(|sent| {
            let delivery = block_on(sent).expect("the producer lives").map_err(|(error, _)| error);
            delivery.expect("the record is accepted").offset
        });
        delivered.collect()
    }
}

/// One record as a test sends it and expects it back.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sent {
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    pub timestamp: Option<i64>,
    pub header: Option<(String, String)>,
}

impl Sent {
    pub fn text(payload: impl Into<String>) -> Sent {
        Sent { payload: Some(payload.into().into_bytes()), ..Sent::default() }
    }

    pub fn at(self, timestamp: i64) -> Sent {
        Sent { timestamp: Some(timestamp), ..self }
    }

    /// The record in a message, with its timestamp.
    pub fn of(message: &impl Message) -> Sent {
        let header = message.headers().filter(|headers| headers.count() > 0).map(|headers| {
            let header = headers.get(0);
            let value = header.value.map(String::from_utf8_lossy).unwrap_or_default();
            (header.key.to_owned(), value.into_owned())
        });
        Sent {
            key: message.key().map(<[u8]>::to_vec),
            payload: message.payload().map(<[u8]>::to_vec),
            timestamp: message.timestamp().to_millis(),
            header,
        }
    }
}

/// `count` short records.
pub fn numbered(count: usize) -> Vec<Sent> {
    (0..count).map(|number| Sent::text(format!("record {number}"))).collect()
}

/// The next `count` records with their offsets.
pub fn take(consumer: &BaseConsumer, count: usize) -> Vec<(i64, Sent)> {
    let until = Instant::now() + PATIENCE;
    let mut taken = Vec::new();
    while taken.len() < count {
        assert!(Instant::now() < until, "{} of {count} records arrived", taken.len());
        if let Some(message) = consumer.poll(Duration::from_millis(100)) {
            let message = message.expect("the consumer reads on");
            taken.push((message.offset(), Sent::of(&message)));
        }
    }
    taken
}

/// The next error that the consumer reports.
pub fn next_error(consumer: &BaseConsumer) -> KafkaError {
    eventually("the consumer reports an error", || consumer.poll(Duration::from_millis(100))?.err())
}

/// Partitions that a member holds now, in order.
pub fn held(consumer: &BaseConsumer) -> Vec<i32> {
    let assignment = consumer.assignment().expect("the consumer knows its assignment");
    let mut partitions: Vec<i32> = assignment.elements().iter().map(|element| element.partition()).collect();
    partitions.sort_unstable();
    partitions
}

/// Polls all members until `done`, as a program would: rebalances happen in `poll`.
pub fn poll_until(members: &[&BaseConsumer], what: &str, mut done: impl FnMut() -> bool) {
    eventually(what, || {
        for member in members {
            if let Some(Err(error)) = member.poll(Duration::from_millis(20)) {
                panic!("a member met {error} before {what}");
            }
        }
        done().then_some(())
    });
}

/// Tries until something is found.
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < until, "after {PATIENCE:?} still not: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A name that no other test, run or process uses.
pub fn unique(prefix: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_nanos();
    format!("{prefix}-{nanos:x}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

pub fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970").as_millis() as i64
}

pub fn block_on<F: Future>(future: F) -> F::Output {
    futures::executor::block_on(future)
}

/// A broker that a test can stop, kill and start again on the same folder and port.
pub struct EmbeddedBroker {
    config: BrokerConfig,
    address: String,
    running: Mutex<Option<Running>>,
}

/// The runtime is the broker's own: with it ends everything the broker does.
struct Running {
    broker: Broker,
    runtime: Runtime,
}

impl Running {
    fn start(config: &BrokerConfig) -> Result<Running, BrokerError> {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("the runtime starts");
        let broker = runtime.block_on(Broker::start(config.clone()))?;
        Ok(Running { broker, runtime })
    }
}

impl EmbeddedBroker {
    pub fn start(config: BrokerConfig) -> EmbeddedBroker {
        EmbeddedBroker::try_start(config).expect("the broker starts")
    }

    pub fn try_start(mut config: BrokerConfig) -> Result<EmbeddedBroker, BrokerError> {
        let running = Running::start(&config)?;
        let address = running.broker.address().to_string();
        config.listen.clone_from(&address);
        Ok(EmbeddedBroker { config, address, running: Mutex::new(Some(running)) })
    }

    /// A broker whose folder is `dir`.
    pub fn in_dir(dir: &Path) -> EmbeddedBroker {
        EmbeddedBroker::start(BrokerConfig { dir: Some(dir.to_owned()), ..BrokerConfig::default() })
    }

    pub fn address(&self) -> String {
        self.address.clone()
    }

    pub fn dir(&self) -> PathBuf {
        let running = self.running();
        running.as_ref().expect("the broker runs").broker.dir().to_owned()
    }

    fn running(&self) -> MutexGuard<'_, Option<Running>> {
        self.running.lock().expect("no test panicked while restarting")
    }

    /// Stops cleanly.
    pub fn stop(&self) {
        let Running { broker, runtime } = self.running().take().expect("the broker runs");
        runtime.block_on(broker.stop()).expect("everything is written");
    }

    /// Ends as a crash would: nothing is flushed, or said to anyone.
    pub fn kill(&self) {
        drop(self.running().take().expect("the broker runs"));
    }

    pub fn start_again(&self) {
        self.try_start_again().expect("the broker starts again");
    }

    pub fn try_start_again(&self) -> Result<(), BrokerError> {
        let running = Running::start(&self.config)?;
        *self.running() = Some(running);
        Ok(())
    }
}

/// A connection on which requests are built by hand.
pub struct Connection {
    socket: TcpStream,
    next_id: i32,
}

impl Connection {
    pub fn to(address: &str) -> Connection {
        let socket = TcpStream::connect(address).expect("the broker listens");
        socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
        socket.set_nodelay(true).expect("small requests go at once");
        Connection { socket, next_id: 0 }
    }

    /// Sends one request and reads its answer.
    pub fn ask<Q: Request>(&mut self, version: i16, request: &Q) -> Q::Response {
        let key = ApiKey::try_from(Q::KEY).expect("the request has a key");
        self.next_id += 1;
        let header = RequestHeader::default()
            .with_request_api_key(Q::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.next_id)
            .with_client_id(Some(StrBytes::from_static_str("by-hand")));
        let mut body = BytesMut::new();
        header.encode(&mut body, key.request_header_version(version)).expect("the header encodes");
        request.encode(&mut body, version).expect("the request encodes");
        self.send(&body);
        let mut answer = self.read().expect("the broker answers");
        let header = ResponseHeader::decode(&mut answer, key.response_header_version(version));
        assert_eq!(header.expect("the answer has a header").correlation_id, self.next_id);
        Q::Response::decode(&mut answer, version).expect("the answer decodes")
    }

    /// Sends bytes with their length before them.
    pub fn send(&mut self, body: &[u8]) {
        let mut frame = (body.len() as i32).to_be_bytes().to_vec();
        frame.extend_from_slice(body);
        self.send_raw(&frame);
    }

    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the broker reads");
    }

    /// As `send`, where the broker may have closed the connection already.
    pub fn try_send(&mut self, body: &[u8]) -> bool {
        let length = (body.len() as i32).to_be_bytes();
        self.socket.write_all(&length).and_then(|()| self.socket.write_all(body)).is_ok()
    }

    /// The next answer; `None` when the broker has closed the connection.
    pub fn read(&mut self) -> Option<Bytes> {
        let mut length = [0; 4];
        self.socket.read_exact(&mut length).ok()?;
        let mut body = vec![0; i32::from_be_bytes(length) as usize];
        self.socket.read_exact(&mut body).ok()?;
        Some(body.into())
    }
}
