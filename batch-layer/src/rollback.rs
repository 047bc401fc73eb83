//! Rollback: an older result, published again as a new version.

use watershed_schemas::manifest::{Manifest, Version};
use watershed_store::{Publication, Store};

use crate::publish::rfc3339;
use crate::run::Clock;
use crate::{BatchError, Outcome, Report, catalog};

/// Publishes version `to` again under the next number, *with its own watershed*: what came after it is live
/// again, and the next run lands and folds it anew.
pub async fn rollback(
    store: &Store,
    stream: &str,
    to: Version,
    run_id: &str,
    now: &Clock,
) -> Result<Outcome, BatchError> {
    let retained = store.versions(stream).await?;
    let unknown = || BatchError::UnknownVersion {
        stream: stream.to_string(),
        version: to,
        retained: retained.iter().map(Version::to_string).collect::<Vec<_>>().join(", "),
    };
    let old = store.manifest(stream, to).await?.ok_or_else(unknown)?;
    let newest = store.newest(stream, Some(to)).await?.ok_or_else(unknown)?;
    if newest.version == to {
        return Ok(Outcome::Unchanged(newest));
    }
    let manifest = Manifest {
        version: newest.version.next(),
        run_id: run_id.to_string(),
        created_at: rfc3339(now()),
        seconds: 0.0,
        rows_landed: 0,
        windows_recomputed: 0,
        ..old
    };
    match store.publish(&manifest).await? {
        Publication::Lost { winner } => Ok(Outcome::Lost { winner }),
        Publication::Published => {
            let mut report = Report { manifest, dead_letters: Default::default(), warnings: Vec::new() };
            if let Err(error) = catalog::refresh(store).await {
                report.warnings.push(format!("the catalogue was not refreshed: {error}"));
            }
            Ok(Outcome::Published(report))
        }
    }
}
