//! The store: one place where objects are written once, read verified, and published.
//!
//! Guarantees: an object is seen whole or not at all; what a manifest names is checked against its
//! size and SHA-256 before anyone sees it, and a manifest against its own; of several runs that publish
//! one version, one wins (invariant `ONE_PUBLICATION`); what a call has written is durable when it returns.

mod error;
mod folder;
mod host;
mod intents;
mod objects;
mod publish;
mod sealed;
mod url;
mod verified;
mod versions;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use object_store::ObjectStore;

pub use crate::error::StoreError;
pub use crate::host::{Host, Interrupted};
pub use crate::objects::{Created, StoredObject};
pub use crate::publish::Publication;
pub use crate::versions::Newest;

/// A folder, a bucket or memory.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
    place: Place,
    host: Arc<dyn Host>,
}

/// Where a store lies, as other tools name it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Place {
    Folder(PathBuf),
    /// `s3://bucket/prefix`, without a slash at its end.
    Bucket(String),
    Memory(String),
}

impl Store {
    /// A store over objects that no other program can reach.
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Store::at(objects, Place::Memory(String::new()))
    }

    fn at(objects: Arc<dyn ObjectStore>, place: Place) -> Self {
        Store { objects, place, host: Arc::new(host::Tokio::new()) }
    }

    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// The same place, seen through a wrapper (a throttle, a cache, a fault).
    pub fn wrapped(self, wrap: impl FnOnce(Arc<dyn ObjectStore>) -> Arc<dyn ObjectStore>) -> Self {
        Store { objects: wrap(self.objects), ..self }
    }

    /// The folder of a local store: DuckDB's catalogue names files there.
    pub fn local_path(&self) -> Option<&Path> {
        match &self.place {
            Place::Folder(folder) => Some(folder),
            Place::Bucket(_) | Place::Memory(_) => None,
        }
    }

    /// What other tools call the object at `path`: an absolute path or a URL.
    pub fn address(&self, path: &str) -> String {
        match &self.place {
            Place::Folder(folder) => folder.join(path).display().to_string(),
            Place::Bucket(url) => format!("{url}/{path}"),
            Place::Memory(name) => format!("memory://{name}/{path}"),
        }
    }
}

/// The store as `store.url` would name it.
impl fmt::Display for Store {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Folder(folder) => folder.display().fmt(out),
            Place::Bucket(url) => out.write_str(url),
            Place::Memory(name) => write!(out, "memory://{name}"),
        }
    }
}
