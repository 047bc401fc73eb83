//! Work that takes long: beside the threads that serve connections, and only so much of it at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::refusal::{Reason, Refusal};

/// Who has waited that long is told to come back, so that a queue cannot grow without end.
const PATIENCE: Duration = Duration::from_secs(10);

/// A bound on how many may work at once; clones share it.
#[derive(Clone)]
pub struct Turns(Arc<Semaphore>);

/// Held while working. It outlives a caller that goes away: the work goes on without one.
pub type Turn = OwnedSemaphorePermit;

impl Turns {
    pub fn new(at_once: usize) -> Self {
        Turns(Arc::new(Semaphore::new(at_once)))
    }

    /// All cores but one, which is left to questions that are answered at once.
    pub fn of_large_work() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Turns::new(cores.saturating_sub(1).max(1))
    }

    pub async fn wait(&self) -> Result<Turn, Refusal> {
        let turn = tokio::time::timeout(PATIENCE, self.0.clone().acquire_owned()).await;
        turn.ok().and_then(Result::ok).ok_or_else(|| {
            Refusal::too_many("this server is busy with other large questions: ask again in a moment")
        })
    }

    /// Waits, then works.
    pub async fn take<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refusal> {
        let turn = self.wait().await?;
        beside(move || {
            let _turn = turn;
            work()
        })
        .await
    }
}

/// Works beside the threads that serve connections.
pub async fn beside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    let worked = tokio::task::spawn_blocking(work).await;
    worked.map_err(|error| Refusal::new(Reason::Failed, format!("answering was interrupted: {error}")))
}
