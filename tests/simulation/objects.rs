//! The store's objects: slow, failing, listed late; every call takes its turns.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use chrono::DateTime;
use futures::executor::block_on;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt, TryStreamExt};
use object_store::memory::InMemory;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    ObjectStoreExt, PutMode, PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};
use watershed_schemas::invariants;
use watershed_schemas::layout::Object;
use watershed_schemas::manifest::{Intent, Manifest};
use watershed_store::Store;

use super::fate::Fate;
use super::fault::Fault;

/// How long a listing may not show what happened, in milliseconds.
const LISTING_LAG_MS: i64 = 60;

/// Clones share the same objects.
#[derive(Clone, Debug)]
pub struct Objects {
    fate: Fate,
    inner: Arc<InMemory>,
    seen: Arc<Mutex<Seen>>,
}

/// What a store knows of itself that nobody can ask it.
#[derive(Debug, Default)]
struct Seen {
    /// When each object was first and last written.
    written_ms: BTreeMap<Path, (i64, i64)>,
    deleted: Vec<(ObjectMeta, i64)>,
    /// Every manifest there ever was.
    published: Vec<Arc<Manifest>>,
}

impl Objects {
    pub fn new(fate: &Fate) -> Self {
        Objects { fate: fate.clone(), inner: Arc::default(), seen: Arc::default() }
    }

    /// The store as the layers have it.
    pub fn store(&self) -> Store {
        Store::new(Arc::new(self.clone())).hosted(Arc::new(self.fate.clone()))
    }

    /// The manifests that were ever created, in order.
    pub fn published(&self) -> Vec<Arc<Manifest>> {
        self.lock().published.clone()
    }

    pub fn newest(&self) -> Option<Arc<Manifest>> {
        self.lock().published.last().cloned()
    }

    pub fn count(&self) -> usize {
        self.lock().published.len()
    }

    /// An object as it lies there.
    pub fn peek(&self, path: &str) -> Option<Bytes> {
        let got = self.inner.get(&Path::from(path)).now_or_never().expect("memory answers at once");
        Some(got.ok()?.bytes().now_or_never().expect("memory answers at once").expect("memory answers"))
    }

    /// Removes an object behind everybody's back.
    pub fn remove(&self, path: &str) {
        self.inner
            .delete(&Path::from(path))
            .now_or_never()
            .expect("memory answers at once")
            .expect("it does");
    }

    /// Flips a bit of an object behind everybody's back.
    pub fn damage(&self, path: &str) {
        let mut bytes = self.peek(path).expect("it is there").to_vec();
        let place = self.fate.below(bytes.len());
        bytes[place] ^= 1 << self.fate.below(8);
        let put = self.inner.put(&Path::from(path), bytes.into()).now_or_never();
        put.expect("memory answers at once").expect("memory takes it");
    }

    /// Puts an intent there behind everybody's back.
    pub fn announce(&self, intent: &Intent) {
        let put = Store::new(self.inner.clone());
        block_on(put.put_intent(intent)).expect("memory takes it");
        let Intent { stream, version, run_id, .. } = intent.clone();
        let (path, now_ms) = (Object::Intent { stream, version, run: run_id }.path(), self.fate.now_ms());
        self.lock().written_ms.insert(Path::from(path), (now_ms, now_ms));
    }

    pub fn list_all(&self, folder: &str) -> Vec<String> {
        let listed = self.inner.list(Some(&Path::from(folder))).try_collect::<Vec<_>>();
        let listed = listed.now_or_never().expect("memory answers at once").expect("memory answers");
        listed.into_iter().map(|meta| meta.location.to_string()).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().expect("nothing panics while it holds this lock")
    }

    /// Waits for the call's turn.
    async fn turn(&self) {
        let slow = self.fate.fault(Fault::SlowCall, 60);
        let turns = if slow { self.fate.below(40) } else { self.fate.below(3) };
        self.fate.turns(turns).await;
    }

