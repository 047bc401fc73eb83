//! Settings as plain data. Every limit has a default that suits one machine.

use std::path::PathBuf;
use std::time::Duration;

use crate::BrokerError;

/// When appended bytes are forced to the disk. Whatever is chosen, an acknowledged record survives the death of the
/// process (`kill -9`); this decides what a power loss may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FsyncPolicy {
    /// The operating system decides.
    Never,
    /// At most this much time between an append and its fsync.
    Interval(Duration),
    /// Before every acknowledgement.
    Always,
}

/// Everything a broker needs to know. `BrokerConfig::default()` listens on a free loopback port and keeps its data in
/// a temporary folder that is removed when the broker stops.
#[derive(Debug, Clone)]
pub struct BrokerConfig {
    /// `host:port`; port 0 picks a free one, see `Broker::address`.
    pub listen: String,
    /// `host:port` told to clients. `None`: the address by which the client reached the broker.
    pub advertised: Option<String>,
    /// Where logs, topics and commits live. `None`: a temporary folder, removed on stop.
    pub dir: Option<PathBuf>,
    /// Partitions of a topic created without a number of its own.
    pub default_partitions: i32,
    /// Whether asking for the metadata of an unknown topic creates it.
    pub auto_create_topics: bool,
    /// Size at which a segment is closed and the next one begun.
    pub segment_bytes: u64,
    /// Size of a partition above which its oldest closed segments are deleted.
    pub retention_bytes: Option<u64>,
    /// Age of a segment's newest record above which the segment is deleted.
    pub retention: Option<Duration>,
    pub fsync: FsyncPolicy,
    /// Largest batch accepted, as stored (compressed, when the client compresses).
    pub max_message_bytes: usize,
    /// Largest request accepted; a larger one closes the connection.
    pub max_request_bytes: usize,
    /// Sum of the requests held in memory at once; further ones wait in their sockets.
    pub max_inflight_bytes: usize,
    /// Largest answer to one fetch, whatever the client asks for (a first batch larger than this is still sent whole).
    pub max_fetch_bytes: usize,
    /// Connections beyond this number are closed as they arrive.
    pub max_connections: usize,
    /// Partitions of all topics together.
    pub max_partitions: usize,
    /// A connection that says nothing for so long is closed.
    pub connection_idle: Duration,
    /// The longest one request may take to arrive, or one answer to be read.
    pub transfer_timeout: Duration,
    /// How long retention, fsync by interval and forgotten producers may lie unattended.
    pub housekeeping: Duration,
    /// An idempotent producer silent for so long is forgotten.
    pub producer_expiry: Duration,
    pub group: GroupConfig,
}

/// Limits of consumer groups.
#[derive(Debug, Clone)]
pub struct GroupConfig {
    pub min_session: Duration,
    pub max_session: Duration,
    /// How long the first member of an empty group waits for others before the first assignment.
    pub initial_rebalance_delay: Duration,
    pub max_members: usize,
}

impl Default for GroupConfig {
    fn default() -> Self {
        GroupConfig {
            min_session: Duration::from_secs(6),
            max_session: Duration::from_secs(30 * 60),
            initial_rebalance_delay: Duration::ZERO,
            max_members: 1000,
        }
    }
}

const MIB: usize = 1 << 20;

impl Default for BrokerConfig {
    fn default() -> Self {
        BrokerConfig {
            listen: "127.0.0.1:0".to_owned(),
            advertised: None,
            dir: None,
            default_partitions: 1,
            auto_create_topics: true,
            segment_bytes: 256 * MIB as u64,
            retention_bytes: None,
            retention: None,
            fsync: FsyncPolicy::Interval(Duration::from_secs(1)),
            max_message_bytes: 64 * MIB,
            max_request_bytes: 100 * MIB,
            max_inflight_bytes: 256 * MIB,
            max_fetch_bytes: 64 * MIB,
            max_connections: 1024,
            max_partitions: 10_000,
            connection_idle: Duration::from_secs(10 * 60),
            transfer_timeout: Duration::from_secs(60),
            housekeeping: Duration::from_millis(500),
            producer_expiry: Duration::from_secs(24 * 60 * 60),
            group: GroupConfig::default(),
        }
    }
}

impl BrokerConfig {
    pub(crate) fn check(&self) -> Result<(), BrokerError> {
        let at_least = |name, found: u64, least: u64| {
            if found >= least {
                return Ok(());
            }
            Err(BrokerError::Setting {
                name,
                found: found.to_string(),
                expected: format!("at least {least}"),
            })
        };
        at_least("default_partitions", self.default_partitions.max(0) as u64, 1)?;
        at_least("segment_bytes", self.segment_bytes, 1024)?;
        at_least("max_message_bytes", self.max_message_bytes as u64, 1024)?;
        at_least("max_request_bytes", self.max_request_bytes as u64, self.max_message_bytes as u64)?;
        at_least("max_inflight_bytes", self.max_inflight_bytes as u64, self.max_request_bytes as u64)?;
        at_least("max_connections", self.max_connections as u64, 1)?;
        at_least("max_partitions", self.max_partitions as u64, 1)?;
        at_least("housekeeping in ms", self.housekeeping.as_millis() as u64, 1)?;
        if let Some(advertised) = &self.advertised {
            split_address(advertised)?;
        }
        Ok(())
    }
}

/// `host:port` with a port that fits.
pub(crate) fn split_address(text: &str) -> Result<(String, u16), BrokerError> {
    text.rsplit_once(':')
        .and_then(|(host, port)| Some((host.trim_matches(['[', ']']).to_owned(), port.parse().ok()?)))
        .filter(|(host, _)| !host.is_empty())
        .ok_or_else(|| BrokerError::Setting {
            name: "advertised",
            found: format!("{text:?}"),
            expected: "host:port".to_owned(),
        })
}
