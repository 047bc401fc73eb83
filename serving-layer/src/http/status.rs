//! `GET /v1/status`, `/v1/streams/{stream}/versions`, `/healthz`, `/readyz`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use actix_web::{HttpResponse, web};
use futures::future::join_all;
use serde::{Serialize, Serializer};
use tokio::time::timeout;
use utoipa::ToSchema;
use watershed_schemas::live::LiveStatus;
use watershed_schemas::manifest::{Accuracy, Intent, Manifest};
use watershed_schemas::offsets::{Gap, Offset, Offsets, Partition};
use watershed_store::StoreError;

use super::answers::json;
use super::guard::Asker;
use super::openapi::{self, Plain, Reading};
use super::problem::problem_with;
use super::server::Draining;
use crate::ask::{Serving, age_ms, now_ms};
use crate::refusal::Refusal;
use crate::time_to_loss::TimeToLoss;
use crate::versions::{Loaded, Readiness, StreamState, Streams};

/// Whoever asks how things are doing is not kept waiting by a store that is doing badly.
const INTENTS_WITHIN: Duration = Duration::from_secs(2);

#[derive(Serialize, ToSchema)]
struct Status {
    streams: Vec<StreamStatus>,
}

#[derive(Serialize, ToSchema)]
pub(super) struct StreamStatus {
    pub stream: String,
    pub topic: String,
    #[serde(serialize_with = "by_name")]
    #[schema(value_type = String)]
    pub state: Readiness,
    /// The version that questions are answered from, and the newest that is loaded.
    #[schema(required)]
    pub version: Option<u64>,
    #[schema(required)]
    pub newest_version: Option<u64>,
    #[schema(value_type = BTreeMap<String, i64>)]
    pub watershed: Offsets,
    #[schema(value_type = BTreeMap<String, i64>)]
    pub live: Offsets,
    #[schema(value_type = BTreeMap<String, i64>)]
    pub end: Offsets,
    /// Positions between what answers reach and the log's end; offsets may have holes.
    #[schema(value_type = BTreeMap<String, i64>)]
    pub lag: BTreeMap<Partition, i64>,
    #[schema(required)]
    pub freshness_ms: Option<i64>,
    #[schema(required)]
    pub running: Option<Running>,
    pub dead_letters: DeadLetters,
    #[schema(value_type = Vec<openapi::Gap>)]
    pub gaps: Vec<Gap>,
    pub time_to_loss: TimeToLoss,
    #[schema(value_type = Vec<openapi::LiveStatus>)]
    pub nodes: Vec<LiveStatus>,
    pub views: Vec<ViewStatus>,
    /// What keeps a newer version or the live half from being served, if anything.
    #[serde(serialize_with = "sentences")]
    #[schema(value_type = Vec<String>)]
    pub trouble: Vec<(Source, String)>,
    /// What is told of the versions was read from these.
    #[serde(skip)]
    pub current: Option<Arc<Loaded>>,
    #[serde(skip)]
    pub newest: Option<Arc<Loaded>>,
}

/// Where a server's trouble with a stream comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Source {
    /// A newer version cannot be loaded.
    Versions,
    /// The speed layer is away, or says that it is in trouble.
    SpeedLayer,
    /// The log no longer holds what the next batch run reads.
    Retention,
    /// It cannot be read which batch run is under way.
    Intents,
}

impl Source {
    pub const ALL: [Source; 4] = [Source::Versions, Source::SpeedLayer, Source::Retention, Source::Intents];

    pub fn name(self) -> &'static str {
        match self {
            Source::Versions => "versions",
            Source::SpeedLayer => "speed_layer",
            Source::Retention => "retention",
            Source::Intents => "intents",
        }
    }
}

fn by_name<S: Serializer>(readiness: &Readiness, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(readiness.name())
}

