//! `GET /v1/status`, `/v1/streams/{stream}/versions`, `/healthz`, `/readyz`.

use std::collections::BTreeMap;

use actix_web::{HttpResponse, web};
use serde::Serialize;
use watershed_schemas::live::LiveStatus;
use watershed_schemas::manifest::{Accuracy, Intent, Manifest};
use watershed_schemas::offsets::{Gap, Offsets, Partition};
use watershed_store::StoreError;

use super::answers::json;
use super::server::Draining;
use crate::ask::{Serving, age_ms, now_ms};
use crate::refusal::{Reason, Refusal};
use crate::time_to_loss::TimeToLoss;
use crate::versions::{Readiness, StreamState};

#[derive(Serialize)]
struct Status {
    streams: Vec<StreamStatus>,
}

#[derive(Serialize)]
struct StreamStatus {
    stream: String,
    topic: String,
    state: &'static str,
    /// The version that questions are answered from, and the newest that is loaded.
    version: Option<u64>,
    newest_version: Option<u64>,
    watershed: Offsets,
    live: Offsets,
    end: Offsets,
    /// Positions between live offsets and the log's end; offsets may have holes.
    lag: BTreeMap<Partition, i64>,
    freshness_ms: Option<i64>,
    running: Option<Running>,
    dead_letters: DeadLetters,
    gaps: Vec<Gap>,
    time_to_loss: TimeToLoss,
    nodes: Vec<LiveStatus>,
    views: Vec<ViewStatus>,
    /// What keeps a newer version or the live half from being served, if anything.
    trouble: Vec<String>,
}

#[derive(Serialize)]
struct ViewStatus {
    view: String,
    cells: usize,
    bytes: usize,
}

#[derive(Serialize)]
struct Running {
    version: u64,
    target: Offsets,
    run_id: String,
    holder: String,
    lease_until_ms: i64,
}

#[derive(Default, Serialize)]
struct DeadLetters {
    /// Stored below the watershed.
    batch: Counted,
    /// Met by the speed nodes since they started.
    live: Counted,
}

#[derive(Default, Serialize)]
struct Counted {
    count: u64,
    reasons: BTreeMap<String, u64>,
}

#[derive(Serialize)]
struct Versions {
    stream: String,
    versions: Vec<VersionInfo>,
    /// Versions whose manifests cannot be read.
    damaged: Vec<DamagedVersion>,
}

#[derive(Serialize)]
struct DamagedVersion {
    version: u64,
    reason: String,
}

#[derive(Serialize)]
struct VersionInfo {
    version: u64,
    watershed: Offsets,
    created_at: String,
    seconds: f64,
    run_id: String,
    rows_landed: u64,
    windows_recomputed: u64,
    events: u64,
    dead_letters: u64,
    gaps: Vec<Gap>,
    views: BTreeMap<String, ViewVersionInfo>,
}

#[derive(Serialize)]
struct ViewVersionInfo {
    rows: u64,
    accuracy: Vec<Accuracy>,
}

pub async fn status(serving: web::Data<Serving>) -> Result<HttpResponse, Refusal> {
    let mut streams = Vec::new();
    for state in serving.streams.iter() {
        let intents = serving.streams.store.intents(&state.stream.name).await;
        streams.push(stream_status(state, intents));
    }
    Ok(json(&Status { streams }))
}

fn stream_status(state: &StreamState, intents: Result<Vec<Intent>, StoreError>) -> StreamStatus {
    let (current, newest, nodes) = (state.current(), state.newest(), state.nodes());
    let watershed = current.as_ref().map(|current| current.manifest.watershed.clone()).unwrap_or_default();
    let live = nodes.iter().fold(Offsets::new(), |live, node| live.furthest(&node.live));
    let end = state.end();
    let behind = |(partition, end): (Partition, watershed_schemas::offsets::Offset)| {
        (partition, (end.0 - live.get(partition).0).max(0))
    };
    let lag = end.iter().map(behind).collect();
    let mut trouble: Vec<String> = state.trouble().into_iter().chain(state.live_trouble()).collect();
    let time_to_loss = state.time_to_loss();
    let lost = time_to_loss.partitions.iter().filter(|(_, partition)| partition.offsets_left < 0);
    trouble.extend(lost.map(|(partition, lost)| {
        let (needed, start) = (lost.needed_offset, lost.log_start_offset);
        format!("gap at partition {partition}: needed offset {needed}, log starts at {start}; the next batch run stops there unless it is told --accept-gap")
    }));
    let now = now_ms();
    let running = match intents {
        Ok(intents) => intents
            .into_iter()
            .filter(|intent| intent.lease_until_ms > now)
            .max_by_key(|intent| intent.version),
        Err(error) => {
            trouble.push(error.to_string());
            None
        }
    };
    let mut dead_letters = DeadLetters::default();
    if let Some(current) = &current {
        dead_letters.batch.count = current.manifest.dead_letters.iter().map(|file| file.file.rows).sum();
        let reasons = current.manifest.dead_letters.iter().flat_map(|file| &file.reasons);
        add(&mut dead_letters.batch.reasons, reasons);
    }
    dead_letters.live.count = nodes.iter().map(|node| node.dead_letters).sum();
    add(&mut dead_letters.live.reasons, nodes.iter().flat_map(|node| &node.dead_letter_reasons));
    let views = current.iter().flat_map(|current| current.views.values());
    let holders = nodes.iter().filter(|node| !node.live.is_empty());
    // A node that never was at the log's end makes it unknown how old the live half is.
    let ages = holders.map(|node| age_ms(node.current_at_ms)).collect::<Option<Vec<i64>>>();
    StreamStatus {
        stream: state.stream.name.clone(),
        topic: state.stream.topic.clone(),
        state: name(state.readiness()),
        version: current.as_ref().map(|current| current.version().0),
        newest_version: newest.map(|newest| newest.version().0),
        watershed,
        live,
        end,
        lag,
        freshness_ms: ages.and_then(|ages| ages.into_iter().max()),
        running: running.map(|intent| Running {
            version: intent.version.0,
            target: intent.target,
            run_id: intent.run_id,
            holder: intent.holder,
            lease_until_ms: intent.lease_until_ms,
        }),
        dead_letters,
        gaps: current.as_ref().map(|current| current.manifest.gaps.clone()).unwrap_or_default(),
        views: views
            .map(|view| ViewStatus { view: view.view.name.clone(), cells: view.rows(), bytes: view.bytes() })
            .collect(),
        time_to_loss,
        nodes,
        trouble,
    }
}

