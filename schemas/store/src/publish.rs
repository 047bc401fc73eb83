//! Publication: one put-if-absent of one manifest.

use watershed_schemas::layout::Object;
use watershed_schemas::manifest::Manifest;

use crate::sealed::sealed;
use crate::{Store, StoreError};

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
    /// outcome is read back. After an error that [may have landed](StoreError::may_have_landed) the version is there or
    /// may still appear, so the files that it names must stay.
    pub async fn publish(&self, manifest: &Manifest) -> Result<Publication, StoreError> {
        let path = Object::Manifest { stream: manifest.stream.clone(), version: manifest.version }.path();
        let unwritable = |error: serde_json::Error| StoreError::Unreadable {
            path: path.clone(),
            reason: error.to_string(),
        };
        let bytes = sealed(&serde_json::to_vec_pretty(manifest).map_err(unwritable)?);
        // What was found decides: to read it once more could fail, or find it gone.
        let Some(found) = self.create_or_find(&path, bytes.into()).await? else {
            return Ok(Publication::Published);
        };
        let unsettled =
            |source| StoreError::Unsettled { path: self.address(&path), source: Box::new(source) };
        let found = self.opened(&manifest.stream, manifest.version, &found).map_err(unsettled)?;
        Ok(if found.run_id == manifest.run_id {
            Publication::Published
        } else {
            Publication::Lost { winner: found.run_id }
        })
    }
}
