//! Between servers and speed nodes: calls that wait for the moment at which each node answers, or fails to.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use async_trait::async_trait;
use watershed_schemas::live::{LiveError, LiveSource, LiveStatus, Partials, PartialsRequest};
use watershed_serving::live::together;

/// Clones share the same calls.
#[derive(Clone)]
pub struct Wire {
    nodes: usize,
    calls: Arc<Mutex<Vec<Call>>>,
}

/// A call that a node has not answered.
pub struct Call {
    pub node: usize,
    pub asked: Asked,
}

pub enum Asked {
    Partials(PartialsRequest, Answering<Partials>),
    Status(Answering<LiveStatus>),
}

/// Where an answer is left, and where it is waited for.
pub struct Answering<T>(Left<T>);

type Left<T> = Arc<Mutex<Option<Result<Vec<T>, LiveError>>>>;

impl<T> Clone for Answering<T> {
    fn clone(&self) -> Self {
        Answering(self.0.clone())
    }
}

impl<T> Answering<T> {
    fn new() -> Self {
        Answering(Arc::default())
    }

    pub fn answer(&self, reply: Result<Vec<T>, LiveError>) {
        *self.0.lock().expect("nothing panics while it holds this lock") = Some(reply);
    }
}

impl<T> Future for Answering<T> {
    type Output = Result<Vec<T>, LiveError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match self.0.lock().expect("nothing panics while it holds this lock").take() {
            Some(reply) => Poll::Ready(reply),
            None => {
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}

impl Wire {
    pub fn new(nodes: usize) -> Wire {
        Wire { nodes, calls: Arc::default() }
    }

    pub fn waiting(&self) -> usize {
        self.lock().len()
    }

    pub fn take(&self, index: usize) -> Call {
        self.lock().swap_remove(index)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Call>> {
        self.calls.lock().expect("nothing panics while it holds this lock")
    }

    fn call<T>(&self, asked: impl Fn(Answering<T>) -> Asked) -> Vec<Answering<T>> {
        let call = |node: usize| {
            let answering = Answering::new();
            self.lock().push(Call { node, asked: asked(answering.clone()) });
            answering
        };
        (0..self.nodes).map(call).collect()
    }
}

#[async_trait]
impl LiveSource for Wire {
    async fn partials(&self, request: &PartialsRequest) -> Result<Vec<Partials>, LiveError> {
        let replies = self.call(|answering| Asked::Partials(request.clone(), answering));
        together(futures::future::join_all(replies).await)
    }

    async fn status(&self, _stream: &str) -> Result<Vec<LiveStatus>, LiveError> {
        together(futures::future::join_all(self.call(Asked::Status)).await)
    }
}
