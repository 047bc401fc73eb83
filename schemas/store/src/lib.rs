//! The store: one place where objects are written once, read verified, and published.

use std::sync::Arc;

use bytes::Bytes;
use object_store::ObjectStore;
use watershed_schemas::manifest::{Intent, Manifest, StoredFile, Version};

#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("store: {0}")]
    Object(#[from] object_store::Error),
    #[error("{path} is damaged: found {found}, the manifest says {expected}; restore the file, or publish a version without it by `watershed batch run --full`")]
    Damaged { path: String, found: String, expected: String },
    #[error("{path} cannot be read: {reason}")]
    Unreadable { path: String, reason: String },
    #[error("setting store.url: {reason}")]
    Url { reason: String },
}

/// What became of a put-if-absent.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Created {
    Yes,
    /// An object with that name was there before.
    Exists,
}

/// What became of a publication.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Publication {
    Published,
    /// Another run published this version first.
    Lost { winner: String },
}

/// A folder, a bucket or memory.
#[derive(Clone, Debug)]
pub struct Store {
    objects: Arc<dyn ObjectStore>,
}

impl Store {
    pub fn new(objects: Arc<dyn ObjectStore>) -> Self {
        Store { objects }
    }

    /// Opens `store.url`: a folder (relative to `base`), `file://…`, `s3://bucket/prefix`, `memory://`.
    pub fn open(_url: &str, _base: &std::path::Path) -> Result<Self, StoreError> {
        todo!()
    }

    pub fn objects(&self) -> &Arc<dyn ObjectStore> {
        &self.objects
    }

    /// The folder of a local store: DuckDB's catalogue names files there.
    pub fn local_path(&self) -> Option<&std::path::Path> {
        todo!()
    }

    /// Creates an object that must not exist yet; durable when this returns.
    pub async fn create(&self, _path: &str, _bytes: Bytes) -> Result<Created, StoreError> {
        todo!()
    }

    /// Creates or replaces an object (catalogue, checkpoints).
    pub async fn put(&self, _path: &str, _bytes: Bytes) -> Result<(), StoreError> {
        todo!()
    }

    /// Creates a data file and describes it for a manifest.
    pub async fn write(&self, _path: &str, _bytes: Bytes, _rows: u64) -> Result<StoredFile, StoreError> {
        todo!()
    }

    /// Reads a file whole and checks size and SHA-256 before giving it out.
    pub async fn read(&self, _file: &StoredFile) -> Result<Bytes, StoreError> {
        todo!()
    }

    /// Reads an object as it is; `None` if there is none.
    pub async fn get(&self, _path: &str) -> Result<Option<Bytes>, StoreError> {
        todo!()
    }

    pub async fn delete(&self, _path: &str) -> Result<(), StoreError> {
        todo!()
    }

    /// Paths below a folder, sorted.
    pub async fn list(&self, _folder: &str) -> Result<Vec<String>, StoreError> {
        todo!()
    }

    /// The newest manifest of a stream: lists once when nothing is `known`, else probes `known + 1, …`.
    pub async fn newest(&self, _stream: &str, _known: Option<Version>) -> Result<Option<Manifest>, StoreError> {
        todo!()
    }

    pub async fn manifest(&self, _stream: &str, _version: Version) -> Result<Option<Manifest>, StoreError> {
        todo!()
    }

    /// Retained versions, oldest first.
    pub async fn versions(&self, _stream: &str) -> Result<Vec<Version>, StoreError> {
        todo!()
    }

    /// Publishes a manifest with one put-if-absent (invariant `ONE_PUBLICATION`); after an ambiguous outcome reads back whose it is.
    pub async fn publish(&self, _manifest: &Manifest) -> Result<Publication, StoreError> {
        todo!()
    }

    pub async fn put_intent(&self, _intent: &Intent) -> Result<(), StoreError> {
        todo!()
    }

    pub async fn intents(&self, _stream: &str) -> Result<Vec<Intent>, StoreError> {
        todo!()
    }

    pub async fn remove_intent(&self, _intent: &Intent) -> Result<(), StoreError> {
        todo!()
    }
}
