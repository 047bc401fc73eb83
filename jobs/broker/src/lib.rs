//! A small, durable, single-node Kafka broker, to run inside another process.
//!
//! It is for one machine, for development and for tests. Clients cannot tell it from Apache Kafka in what it does:
//! topics, produce with every codec, idempotent producers, fetch with long polling, offsets by time, consumer groups of
//! the classic protocol, durable commits. What it does not do it refuses with a Kafka error code: transactions, log
//! compaction, authentication, more than one node. It trusts its network as Kafka does on a plaintext listener, so
//! it belongs on loopback or behind something that authenticates.
//!
//! Guarantees:
//! - An acknowledged record, topic or commit survives `kill -9`. What a power failure may take is set by
//!   [`FsyncPolicy`].
//! - Batches are stored and served byte for byte as sent, checksum included; only base offset and leader epoch, which
//!   the checksum leaves out, are set here.
//! - An idempotent producer's retry is stored once, also when the retry follows a restart.
//! - A fetch that waits at the end of a partition is answered as soon as a record arrives.
//! - Memory is bounded by settings: connections, bytes of requests in flight, bytes of one answer. The bound holds for
//!   sound requests; whoever forges the length of a list inside one can make the decoder ask for more than there is,
//!   which is one more reason for the sentence about networks above.
//!
//! ```no_run
//! # async fn example() -> Result<(), watershed_broker::BrokerError> {
//! use watershed_broker::{Broker, BrokerConfig};
//!
//! let broker = Broker::start(BrokerConfig { dir: Some("data".into()), ..BrokerConfig::default() }).await?;
//! println!("bootstrap.servers={}", broker.address());
//! broker.stop().await
//! # }
//! ```
#![forbid(unsafe_code)]

mod api;
mod broker;
mod config;
mod connection;
mod disk;
mod error;
mod group;
mod housekeeping;
mod journal;
mod locks;
mod log;
mod partition;
mod server;
mod settings;
mod shared;
mod topics;

pub use broker::Broker;
pub use config::{BrokerConfig, FsyncPolicy, GroupConfig};
pub use disk::{Owner, owner};
pub use error::BrokerError;

/// Topics, log starts, the cluster's id and producer ids.
const CLUSTER_JOURNAL: &str = "cluster.journal";
/// Commits of groups.
const GROUPS_JOURNAL: &str = "groups.journal";
