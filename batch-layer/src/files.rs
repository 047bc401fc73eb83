//! The files of a run, until it has published them.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::channel::oneshot;
use futures::future::{BoxFuture, Shared, join_all};
use watershed_schemas::manifest::StoredFile;
use watershed_store::{Store, StoreError};

/// What a run writes. A file that was begun is written to its end though the run was stopped or failed meanwhile, so
/// that nothing appears behind [`Files::discard`].
pub(crate) struct Files {
    store: Store,
    begun: Mutex<Vec<Begun>>,
}

struct Begun {
    path: String,
    written: Shared<BoxFuture<'static, ()>>,
}

impl Files {
    pub fn new(store: &Store) -> Files {
        Files { store: store.clone(), begun: Mutex::default() }
    }

    pub async fn write(&self, path: String, bytes: Bytes, rows: u64) -> Result<StoredFile, StoreError> {
        let (done, result) = oneshot::channel();
        let (store, to) = (self.store.clone(), path.clone());
        // Nobody hears of it if whoever asked for the file was dropped.
        let writing = async move { _ = done.send(store.write(&to, bytes, rows).await) };
        let written = writing.boxed().shared();
        let begun = Begun { path, written: written.clone() };
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).push(begun);
        written.await;
        result.await.expect("what has ended has said how")
    }

    /// Removes what was written and not published. What cannot be removed now is an orphan, which a later run sweeps.
    pub async fn discard(self) {
        let begun = self.begun.into_inner().unwrap_or_else(PoisonError::into_inner);
        join_all(begun.iter().map(|begun| begun.written.clone())).await;
        for Begun { path, .. } in begun {
            if let Err(error) = self.store.delete(&path).await {
                tracing::debug!(path, %error, "a file of an unpublished run is left for a later sweep");
            }
        }
    }
}
