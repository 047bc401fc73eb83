//! The way to one broker: connects and connects again, learns what the broker speaks, and asks one thing at a time.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::{Decodable, HeaderVersion, Request};
use mio::{Registry, Token};

use crate::FetchSettings;
use crate::connection::Connection;

/// Connections of this process so far.
static CONNECTIONS: AtomicU64 = AtomicU64::new(1);

/// How often the pause between two attempts doubles at most.
const DOUBLINGS: u32 = 6;

/// What a link has heard. `A` is what the asker noted with the question.
pub enum Heard<A> {
    /// The answer to what was asked, to be read with [`Link::decode`].
    Answer(A, Bytes),
    /// The connection ended, or did not come about. What was asked is not answered any more.
    Lost,
}

/// `A` is what the asker notes with a question until it is answered.
pub struct Link<A> {
    /// `host:port`
    pub address: String,
    /// The number of the connection, which no other has had: what was checked on one holds for no other.
    pub serial: u64,
    token: Token,
    state: State<A>,
    /// Connections that failed since the last answer.
    failures: u32,
}

enum State<A> {
    Closed {
        until: Instant,
    },
    Open {
        connection: Connection,
        /// What the broker speaks; empty until it has said so.
        versions: Vec<(i16, i16, i16)>,
        asked: Option<Asked<A>>,
    },
}

struct Asked<A> {
    /// `None` while the link itself asks for versions.
    note: Option<A>,
    version: i16,
    header_version: i16,
    at: Instant,
}

impl<A> Link<A> {
    pub fn new(address: String, token: Token, now: Instant) -> Link<A> {
        Link { address, serial: 0, token, state: State::Closed { until: now }, failures: 0 }
    }

    /// True if a question can be asked now.
    pub fn is_idle(&self) -> bool {
        matches!(&self.state, State::Open { versions, asked: None, .. } if !versions.is_empty())
    }

    /// The newest version of a question that both sides speak, of those from `least` to `most`.
    pub fn version<R: Request>(&self, least: i16, most: i16) -> Option<i16> {
        let State::Open { versions, .. } = &self.state else { return None };
        let (_, theirs, newest) = versions.iter().find(|(key, ..)| *key == R::KEY)?;
        let version = most.min(*newest);
        (version >= least.max(*theirs)).then_some(version)
    }

    /// Asks an idle link.
    pub fn ask<R: Request>(
        &mut self,
        settings: &FetchSettings,
        version: i16,
        question: &R,
        note: A,
        now: Instant,
    ) -> Option<Heard<A>> {
        self.send(settings, version, question, Some(note), now)
    }

    /// Connects if that is due, sends what waits, and says what was heard since the last time.
    pub fn drive(&mut self, settings: &FetchSettings, registry: &Registry, now: Instant) -> Option<Heard<A>> {
        if let State::Closed { until } = self.state {
            if until > now {
                return None;
            }
            self.serial = CONNECTIONS.fetch_add(1, Ordering::Relaxed);
            match resolve(&self.address, self.failures)
                .and_then(|address| Connection::open(address, registry, self.token))
            {
                Ok(connection) => {
                    self.state = State::Open { connection, versions: Vec::new(), asked: None };
                }
                Err(error) => return self.fail(settings, &error, now),
            }
            // The oldest version is one that every broker answers.
            return self.send(settings, 0, &ApiVersionsRequest::default(), None, now);
        }
        match self.receive(settings, now) {
            Ok(heard) => heard,
            Err(error) => self.fail(settings, &error, now),
        }
    }

    /// Reads an answer; one that makes no sense ends the connection.
    pub fn decode<T: Decodable>(
        &mut self,
        settings: &FetchSettings,
        mut answer: Bytes,
        version: i16,
        now: Instant,
    ) -> Option<T> {
        match T::decode(&mut answer, version) {
            Ok(answer) => Some(answer),
            Err(error) => {
                let _ = self.fail(settings, &io::Error::other(error), now);
                None
            }
        }
    }

    fn send<R: Request>(
        &mut self,
        settings: &FetchSettings,
        version: i16,
        question: &R,
        note: Option<A>,
        now: Instant,
    ) -> Option<Heard<A>> {
        let State::Open { connection, asked, .. } = &mut self.state else { return Some(Heard::Lost) };
        let header_version = R::Response::header_version(version);
        *asked = Some(Asked { note, version, header_version, at: now });
        match connection.send(&settings.client_id, version, question) {
            Ok(()) => None,
            Err(error) => self.fail(settings, &error, now),
        }
    }

    fn receive(&mut self, settings: &FetchSettings, now: Instant) -> io::Result<Option<Heard<A>>> {
        let State::Open { connection, versions, asked } = &mut self.state else { return Ok(None) };
        connection.flush()?;
        let Some(waiting) = asked else {
            // Nothing was asked: all that can come is the connection's end.
            return connection.receive(0).map(|_| None);
        };
        let Some(answer) = connection.receive(waiting.header_version)? else {
            if now.duration_since(waiting.at) > settings.max_wait + settings.request_timeout {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "no answer within the timeout"));
            }
            return Ok(None);
        };
        let Some(Asked { note, version, .. }) = asked.take() else { return Ok(None) };
        self.failures = 0;
        match note {
            Some(note) => Ok(Some(Heard::Answer(note, answer))),
            None => {
                *versions = read_versions(answer, version)?;
                Ok(None)
            }
        }
    }

    /// Ends the connection, to be begun anew after a while.
    fn fail(&mut self, settings: &FetchSettings, error: &io::Error, now: Instant) -> Option<Heard<A>> {
        tracing::debug!(address = self.address, %error, "connection to a broker ended");
        self.state = State::Closed { until: now + pause(settings, self.failures) };
        self.failures = self.failures.saturating_add(1);
        Some(Heard::Lost)
    }
}

fn read_versions(mut answer: Bytes, version: i16) -> io::Result<Vec<(i16, i16, i16)>> {
    let told = ApiVersionsResponse::decode(&mut answer, version).map_err(io::Error::other)?;
    if let Some(error) = ResponseError::try_from_code(told.error_code) {
        return Err(io::Error::other(format!("the broker does not say what it speaks: {error}")));
    }
    if told.api_keys.iter().all(|api| api.api_key != ApiKey::Fetch as i16) {
        return Err(io::Error::other("the broker does not speak of fetching"));
    }
    Ok(told.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect())
}

/// One of a name's addresses, another one after each failure.
fn resolve(address: &str, failures: u32) -> io::Result<SocketAddr> {
    let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    let unknown = || io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    let index = (failures as usize).checked_rem(addresses.len()).ok_or_else(unknown)?;
    Ok(addresses[index])
}

/// How long to leave a broker alone after so many failures in a row.
pub fn pause(settings: &FetchSettings, failures: u32) -> Duration {
    let pause = settings.reconnect_backoff * 2u32.pow(failures.min(DOUBLINGS));
    pause.min(settings.reconnect_backoff_max)
}
