//! One connection to a broker: requests out, whole answers in, without blocking.

use std::io::{self, Read, Write};
use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};

/// Bytes in front of every request and answer that say how long it is.
const LENGTH_BYTES: usize = 4;
/// No broker answers with more: fetches are bounded, and nothing else is large.
const MOST_BYTES: usize = 1 << 30;

pub struct Connection {
    stream: TcpStream,
    outbox: BytesMut,
    /// The length of the answer that comes in, as far as it has come.
    length: [u8; LENGTH_BYTES],
    length_read: usize,
    /// Room for the answer that comes in, once its length is known.
    inbox: Option<BytesMut>,
    read: usize,
    /// The last answer. Once nobody looks at it any more its room serves for another.
    last: Bytes,
    correlation: i32,
}

impl Connection {
    /// Begins to connect; what is sent meanwhile waits.
    pub fn open(address: SocketAddr, registry: &Registry, token: Token) -> io::Result<Connection> {
        let mut stream = TcpStream::connect(address)?;
        // Requests are written whole: there is nothing to wait for.
        stream.set_nodelay(true)?;
        registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Connection {
            stream,
            outbox: BytesMut::new(),
            length: [0; LENGTH_BYTES],
            length_read: 0,
            inbox: None,
            read: 0,
            last: Bytes::new(),
            correlation: 0,
        })
    }

    pub fn send<R: Request>(&mut self, client_id: &str, version: i16, request: &R) -> io::Result<()> {
        self.correlation = self.correlation.wrapping_add(1);
        let header = RequestHeader::default()
            .with_request_api_key(R::KEY)
            .with_request_api_version(version)
            .with_correlation_id(self.correlation)
            .with_client_id(Some(StrBytes::from_string(client_id.to_string())));
        let from = self.outbox.len();
        self.outbox.extend_from_slice(&[0; LENGTH_BYTES]);
        header.encode(&mut self.outbox, R::header_version(version)).map_err(io::Error::other)?;
        request.encode(&mut self.outbox, version).map_err(io::Error::other)?;
        let length = (self.outbox.len() - from - LENGTH_BYTES) as i32;
        self.outbox[from..from + LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
        self.flush()
    }

    /// Sends what waits, as far as it goes.
    pub fn flush(&mut self) -> io::Result<()> {
        while !self.outbox.is_empty() {
            match self.stream.write(&self.outbox) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => self.outbox.advance(written),
                Err(error) if is_not_yet(&error) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next answer, once all of it is there: its body, behind a header of this version.
    pub fn receive(&mut self, header_version: i16) -> io::Result<Option<Bytes>> {
        let Some(mut answer) = self.frame()? else { return Ok(None) };
        let header = ResponseHeader::decode(&mut answer, header_version).map_err(io::Error::other)?;
        if header.correlation_id != self.correlation {
            let (found, expected) = (header.correlation_id, self.correlation);
            return Err(malformed(format!("an answer to request {found}, expected one to {expected}")));
        }
        Ok(Some(answer))
    }

    fn frame(&mut self) -> io::Result<Option<Bytes>> {
        loop {
            let Some(inbox) = &mut self.inbox else {
                match self.stream.read(&mut self.length[self.length_read..]) {
                    Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                    Ok(read) => self.length_read += read,
                    Err(error) if is_not_yet(&error) => return Ok(None),
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => return Err(error),
                }
                if self.length_read == LENGTH_BYTES {
                    let length = u32::from_be_bytes(self.length) as usize;
                    if length > MOST_BYTES {
                        let reason =
                            format!("an answer of {length} bytes: is this a broker that speaks no TLS?");
                        return Err(malformed(reason));
                    }
                    let mut room = std::mem::take(&mut self.last).try_into_mut().unwrap_or_default();
                    room.resize(length, 0);
                    (self.inbox, self.read, self.length_read) = (Some(room), 0, 0);
                }
                continue;
            };
            if self.read == inbox.len() {
                self.last = std::mem::take(inbox).freeze();
                self.inbox = None;
                return Ok(Some(self.last.clone()));
            }
            match self.stream.read(&mut inbox[self.read..]) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(read) => self.read += read,
                Err(error) if is_not_yet(&error) => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

fn malformed(reason: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, reason)
}

/// True while there is nothing to do but wait: for data, for room, or for the connection itself.
fn is_not_yet(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected)
}
