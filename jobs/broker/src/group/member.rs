//! One member of a group, as the group knows it.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::join::{Joined, Synced};

#[derive(Debug)]
pub struct Member {
    pub id: String,
    /// The name of a static member, which keeps its place over restarts of its process.
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session: Duration,
    pub rebalance: Duration,
    /// Assignors in order of preference, each with what the member says to it.
    pub protocols: Vec<(String, Bytes)>,
    pub assignment: Bytes,
    pub expires: Instant,
    pub joining: Option<oneshot::Sender<Result<Joined, Refused>>>,
    pub syncing: Option<oneshot::Sender<Result<Synced, ResponseError>>>,
}

/// How a request names a member.
#[derive(Debug, Clone, Copy)]
pub struct MemberRef<'a> {
    pub id: &'a str,
    pub instance: Option<&'a str>,
}

/// A refused join; the member id is one to try again with, when there is one.
#[derive(Debug)]
pub struct Refused {
    pub error: ResponseError,
    pub member_id: String,
}

impl Member {
    pub fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols
            .iter()
            .find(|(name, _)| name == protocol)
            .map(|(_, said)| said.clone())
            .unwrap_or_default()
    }

    /// A sign of life.
    pub fn alive(&mut self, now: Instant) {
        self.expires = now + self.session;
    }

    /// Whether the session has ended. Whoever waits for an answer of ours is not overdue.
    pub fn is_expired(&self, now: Instant) -> bool {
        self.joining.is_none() && self.syncing.is_none() && self.expires <= now
    }

    pub fn answer_join(&mut self, answer: Result<Joined, Refused>) {
        if let Some(waiting) = self.joining.take() {
            // The other side may have hung up: then its session will expire.
            let _ = waiting.send(answer);
        }
    }

    pub fn answer_sync(&mut self, answer: Result<Synced, ResponseError>) {
        if let Some(waiting) = self.syncing.take() {
            let _ = waiting.send(answer);
        }
    }
}