fn add<'a>(reasons: &mut BTreeMap<String, u64>, more: impl Iterator<Item = (&'a String, &'a u64)>) {
    for (reason, count) in more {
        *reasons.entry(reason.clone()).or_default() += count;
    }
}

fn name(readiness: Readiness) -> &'static str {
    match readiness {
        Readiness::Unknown => "unknown",
        Readiness::Opening => "opening",
        Readiness::Live => "live",
        Readiness::BatchOnly => "batch_only",
    }
}

pub async fn versions(
    stream: web::Path<String>,
    serving: web::Data<Serving>,
) -> Result<HttpResponse, Refusal> {
    let state = serving.stream(&stream)?;
    let store = &serving.streams.store;
    let unread = |error: StoreError| Refusal::not_ready(error.to_string());
    let (mut versions, mut damaged) = (Vec::new(), Vec::new());
    for version in store.versions(&state.stream.name).await.map_err(unread)?.into_iter().rev() {
        match store.manifest(&state.stream.name, version).await {
            Ok(Some(manifest)) => versions.push(version_info(manifest)),
            // Retention was faster.
            Ok(None) => {}
            Err(error) if error.is_damage() => {
                damaged.push(DamagedVersion { version: version.0, reason: error.to_string() });
            }
            Err(error) => return Err(unread(error)),
        }
    }
    Ok(json(&Versions { stream: state.stream.name.clone(), versions, damaged }))
}

fn version_info(manifest: Manifest) -> VersionInfo {
    let views = manifest.views.into_iter();
    VersionInfo {
        version: manifest.version.0,
        watershed: manifest.watershed,
        created_at: manifest.created_at,
        seconds: manifest.seconds,
        run_id: manifest.run_id,
        rows_landed: manifest.rows_landed,
        windows_recomputed: manifest.windows_recomputed,
        events: manifest.events.iter().map(|file| file.file.rows).sum(),
        dead_letters: manifest.dead_letters.iter().map(|file| file.file.rows).sum(),
        gaps: manifest.gaps,
        views: views
            .map(|(name, view)| (name, ViewVersionInfo { rows: view.rows, accuracy: view.accuracy }))
            .collect(),
    }
}

pub async fn healthz() -> HttpResponse {
    json(&serde_json::json!({ "status": "alive" }))
}

/// 200 once every stream has a version in service, the newest that is sound, and its speed layer folds or is known to be
/// away, until the server is told to stop. What is wrong all the same is told.
pub async fn readyz(
    serving: web::Data<Serving>,
    draining: web::Data<Draining>,
) -> Result<HttpResponse, Refusal> {
    if draining.is_on() {
        return Err(Refusal::not_ready("this server is stopping: ask another one"));
    }
    let waiting = |state: &&StreamState| matches!(state.readiness(), Readiness::Unknown | Readiness::Opening);
    match serving.streams.iter().find(waiting) {
        None => {
            let told = |state: &StreamState| {
                let stream = &state.stream.name;
                state.trouble().map(|trouble| format!("stream {stream}: {trouble}"))
            };
            let trouble: Vec<String> = serving.streams.iter().filter_map(told).collect();
            Ok(json(&serde_json::json!({ "status": "ready", "trouble": trouble })))
        }
        Some(state) => {
            let why = state
                .trouble()
                .or(state.live_trouble())
                .map_or(String::new(), |trouble| format!(": {trouble}"));
            let detail = format!("stream {} is {}{why}", state.stream.name, name(state.readiness()));
            Err(Refusal { reason: Reason::NotReady, ..Refusal::not_ready(detail) })
        }
    }
}
