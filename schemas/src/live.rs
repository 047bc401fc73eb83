//! What the speed layer gives the serving layer.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use serde::{Deserialize, Serialize};

use crate::measure::StateError;
use crate::offsets::{Offsets, Partition};
use crate::scope::Scope;
use crate::states::StateTable;
use crate::view::View;

/// A request for one view's epoch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartialsRequest {
    pub stream: String,
    pub view: String,
    /// The view's definition as the asker knows it: another hash is refused.
    pub view_hash: String,
    /// The epoch asked for. Empty for a view that no version holds yet: the epoch of the log's start,
    /// whose watershed the reply names.
    pub watershed: Offsets,
    /// What the answer is made of: a reply holds this part of the states at least.
    #[serde(default, skip_serializing_if = "Scope::is_whole")]
    pub scope: Scope,
}

/// The states of one view's epoch: for each partition named in `live`, exactly the fold of the
/// records in `[watershed, live)` (invariant `COVER`), as far as they lie in the scope that was asked for.
#[derive(Clone, Debug)]
pub struct Partials {
    pub watershed: Offsets,
    pub live: Offsets,
    /// The log's end as this node last saw it, of all partitions that the topic has: one that nobody holds is missing.
    pub end: Offsets,
    /// Everything that the log held at this time, in milliseconds since 1970-01-01, is folded in all partitions of this
    /// node; 0 before that was ever known.
    pub current_at_ms: i64,
    /// The partition of each entry of `states`: two nodes may both hold a partition for a moment after
    /// ownership moved, and the asker must be able to take it from one of them only.
    pub partitions: Vec<Partition>,
    /// Each of one partition; the same key may occur in several.
    pub states: Vec<PartitionStates>,
}

/// The states of a partition, as they have come.
#[derive(Clone, Debug)]
pub enum PartitionStates {
    /// From a node in this process.
    Held(Arc<StateTable>),
    /// As [`StateTable::to_live_batch`] writes them.
    Encoded(RecordBatch),
}

impl PartitionStates {
    pub fn cells(&self) -> usize {
        match self {
            PartitionStates::Held(table) => table.cells(),
            PartitionStates::Encoded(batch) => batch.num_rows(),
        }
    }

    pub fn to_batch(&self) -> RecordBatch {
        match self {
            PartitionStates::Held(table) => table.to_live_batch(),
            PartitionStates::Encoded(batch) => batch.clone(),
        }
    }

    /// `scope` is what was asked for.
    pub fn to_table(&self, view: &Arc<View>, scope: &Scope) -> Result<Arc<StateTable>, StateError> {
        match self {
            PartitionStates::Held(table) => Ok(table.clone()),
            PartitionStates::Encoded(batch) => StateTable::read(view.clone(), batch, scope).map(Arc::new),
        }
    }
}

/// What costs nothing to look at.
#[derive(Clone, Debug)]
pub struct Glance {
    /// Whatever is asked for after it was this number, and as long as it stays this number, is replied to with the same states.
    pub moved: u64,
    /// As in [`Partials::end`] and [`Partials::current_at_ms`]: what was current then is in those states.
    pub end: Offsets,
    pub current_at_ms: i64,
}

/// How the speed layer is doing with a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LiveStatus {
    pub node: String,
    pub live: Offsets,
    /// As in [`Partials::end`].
    pub end: Offsets,
    /// As in [`Partials::current_at_ms`].
    pub current_at_ms: i64,
    /// The watersheds whose epochs are complete up to `live` in all partitions of this node; the log's start is named by
    /// the offsets at which it lies.
    pub epochs: Vec<Offsets>,
    /// Records folded live (not replayed) since this node started, dead letters among them.
    pub records: u64,
    pub dead_letters: u64,
    /// Dead letters by reason since this node started.
    pub dead_letter_reasons: BTreeMap<String, u64>,
    /// Cells of all epochs.
    pub groups: u64,
    /// By view, what its live states take on this node.
    #[serde(default)]
    pub views: BTreeMap<String, LiveView>,
    /// How long ago everything was last safe in the store.
    pub checkpoint_age_ms: Option<i64>,
    /// What keeps this node from folding, if anything.
    pub trouble: Option<String>,
    /// Where that comes from.
    #[serde(default)]
    pub trouble_sources: BTreeSet<TroubleSource>,
}

/// Where a speed node's trouble comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TroubleSource {
    /// A thread broke off.
    Thread,
    /// The log does not deliver.
    Log,
    /// The log does not say where it ends.
    End,
    /// A partition cannot be followed.
    Partition,
    /// What an epoch lacks cannot be read.
    Replay,
    /// Versions and intents cannot be read.
    Store,
    /// A checkpoint cannot be written.
    Checkpoint,
}

impl TroubleSource {
    pub const ALL: [TroubleSource; 7] = [
        TroubleSource::Thread,
        TroubleSource::Log,
        TroubleSource::End,
        TroubleSource::Partition,
        TroubleSource::Replay,
        TroubleSource::Store,
        TroubleSource::Checkpoint,
    ];

    pub fn name(self) -> &'static str {
        match self {
            TroubleSource::Thread => "thread",
            TroubleSource::Log => "log",
            TroubleSource::End => "end",
            TroubleSource::Partition => "partition",
            TroubleSource::Replay => "replay",
            TroubleSource::Store => "store",
            TroubleSource::Checkpoint => "checkpoint",
        }
    }
}

/// What the live states of a view take on a node, those of all epochs and partitions together.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LiveView {
    pub groups: u64,
    /// Groups, each of one window or of all, that hold what the budget has no room for.
    pub overflow_groups: u64,
    /// Records in them, as far as they were counted.
    pub overflow_records: u64,
    /// Memory of the states together with the copies that are made to send and save them.
    pub bytes: u64,
    /// The budget: groups of each epoch, memory of all; `null`: no limit.
    pub max_groups: Option<u64>,
    pub max_bytes: Option<u64>,
}

/// Why no partials were given.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LiveError {
    /// The epoch is being opened or replayed: ask again, or answer from an older version.
    #[error("epoch {watershed} of stream {stream} is not ready: {reason}")]
    NotReady { stream: String, watershed: Offsets, reason: String },
    #[error("the speed layer knows no view {view} with this definition: restart it with the same project")]
    UnknownView { view: String },
    #[error("speed layer unavailable: {reason}")]
    Unavailable { reason: String },
}

/// Where a serving layer gets live states: a speed layer in this process, or its peers over HTTP.
#[async_trait]
pub trait LiveSource: Send + Sync {
    /// One reply per speed node that holds partitions of the stream.
    async fn partials(&self, request: &PartialsRequest) -> Result<Vec<Partials>, LiveError>;

    /// The same for several views of one stream: per request one reply per node. A node cuts each of its partitions at one
    /// moment for all of them. One after the other, as here, they are cut alike only while nothing moves.
    async fn partials_together(&self, requests: &[PartialsRequest]) -> Result<Vec<Vec<Partials>>, LiveError> {
        let mut replies = Vec::with_capacity(requests.len());
        for request in requests {
            replies.push(self.partials(request).await?);
        }
        Ok(replies)
    }

    async fn status(&self, stream: &str) -> Result<Vec<LiveStatus>, LiveError>;

    /// How a stream's only node is doing, without asking it for states. None where that is not known, as of nodes
    /// elsewhere.
    fn glance(&self, _stream: &str) -> Option<Glance> {
        None
    }

    /// The streams that a node within this very process follows: whoever tells of this process tells of these. None
    /// where the speed layer is elsewhere.
    fn own_streams(&self) -> Vec<String> {
        Vec::new()
    }
}
