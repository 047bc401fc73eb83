//! What a process gives to work that waits or takes long: time, and threads beside the event loop.
//!
//! Whoever has a store waits and works through it, so that one wrapper (a simulator's) holds time and order of
//! everything that happens between two looks at the store.

use std::fmt;
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::sync::oneshot;

use crate::Store;

/// Time and threads.
pub trait Host: fmt::Debug + Send + Sync {
    /// The time since some moment that stays the same, on a clock that never goes back.
    fn now(&self) -> Duration;

    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()>;

    /// Does work that blocks or takes long, beside whoever waits for it. Work that panics is dropped.
    fn beside(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()>;
}

/// Work that was given up half-way: it panicked, or the process is ending.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("work beside the event loop was given up half-way: the log has the reason")]
pub struct Interrupted;

impl Store {
    /// The same place, in a process that gives time and threads of its own.
    pub fn hosted(self, host: std::sync::Arc<dyn Host>) -> Self {
        Store { host, ..self }
    }

    /// The time since some moment that stays the same, on a clock that never goes back.
    pub fn now(&self) -> Duration {
        self.host.now()
    }

    pub async fn sleep(&self, pause: Duration) {
        self.host.sleep(pause).await;
    }

    /// Does work that blocks or takes long without keeping others waiting.
    pub async fn beside<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Interrupted> {
        let (done, result) = oneshot::channel();
        // Nobody hears it if whoever waits was dropped.
        self.host.beside(Box::new(move || _ = done.send(work()))).await;
        result.await.map_err(|_| Interrupted)
    }
}

/// Tokio's threads and timers.
#[derive(Debug)]
pub(crate) struct Tokio {
    began: Instant,
}

impl Tokio {
    pub fn new() -> Self {
        Tokio { began: Instant::now() }
    }
}

impl Host for Tokio {
    fn now(&self) -> Duration {
        self.began.elapsed()
    }

    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()> {
        async move { tokio::time::sleep(pause).await }.boxed()
    }

    fn beside(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        async move {
            if let Err(error) = tokio::task::spawn_blocking(work).await {
                tracing::error!(%error, "work beside the event loop was given up");
            }
        }
        .boxed()
    }
}
