//! Rollback: an older result, published again as a new version.
//!
//! Retention may run beside it, and takes a version's files with the version. One of the newest `retention.versions` is
//! safe from it until the next number is taken: by the rollback itself, whose manifest then names those files, or by
//! another run, and then the rollback has lost. So an older one is refused, and the choice is made again when the
//! intent is out.

use watershed_schemas::manifest::{Intent, Manifest, Version};
use watershed_store::Publication;

use crate::identity;
use crate::lease::{self, Lease};
use crate::publish::rfc3339;
use crate::{BatchError, Job, Outcome, Report, catalog, plan};

/// Publishes version `to` again under the next number, *with its own watershed*: what came after it is live again, and
/// the next run folds it anew. The intent lets the speed layer open that older epoch as it would a run's. What newer
/// versions had landed stays named by the version that is published: the speed layer replays it from there where the log
/// has let go of it, and the next run takes it over instead of landing it again.
pub async fn rollback(job: &Job, to: Version) -> Result<Outcome, BatchError> {
    let started_ms = (job.now)();
    lease::sweep(&job.store, &job.stream.name, job.options.lease, started_ms).await?;
    let Chosen { old, newest } = choose(job, to).await?;
    if newest.version == to {
        return Ok(Outcome::Unchanged(newest));
    }
    identity::recognise_topic(job, Some(&newest), identity::topic_id(job).await?)?;
    let bounds = job.bounds().await?;
    identity::recognise_records(job, Some(&newest), &bounds).await?;
    // A refusal is told before anything is announced; the decision that counts is made when the intent is out.
    plan::going_back(&job.stream, &old, &newest, &bounds)?;
    let intent = job.intent(newest.version.next(), old.watershed, started_ms);
    let intent = match lease::announce(&job.store, intent, started_ms).await? {
        Lease::Held(intent) => intent,
        Lease::Busy(Intent { holder, run_id, lease_until_ms, .. }) => {
            return Ok(Outcome::Busy { holder, run_id, lease_until_ms });
        }
    };
    let outcome = job.unless_stopped(publish_again(job, to, newest.version)).await;
    lease::withdraw(&job.store, &intent).await;
    outcome
}

/// The version to go back to, and the newest one.
struct Chosen {
    old: Manifest,
    newest: Manifest,
}

async fn choose(job: &Job, to: Version) -> Result<Chosen, BatchError> {
    let (store, stream) = (&job.store, &job.stream.name);
    let retained = store.versions(stream).await?;
    let unknown = || BatchError::UnknownVersion {
        stream: stream.clone(),
        version: to,
        retained: retained.iter().map(Version::to_string).collect::<Vec<_>>().join(", "),
    };
    let old = store.manifest(stream, to).await?.ok_or_else(unknown)?;
    let newest = store.newest(stream, None).await?.ok_or_else(unknown)?;
    let oldest = job.options.retention.oldest_kept(newest.version);
    if to < oldest {
        let (stream, newest) = (stream.clone(), newest.version);
        return Err(BatchError::PastRetention { stream, version: to, oldest, newest });
    }
    Ok(Chosen { old, newest })
}

async fn publish_again(job: &Job, to: Version, newest_seen: Version) -> Result<Outcome, BatchError> {
    let Chosen { old, newest } = choose(job, to).await?;
    if newest.version != newest_seen {
        return Ok(Outcome::Lost { winner: newest.run_id });
    }
    let ahead = plan::going_back(&job.stream, &old, &newest, &job.bounds().await?)?;
    let manifest = Manifest {
        // The log is recognised by what was last read of it.
        log: newest.log,
        ahead,
        version: newest.version.next(),
        run_id: job.options.run_id.clone(),
        created_at: rfc3339((job.now)()),
        seconds: 0.0,
        rows_landed: 0,
        windows_recomputed: 0,
        ..old
    };
    match job.store.publish(&manifest).await? {
        Publication::Lost { winner } => Ok(Outcome::Lost { winner }),
        Publication::Published => {
            let mut report = Report {
                manifest,
                rows_taken_over: 0,
                dead_letters: Default::default(),
                warnings: Vec::new(),
            };
            if let Err(error) = catalog::refresh(&job.store, None).await {
                report.warnings.push(format!("the catalogue was not refreshed: {error}"));
            }
            Ok(Outcome::Published(report))
        }
    }
}
