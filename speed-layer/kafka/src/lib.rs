//! Kafka: the log, its producer and its administration, by librdkafka; records themselves come as whole batches.
//!
//! Nothing is lost in silence here: an offset that the broker does not hold is an error, never a
//! jump elsewhere; positions come from the caller, never from the consumer group; a position moves
//! over offsets without records (control records, compaction) as soon as the broker says so.

mod admin;
mod context;
mod fault;
mod fetch;
mod log;
mod messages;
mod producer;
mod queue;
mod reader;
mod settings;
mod subscription;
mod topic_id;

pub use admin::Creation;
pub use log::KafkaLog;
pub use producer::{KafkaProducer, ProducerRecord};
pub use settings::{Fetching, KafkaSettings};
