//! Requests by idempotency key, for some time.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use sha2::{Digest, Sha256};
use tokio::sync::{Mutex as Turn, MutexGuard};

use super::Receipt;
use crate::refusal::{Reason, Refusal};

/// A longer idempotency key is refused.
pub const MOST_KEY_BYTES: usize = 255;
/// For how long, and how many, requests are remembered.
const KEPT_FOR: Duration = Duration::from_secs(3_600);
const MOST_KEPT: usize = 1_000;

/// Requests that came with an idempotency key.
#[derive(Default)]
pub struct Kept(Mutex<Remembered>);

#[derive(Default)]
struct Remembered {
    requests: HashMap<Name, Known>,
    /// Oldest first.
    order: VecDeque<(Instant, Name)>,
}

/// A stream and a key: two streams' keys have nothing to do with each other.
type Name = (String, String);

struct Known {
    fingerprint: [u8; 32],
    request: Arc<Request>,
}

/// A request that may come several times; one at a time is worked on.
#[derive(Default)]
pub struct Request(Turn<Progress>);

/// How far a request is.
#[derive(Default)]
pub enum Progress {
    #[default]
    New,
    /// By line, whether it is known to be in the log.
    Partly(Vec<bool>),
    Done(Receipt),
}

impl Request {
    /// Waits for the same request, if it is being worked on.
    pub async fn progress(&self) -> MutexGuard<'_, Progress> {
        self.0.lock().await
    }
}

impl Kept {
    /// The request of this key: the one that came before, if it is the same.
    pub fn find(
        &self,
        stream: &str,
        key: &str,
        key_field: Option<&str>,
        body: &[u8],
    ) -> Result<Arc<Request>, Refusal> {
        let mut digest = Sha256::new();
        digest.update(key_field.unwrap_or_default().as_bytes());
        digest.update([0]);
        digest.update(body);
        let fingerprint: [u8; 32] = digest.finalize().into();
        let now = Instant::now();
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        remembered.forget(now);
        let name = (stream.to_string(), key.to_string());
        match remembered.requests.get(&name) {
            Some(known) if known.fingerprint == fingerprint => Ok(known.request.clone()),
            Some(_) => {
                let detail =
                    "this Idempotency-Key came before with other events: give each request a key of its own";
                Err(Refusal::new(Reason::Unmet, detail))
            }
            None => {
                let request = Arc::new(Request::default());
                let known = Known { fingerprint, request: request.clone() };
                remembered.order.push_back((now, name.clone()));
                remembered.requests.insert(name, known);
                Ok(request)
            }
        }
    }
}

impl Remembered {
    fn forget(&mut self, now: Instant) {
        while let Some((since, _)) = self.order.front()
            && (self.order.len() >= MOST_KEPT || now.duration_since(*since) >= KEPT_FOR)
            && let Some((_, name)) = self.order.pop_front()
        {
            self.requests.remove(&name);
        }
    }
}
