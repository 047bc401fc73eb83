//! What follows from the seed: every choice, every fault, the time, and the story of it all.

use std::collections::BTreeMap;
use std::fmt::{Arguments, Write};
use std::ops::Range;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use futures::future::BoxFuture;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use watershed_store::Host;

use super::fault::Fault;

/// Milliseconds since 1970-01-01 when a history begins.
const BEGAN_MS: i64 = 1_772_500_000_000;

/// Clones share one fate.
#[derive(Clone, Debug)]
pub struct Fate(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    random: ChaCha8Rng,
    now: Duration,
    /// No more faults.
    calm: bool,
    /// What never happens in this history: different histories are troubled differently.
    spared: Vec<Fault>,
    faults: BTreeMap<Fault, u64>,
    replies: BTreeMap<Reply, u64>,
    /// Comparisons with the oracle.
    checks: u64,
    /// `None` where nobody reads it.
    story: Option<String>,
}

/// What a reader gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reply {
    Complete,
    FromTheLogAlone,
    WithGaps,
    Incomplete,
    BelowTheWatershed,
    Refused,
}

impl Fate {
    /// A fate that tells its story.
    pub fn told(seed: u64) -> Fate {
        let fate = Fate::of(seed);
        fate.lock().story = Some(String::new());
        fate
    }

    pub fn of(seed: u64) -> Fate {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let spared = Fault::ALL.into_iter().filter(|_| random.random_ratio(1, 4)).collect();
        Fate(Arc::new(Mutex::new(State {
            random,
            now: Duration::ZERO,
            calm: false,
            spared,
            faults: BTreeMap::new(),
            replies: BTreeMap::new(),
            checks: 0,
            story: None,
        })))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().expect("nothing panics while it holds this lock")
    }

    pub fn below(&self, limit: usize) -> usize {
        self.lock().random.random_range(0..limit)
    }

    pub fn within(&self, range: Range<i64>) -> i64 {
        self.lock().random.random_range(range)
    }

    pub fn one_in(&self, rarity: u32) -> bool {
        self.lock().random.random_ratio(1, rarity)
    }

    /// True in one of `rarity` cases, unless all is calm.
    pub fn fault(&self, fault: Fault, rarity: u32) -> bool {
        let mut state = self.lock();
        let strikes = !state.calm && state.random.random_ratio(1, rarity) && !state.spared.contains(&fault);
        if strikes {
            *state.faults.entry(fault).or_default() += 1;
            state.tell(format_args!("{fault:?}"));
        }
        strikes
    }

    pub fn calm(&self) {
        self.lock().calm = true;
    }

    pub fn is_calm(&self) -> bool {
        self.lock().calm
    }

    pub fn pass(&self, time: Duration) {
        self.lock().now += time;
    }

    /// Since the history began.
    pub fn now(&self) -> Duration {
        self.lock().now
    }

    pub fn now_ms(&self) -> i64 {
        BEGAN_MS + self.now().as_millis() as i64
    }

    pub fn tell(&self, what: Arguments<'_>) {
        self.lock().tell(what);
    }

    /// Notes a comparison with the oracle.
    pub fn checked(&self) {
        self.lock().checks += 1;
    }

    pub fn checks(&self) -> u64 {
        self.lock().checks
    }

    pub fn faults(&self) -> BTreeMap<Fault, u64> {
        self.lock().faults.clone()
    }

    pub fn replied(&self, reply: Reply) {
        *self.lock().replies.entry(reply).or_default() += 1;
    }

    pub fn replies(&self) -> BTreeMap<Reply, u64> {
        self.lock().replies.clone()
    }

    pub fn story(&self) -> String {
        self.lock().story.clone().unwrap_or_default()
    }

    /// A wait of as many turns.
    pub fn turns(&self, turns: usize) -> Turns {
        Turns(turns)
    }
}

impl State {
    fn tell(&mut self, what: Arguments<'_>) {
        let now = self.now.as_millis();
        if let Some(story) = &mut self.story {
            writeln!(story, "{now} ms: {what}").expect("text takes text");
        }
    }
}

/// Not ready for some turns.
pub struct Turns(usize);

impl Future for Turns {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 == 0 {
            return Poll::Ready(());
        }
        self.0 -= 1;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Not ready before its time.
struct Until {
    fate: Fate,
    time: Duration,
}

impl Future for Until {
    type Output = ();

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.fate.now() >= self.time {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Time passes when the history says so, and work is done when its turn comes.
impl Host for Fate {
    fn now(&self) -> Duration {
        Fate::now(self)
    }

    fn sleep(&self, pause: Duration) -> BoxFuture<'static, ()> {
        Box::pin(Until { fate: self.clone(), time: self.now() + pause })
    }

    fn beside(&self, work: Box<dyn FnOnce() + Send>) -> BoxFuture<'static, ()> {
        let turn = self.turns(1);
        Box::pin(async move {
            turn.await;
            work();
        })
    }
}

/// Something that goes on in steps, and may be given up between any two of them: as a process that dies.
pub struct Task<T>(Pin<Box<dyn Future<Output = T>>>);

impl<T> Task<T> {
    pub fn new(future: impl Future<Output = T> + 'static) -> Self {
        Task(Box::pin(future))
    }

    /// One step further; the result at the end. Not to be called again after that.
    pub fn step(&mut self) -> Option<T> {
        match self.0.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(done) => Some(done),
            Poll::Pending => None,
        }
    }
}
