//! What can go wrong with the store, and what to do about it.

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("store: {0}")]
    Object(#[from] object_store::Error),
    #[error("store path {path}: {reason}")]
    Path { path: String, reason: String },
    #[error(
        "{path} is damaged: found {found}, the manifest says {expected}; restore the file from a copy \
         (a view's file can also be made anew by `watershed batch run --full`)"
    )]
    Damaged { path: String, found: String, expected: String },
    #[error("{path} cannot be read: {reason}")]
    Unreadable { path: String, reason: String },
    /// The object may appear yet: nothing that it names may be removed.
    #[error("whether {path} was written is not known after {attempts} attempts: {source}; run again")]
    Undecided { path: String, attempts: u32, source: object_store::Error },
    #[error("setting store.url: {reason}")]
    Url { reason: String },
}
