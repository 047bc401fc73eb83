//! The broker's folder: one owner at a time, names that are on disk before they are relied on.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::BrokerError;

/// In the folder: locked by the broker that has it open, which writes into it where it listens.
const LOCK: &str = "lock";
/// A broker that was dropped lets go of its folder when its last connection has noticed.
const OWNER_GOES_WITHIN: Duration = Duration::from_secs(2);

/// The folder, held exclusively until dropped. A temporary one is removed then.
#[derive(Debug)]
pub struct DataDir {
    path: PathBuf,
    temporary: bool,
    lock: File,
}

/// Who has a folder open.
#[must_use]
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Owner {
    Nobody,
    /// A broker that does not listen yet.
    Starting,
    /// A broker that listens at `address`, in the process with this id.
    Listening {
        address: String,
        process: u32,
    },
}

impl DataDir {
    /// Opens `path`, or makes a temporary folder. Waits a moment for an owner that is just going.
    pub fn open(path: Option<&Path>) -> Result<DataDir, BrokerError> {
        let temporary = path.is_none();
        let path = path.map_or_else(
            || std::env::temp_dir().join(format!("watershed-broker-{}", uuid::Uuid::new_v4().simple())),
            Path::to_owned,
        );
        std::fs::create_dir_all(&path).map_err(BrokerError::io(&path))?;
        let lock_path = path.join(LOCK);
        let lock = OpenOptions::new().write(true).create(true).truncate(false).open(&lock_path);
        let lock = lock.map_err(BrokerError::io(&lock_path))?;
        let patience = Instant::now() + OWNER_GOES_WITHIN;
        loop {
            match lock.try_lock() {
                Ok(()) => {
                    // What stands there is of an owner that is gone.
                    lock.set_len(0).map_err(BrokerError::io(&lock_path))?;
                    return Ok(DataDir { path, temporary, lock });
                }
                Err(TryLockError::WouldBlock) if Instant::now() < patience => {
                    std::thread::sleep(Duration::from_millis(20));
                }
                Err(TryLockError::WouldBlock) => return Err(BrokerError::InUse { path }),
                Err(TryLockError::Error(source)) => return Err(BrokerError::Io { path: lock_path, source }),
            }
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Leaves word of where its owner listens, for [`owner`].
    pub fn announce(&self, address: SocketAddr) -> Result<(), BrokerError> {
        let note = format!("{address} {}\n", std::process::id());
        (&self.lock).write_all(note.as_bytes()).map_err(BrokerError::io(&self.path.join(LOCK)))
    }
}

impl Drop for DataDir {
    fn drop(&mut self) {
        if self.temporary
            && let Err(error) = std::fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "temporary folder left behind");
        }
    }
}

/// Who has this folder open now, whatever process that is.
pub fn owner(path: &Path) -> Owner {
    let path = path.join(LOCK);
    let lock = OpenOptions::new().write(true).open(&path);
    if !lock.is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock))) {
        return Owner::Nobody;
    }
    let note = std::fs::read_to_string(path).unwrap_or_default();
    let parts = note.strip_suffix('\n').and_then(|note| note.split_once(' '));
    match parts.and_then(|(address, process)| Some((address.to_owned(), process.parse().ok()?))) {
        Some((address, process)) => Owner::Listening { address, process },
        None => Owner::Starting,
    }
}

/// Makes the names in `dir` durable: a new file survives a power failure only when its folder was synced too.
pub fn sync_dir(dir: &Path) -> Result<(), BrokerError> {
    File::open(dir).and_then(|folder| folder.sync_all()).map_err(BrokerError::io(dir))
}
