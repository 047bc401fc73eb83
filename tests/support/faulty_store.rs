//! A store that fails at a named call, over one that does not.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use futures::stream::BoxStream;
use object_store::path::Path;
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore, PutMode,
    PutMultipartOptions, PutOptions, PutPayload, PutResult, Result,
};

/// What goes wrong with one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The call does nothing and fails.
    Lost,
    /// The call does its work, but its answer never comes.
    Unheard,
    /// A create is refused as if the object were there, though it is not (S3's 409).
    Conflict,
    /// The call does nothing and is refused for want of permission: the credentials ran out.
    Refused,
}

/// When a store fails. Clones share one script.
#[derive(Clone, Debug, Default)]
pub struct Faults {
    script: Arc<Mutex<Script>>,
}

#[derive(Debug, Default)]
struct Script {
    calls: u64,
    /// From this call on (counted from 1) nothing goes well: what this call meets, and what all later ones meet.
    crash: Option<(u64, Fault, Fault)>,
    /// What happens to the next creates of paths that contain a text, in this order.
    creates: VecDeque<(String, Fault)>,
}

impl Faults {
    /// The process dies in call `call`: that call meets `fault`, and every later one is lost.
    pub fn crash_at(&self, call: u64, fault: Fault) {
        self.fail_from(call, fault, Fault::Lost);
    }

    /// Call `call` meets `fault`, every later one `later`.
    pub fn fail_from(&self, call: u64, fault: Fault, later: Fault) {
        let mut script = self.script.lock().expect("no test panics in here");
        script.calls = 0;
        script.crash = Some((call, fault, later));
    }

    /// The next create of a path that contains `text` meets `fault`.
    pub fn next_create(&self, text: &str, fault: Fault) {
        self.script.lock().expect("no test panics in here").creates.push_back((text.to_string(), fault));
    }

    /// The store is well again. Gives the number of calls since the crash was planned.
    pub fn heal(&self) -> u64 {
        let mut script = self.script.lock().expect("no test panics in here");
        script.crash = None;
        script.creates.clear();
        std::mem::take(&mut script.calls)
    }

    fn next(&self, created: Option<&Path>) -> Option<Fault> {
        let mut script = self.script.lock().expect("no test panics in here");
        script.calls += 1;
        if let Some((call, fault, later)) = script.crash {
            if script.calls == call {
                return Some(fault);
            }
            if script.calls > call {
                return Some(later);
            }
        }
        let (text, fault) = script.creates.front()?;
        if !created?.as_ref().contains(text.as_str()) {
            return None;
        }
        let fault = *fault;
        script.creates.pop_front();
        Some(fault)
    }
}

/// The wrapper itself: use with [`watershed_store::Store::wrapped`].
#[derive(Debug)]
pub struct FaultyStore {
    inner: Arc<dyn ObjectStore>,
    faults: Faults,
}

impl FaultyStore {
    pub fn over(inner: Arc<dyn ObjectStore>, faults: &Faults) -> Arc<dyn ObjectStore> {
        Arc::new(FaultyStore { inner, faults: faults.clone() })
    }
}

impl fmt::Display for FaultyStore {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "faulty {}", self.inner)
    }
}

fn failure() -> Error {
    Error::Generic { store: "faulty", source: "the test says so".into() }
}

#[async_trait::async_trait]
impl ObjectStore for FaultyStore {
    async fn put_opts(&self, at: &Path, payload: PutPayload, options: PutOptions) -> Result<PutResult> {
        let created = matches!(options.mode, PutMode::Create).then_some(at);
        match self.faults.next(created) {
            None => self.inner.put_opts(at, payload, options).await,
            Some(Fault::Lost) => Err(failure()),
            Some(Fault::Unheard) => {
                self.inner.put_opts(at, payload, options).await?;
                Err(failure())
            }
            Some(Fault::Conflict) => {
                Err(Error::AlreadyExists { path: at.to_string(), source: "409 Conflict".into() })
            }
            Some(Fault::Refused) => {
                Err(Error::PermissionDenied { path: at.to_string(), source: "403 Forbidden".into() })
            }
        }
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        match self.faults.next(None) {
            None => self.inner.put_multipart_opts(at, options).await,
            Some(_) => Err(failure()),
        }
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> Result<GetResult> {
        match self.faults.next(None) {
            None => self.inner.get_opts(at, options).await,
            Some(_) => Err(failure()),
        }
    }

    fn delete_stream(&self, paths: BoxStream<'static, Result<Path>>) -> BoxStream<'static, Result<Path>> {
        match self.faults.next(None) {
            None => self.inner.delete_stream(paths),
            Some(Fault::Unheard) => {
                let deleted = self.inner.delete_stream(paths);
                deleted.map(|path| path.and(Err(failure()))).boxed()
            }
            Some(_) => futures::stream::once(async { Err(failure()) }).boxed(),
        }
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        match self.faults.next(None) {
            None => self.inner.list(prefix),
            Some(_) => futures::stream::once(async { Err(failure()) }).boxed(),
        }
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        match self.faults.next(None) {
            None => self.inner.list_with_delimiter(prefix).await,
            Some(_) => Err(failure()),
        }
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> Result<()> {
        match self.faults.next(None) {
            None => self.inner.copy_opts(from, to, options).await,
            Some(_) => Err(failure()),
        }
    }
}
