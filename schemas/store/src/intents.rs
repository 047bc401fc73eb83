//! Intents: what batch runs announce. Hints, never what makes publication safe.

use watershed_schemas::layout::{self, Object};
use watershed_schemas::manifest::Intent;

use crate::{Store, StoreError};

impl Store {
    /// Writes or renews a run's intent.
    pub async fn put_intent(&self, intent: &Intent) -> Result<(), StoreError> {
        let path = path(intent);
        let bytes = serde_json::to_vec_pretty(intent)
            .map_err(|error| StoreError::Unreadable { path: path.clone(), reason: error.to_string() })?;
        self.put(&path, bytes.into()).await
    }

    /// All intents of a stream, whether their leases are live or not, by version and run.
    pub async fn intents(&self, stream: &str) -> Result<Vec<Intent>, StoreError> {
        let mut intents = Vec::new();
        for path in self.list(&layout::intents(stream)).await? {
            // One that is gone since the listing was withdrawn.
            let Some(bytes) = self.get(&path).await? else { continue };
            match serde_json::from_slice(&bytes) {
                Ok(intent) => intents.push(intent),
                Err(error) => tracing::warn!(path, %error, "an unreadable intent is ignored"),
            }
        }
        Ok(intents)
    }

    pub async fn remove_intent(&self, intent: &Intent) -> Result<(), StoreError> {
        self.delete(&path(intent)).await
    }
}

fn path(intent: &Intent) -> String {
    let Intent { stream, version, run_id, .. } = intent;
    Object::Intent { stream: stream.clone(), version: *version, run: run_id.clone() }.path()
}
