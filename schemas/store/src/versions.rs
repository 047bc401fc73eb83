//! Published versions: which there are, and which is the newest.

use watershed_schemas::layout::{self, Object};
use watershed_schemas::manifest::{Manifest, Version};

use crate::{Store, StoreError, sealed};

/// How many listings are tried before a stream whose listed versions are all gone counts as unreadable.
const LISTINGS: usize = 3;

impl Store {
    /// The newest manifest of a stream, or `None` before the first version. `known` is the newest that the
    /// caller has seen: then nothing is listed unless that version is gone.
    pub async fn newest(&self, stream: &str, known: Option<Version>) -> Result<Option<Manifest>, StoreError> {
        if let Some(known) = known {
            // Retention removes the oldest first. So if `known` is still there after its successor was not,
            // the successor has not been removed: it had not been published.
            if let Some(next) = self.manifest(stream, known.next()).await? {
                return self.follow(next).await.map(Some);
            }
            if let Some(manifest) = self.manifest(stream, known).await? {
                return Ok(Some(manifest));
            }
        }
        // A listing may be stale: what it shows last is where probing begins. Should retention overtake
        // all that it shows, another listing shows what came after.
        for _ in 0..LISTINGS {
            let versions = self.versions(stream).await?;
            if versions.is_empty() {
                return Ok(None);
            }
            for version in versions.into_iter().rev() {
                if let Some(manifest) = self.manifest(stream, version).await? {
                    return self.follow(manifest).await.map(Some);
                }
            }
        }
        let path = self.address(&layout::versions(stream));
        Err(StoreError::Unreadable {
            path,
            reason: "it lists versions, none of which can be found".to_string(),
        })
    }

    /// Probes for successors until there is none.
    async fn follow(&self, mut newest: Manifest) -> Result<Manifest, StoreError> {
        while let Some(next) = self.manifest(&newest.stream, newest.version.next()).await? {
            newest = next;
        }
        Ok(newest)
    }

    /// The manifest of one version, or `None` if it was never published or is past retention.
    pub async fn manifest(&self, stream: &str, version: Version) -> Result<Option<Manifest>, StoreError> {
        let path = Object::Manifest { stream: stream.to_string(), version }.path();
        let Some(bytes) = self.get(&path).await? else {
            return Ok(None);
        };
        let unreadable = |reason: String| StoreError::Unreadable { path: self.address(&path), reason };
        sealed::check(&bytes).map_err(unreadable)?;
        let manifest: Manifest =
            serde_json::from_slice(&bytes).map_err(|error| unreadable(error.to_string()))?;
        if manifest.stream != stream || manifest.version != version {
            return Err(unreadable(format!(
                "found version {} of stream {}, expected version {version} of stream {stream}",
                manifest.version, manifest.stream
            )));
        }
        Ok(Some(manifest))
    }

    /// Retained versions, oldest first.
    pub async fn versions(&self, stream: &str) -> Result<Vec<Version>, StoreError> {
        let paths = self.list(&layout::versions(stream)).await?;
        let mut versions: Vec<Version> = (paths.iter())
            .filter_map(|path| match Object::parse(path)? {
                Object::Manifest { version, .. } => Some(version),
                _ => None,
            })
            .collect();
        versions.sort();
        Ok(versions)
    }
}
