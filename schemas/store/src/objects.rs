//! Objects as they are: put, get, delete, list.
//!
//! A write that failed in a way that might pass is tried again; a create that is not plainly done
//! or refused is settled by looking at what lies there. What a local disk failed to write or to sync is
//! not tried again: once it has failed, a later success says nothing of what it was given before.

use std::time::Duration;

use bytes::Bytes;
use futures::TryStreamExt;
use object_store::path::Path;
use object_store::{Error, ObjectStoreExt, PutMode};

use crate::{Store, StoreError};

/// The store's name in the errors of a local folder.
pub(crate) const LOCAL: &str = "LocalFileSystem";
/// How often a write is tried before its failure is reported.
const ATTEMPTS: u32 = 4;
/// The pause before a second attempt; it doubles before each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(25);

/// What became of a put-if-absent.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Created {
    Yes,
    /// An object with that name and other contents was there before.
    Exists,
}

/// An object as a listing shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredObject {
    pub path: String,
    pub bytes: u64,
    /// When it was last written, by the store's own clock, in milliseconds since 1970-01-01.
    pub modified_ms: i64,
}

impl Store {
    /// Creates an object that must not exist yet; durable when this returns.
    ///
    /// An object that is there already with the very same bytes counts as created: after a timeout the
    /// two cannot be told apart. Who competes puts something of his own in the bytes, as a run its id.
    pub async fn create(&self, path: &str, bytes: Bytes) -> Result<Created, StoreError> {
        let found = self.create_or_find(path, bytes).await?;
        Ok(if found.is_some() { Created::Exists } else { Created::Yes })
    }

    /// Creates an object as [`Store::create`] does; gives what was there before, if it has other contents.
    pub(crate) async fn create_or_find(&self, path: &str, bytes: Bytes) -> Result<Option<Bytes>, StoreError> {
        let at = parse(path)?;
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        let mut unheard = None;
        loop {
            if let Err(away) = self.is_there() {
                // It may have gone with the object in it.
                return Err(match unheard {
                    None => away,
                    Some(source) => {
                        StoreError::Undecided { path: path.to_string(), attempts: attempt - 1, source }
                    }
                });
            }
            let put = self.objects.put_opts(&at, bytes.clone().into(), PutMode::Create.into()).await;
            let error = match put {
                Ok(_) => return Ok(None),
                // A refusal says nothing of the attempts before it: one of them may have landed.
                Err(error) if attempt == 1 && is_final(&error) => return Err(error.into()),
                Err(error) => error,
            };
            // "Already exists" may be S3's 409, after which nothing landed; anything else may have landed.
            let disk = is_disk(&error);
            match self.get(path).await {
                Ok(Some(found)) if found == bytes && disk => {
                    return Err(StoreError::NotDurable { path: self.address(path), source: error });
                }
                Ok(Some(found)) => return Ok(Some(found).filter(|found| *found != bytes)),
                Ok(None) if disk => return Err(StoreError::Disk { path: self.address(path), source: error }),
                Ok(None) | Err(_) if attempt < ATTEMPTS && !disk => {}
                Ok(None) | Err(_) => {
                    return Err(StoreError::Undecided {
                        path: path.to_string(),
                        attempts: attempt,
                        source: error,
                    });
                }
            }
            tracing::debug!(path, attempt, %error, "create is undecided, trying again");
            unheard = Some(error);
            self.sleep(pause).await;
            pause *= 2;
            attempt += 1;
        }
    }

    /// Creates or replaces an object (catalogue, checkpoints, intents); durable when this returns.
    pub async fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        let at = parse(path)?;
        let mut pause = FIRST_PAUSE;
        let mut attempt = 1;
        loop {
            self.is_there()?;
            match self.objects.put(&at, bytes.clone().into()).await {
                Ok(_) => return Ok(()),
                Err(error) if is_final(&error) => return Err(error.into()),
                Err(error) if is_disk(&error) => {
                    return Err(StoreError::Disk { path: self.address(path), source: error });
                }
                Err(error) if attempt == ATTEMPTS => return Err(error.into()),
                Err(error) => tracing::debug!(path, attempt, %error, "put failed, trying again"),
            }
            self.sleep(pause).await;
            pause *= 2;
            attempt += 1;
        }
    }

    /// A folder that is gone (a mount that failed, a disk that was moved) would look like a store that is empty, and
    /// a write would make it anew.
    fn is_there(&self) -> Result<(), StoreError> {
        match self.local_path() {
            Some(folder) if !folder.is_dir() => {
                Err(StoreError::Away { folder: folder.display().to_string() })
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Reads an object as it is; `None` if there is none.
    pub async fn get(&self, path: &str) -> Result<Option<Bytes>, StoreError> {
        match self.objects.get(&parse(path)?).await {
            Ok(object) => Ok(Some(object.bytes().await?)),
            Err(Error::NotFound { .. }) => self.is_there().map(|()| None),
            Err(error) => Err(error.into()),
        }
    }

    pub async fn exists(&self, path: &str) -> Result<bool, StoreError> {
        match self.objects.head(&parse(path)?).await {
            Ok(_) => Ok(true),
            Err(Error::NotFound { .. }) => self.is_there().map(|()| false),
            Err(error) => Err(error.into()),
        }
    }

    /// Removes an object; one that is not there is removed already.
    pub async fn delete(&self, path: &str) -> Result<(), StoreError> {
        match self.objects.delete(&parse(path)?).await {
            Ok(()) => Ok(()),
            Err(Error::NotFound { .. }) => self.is_there(),
            Err(error) => Err(error.into()),
        }
    }

    /// Paths below a folder, sorted.
    pub async fn list(&self, folder: &str) -> Result<Vec<String>, StoreError> {
        let objects = self.list_objects(folder).await?;
        Ok(objects.into_iter().map(|object| object.path).collect())
    }

    /// Objects below a folder, sorted by path.
    pub async fn list_objects(&self, folder: &str) -> Result<Vec<StoredObject>, StoreError> {
        let folder = parse(folder)?;
        let listed: Vec<_> = self.objects.list(Some(&folder)).try_collect().await?;
        if listed.is_empty() {
            self.is_there()?;
        }
        let mut objects: Vec<StoredObject> = (listed.into_iter())
            .map(|meta| StoredObject {
                path: meta.location.to_string(),
                bytes: meta.size,
                modified_ms: meta.last_modified.timestamp_millis(),
            })
            .collect();
        objects.sort_by(|left, right| left.path.cmp(&right.path));
        Ok(objects)
    }
}

/// True for errors that another attempt would meet again, and after which nothing was written.
fn is_final(error: &Error) -> bool {
    matches!(
        error,
        Error::InvalidPath { .. }
            | Error::NotSupported { .. }
            | Error::NotImplemented { .. }
            | Error::PermissionDenied { .. }
            | Error::Unauthenticated { .. }
            | Error::UnknownConfigurationKey { .. }
    )
}

/// True for what a local file system answers, other than that a file is there or is not: it could not write, sync,
/// link or rename. A call that failed to sync the folder behind it has done its work for all to see.
fn is_disk(error: &Error) -> bool {
    matches!(error, Error::Generic { store: LOCAL, .. })
}

fn parse(path: &str) -> Result<Path, StoreError> {
    Path::parse(path).map_err(|error| StoreError::Path { path: path.to_string(), reason: error.to_string() })
}
