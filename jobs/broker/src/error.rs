//! What can keep a broker from starting or stopping cleanly. Errors of single requests are Kafka's own codes.

use std::io;
use std::path::{Path, PathBuf};

/// A broker that could not start, or could not write what it holds.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    #[error("cannot listen on {address}: {source}; choose another address, or port 0 for any free port")]
    Listen { address: String, source: io::Error },

    #[error("{}: {source}", path.display())]
    Io { path: PathBuf, source: io::Error },

    #[error("{} is in use by another broker: stop that one, or choose another folder", path.display())]
    InUse { path: PathBuf },

    #[error("the runtime is shutting down")]
    Stopping,

    #[error("setting {name}: found {found}, expected {expected}")]
    Setting { name: &'static str, found: String, expected: String },

    #[error(
        "{}: damaged at byte {position}: {reason}; only the end of the newest segment may be torn, so restore this \
         file, or delete the topic's folder to give up its records",
        path.display()
    )]
    Damaged { path: PathBuf, position: u64, reason: String },
}

impl BrokerError {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> BrokerError + '_ {
        move |source| BrokerError::Io { path: path.to_owned(), source }
    }
}
