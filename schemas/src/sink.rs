//! The log as those see it who bring events: what was taken lies in it.

use async_trait::async_trait;

use crate::log::LogError;
use crate::offsets::{Offset, Partition};

/// A record on its way. Records of one key keep their order; without a key they are spread.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outgoing {
    pub key: Option<Vec<u8>>,
    pub payload: Vec<u8>,
}

/// Why a record does not lie in the log, as far as is known.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// More is on its way than may be: send it again in a moment.
    #[error("too many records are on their way to the log")]
    Full,
    /// The log will never take it.
    #[error("the record has {bytes} bytes, more than the log takes")]
    TooLarge { bytes: usize },
    #[error(transparent)]
    Log(#[from] LogError),
}

/// Takes records for topics.
#[async_trait]
pub trait Sink: Send + Sync {
    /// Sends records in their order. Returns when of each is known whether the log has it, durably, or not: one outcome
    /// per record. A record whose outcome is an error may yet have been written, when its acknowledgement was lost.
    async fn send(&self, topic: &str, records: &[Outgoing]) -> Vec<Result<(Partition, Offset), SendError>>;
}
