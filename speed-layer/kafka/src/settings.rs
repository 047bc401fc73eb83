//! Settings, and librdkafka's configuration made of them.
//!
//! What the guarantees of this crate rest on cannot be set by a user; everything else passes through.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::ClientConfig;
use watershed_schemas::log::LogError;
use watershed_wire::FetchSettings;

use crate::fault::fault;

/// How Kafka is reached.
#[derive(Clone, Debug)]
pub struct KafkaSettings {
    /// `host:port,…`
    pub brokers: String,
    /// Settings of librdkafka by its own names, for consumers, producers and administration alike.
    pub client: BTreeMap<String, String>,
    /// How long a question to the brokers (metadata, offsets, topics) may take.
    pub timeout: Duration,
    pub fetch: Fetching,
}

/// How records are fetched. Groups, producers and administration are librdkafka's in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fetching {
    /// Whole batches over plain connections of our own; by messages where only librdkafka can reach the brokers (TLS,
    /// SASL) or is asked to choose among replicas (`client.rack`).
    #[default]
    Batches,
    /// Message by message, by librdkafka.
    Messages,
}

impl KafkaSettings {
    /// Settings for these brokers, with nothing passed through.
    pub fn new(brokers: impl Into<String>) -> Self {
        let (client, timeout, fetch) = (BTreeMap::new(), Duration::from_secs(10), Fetching::default());
        KafkaSettings { brokers: brokers.into(), client, timeout, fetch }
    }

    /// A consumer that never resolves an offset by itself; `group` for a member of a consumer group.
    pub(crate) fn consumer(&self, group: Option<&str>) -> Result<ClientConfig, LogError> {
        let mut config = self.base(CONSUMER_TUNING)?;
        CONSUMER_RULES.iter().for_each(|(name, value)| {
            config.set(*name, *value);
        });
        if let Some(group) = group {
            config.set("group.id", group);
            config.set("partition.assignment.strategy", "cooperative-sticky");
        }
        Ok(config)
    }

    /// How records are fetched with these settings.
    pub fn fetching(&self) -> Result<Fetching, LogError> {
        Ok(if self.fetch()?.is_some() { Fetching::Batches } else { Fetching::Messages })
    }

    /// How batches are fetched; `None` if records are fetched by messages. What librdkafka would heed is heeded.
    pub(crate) fn fetch(&self) -> Result<Option<FetchSettings>, LogError> {
        if self.fetch == Fetching::Messages {
            return Ok(None);
        }
        let config = self.consumer(None)?.create_native_config();
        let config = config.map_err(|error| fault(&self.brokers, error))?;
        let text = |name: &str| config.get(name).map_err(|error| fault(&self.brokers, error));
        let number = |name: &str| {
            let found = text(name)?;
            found.parse::<u32>().map_err(|_| LogError::Setting {
                setting: name.to_string(),
                reason: format!("found {found:?}, expected a number"),
            })
        };
        let bytes = |name: &str| number(name).map(|bytes| i32::try_from(bytes).unwrap_or(i32::MAX));
        let milliseconds = |name: &str| number(name).map(|time| Duration::from_millis(time.into()));
        let bootstrap: Option<Vec<String>> = self.brokers.split(',').map(plain_address).collect();
        let Some(bootstrap) =
            bootstrap.filter(|_| text("security.protocol").is_ok_and(|name| name == "plaintext"))
        else {
            return Ok(None);
        };
        if !text("client.rack")?.is_empty() {
            return Ok(None);
        }
        // What one answer holds is all that lies in memory, as librdkafka's queue would.
        let most =
            bytes("queued.max.messages.kbytes")?.saturating_mul(1 << 10).min(bytes("fetch.max.bytes")?);
        Ok(Some(FetchSettings {
            bootstrap,
            client_id: text("client.id")?,
            max_wait: milliseconds("fetch.wait.max.ms")?,
            min_bytes: bytes("fetch.min.bytes")?,
            max_bytes: most,
            partition_max_bytes: bytes("max.partition.fetch.bytes")?,
            request_timeout: self.timeout,
            reconnect_backoff: milliseconds("reconnect.backoff.ms")?,
            reconnect_backoff_max: milliseconds("reconnect.backoff.max.ms")?,
        }))
    }

