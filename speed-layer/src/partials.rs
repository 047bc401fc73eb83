//! Answers requests for live states.
//!
//! Guarantee (invariant `COVER`): for every partition that a reply names, its states are exactly the fold of
//! `[watershed, live)`. Each partition is cut at one moment, for all views that are asked together; partitions may be
//! cut at different ones, and the reply says at which.

use watershed_schemas::live::{LiveError, Partials, PartialsRequest, PartitionStates};
use watershed_schemas::offsets::{Offsets, Partition};
use watershed_schemas::scope::Scope;
use watershed_schemas::superseded;
use watershed_schemas::view::View;

use crate::epoch::{Epoch, Fold, FoldKey};
use crate::partition::PartitionEpochs;
use crate::shared::{Shared, Slot};

/// Whether an answer may take its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// Give up rather than wait for a fold or copy many states.
    None,
    Full,
}

/// So many cells are looked through at once, and so many of them copied.
const FEW_LOOKED_AT: usize = 50_000;
const FEW_COPIED: usize = 1_000;

/// One reply per request, all of this stream. `None` only without patience.
pub(crate) fn partials(
    shared: &Shared,
    requests: &[PartialsRequest],
    patience: Patience,
) -> Option<Result<Vec<Partials>, LiveError>> {
    // Before the cuts, so that these hold at least what was current then.
    let (end, current_at_ms) = {
        let progress = shared.progress();
        (progress.end.clone(), progress.current_at_ms)
    };
    let begin = |request: &PartialsRequest| {
        Reply::begin(request, shared.view(&request.view).as_deref(), end.clone(), current_at_ms)
    };
    let mut replies = match requests.iter().map(begin).collect::<Result<Vec<_>, _>>() {
        Ok(replies) => replies,
        Err(error) => return Some(Err(error)),
    };
    let Some(first) = replies.first() else { return Some(Ok(Vec::new())) };
    let refusals = first.refusals();
    for (partition, slot) in shared.partitions() {
        let held = match slot {
            Slot::Open(held) => held,
            Slot::Opening => return Some(Err(refusals.opening(partition))),
            Slot::Stuck(reason) => return Some(Err(refusals.not_ready(reason))),
        };
        let epochs = match patience {
            Patience::Full => held.read().map(Some),
            Patience::None => held.try_read(),
        };
        let epochs = match epochs {
            Ok(Some(epochs)) => epochs,
            Ok(None) => return None,
            Err(broken) => return Some(Err(refusals.not_ready(format!("partition {partition}: {broken}")))),
        };
        for reply in &mut replies {
            let fold = match reply.fold(&epochs) {
                Ok(fold) => fold,
                Err(error) => return Some(Err(error)),
            };
            if patience == Patience::None && !reply.is_quick(fold) {
                return None;
            }
            reply.add(partition, fold);
        }
    }
    Some(Ok(replies.into_iter().map(|reply| reply.partials).collect()))
}

/// A reply in the making: partition by partition what it says of an epoch.
pub struct Reply {
    stream: String,
    key: FoldKey,
    scope: Scope,
    /// What has been added so far.
    pub partials: Partials,
}

/// How a node says that it has no reply yet.
struct Refusals {
    stream: String,
    watershed: Offsets,
}

impl Refusals {
    fn opening(&self, partition: Partition) -> LiveError {
        self.not_ready(format!("partition {partition} is being opened"))
    }

    fn not_ready(&self, reason: String) -> LiveError {
        LiveError::NotReady { stream: self.stream.clone(), watershed: self.watershed.clone(), reason }
    }
}

impl Reply {
    /// `view` is what this node knows under the name that is asked for, `end` the log's end as it last saw it.
    pub fn begin(
        request: &PartialsRequest,
        view: Option<&View>,
        end: Offsets,
        current_at_ms: i64,
    ) -> Result<Reply, LiveError> {
        let partials = Partials {
            watershed: request.watershed.clone(),
            live: Offsets::new(),
            end,
            current_at_ms,
            partitions: Vec::new(),
            states: Vec::new(),
        };
        let key = Epoch::asked(&request.watershed).of(&request.view);
        let reply = Reply { stream: request.stream.clone(), key, scope: request.scope.clone(), partials };
        match view {
            Some(view) if view.hash == request.view_hash && request.scope.is_of(view) => Ok(reply),
            // The version that holds it is yet to be seen, or is gone.
            None if superseded::is_name(&request.view) => {
                Err(reply.not_ready(format!("no version is known that holds view {}", request.view)))
            }
            Some(_) | None => Err(LiveError::UnknownView { view: request.view.clone() }),
        }
    }

    /// The fold that answers for a partition, if it may be given out.
    pub fn fold<'a>(&self, epochs: &'a PartitionEpochs) -> Result<&'a Fold, LiveError> {
        let (partition, FoldKey { epoch, view }) = (epochs.partition(), &self.key);
        let fold = fold(epochs, &self.key).ok_or_else(|| {
            self.not_ready(format!("partition {partition} has not opened epoch {epoch} of view {view}"))
        })?;
        match fold.unready(partition) {
            Some(reason) => Err(self.not_ready(reason)),
            None => Ok(fold),
        }
    }

    /// True where adding a fold takes next to no time.
    fn is_quick(&self, fold: &Fold) -> bool {
        let table = fold.table();
        match self.scope.is_whole() {
            true => table.cells() <= FEW_COPIED || fold.is_copied(),
            false => table.cells() <= FEW_LOOKED_AT && table.rows_in(&self.scope).len() <= FEW_COPIED,
        }
    }

    pub fn add(&mut self, partition: Partition, fold: &Fold) {
        let (reply, span) = (&mut self.partials, fold.span());
        if self.key.epoch == Epoch::Origin {
            reply.watershed.set(partition, span.from);
        }
        reply.live.set(partition, span.until);
        reply.end.set(partition, reply.end.get(partition).max(span.until));
        let states = fold.states(&self.scope);
        if states.cells() > 0 {
            reply.partitions.push(partition);
            reply.states.push(PartitionStates::Held(states));
        }
    }

    /// The refusal of a node that is opening a partition.
    pub fn opening(&self, partition: Partition) -> LiveError {
        self.refusals().opening(partition)
    }

    pub fn not_ready(&self, reason: String) -> LiveError {
        self.refusals().not_ready(reason)
    }

    fn refusals(&self) -> Refusals {
        Refusals { stream: self.stream.clone(), watershed: self.partials.watershed.clone() }
    }
}

/// The fold of an epoch. A watershed that lies at the log's start has the same records as the origin epoch, so that one
/// may stand in: a version of a topic that is still empty is ready at once.
fn fold<'a>(epochs: &'a PartitionEpochs, key: &FoldKey) -> Option<&'a Fold> {
    epochs.folds().get(key).or_else(|| {
        let from = key.epoch.from(epochs.partition(), epochs.origin());
        let origin = epochs.folds().get(&Epoch::Origin.of(&key.view));
        origin.filter(|origin| origin.span().from == from)
    })
}
