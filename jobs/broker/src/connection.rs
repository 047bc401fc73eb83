//! One connection: requests are answered one after another, in order, as Kafka does.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::api::{self, Answer, Origin, RequestFault};
use crate::config::split_address;
use crate::server::PERMIT_BYTES;
use crate::shared::Shared;

/// Memory for a request grows with what has arrived, not with what its length claims.
const READ_STEP_BYTES: usize = 1 << 20;

/// Why a connection is closed by the broker.
#[derive(Debug, thiserror::Error)]
pub enum ConnectionFault {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("found a request of {found} bytes, expected 8 to {limit}")]
    RequestBytes { found: i32, limit: usize },
    #[error("{what} took longer than {limit:?}")]
    Slow { what: &'static str, limit: Duration },
    #[error(transparent)]
    Request(#[from] RequestFault),
    #[error("the broker is stopping")]
    Stopping,
}

pub async fn serve(
    mut socket: TcpStream,
    peer: SocketAddr,
    shared: &Shared,
    inflight: &Semaphore,
) -> Result<(), ConnectionFault> {
    socket.set_nodelay(true)?;
    let origin = origin(&socket, peer, shared)?;
    let limit = shared.config.transfer_timeout;
    loop {
        let Some(length) = next_length(&mut socket, shared).await? else { return Ok(()) };
        let permits = length.div_ceil(PERMIT_BYTES) as u32;
        let held = inflight.acquire_many(permits).await.map_err(|_| ConnectionFault::Stopping)?;
        let slow = |what| move |_| ConnectionFault::Slow { what, limit };
        let frame =
            timeout(limit, read_frame(&mut socket, length)).await.map_err(slow("sending a request"))??;
        let answer = api::answer(shared, &origin, frame).await?;
        drop(held);
        match answer {
            Answer::Send(bytes) => {
                let written = timeout(limit, socket.write_all(&bytes)).await;
                match written.map_err(slow("reading an answer"))? {
                    // A client may leave while an answer is on its way, as one does that has what it wanted.
                    Err(error) if is_hang_up(&error) => return Ok(()),
                    written => written?,
                }
            }
            Answer::Nothing => {}
        }
    }
}

/// Who asks, and by which address they should come back.
fn origin(socket: &TcpStream, peer: SocketAddr, shared: &Shared) -> Result<Origin, ConnectionFault> {
    let reached = socket.local_addr()?;
    let (host, port) = match &shared.config.advertised {
        Some(advertised) => split_address(advertised).map_err(io::Error::other)?,
        None => (reached.ip().to_canonical().to_string(), reached.port()),
    };
    Ok(Origin { peer, host, port })
}

/// The length of the next request; `None` when the client is done or has fallen silent.
async fn next_length(socket: &mut TcpStream, shared: &Shared) -> Result<Option<usize>, ConnectionFault> {
    let mut prefix = [0; 4];
    match timeout(shared.config.connection_idle, socket.read_exact(&mut prefix)).await {
        Err(_idle) => return Ok(None),
        Ok(Err(error)) if is_hang_up(&error) => return Ok(None),
        Ok(read) => read?,
    };
    let length = i32::from_be_bytes(prefix);
    let limit = shared.config.max_request_bytes;
    match usize::try_from(length) {
        Ok(bytes) if (8..=limit).contains(&bytes) => Ok(Some(bytes)),
        _ => Err(ConnectionFault::RequestBytes { found: length, limit }),
    }
}

fn is_hang_up(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
    )
}

async fn read_frame(socket: &mut TcpStream, length: usize) -> io::Result<Bytes> {
    let mut frame = BytesMut::with_capacity(length.min(READ_STEP_BYTES));
    let mut rest = socket.take(length as u64);
    while frame.len() < length {
        if frame.capacity() == frame.len() {
            frame.reserve((length - frame.len()).min(frame.len().max(READ_STEP_BYTES)));
        }
        if rest.read_buf(&mut frame).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(frame.freeze())
}