    /// A producer whose records arrive once and in order.
    pub(crate) fn producer(&self) -> Result<ClientConfig, LogError> {
        let mut config = self.base(PRODUCER_TUNING)?;
        PRODUCER_RULES.iter().for_each(|(name, value)| {
            config.set(*name, *value);
        });
        Ok(config)
    }

    pub(crate) fn admin(&self) -> Result<ClientConfig, LogError> {
        self.base(&[])
    }

    fn base(&self, tuning: &[(&str, &str)]) -> Result<ClientConfig, LogError> {
        let mut config = ClientConfig::new();
        config.set("client.id", "watershed");
        for (name, value) in tuning {
            config.set(*name, *value);
        }
        for (name, value) in &self.client {
            if is_ours(name) {
                let reason = "watershed sets this itself, remove it".to_string();
                return Err(LogError::Setting { setting: name.clone(), reason });
            }
            config.set(name, value);
        }
        config.set("bootstrap.servers", &self.brokers);
        Ok(config)
    }
}

const DEFAULT_PORT: u16 = 9092;

const CONSUMER_RULES: &[(&str, &str)] = &[
    // Any other value also fires when an offset is out of range, and then skips or repeats records.
    ("auto.offset.reset", "error"),
    ("enable.auto.commit", "false"),
    ("enable.auto.offset.store", "false"),
    ("isolation.level", "read_committed"),
    // Tells how far a partition was examined when its last offsets hold no records.
    ("enable.partition.eof", "true"),
];

const PRODUCER_RULES: &[(&str, &str)] = &[("enable.idempotence", "true"), ("acks", "all")];

const CONSUMER_TUNING: &[(&str, &str)] = &[
    ("check.crcs", "true"),
    ("allow.auto.create.topics", "false"),
    // A fetch waits at the broker for the first byte, so a new record arrives at once; the shorter
    // the wait, the sooner a partition that was just assigned joins the next fetch.
    ("fetch.min.bytes", "1"),
    ("fetch.wait.max.ms", "100"),
    ("fetch.error.backoff.ms", "50"),
    // librdkafka's default of a second stalls a reader that is faster than its queue.
    ("fetch.queue.backoff.ms", "5"),
    ("queued.max.messages.kbytes", "16384"),
    ("session.timeout.ms", "10000"),
    ("heartbeat.interval.ms", "1000"),
    // Partitions that are added to a topic are heard of this late; librdkafka's default is five minutes.
    ("topic.metadata.refresh.interval.ms", "10000"),
    // Half of it is also how long librdkafka waits before it looks for its group a second time.
    ("reconnect.backoff.ms", "20"),
    ("reconnect.backoff.max.ms", "2000"),
];

const PRODUCER_TUNING: &[(&str, &str)] = &[
    // The partitions that Java clients choose for the same keys.
    ("partitioner", "murmur2_random"),
    ("compression.type", "lz4"),
    ("linger.ms", "5"),
    ("queue.buffering.max.kbytes", "65536"),
    // The broker's own limit decides what is too large.
    ("message.max.bytes", "67108864"),
    ("reconnect.backoff.ms", "20"),
    ("reconnect.backoff.max.ms", "2000"),
];

/// `host:port` of a broker as settings name it, unless it is to be reached otherwise than plainly.
fn plain_address(broker: &str) -> Option<String> {
    let broker = broker.trim();
    let address = match broker.split_once("://") {
        Some((protocol, address)) => Some(address).filter(|_| protocol.eq_ignore_ascii_case("plaintext"))?,
        None => broker,
    };
    let has_port = address.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    Some(if has_port { address.to_string() } else { format!("{address}:{DEFAULT_PORT}") })
}

fn is_ours(name: &str) -> bool {
    let rules = CONSUMER_RULES.iter().chain(PRODUCER_RULES).map(|(rule, _)| *rule);
    let others = ["bootstrap.servers", "metadata.broker.list", "group.id", "group.protocol"];
    let aliases = ["request.required.acks", "partition.assignment.strategy", "auto.commit.enable"];
    rules.chain(others).chain(aliases).any(|rule| rule == name)
}
