//! Published versions: which there are, and which is the newest.

use watershed_schemas::layout::{self, Object};
use watershed_schemas::manifest::{Manifest, Version};

use crate::{Store, StoreError, sealed};

/// How many listings are tried before a stream whose listed versions are all gone counts as unreadable.
const LISTINGS: usize = 3;

/// What can be known of the newest version of a stream.
#[derive(Debug, Default)]
pub struct Newest {
    /// The newest version whose manifest can be read.
    pub sound: Option<Manifest>,
    /// Later versions whose manifests cannot be read, and why, oldest first.
    pub damaged: Vec<(Version, StoreError)>,
}

impl Store {
    /// The newest manifest of a stream, or `None` before the first version; an error if that one cannot be read. A
    /// damaged one that has a successor is passed over. `known` is the newest that the caller has seen: then nothing is
    /// listed unless that version is gone.
    pub async fn newest(&self, stream: &str, known: Option<Version>) -> Result<Option<Manifest>, StoreError> {
        if let Some(known) = known {
            // Retention removes the oldest first. So if `known` is still there after its successor was not,
            // the successor has not been removed: it had not been published.
            if let Ok(None) = self.manifest(stream, known.next()).await
                && let Some(manifest) = self.manifest(stream, known).await?
            {
                return Ok(Some(manifest));
            }
        }
        let Newest { sound, damaged } = self.newest_sound(stream, known).await?;
        match damaged.into_iter().next_back() {
            Some((_, error)) => Err(error),
            None => Ok(sound),
        }
    }

    /// The newest manifest of a stream, as [`Store::newest`] finds it, if it is of another version than `known`. While no
    /// other has come, none is read.
    pub async fn other_than(
        &self,
        stream: &str,
        known: Option<Version>,
    ) -> Result<Option<Manifest>, StoreError> {
        if let Some(known) = known {
            let path = |version| Object::Manifest { stream: stream.to_string(), version }.path();
            // In this order, as above.
            if let Ok(false) = self.exists(&path(known.next())).await
                && let Ok(true) = self.exists(&path(known)).await
            {
                return Ok(None);
            }
        }
        let newest = self.newest(stream, known).await?;
        Ok(newest.filter(|newest| Some(newest.version) != known))
    }

    /// The newest manifest that can be read, and what is wrong with later ones. `known` is a version that the caller
    /// has seen, and `None` in both is: there is no version.
    pub async fn newest_sound(&self, stream: &str, known: Option<Version>) -> Result<Newest, StoreError> {
        // Should retention overtake all that a listing shows, another listing shows what came after.
        for _ in 0..LISTINGS {
            let mut versions = self.versions(stream).await?;
            versions.extend(known);
            versions.sort();
            versions.dedup();
            let Some(last) = versions.last().copied() else { return Ok(Newest::default()) };
            let mut newest = Newest::default();
            // A listing may lag behind: what it shows last is where probing begins.
            let mut next = last.next();
            while newest.look(self, stream, next).await? {
                next = next.next();
            }
            for version in versions.into_iter().rev() {
                if newest.sound.is_some() {
                    break;
                }
                newest.look(self, stream, version).await?;
            }
            newest.damaged.sort_by_key(|(version, _)| *version);
            if newest.sound.is_some() || !newest.damaged.is_empty() {
                return Ok(newest);
            }
        }
        let path = self.address(&layout::versions(stream));
        Err(StoreError::Unreadable {
            path,
            reason: "it lists versions, none of which can be found".to_string(),
        })
    }

    /// The manifest of one version, or `None` if it was never published or is past retention.
    pub async fn manifest(&self, stream: &str, version: Version) -> Result<Option<Manifest>, StoreError> {
        let path = Object::Manifest { stream: stream.to_string(), version }.path();
        let bytes = self.get(&path).await?;
        bytes.map(|bytes| self.opened(stream, version, &bytes)).transpose()
    }

    /// The manifest in these bytes, once they are known to be what was published under this name.
    pub(crate) fn opened(
        &self,
        stream: &str,
        version: Version,
        bytes: &[u8],
    ) -> Result<Manifest, StoreError> {
        let path = Object::Manifest { stream: stream.to_string(), version }.path();
        let unreadable = |reason: String| StoreError::Unreadable {
            path: self.address(&path),
            reason: format!(
                "{reason}; restore the file from a copy, or remove it: then the version before is the newest, and the \
                 next run makes this one anew"
            ),
        };
        sealed::check(bytes).map_err(unreadable)?;
        let manifest: Manifest =
            serde_json::from_slice(bytes).map_err(|error| unreadable(error.to_string()))?;
        if manifest.stream != stream || manifest.version != version {
            return Err(unreadable(format!(
                "found version {} of stream {}, expected version {version} of stream {stream}",
                manifest.version, manifest.stream
            )));
        }
        Ok(manifest)
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

impl Newest {
    /// Takes in what can be known of one more version; true if there is such a version.
    async fn look(&mut self, store: &Store, stream: &str, version: Version) -> Result<bool, StoreError> {
        match store.manifest(stream, version).await {
            Ok(None) => return Ok(false),
            Ok(Some(manifest)) => {
                self.damaged.retain(|(damaged, _)| *damaged > version);
                self.sound = Some(manifest);
            }
            Err(error) if error.is_damage() => self.damaged.push((version, error)),
            Err(error) => return Err(error),
        }
        Ok(true)
    }
}
