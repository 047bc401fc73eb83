//! Clients that read slowly, or not at all.
//!
//! Guarantee: an answer that its client does not take within bounds ends with its connection, and what such answers
//! hold in memory together is bounded. A client that takes nothing at all is given up by the system (its TCP user
//! timeout); one that takes little by little is by [`Watched`]; small answers fit into the connection's own buffers.

use std::any::Any;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use actix_tls::accept::rustls_0_23::TlsStream;
use actix_web::body::{BodySize, MessageBody};
use actix_web::dev::Extensions;
use actix_web::rt::net::TcpStream;
use bytes::Bytes;
use socket2::SockRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::refusal::Refusal;
use crate::turns::Turns;

/// Answers up to this size are written as they are.
const SMALL: usize = 256 << 10;
/// What large answers may hold in memory together.
const MOST_BYTES: usize = 64 << 20;
/// What an answer's value takes, about, while it is written: the value itself and its text.
const VALUE_BYTES: usize = 64;
/// What a client must take of a large answer in each of these periods.
const PERIOD: Duration = Duration::from_secs(5);
const LEAST_PER_PERIOD: usize = 320 << 10;
/// After so long without a sign that anything arrives a connection is closed.
const UNREAD: Duration = Duration::from_secs(8);
const CHUNK: usize = 64 << 10;

/// A client's connection, to be closed from elsewhere.
struct Connection(std::net::TcpStream);

impl Connection {
    fn close(&self) {
        // It may be gone already.
        _ = self.0.shutdown(std::net::Shutdown::Both);
    }

    /// True when the client has closed its side: nothing more will come, and nobody waits.
    fn is_closed(&self) -> bool {
        matches!(self.0.peek(&mut [0]), Ok(0))
    }
}

/// Prepares a connection that was just made.
pub fn on_connect(io: &dyn Any, data: &mut Extensions) {
    let plain = io.downcast_ref::<TcpStream>();
    let secured = || io.downcast_ref::<TlsStream<TcpStream>>().map(|secured| secured.get_ref().0);
    let Some(stream) = plain.or_else(secured) else { return };
    let socket = SockRef::from(stream);
    let limited = socket.set_tcp_user_timeout(Some(UNREAD));
    // An answer's last bytes are not to wait for the client's word that it has the first.
    _ = socket.set_tcp_nodelay(true);
    let held = stream.as_fd().try_clone_to_owned().map(|socket| Arc::new(Connection(socket.into())));
    match (limited, held) {
        (Ok(()), Ok(connection)) => _ = data.insert(connection),
        (Err(error), _) | (_, Err(error)) => tracing::warn!(%error, "a connection without a deadline"),
    }
}

/// Ends when the client of a request has gone, which is looked at now and then.
pub async fn gone(request: &actix_web::HttpRequest) {
    const LOOK: Duration = Duration::from_millis(100);
    loop {
        tokio::time::sleep(LOOK).await;
        let connection = request.conn_data::<Arc<Connection>>();
        if connection.is_some_and(|connection| connection.is_closed()) {
            return;
        }
    }
}

/// Room for large answers, and turns to write them, shared by all connections.
#[derive(Clone)]
pub struct Room {
    bytes: Arc<Semaphore>,
    pub turns: Turns,
}

/// Room for an answer that is being written.
pub struct Reserved(OwnedSemaphorePermit);

impl Room {
    /// `turns` are those of large questions: what is made of them is written in turn as well.
    pub fn new(turns: Turns) -> Room {
        Room { bytes: Arc::new(Semaphore::new(MOST_BYTES)), turns }
    }

    /// Room for an answer of so many values while it is written, which comes before it is read.
    pub fn reserve(&self, values: usize) -> Result<Reserved, Refusal> {
        self.take(values.saturating_mul(VALUE_BYTES).min(MOST_BYTES)).map(Reserved)
    }

    /// A body for a client. A large one is refused when those on their way leave no room for it.
    pub fn body(&self, request: &actix_web::HttpRequest, bytes: Vec<u8>) -> Result<Body, Refusal> {
        if bytes.len() <= SMALL {
            return Ok(Body::Small(Some(bytes.into())));
        }
        let room = self.take(bytes.len().min(MOST_BYTES))?;
        Ok(self.watched(request, bytes, room))
    }

    /// A body for a client in the room that was reserved for it; it gives back what it does not need.
    pub fn body_within(
        &self,
        request: &actix_web::HttpRequest,
        bytes: Vec<u8>,
        Reserved(mut room): Reserved,
    ) -> Result<Body, Refusal> {
        if bytes.len() <= SMALL {
            return Ok(Body::Small(Some(bytes.into())));
        }
        let (needed, reserved) = (bytes.len().min(MOST_BYTES), room.num_permits());
        if needed > reserved {
            room.merge(self.take(needed - reserved)?);
        }
        drop(room.split(reserved.saturating_sub(needed)));
        Ok(self.watched(request, bytes, room))
    }

    fn take(&self, bytes: usize) -> Result<OwnedSemaphorePermit, Refusal> {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.bytes.clone().try_acquire_many_owned(bytes).map_err(|_| {
            Refusal::too_many("other large answers are still being read: ask again in a moment, or for less")
        })
    }

    fn watched(&self, request: &actix_web::HttpRequest, bytes: Vec<u8>, room: OwnedSemaphorePermit) -> Body {
        let connection = request.conn_data::<Arc<Connection>>().map(Arc::downgrade);
        let taken = Arc::new(AtomicUsize::new(0));
        if let Some(connection) = connection {
            tokio::spawn(watch(connection, Arc::downgrade(&taken)));
        }
        Body::Large(Watched { rest: bytes.into(), taken, _room: room })
    }
}

/// Closes the connection of a client that takes less than it must, until the body is gone.
async fn watch(connection: Weak<Connection>, taken: Weak<AtomicUsize>) {
    let mut before = 0;
    loop {
        tokio::time::sleep(PERIOD).await;
        let (Some(taken), Some(connection)) = (taken.upgrade(), connection.upgrade()) else { return };
        let now = taken.load(Ordering::Relaxed);
        if now - before < LEAST_PER_PERIOD {
            tracing::warn!(taken = now, "a client reads too slowly, its connection is closed");
            return connection.close();
        }
        before = now;
    }
}

/// The body of an answer.
pub enum Body {
    Small(Option<Bytes>),
    Large(Watched),
}

/// A body that is given out piece by piece.
pub struct Watched {
    rest: Bytes,
    taken: Arc<AtomicUsize>,
    _room: OwnedSemaphorePermit,
}

impl Body {
    pub fn empty() -> Body {
        Body::Small(None)
    }
}

impl MessageBody for Body {
    type Error = std::convert::Infallible;

    fn size(&self) -> BodySize {
        let bytes = match self {
            Body::Small(bytes) => bytes.as_ref().map_or(0, Bytes::len),
            Body::Large(watched) => watched.rest.len(),
        };
        BodySize::Sized(bytes as u64)
    }

    fn poll_next(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Bytes, Self::Error>>> {
        let bytes = match self.get_mut() {
            Body::Small(bytes) => bytes.take(),
            Body::Large(Watched { rest, .. }) if rest.is_empty() => None,
            Body::Large(Watched { rest, taken, .. }) => {
                let chunk = rest.split_to(CHUNK.min(rest.len()));
                taken.fetch_add(chunk.len(), Ordering::Relaxed);
                Some(chunk)
            }
        };
        Poll::Ready(bytes.filter(|bytes| !bytes.is_empty()).map(Ok))
    }
}
