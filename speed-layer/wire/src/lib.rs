//! Kafka's wire format where a client library makes too much of it: record batches as they lie in the log, and a
//! consumer that takes them from the brokers whole.
//!
//! A client library makes an object of every message. Here a fetch's answer stays the bytes that the broker sent, and
//! records are copied from it straight into columns. The frames around them are `kafka-protocol`'s.
//!
//! Guarantees of [`Fetcher`]: every committed record from a partition's start on is delivered once and in order; a
//! position that the log does not hold, or whose records an unclean election took, is a fault and never a jump; a
//! damaged batch is a fault, and is asked for again.

pub mod batch;
mod connection;
mod fetcher;
mod guide;
mod link;
mod records;

use std::time::Duration;

pub use fetcher::{Fault, Fetched, Fetcher};
pub use records::{Extent, RecordFault, RecordSet};

/// How brokers are reached and fetched from.
#[derive(Clone, Debug)]
pub struct FetchSettings {
    /// `host:port` of the brokers to begin with, at least one.
    pub bootstrap: Vec<String>,
    pub client_id: String,
    /// How long a broker waits for `min_bytes` before it answers with less.
    pub max_wait: Duration,
    pub min_bytes: i32,
    /// Of one answer; a batch that is larger comes alone.
    pub max_bytes: i32,
    /// Of one partition in an answer.
    pub partition_max_bytes: i32,
    /// How long an answer may take beyond `max_wait`.
    pub request_timeout: Duration,
    pub reconnect_backoff: Duration,
    pub reconnect_backoff_max: Duration,
}
