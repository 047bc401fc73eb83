//! Following a question: its rows once, then those that change.
//!
//! Guarantee: whoever applies a follower's changes in their order holds, after each, exactly the rows of one answer (invariant
//! `COVER`). A question is asked once for all who follow it; who is slower than the changes gets all rows anew instead of a
//! queue that grows.

mod changes;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::Stream;
use tokio::sync::broadcast::{self, error::RecvError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::changes::Changes;
use crate::ask::Serving;
use crate::query::Query;
use crate::refusal::Refusal;

/// How often a question is asked unless the follower says otherwise, and how often at most and at least.
pub const EVERY: Duration = Duration::from_secs(1);
pub const SHORTEST: Duration = Duration::from_millis(100);
pub const LONGEST: Duration = Duration::from_secs(3_600);
/// Followers of one server.
const MOST_FOLLOWERS: usize = 1_000;
/// Changes that a follower may be behind, or may have missed while it was away.
const KEPT: usize = 32;
/// Something is sent at least this often, so that both ends notice when the other is gone.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The questions that are followed.
pub struct Follow {
    serving: Arc<Serving>,
    hubs: Mutex<HashMap<String, Weak<Hub>>>,
    room: Arc<Semaphore>,
    stop: CancellationToken,
}

/// One question and those who follow it.
struct Hub {
    seen: Mutex<Seen>,
    told: broadcast::Sender<Change>,
}

/// What was told so far.
struct Seen {
    changes: Changes,
    /// The latest, oldest first.
    recent: VecDeque<Change>,
    /// Tells this hub's changes from those of another server, or of an earlier start.
    name: Uuid,
    next: u64,
    trouble: Option<String>,
}

/// A frame of server-sent events, numbered unless it only tells of trouble.
#[derive(Clone)]
struct Change {
    number: Option<u64>,
    frame: Bytes,
}

impl Follow {
    /// Followers are let go when `stop` is cancelled.
    pub fn new(serving: Arc<Serving>, stop: CancellationToken) -> Self {
        Follow { serving, hubs: Mutex::default(), room: Arc::new(Semaphore::new(MOST_FOLLOWERS)), stop }
    }

    /// Frames for a follower, the first at once. `last_event` is what it had heard when it was cut off.
    pub async fn follow(
        &self,
        query: Arc<Query>,
        every: Duration,
        last_event: Option<&str>,
    ) -> Result<impl Stream<Item = Bytes> + use<>, Refusal> {
        let full =
            || Refusal::too_many(format!("{MOST_FOLLOWERS} followers are all that this server has room for"));
        let room = self.room.clone().try_acquire_owned().map_err(|_| full())?;
        // What is wrong with the question is said before the stream begins.
        let answer = self.serving.ask(&query).await?;
        let hub = self.hub(query, every);
        let (waiting, heard) = hub.join(|seen| {
            if seen.next == 0 {
                seen.take(&answer);
            }
            seen.missed(last_event)
        });
        let follower = Follower { hub, waiting, heard, stop: self.stop.clone(), _room: room };
        Ok(futures::stream::unfold(follower, Follower::next))
    }

    fn hub(&self, query: Arc<Query>, every: Duration) -> Arc<Hub> {
        let mut hubs = self.hubs.lock().unwrap_or_else(PoisonError::into_inner);
        hubs.retain(|_, hub| hub.strong_count() > 0);
        let name = format!("{every:?} {query:?}");
        if let Some(hub) = hubs.get(&name).and_then(Weak::upgrade) {
            return hub;
        }
        let seen = Seen {
            changes: Changes::default(),
            recent: VecDeque::new(),
            name: Uuid::new_v4(),
            next: 0,
            trouble: None,
        };
        let hub = Arc::new(Hub { seen: Mutex::new(seen), told: broadcast::Sender::new(KEPT) });
        hubs.insert(name, Arc::downgrade(&hub));
        let (serving, followed, stop) = (self.serving.clone(), Arc::downgrade(&hub), self.stop.clone());
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = keep_asking(&serving, &query, every, &followed) => {}
            }
        });
        hub
    }
}

