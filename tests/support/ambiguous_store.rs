//! A store over which it is often not clear whether a create has happened.
//!
//! The answers are those of object stores behind a network, drawn from a seed: never more of them for one object than a
//! caller that asks again has patience for.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Most ambiguous answers to creates of one object.
const MOST: u32 = 2;

/// How a create ends without saying what it did.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Ambiguity {
    /// A timeout; nothing was written.
    TimeoutBefore,
    /// A timeout; the object was written.
    TimeoutAfter,
    /// A timeout; the object is written some milliseconds later, unless another one is there by then.
    TimeoutDuring,
    /// 409: said to be there, though nothing was written.
    Conflict,
    /// The look that follows fails.
    Unread,
}

/// How often each happened. Clones share one count.
pub type Counts = Arc<Mutex<BTreeMap<Ambiguity, u64>>>;

/// One caller's view of a store: use with [`watershed_store::Store::wrapped`].
#[derive(Debug)]
pub struct AmbiguousStore {
    inner: Arc<dyn ObjectStore>,
    state: Mutex<State>,
    counts: Counts,
}

#[derive(Debug)]
struct State {
    random: ChaCha8Rng,
    /// The object that is being created, and how often that was unclear.
    creating: Option<Path>,
    unclear: u32,
    /// The last call was such a create: what comes next is the look at what lies there.
    looking: bool,
    unread: bool,
}

impl AmbiguousStore {
    pub fn over(inner: Arc<dyn ObjectStore>, seed: u64, counts: &Counts) -> Arc<dyn ObjectStore> {
        let random = ChaCha8Rng::seed_from_u64(seed);
        let state = Mutex::new(State { random, creating: None, unclear: 0, looking: false, unread: false });
        Arc::new(AmbiguousStore { inner, state, counts: counts.clone() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no test panics in here")
    }

    fn drawn(&self, at: &Path) -> Option<Ambiguity> {
        let mut state = self.state();
        if state.creating.as_ref() != Some(at) {
            (state.creating, state.unclear, state.unread) = (Some(at.clone()), 0, false);
        }
        state.looking = false;
        if state.unclear == MOST || !state.random.random_ratio(1, 3) {
            return None;
        }
        state.unclear += 1;
        state.looking = true;
        use Ambiguity::{Conflict, TimeoutAfter, TimeoutBefore, TimeoutDuring};
        let choice = state.random.random_range(0..4);
        Some([TimeoutBefore, TimeoutAfter, TimeoutDuring, Conflict][choice])
    }

    fn is_unread(&self, at: &Path) -> bool {
        let mut state = self.state();
        let looking = std::mem::take(&mut state.looking) && state.creating.as_ref() == Some(at);
        if !looking || state.unread || !state.random.random_ratio(1, 4) {
            return false;
        }
        state.unread = true;
        true
    }

    fn count(&self, ambiguity: Ambiguity) {
        *self.counts.lock().expect("no test panics in here").entry(ambiguity).or_default() += 1;
    }
}

impl fmt::Display for AmbiguousStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "ambiguous {}", self.inner)
    }
}

fn timeout() -> Error {
    Error::Generic { store: "ambiguous", source: "operation timed out".into() }
}

#[async_trait::async_trait]
impl ObjectStore for AmbiguousStore {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        if !matches!(options.mode, PutMode::Create) {
            return self.inner.put_opts(at, payload, options).await;
        }
        let Some(ambiguity) = self.drawn(at) else {
            return self.inner.put_opts(at, payload, options).await;
        };
        self.count(ambiguity);
        match ambiguity {
            Ambiguity::TimeoutBefore | Ambiguity::Unread => {}
            Ambiguity::TimeoutAfter => {
                self.inner.put_opts(at, payload, options).await?;
            }
            Ambiguity::TimeoutDuring => {
                let (inner, at) = (self.inner.clone(), at.clone());
                let pause = Duration::from_millis(self.state().random.random_range(0..60));
                tokio::spawn(async move {
                    tokio::time::sleep(pause).await;
                    // Nobody hears what comes of it.
                    drop(inner.put_opts(&at, payload, options).await);
                });
            }
            Ambiguity::Conflict => {
                return Err(Error::AlreadyExists { path: at.to_string(), source: "409 Conflict".into() });
            }
        }
        Err(timeout())
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        if self.is_unread(at) {
            self.count(Ambiguity::Unread);
            return Err(timeout());
        }
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
