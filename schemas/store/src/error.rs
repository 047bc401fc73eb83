//! What can go wrong with the store, and what to do about it.

/// Why the store did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("store: {0}")]
    Object(#[from] object_store::Error),
    /// Not an empty store: one that is not there. Nothing is read from it, and nothing made in its place.
    #[error("the store {folder} is away: the folder is gone; mount it or move it back")]
    Away { folder: String },
    #[error("store path {path}: {reason}")]
    Path { path: String, reason: String },
    #[error(
        "{path} is damaged: found {found}, the manifest says {expected}; restore the file from a copy \
         (a view's file can also be made anew by `watershed batch run --full`)"
    )]
    Damaged { path: String, found: String, expected: String },
    #[error("{path} cannot be read: {reason}")]
    Unreadable { path: String, reason: String },
    #[error("{path} was not written: {source}; check the disk and the room on it, then run again")]
    Disk { path: String, source: object_store::Error },
    /// The object is there for all to see. What it names must stay.
    #[error(
        "{path} is there, but the disk does not say that it stays: {source}; check the disk: should the file be gone \
         after a power failure, the next run makes it anew"
    )]
    NotDurable { path: String, source: object_store::Error },
    /// The object may appear yet: nothing that it names may be removed.
    #[error("whether {path} was written is not known after {attempts} attempts: {source}; run again")]
    Undecided { path: String, attempts: u32, source: object_store::Error },
    /// What was just created may be ours: nothing that it names may be removed.
    #[error("{path} is there, whose it is is not known: {source}; run again")]
    Unsettled { path: String, source: Box<StoreError> },
    #[error("setting store.url: {reason}")]
    Url { reason: String },
}

impl StoreError {
    /// True when a stored file itself is at fault, so that asking again gives the same; otherwise the store is.
    pub fn is_damage(&self) -> bool {
        matches!(self, StoreError::Damaged { .. } | StoreError::Unreadable { .. })
    }

    /// True when the object is there, or may appear yet, though the call failed: nothing that it names may be removed.
    pub fn may_have_landed(&self) -> bool {
        matches!(
            self,
            StoreError::Undecided { .. } | StoreError::Unsettled { .. } | StoreError::NotDurable { .. }
        )
    }

    /// True when the store could not be asked, which says nothing of what it holds.
    pub fn is_unreached(&self) -> bool {
        matches!(self, StoreError::Object(_) | StoreError::Away { .. })
    }
}