fn sentences<S: Serializer>(trouble: &[(Source, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(trouble.iter().map(|(_, sentence)| sentence))
}

#[derive(Serialize, ToSchema)]
pub(super) struct ViewStatus {
    pub view: String,
    pub cells: usize,
    pub bytes: usize,
}

#[derive(Serialize, ToSchema)]
pub(super) struct Running {
    pub version: u64,
    #[schema(value_type = BTreeMap<String, i64>)]
    pub target: Offsets,
    pub run_id: String,
    pub holder: String,
    pub lease_until_ms: i64,
}

#[derive(Default, Serialize, ToSchema)]
pub(super) struct DeadLetters {
    /// Stored below the watershed.
    pub batch: Counted,
    /// Met by the speed nodes since they started.
    pub live: Counted,
}

#[derive(Default, Serialize, ToSchema)]
pub(super) struct Counted {
    pub count: u64,
    pub reasons: BTreeMap<String, u64>,
}

#[derive(Serialize, ToSchema)]
struct Versions {
    stream: String,
    versions: Vec<VersionInfo>,
    /// Versions whose manifests cannot be read.
    damaged: Vec<DamagedVersion>,
}

#[derive(Serialize, ToSchema)]
struct DamagedVersion {
    version: u64,
    reason: String,
}

#[derive(Serialize, ToSchema)]
struct VersionInfo {
    version: u64,
    #[schema(value_type = BTreeMap<String, i64>)]
    watershed: Offsets,
    created_at: String,
    seconds: f64,
    run_id: String,
    rows_landed: u64,
    windows_recomputed: u64,
    events: u64,
    dead_letters: u64,
    #[schema(value_type = Vec<openapi::Gap>)]
    gaps: Vec<Gap>,
    views: BTreeMap<String, ViewVersionInfo>,
}

#[derive(Serialize, ToSchema)]
struct ViewVersionInfo {
    rows: u64,
    #[schema(value_type = Vec<openapi::Accuracy>)]
    accuracy: Vec<Accuracy>,
}

/// How every stream is doing.
#[utoipa::path(get, path = "/v1/status", tag = "operations",
    responses((status = 200, description = "Per stream", body = Status), Plain))]
pub async fn status(serving: web::Data<Serving>, asker: Asker) -> HttpResponse {
    let project = &serving.streams.project;
    let mut streams = streams(&serving).await;
    streams.retain(|stream| asker.grant.reaches(project, &stream.stream));
    if !asker.grant.is_whole() {
        // How much there is of a view is told to those who see all of it.
        let sees = |view: &str| asker.grant.rows.is_none() && asker.grant.names(view);
        for stream in &mut streams {
            stream.views.retain(|view| sees(&view.view));
            stream.nodes.iter_mut().for_each(|node| node.views.retain(|view, _| sees(view)));
        }
    }
    json(&Status { streams })
}

/// How every stream is doing, at one moment each.
pub(super) async fn streams(serving: &Serving) -> Vec<StreamStatus> {
    let look = async |state: &StreamState| {
        let intents = serving.streams.store.intents(&state.stream.name);
        let intents = match timeout(INTENTS_WITHIN, intents).await {
            Ok(intents) => intents.map_err(|error| error.to_string()),
            Err(_) => Err(format!("intents: the store did not answer within {INTENTS_WITHIN:?}")),
        };
        stream_status(state, nodes(serving, state).await, intents)
    };
    join_all(serving.streams.iter().map(look)).await
}

/// Nodes elsewhere as they were at the last look, one in this process as it is now.
async fn nodes(serving: &Serving, state: &StreamState) -> Vec<LiveStatus> {
    let (live, stream) = (serving.streams.live(), &state.stream.name);
    match live.own_streams().contains(stream) {
        true => live.status(stream).await.unwrap_or_else(|_| state.nodes()),
        false => state.nodes(),
    }
}

fn stream_status(
    state: &StreamState,
    nodes: Vec<LiveStatus>,
    intents: Result<Vec<Intent>, String>,
) -> StreamStatus {
    let (current, newest) = (state.current(), state.newest());
    let watershed = current.as_ref().map(|current| current.manifest.watershed.clone()).unwrap_or_default();
    let live = nodes.iter().fold(Offsets::new(), |live, node| live.furthest(&node.live));
    let end = nodes.iter().fold(state.end(), |end, node| end.furthest(&node.end));
    // Where no node holds a partition, answers reach as far as the version does.
    let reached = watershed.furthest(&live);
    let behind =
        |(partition, end): (Partition, Offset)| (partition, (end.0 - reached.get(partition).0).max(0));
    let lag = end.iter().map(behind).collect();
    let versions = state.trouble().map(|trouble| (Source::Versions, trouble));
    let speed_layer = state.live_trouble().map(|trouble| (Source::SpeedLayer, trouble));
    let mut trouble: Vec<(Source, String)> = versions.into_iter().chain(speed_layer).collect();
    let time_to_loss = state.time_to_loss();
    let lost = time_to_loss.partitions.iter().filter(|(_, partition)| partition.offsets_left < 0);
    trouble.extend(lost.map(|(partition, lost)| {
        let (needed, start) = (lost.needed_offset, lost.log_start_offset);
        let gap = format!("gap at partition {partition}: needed offset {needed}, log starts at {start}; the next batch run stops there unless it is told --accept-gap");
        (Source::Retention, gap)
    }));
    let now = now_ms();
    let running = match intents {
        Ok(intents) => intents
            .into_iter()
            .filter(|intent| intent.lease_until_ms > now)
            .max_by_key(|intent| intent.version),
        Err(error) => {
            trouble.push((Source::Intents, error));
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
    let loaded = current.clone();
    let views = loaded.iter().flat_map(|current| current.views.values());
    let holders = nodes.iter().filter(|node| !node.live.is_empty());
    // A node that never was at the log's end makes it unknown how old the live half is.
    let ages = holders.map(|node| age_ms(node.current_at_ms)).collect::<Option<Vec<i64>>>();
    StreamStatus {
        stream: state.stream.name.clone(),
        topic: state.stream.topic.clone(),
        state: state.readiness(),
        version: current.as_ref().map(|current| current.version().0),
        newest_version: newest.as_ref().map(|newest| newest.version().0),
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
        current,
        newest,
    }
}

fn add<'a>(reasons: &mut BTreeMap<String, u64>, more: impl Iterator<Item = (&'a String, &'a u64)>) {
    for (reason, count) in more {
        *reasons.entry(reason.clone()).or_default() += count;
    }
}

/// Retained versions, newest first.
#[utoipa::path(get, path = "/v1/streams/{stream}/versions", tag = "streams", params(("stream" = String, Path)),
    responses((status = 200, description = "Retained versions", body = Versions), Reading))]