/// Asks as long as anybody follows.
async fn keep_asking(serving: &Serving, query: &Arc<Query>, every: Duration, hub: &Weak<Hub>) {
    let mut ticks = tokio::time::interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if hub.strong_count() == 0 {
            return;
        }
        let answer = serving.ask(query).await;
        let Some(hub) = hub.upgrade() else { return };
        let mut seen = hub.lock();
        let change = match answer {
            Ok(answer) => seen.take(&answer),
            Err(refusal) => seen.fail(&refusal),
        };
        if let Some(change) = change {
            // Nobody may be listening at this very moment.
            _ = hub.told.send(change);
        }
    }
}

impl Hub {
    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What is to be sent first, and everything that comes after it: no change falls between the two.
    fn join(
        &self,
        first: impl FnOnce(&mut Seen) -> VecDeque<Bytes>,
    ) -> (VecDeque<Bytes>, broadcast::Receiver<Change>) {
        let mut seen = self.lock();
        (first(&mut seen), self.told.subscribe())
    }
}

impl Seen {
    /// Takes in an answer; gives what is to be told, if anything.
    fn take(&mut self, answer: &crate::answer::Answer) -> Option<Change> {
        let over = self.trouble.take().is_some();
        let data = self.changes.take(answer, over)?;
        let number = self.next;
        self.next += 1;
        let change = Change { number: Some(number), frame: self.frame(number, &data) };
        if self.recent.len() == KEPT {
            self.recent.pop_front();
        }
        self.recent.push_back(change.clone());
        Some(change)
    }

    /// The rows stay as they are; that they do not move is told once.
    fn fail(&mut self, refusal: &Refusal) -> Option<Change> {
        let detail = refusal.to_string();
        if self.trouble.as_ref() == Some(&detail) {
            return None;
        }
        let data = serde_json::json!({ "detail": detail });
        self.trouble = Some(detail);
        Some(Change { number: None, frame: Bytes::from(format!("event: trouble\ndata: {data}\n\n")) })
    }

    /// The changes behind the last one that was heard, or all rows where these are not known any more.
    fn missed(&self, last_event: Option<&str>) -> VecDeque<Bytes> {
        let heard = last_event.and_then(|last| {
            let (name, number) = last.rsplit_once('.')?;
            (name == self.name.simple().to_string()).then(|| number.parse::<u64>().ok())?
        });
        let oldest = self.recent.front().and_then(|change| change.number);
        match (heard, oldest) {
            (Some(heard), Some(oldest)) if heard + 1 >= oldest && heard < self.next => {
                let behind = self.recent.iter().filter(|change| change.number > Some(heard));
                behind.map(|change| change.frame.clone()).collect()
            }
            _ => VecDeque::from([self.frame(self.next.saturating_sub(1), &self.changes.whole())]),
        }
    }

    fn frame(&self, number: u64, data: &[u8]) -> Bytes {
        let mut frame = format!("id: {}.{number}\nevent: rows\ndata: ", self.name.simple()).into_bytes();
        frame.extend_from_slice(data);
        frame.extend_from_slice(b"\n\n");
        frame.into()
    }
}

/// One who follows.
struct Follower {
    hub: Arc<Hub>,
    waiting: VecDeque<Bytes>,
    heard: broadcast::Receiver<Change>,
    stop: CancellationToken,
    _room: OwnedSemaphorePermit,
}

impl Follower {
    async fn next(mut self) -> Option<(Bytes, Follower)> {
        if let Some(frame) = self.waiting.pop_front() {
            return Some((frame, self));
        }
        let frame = tokio::select! {
            () = self.stop.cancelled() => return None,
            heard = self.heard.recv() => match heard {
                Ok(change) => change.frame,
                Err(RecvError::Lagged(_)) => {
                    (self.waiting, self.heard) = self.hub.join(|seen| seen.missed(None));
                    self.waiting.pop_front()?
                }
                Err(RecvError::Closed) => return None,
            },
            () = tokio::time::sleep(HEARTBEAT) => Bytes::from_static(b": still here\n\n"),
        };
        Some((frame, self))
    }
}
