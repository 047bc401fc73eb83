//! What differs between installations.

use std::time::Duration;

use watershed_schemas::budget::Limits;

/// Settings of a speed node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpeedSettings {
    /// The consumer group's name; each stream has its own, `<group>-<stream>`. Nodes of one group share the partitions.
    pub group: String,
    /// Names this node in status; without `/`.
    pub node: String,
    /// How often changed states are written down.
    pub checkpoint_interval: Duration,
    /// How often the store is asked for new versions and intents.
    pub refresh_interval: Duration,
    /// How often the log's end is looked up.
    pub end_interval: Duration,
    /// How long one poll waits for records.
    pub poll_timeout: Duration,
    /// Most records of one poll: bounds memory, and how long a fold holds up a reader.
    pub poll_records: usize,
    /// Most records of one slice of a replay.
    pub replay_records: usize,
    /// How long an offset that the log does not hold, or a log that does not answer, is left alone before the next try.
    pub retry_interval: Duration,
    /// How long a shutdown may take for its last checkpoints.
    pub shutdown_limit: Duration,
    /// What the live states of a view may take on this node, where the view does not say.
    pub limits: Limits,
}

impl SpeedSettings {
    pub fn new(group: impl Into<String>, node: impl Into<String>) -> Self {
        SpeedSettings {
            group: group.into(),
            node: node.into(),
            checkpoint_interval: Duration::from_secs(10),
            refresh_interval: Duration::from_millis(200),
            end_interval: Duration::from_millis(200),
            poll_timeout: Duration::from_millis(50),
            poll_records: 8_192,
            replay_records: 8_192,
            retry_interval: Duration::from_secs(1),
            shutdown_limit: Duration::from_secs(10),
            limits: Limits { groups: None, bytes: Some(8 << 30) },
        }
    }
}
