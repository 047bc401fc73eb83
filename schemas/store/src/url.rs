//! `store.url` to a store.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};

use object_store::ObjectStore;
use object_store::aws::{AmazonS3Builder, S3ConditionalPut};
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::prefix::PrefixStore;

use crate::{Place, Store, StoreError, folder};

/// The stores of `memory://` URLs: layers that run in one process find the same objects by the same name.
static IN_MEMORY: LazyLock<Mutex<HashMap<String, Arc<InMemory>>>> = LazyLock::new(Mutex::default);

/// Where the AWS tools look for an endpoint, most specific first.
const ENDPOINTS: [&str; 3] = ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"];

impl Store {
    /// Opens `store.url`: a folder (relative to `base`), `file://…`, `s3://bucket/prefix` (endpoint, region and
    /// credentials from `AWS_*`), `memory://name`. A folder that does not exist is made.
    pub fn open(url: &str, base: &Path) -> Result<Self, StoreError> {
        match url.split_once("://") {
            None if url.is_empty() => {
                Err(refused("is empty: name a folder, file://…, s3://bucket/prefix or memory://"))
            }
            None => open_folder(base.join(url)),
            Some(("file", _)) => open_folder(file_path(url)?),
            Some(("s3", place)) => open_bucket(place),
            Some(("memory", name)) => Ok(open_memory(name)),
            Some((scheme, _)) => {
                Err(refused(format!("found {scheme}://, expected a folder, file://, s3:// or memory://")))
            }
        }
    }
}

fn file_path(url: &str) -> Result<PathBuf, StoreError> {
    let parsed = ::url::Url::parse(url).map_err(|error| refused(format!("{url}: {error}")))?;
    let path = parsed.to_file_path();
    path.map_err(|()| refused(format!("{url} names no local folder: write file:///absolute/path")))
}

fn open_folder(folder: PathBuf) -> Result<Store, StoreError> {
    let unusable = |error: std::io::Error| refused(format!("folder {}: {error}", folder.display()));
    let folder = folder::make(&folder).map_err(unusable)?;
    let files = LocalFileSystem::new_with_prefix(&folder)?.with_fsync(true).with_automatic_cleanup(true);
    Ok(Store::at(Arc::new(files), Place::Folder(folder)))
}

fn open_bucket(place: &str) -> Result<Store, StoreError> {
    let (bucket, prefix) = place.split_once('/').unwrap_or((place, ""));
    let prefix = prefix.trim_matches('/');
    if bucket.is_empty() {
        return Err(refused("names no bucket: write s3://bucket/prefix"));
    }
    // Plain HTTP carries signatures in the clear: only to this machine, unless AWS_ALLOW_HTTP says otherwise.
    let endpoint = ENDPOINTS.iter().find_map(|name| std::env::var(name).ok());
    let mut builder = AmazonS3Builder::from_env();
    if endpoint.as_deref().is_some_and(is_loopback) {
        builder = builder.with_allow_http(true);
    }
    // The HTTP client takes its cryptography from the process; a provider that is there already is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let bucket_objects =
        builder.with_bucket_name(bucket).with_conditional_put(S3ConditionalPut::ETagMatch).build()?;
    let (objects, url): (Arc<dyn ObjectStore>, String) = if prefix.is_empty() {
        (Arc::new(bucket_objects), format!("s3://{bucket}"))
    } else {
        (Arc::new(PrefixStore::new(bucket_objects, prefix)), format!("s3://{bucket}/{prefix}"))
    };
    Ok(Store::at(objects, Place::Bucket(url)))
}

fn is_loopback(endpoint: &str) -> bool {
    ::url::Url::parse(endpoint).is_ok_and(|url| match url.host() {
        Some(::url::Host::Domain(name)) => name == "localhost",
        Some(::url::Host::Ipv4(address)) => address.is_loopback(),
        Some(::url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    })
}

fn open_memory(name: &str) -> Store {
    // A panic elsewhere leaves the map itself whole: entries are only ever added.
    let mut stores = IN_MEMORY.lock().unwrap_or_else(PoisonError::into_inner);
    let objects = stores.entry(name.to_string()).or_default().clone();
    Store::at(objects, Place::Memory(name.to_string()))
}

fn refused(reason: impl Into<String>) -> StoreError {
    StoreError::Url { reason: reason.into() }
}
