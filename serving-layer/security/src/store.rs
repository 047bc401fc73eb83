//! The file of API keys.
//!
//! A change is written whole beside the file and renamed over it, one writer at a time, readable by its owner alone. A
//! server reads it again when it changes; one that it cannot read then changes nothing for it.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use crate::keys::{Key, KeyError, Keys};

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contents {
    keys: Vec<Key>,
}

/// A key file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    #[error("key file {path}: {source}")]
    Unread { path: PathBuf, source: std::io::Error },
    #[error("key file {path}:{line}:{column}: not a key file: {reason}")]
    Malformed { path: PathBuf, line: usize, column: usize, reason: String },
    #[error("key file {path}: {source}")]
    Key { path: PathBuf, source: KeyError },
    #[error("key file {path} can be written by others (mode {mode:o}): `chmod 600 {path}`")]
    Writable { path: PathBuf, mode: u32 },
}

/// Tells one state of a file from another.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stamp(Option<(SystemTime, u64, u64)>);

impl Stamp {
    pub fn of(path: &Path) -> Stamp {
        let metadata = std::fs::metadata(path).ok();
        Stamp(metadata.and_then(|found| Some((found.modified().ok()?, found.len(), found.ino()))))
    }

    /// True where both are states of one file, however it has grown.
    pub fn is_same_file(&self, other: &Stamp) -> bool {
        match (&self.0, &other.0) {
            (Some((.., this)), Some((.., that))) => this == that,
            _ => false,
        }
    }
}

/// The keys of a file, read again when it changes.
#[derive(Debug)]
pub struct KeyStore {
    path: PathBuf,
    held: RwLock<(Stamp, Arc<Keys>)>,
}

impl KeyStore {
    /// A file that is not there holds no keys.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, KeyFileError> {
        let path = path.into();
        let stamp = Stamp::of(&path);
        let keys = KeyStore::keys_of(&path)?;
        Ok(KeyStore { path, held: RwLock::new((stamp, Arc::new(keys))) })
    }

    fn keys_of(path: &Path) -> Result<Keys, KeyFileError> {
        Keys::new(read(path)?).map_err(|source| KeyFileError::Key { path: path.to_owned(), source })
    }

    pub fn keys(&self) -> Arc<Keys> {
        self.held.read().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    /// Looks whether the file has changed; true where other keys are held now. An error is told once per change.
    pub fn refresh(&self) -> Result<bool, KeyFileError> {
        let stamp = Stamp::of(&self.path);
        if self.held.read().unwrap_or_else(PoisonError::into_inner).0 == stamp {
            return Ok(false);
        }
        let read = KeyStore::keys_of(&self.path);
        let mut held = self.held.write().unwrap_or_else(PoisonError::into_inner);
        held.0 = stamp;
        held.1 = Arc::new(read?);
        Ok(true)
    }
}

/// All keys of a file, in the order in which they were made.
pub fn read(path: &Path) -> Result<Vec<Key>, KeyFileError> {
    let unread = |source| KeyFileError::Unread { path: path.to_owned(), source };
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(unread(error)),
    };
    let mode = std::fs::metadata(path).map_err(unread)?.mode() & 0o777;
    if mode & 0o022 != 0 {
        return Err(KeyFileError::Writable { path: path.to_owned(), mode });
    }
    let contents: Contents = serde_json::from_str(&text).map_err(|error| KeyFileError::Malformed {
        path: path.to_owned(),
        line: error.line(),
        column: error.column(),
        reason: error.to_string(),
    })?;
    Ok(contents.keys)
}

/// Changes a file's keys: `change` sees all of them and gives what it came to.
pub fn change<T>(path: &Path, change: impl FnOnce(&mut Vec<Key>) -> T) -> Result<T, KeyFileError> {
    let unread = |source| KeyFileError::Unread { path: path.to_owned(), source };
    let folder = match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(folder).map_err(unread)?;
    // Held until the end: the folder is there before the file is.
    let writers = File::open(folder).map_err(unread)?;
    writers.lock().map_err(unread)?;
    let mut contents = Contents { keys: read(path)? };
    let came_to = change(&mut contents.keys);
    let text = serde_json::to_vec_pretty(&contents).expect("keys have a JSON form");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}", std::process::id()));
    let written = (|| {
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(&text)?;
        file.write_all(b"\n")?;
        file.sync_all()?;
        std::fs::rename(&beside, path)?;
        writers.sync_all()
    })();
    if written.is_err() {
        // What is left of it helps nobody.
        _ = std::fs::remove_file(&beside);
    }
    written.map_err(unread)?;
    Ok(came_to)
}

impl KeyStore {
    /// Adds a key to the file.
    pub fn add(path: &Path, key: Key) -> Result<(), KeyFileError> {
        change(path, |keys| keys.push(key))
    }

    /// Marks keys as revoked: those of this id, or of this name. Gives the ids.
    pub fn revoke(
        path: &Path,
        id_or_name: &str,
        now: chrono::DateTime<chrono::Utc>,
    ) -> Result<Vec<String>, KeyFileError> {
        change(path, |keys| {
            let named = |key: &&mut Key| key.id == id_or_name || key.name == id_or_name;
            let current = keys.iter_mut().filter(named).filter(|key| key.revoked_at.is_none());
            let revoke = |key: &mut Key| {
                key.revoked_at = Some(now);
                key.id.clone()
            };
            current.map(revoke).collect()
        })
    }

    pub fn list(path: &Path) -> Result<Vec<Key>, KeyFileError> {
        read(path)
    }
}
