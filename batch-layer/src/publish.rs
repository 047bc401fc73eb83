//! What a run publishes: its manifest.

use std::collections::BTreeMap;

use chrono::{DateTime, SecondsFormat};
use watershed_schemas::identity::LogIdentity;
use watershed_schemas::invariants;
use watershed_schemas::manifest::{Ahead, Manifest};
use watershed_schemas::stream::Stream;

use crate::land::Landed;
use crate::plan::Plan;

/// Who makes a version, since when, and from which log.
pub(crate) struct RunFacts<'a> {
    pub run_id: &'a str,
    pub started_ms: i64,
    pub log: LogIdentity,
}

/// The manifest of the version that a run makes on top of `base`, before any view has been recomputed. What `base` has
/// above its watershed lies below the new one, and is taken over as it is.
pub(crate) fn manifest(
    stream: &Stream,
    base: Option<&Manifest>,
    plan: &Plan,
    landed: &Landed,
    run: RunFacts<'_>,
) -> Manifest {
    let above = base.map(Manifest::landed).unwrap_or_default();
    assert!(
        plan.target.covers(&above),
        "invariant {}: {above} has landed, beyond the new watershed {}",
        invariants::COVER,
        plan.target
    );
    let before = |base: &Manifest| {
        (base.landed_events().cloned().collect(), base.landed_dead_letters().cloned().collect())
    };
    let (mut events, mut dead_letters): (Vec<_>, Vec<_>) = base.map(before).unwrap_or_default();
    events.extend(landed.events.iter().cloned());
    dead_letters.extend(landed.dead_letters.iter().cloned());
    let mut log = run.log;
    log.last_records.extend(landed.last_records.clone());
    Manifest {
        stream: stream.name.clone(),
        version: plan.version,
        run_id: run.run_id.to_string(),
        watershed: plan.target.clone(),
        origin: plan.origin.clone(),
        log,
        created_at: rfc3339(run.started_ms),
        seconds: 0.0,
        rows_landed: landed.rows,
        windows_recomputed: 0,
        events,
        dead_letters,
        views: BTreeMap::new(),
        gaps: plan.gaps.clone(),
        ahead: Ahead::default(),
    }
}

/// `2013-01-01T05:00:00.000Z` of milliseconds since 1970-01-01.
pub(crate) fn rfc3339(ms: i64) -> String {
    DateTime::from_timestamp_millis(ms).unwrap_or_default().to_rfc3339_opts(SecondsFormat::Millis, true)
}
