//! Intents: what batch runs announce. Hints, never what makes publication safe.
//!
//! They are sealed as manifests are: a lease with a flipped digit would last for years. One that cannot be read is passed
//! over, and renewed with its lease if its run is alive.

use watershed_schemas::layout::{self, Object};
use watershed_schemas::manifest::Intent;

use crate::sealed::{self, sealed};
use crate::{Store, StoreError, StoredObject};

impl Store {
    /// Writes or renews a run's intent.
    pub async fn put_intent(&self, intent: &Intent) -> Result<(), StoreError> {
        let path = path(intent);
        let bytes = serde_json::to_vec_pretty(intent)
            .map_err(|error| StoreError::Unreadable { path: path.clone(), reason: error.to_string() })?;
        self.put(&path, sealed(&bytes).into()).await
    }

    /// All intents of a stream, whether their leases are live or not, by version and run.
    pub async fn intents(&self, stream: &str) -> Result<Vec<Intent>, StoreError> {
        let mut intents = Vec::new();
        for (object, intent) in self.read_intents(stream).await? {
            match intent {
                Ok(intent) => intents.push(intent),
                Err(reason) => {
                    let path = self.address(&object.path);
                    tracing::warn!(path, reason, "an unreadable intent is passed over");
                }
            }
        }
        Ok(intents)
    }

    /// The intents of a stream that cannot be read.
    pub async fn damaged_intents(&self, stream: &str) -> Result<Vec<StoredObject>, StoreError> {
        let intents = self.read_intents(stream).await?.into_iter();
        Ok(intents.filter(|(_, intent)| intent.is_err()).map(|(object, _)| object).collect())
    }

    pub async fn remove_intent(&self, intent: &Intent) -> Result<(), StoreError> {
        self.delete(&path(intent)).await
    }

    async fn read_intents(
        &self,
        stream: &str,
    ) -> Result<Vec<(StoredObject, Result<Intent, String>)>, StoreError> {
        let mut intents = Vec::new();
        for object in self.list_objects(&layout::intents(stream)).await? {
            // One that is gone since the listing was withdrawn.
            let Some(bytes) = self.get(&object.path).await? else { continue };
            let intent = opened(&object.path, &bytes);
            intents.push((object, intent));
        }
        Ok(intents)
    }
}

/// The intent in these bytes, once they are known to be what was written under this name.
fn opened(written: &str, bytes: &[u8]) -> Result<Intent, String> {
    sealed::check(bytes)?;
    let intent: Intent = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    match path(&intent) {
        path if path == written => Ok(intent),
        path => Err(format!("found the intent of {path}")),
    }
}

fn path(intent: &Intent) -> String {
    let Intent { stream, version, run_id, .. } = intent;
    Object::Intent { stream: stream.clone(), version: *version, run: run_id.clone() }.path()
}
