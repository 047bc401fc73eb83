//! A store in which a process dies at a named point: the call is made or is not, and nothing that comes after it
//! ever ends, so that whoever made it can be dropped as `kill -9` would drop him.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use tokio::sync::Notify;

/// A call that changes the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Call {
    Write,
    Remove,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Before,
    After,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    First,
    Last,
}

/// A moment of a batch run, as a sentence.
#[derive(Clone, Copy, Debug)]
pub struct CrashPoint {
    pub name: &'static str,
    when: When,
    which: Which,
    call: Call,
    /// The beginning of the object's path.
    folder: &'static str,
}

const fn point(name: &'static str, when: When, which: Which, call: Call, folder: &'static str) -> CrashPoint {
    CrashPoint { name, when, which, call, folder }
}

/// Every change that a run makes to the store, from its intent on, and the moments around it.
pub const POINTS: [CrashPoint; 19] = {
    use Call::{Remove, Write};
    use When::{After, Before};
    use Which::{First, Last};
    [
        point("before the intent is written", Before, First, Write, "intents/"),
        point("after the intent is written", After, First, Write, "intents/"),
        point("before the first event file is written", Before, First, Write, "events/"),
        point("after the first event file is written", After, First, Write, "events/"),
        point("before the last event file is written", Before, Last, Write, "events/"),
        point("after the last event file is written", After, Last, Write, "events/"),
        point("before the dead letters are written", Before, First, Write, "dead_letters/"),
        point("after the dead letters are written", After, Last, Write, "dead_letters/"),
        point("before the first view file is written", Before, First, Write, "views/"),
        point("after the first view file is written", After, First, Write, "views/"),
        point("after the last view file is written", After, Last, Write, "views/"),
        point("before the manifest is created", Before, First, Write, "versions/"),
        point("after the manifest is created, before anybody hears of it", After, First, Write, "versions/"),
        point("before the catalogue is written", Before, First, Write, "catalog.sql"),
        point("after the catalogue is written", After, First, Write, "catalog.sql"),
        point("before the manifest of an old version is removed", Before, First, Remove, "versions/"),
        point("between an old version's manifest and its files", After, First, Remove, "versions/"),
        point("after the first file of an old version is removed", After, First, Remove, "views/"),
        point("before the intent is withdrawn", Before, Last, Remove, "intents/"),
    ]
};

/// When a process dies. Clones share one plan.
#[derive(Clone, Debug, Default)]
pub struct Death {
    plan: Arc<Mutex<Plan>>,
    happened: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Plan {
    /// The point, and which of its calls is the one.
    at: Option<(CrashPoint, usize)>,
    seen: BTreeMap<(Call, &'static str), usize>,
    dead: bool,
}

impl Death {
    /// Plans the death of the next run. `counted` is a run of the same work that nobody killed: it says which call
    /// is the last.
    pub fn plan(point: CrashPoint, counted: &Death) -> Death {
        let nth = match point.which {
            Which::First => 1,
            Which::Last => counted.count(point),
        };
        let death = Death::default();
        death.plan.lock().expect("no test panics in here").at = Some((point, nth));
        death
    }

    /// How many calls of a point's kind were made.
    pub fn count(&self, point: CrashPoint) -> usize {
        let plan = self.plan.lock().expect("no test panics in here");
        plan.seen.get(&(point.call, point.folder)).copied().unwrap_or_default()
    }

    /// Waits for it.
    pub async fn happened(&self) {
        self.happened.notified().await;
    }

    /// The store as the process sees it.
    pub fn over(&self, inner: Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore> {
        Arc::new(MortalStore { inner, death: self.clone() })
    }

    /// Returns unless the process is dead, or dies here.
    async fn pass(&self, call: Call, at: &Path, when: When) {
        if self.is_dead_at(call, at, when) {
            self.happened.notify_one();
            std::future::pending::<()>().await;
        }
    }

    fn is_dead_at(&self, call: Call, at: &Path, when: When) -> bool {
        let mut plan = self.plan.lock().expect("no test panics in here");
        let folders = POINTS.iter().filter(|point| point.call == call).map(|point| point.folder);
        let Some(folder) = folders.into_iter().find(|folder| at.as_ref().starts_with(folder)) else {
            return plan.dead;
        };
        let seen = plan.seen.entry((call, folder)).or_default();
        if when == When::Before {
            *seen += 1;
        }
        let seen = *seen;
        let is_it = |(point, nth): (CrashPoint, usize)| {
            point.call == call && point.folder == folder && point.when == when && seen == nth
        };
        plan.dead = plan.dead || plan.at.is_some_and(is_it);
        plan.dead
    }

    async fn live(&self) {
        if self.plan.lock().expect("no test panics in here").dead {
            std::future::pending::<()>().await;
        }
    }
}

#[derive(Debug)]
struct MortalStore {
    inner: Arc<dyn ObjectStore>,
    death: Death,
}

impl fmt::Display for MortalStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "mortal {}", self.inner)
    }
}

#[async_trait::async_trait]
impl ObjectStore for MortalStore {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.death.pass(Call::Write, at, When::Before).await;
        let put = self.inner.put_opts(at, payload, options).await;
        self.death.pass(Call::Write, at, When::After).await;
        put
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.death.live().await;
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.death.live().await;
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let (inner, death) = (self.inner.clone(), self.death.clone());
        let delete = move |path: Result<Path>| {
            let (inner, death) = (inner.clone(), death.clone());
            async move {
                let path = path?;
                death.pass(Call::Remove, &path, When::Before).await;
                let deleted = inner.delete(&path).await;
                death.pass(Call::Remove, &path, When::After).await;
                deleted.map(|()| path)
            }
        };
        paths.then(delete).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.death.live().await;
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.death.live().await;
        self.inner.copy_opts(from, to, options).await
    }
}