    async fn put(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let created = matches!(options.mode, PutMode::Create);
        let bytes: Bytes = payload.clone().into();
        let put = self.inner.put_opts(at, payload, options).await?;
        let now_ms = self.fate.now_ms();
        let mut seen = self.lock();
        let written = seen.written_ms.entry(at.clone()).or_insert((now_ms, now_ms));
        written.1 = now_ms;
        seen.deleted.retain(|(meta, _)| meta.location != *at);
        if let Some(Object::Manifest { version, .. }) = Object::parse(at.as_ref()) {
            let manifest: Manifest = serde_json::from_slice(&bytes).expect("a manifest is JSON");
            self.fate.tell(format_args!("version {version} is out at {}, {created}", manifest.watershed));
            let expected = seen.published.len() as u64 + 1;
            // Not in a panic's way: the lock is given back first.
            seen.published.push(Arc::new(manifest));
            drop(seen);
            assert!(
                version.0 == expected,
                "invariant {}: version {version} after {}",
                invariants::ONE_PUBLICATION,
                expected - 1
            );
        }
        Ok(put)
    }

    /// What a listing shows now.
    fn shown(&self, listed: Vec<ObjectMeta>, prefix: Option<&Path>) -> Vec<ObjectMeta> {
        let now_ms = self.fate.now_ms();
        let late = self.fate.fault(Fault::LateListing, 12);
        let stale = self.fate.fault(Fault::StaleListing, 12);
        let seen = self.lock();
        let mut shown = Vec::with_capacity(listed.len());
        for mut meta in listed {
            let (first_ms, last_ms) = seen.written_ms[&meta.location];
            if late && now_ms - first_ms < LISTING_LAG_MS {
                continue;
            }
            meta.last_modified = DateTime::from_timestamp_millis(last_ms).expect("a time of these centuries");
            shown.push(meta);
        }
        if stale {
            let recent = seen.deleted.iter().filter(|(_, at_ms)| now_ms - at_ms < LISTING_LAG_MS);
            let below =
                recent.filter(|(meta, _)| prefix.is_none_or(|prefix| meta.location.prefix_matches(prefix)));
            shown.extend(below.map(|(meta, _)| meta.clone()));
        }
        shown
    }

    async fn delete_one(self, at: Path) -> Result<Path> {
        self.turn().await;
        if self.fate.fault(Fault::FailedDelete, 15) {
            return Err(failure());
        }
        let meta = self.inner.head(&at).await?;
        self.inner.delete(&at).await?;
        let now_ms = self.fate.now_ms();
        let mut seen = self.lock();
        if let Some((_, last_ms)) = seen.written_ms.remove(&at) {
            let last_modified = DateTime::from_timestamp_millis(last_ms).expect("a time of these centuries");
            seen.deleted.push((ObjectMeta { last_modified, ..meta }, now_ms));
        }
        Ok(at)
    }
}

impl fmt::Display for Objects {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("simulated")
    }
}

fn failure() -> Error {
    Error::Generic { store: "simulated", source: "it fails".into() }
}

#[async_trait::async_trait]
impl ObjectStore for Objects {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        self.turn().await;
        if self.fate.fault(Fault::FailedPut, 25) {
            return Err(failure());
        }
        if matches!(options.mode, PutMode::Create) && self.fate.fault(Fault::Conflict, 6) {
            return Err(Error::AlreadyExists { path: at.to_string(), source: "409 Conflict".into() });
        }
        let unheard =
            self.fate.fault(Fault::UnheardPut, if matches!(options.mode, PutMode::Create) { 5 } else { 25 });
        let put = self.put(at, payload, options).await?;
        self.fate.turns(self.fate.below(2)).await;
        if unheard { Err(failure()) } else { Ok(put) }
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        self.turn().await;
        if self.fate.fault(Fault::FailedGet, 60) {
            return Err(failure());
        }
        let got = self.inner.get_opts(at, options.clone()).await?;
        if got.meta.size == 0 || !self.fate.fault(Fault::DamagedRead, 150) {
            return Ok(got);
        }
        let mut bytes = got.bytes().await?.to_vec();
        let place = self.fate.below(bytes.len());
        bytes[place] ^= 1 << self.fate.below(8);
        let damaged = InMemory::new();
        damaged.put(at, bytes.into()).await?;
        damaged.get_opts(at, options).await
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        let objects = self.clone();
        paths.and_then(move |at| objects.clone().delete_one(at)).boxed()
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        let (objects, prefix) = (self.clone(), prefix.cloned());
        let listed = async move {
            objects.turn().await;
            if objects.fate.fault(Fault::FailedGet, 60) {
                return Err(failure());
            }
            let listed: Vec<ObjectMeta> = objects.inner.list(prefix.as_ref()).try_collect().await?;
            let shown = objects.shown(listed, prefix.as_ref());
            Ok(futures::stream::iter(shown.into_iter().map(Ok)))
        };
        listed.into_stream().try_flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}