pub async fn versions(
    stream: web::Path<String>,
    serving: web::Data<Serving>,
    asker: Asker,
) -> Result<HttpResponse, Refusal> {
    let state = asker.stream(&serving, &stream)?;
    let sees = |view: &String| asker.grant.rows.is_none() && asker.grant.names(view);
    let store = &serving.streams.store;
    let unread = |error: StoreError| Refusal::not_ready(error.to_string());
    let (mut versions, mut damaged) = (Vec::new(), Vec::new());
    for version in store.versions(&state.stream.name).await.map_err(unread)?.into_iter().rev() {
        match store.manifest(&state.stream.name, version).await {
            Ok(Some(mut manifest)) => {
                manifest.views.retain(|view, _| sees(view));
                versions.push(version_info(manifest));
            }
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

/// 200 while the process answers.
#[utoipa::path(get, path = "/healthz", tag = "operations",
    responses((status = 200, description = "Alive", body = Alive)))]
pub async fn healthz() -> HttpResponse {
    json(&Alive { status: "alive" })
}

#[derive(Serialize, ToSchema)]
struct Alive {
    status: &'static str,
}

/// A server that is ready.
#[derive(Serialize, ToSchema)]
#[schema(as = Ready)]
struct ReadyServer {
    status: &'static str,
    /// Why a newer version is not served.
    trouble: Vec<String>,
    streams: BTreeMap<String, Ready>,
}

/// How ready a stream is.
#[derive(Serialize, ToSchema)]
#[schema(as = ReadyStream)]
struct Ready {
    ready: bool,
    #[serde(serialize_with = "by_name")]
    #[schema(value_type = String)]
    state: Readiness,
    reasons: Vec<String>,
}

/// Which streams are not ready, and why.
pub(super) fn waiting_for(streams: &Streams) -> Vec<String> {
    let waiting = streams.iter().filter(|state| !state.readiness().is_ready()).map(|state| {
        let reasons: Vec<String> = state.trouble().into_iter().chain(state.live_trouble()).collect();
        let why = if reasons.is_empty() { "" } else { ": " };
        format!("stream {} is {}{why}{}", state.stream.name, state.readiness().name(), reasons.join("; "))
    });
    waiting.collect()
}

/// 200 once every stream has a version in service, the newest that is sound, and its speed layer folds or is known to be
/// away, until the server is told to stop. What is wrong all the same is told.
#[utoipa::path(get, path = "/readyz", tag = "operations",
    responses(
        (status = 200, description = "Ready", body = ReadyServer),
        (status = 503, description = "Not ready, with `streams` as above", body = super::problem::Problem,
            content_type = "application/problem+json")))]
pub async fn readyz(serving: web::Data<Serving>, draining: web::Data<Draining>) -> HttpResponse {
    let ready = |state: &StreamState| {
        let readiness = state.readiness();
        let reasons = state.trouble().into_iter().chain(state.live_trouble()).collect();
        (state.stream.name.clone(), Ready { ready: readiness.is_ready(), state: readiness, reasons })
    };
    let streams: BTreeMap<String, Ready> = serving.streams.iter().map(ready).collect();
    let waiting = waiting_for(&serving.streams);
    if draining.is_on() {
        let stopping = Refusal::not_ready("this server is stopping: ask another one");
        return problem_with(&stopping, "streams", &streams);
    }
    match waiting.is_empty() {
        true => {
            let told = |state: &StreamState| {
                let stream = &state.stream.name;
                state.trouble().map(|trouble| format!("stream {stream}: {trouble}"))
            };
            let trouble: Vec<String> = serving.streams.iter().filter_map(told).collect();
            json(&ReadyServer { status: "ready", trouble, streams })
        }
        false => problem_with(&Refusal::not_ready(waiting.join("; ")), "streams", &streams),
    }
}
