//! Publication: one put-if-absent of one manifest.

use watershed_schemas::layout::Object;
use watershed_schemas::manifest::Manifest;

use crate::sealed::sealed;
use crate::{Created, Store, StoreError};

/// What became of a publication.
#[must_use]
#[derive(Debug, PartialEq, Eq)]
pub enum Publication {
    Published,
    /// Another run published this version first.
    Lost {
        winner: String,
    },
}

impl Store {
    /// Publishes a manifest with one put-if-absent (invariant `ONE_PUBLICATION`); whose it is after an ambiguous
    /// outcome is read back. After [`StoreError::Undecided`] the version may still appear, so the files that
    /// it names must stay.
    pub async fn publish(&self, manifest: &Manifest) -> Result<Publication, StoreError> {
        let path = Object::Manifest { stream: manifest.stream.clone(), version: manifest.version }.path();
        let unwritable = |error: serde_json::Error| StoreError::Unreadable {
            path: path.clone(),
            reason: error.to_string(),
        };
        let bytes = sealed(&serde_json::to_vec_pretty(manifest).map_err(unwritable)?);
        match self.create(&path, bytes.into()).await? {
            Created::Yes => Ok(Publication::Published),
            Created::Exists => match self.manifest(&manifest.stream, manifest.version).await? {
                Some(found) if found.run_id == manifest.run_id => Ok(Publication::Published),
                Some(found) => Ok(Publication::Lost { winner: found.run_id }),
                None => Err(StoreError::Unreadable {
                    path: self.address(&path),
                    reason: "it was there a moment ago and is gone".to_string(),
                }),
            },
        }
    }
}
