//! `GET /v1/streams/{stream}/versions/{a}/diff/{b}`.

use std::collections::BTreeMap;

use actix_web::{HttpRequest, HttpResponse, web};
use bytes::Bytes;
use chrono::{DateTime, SecondsFormat};
use serde::Serialize;
use utoipa::ToSchema;
use watershed_schemas::manifest::{Manifest, StoredFile, Version};
use watershed_schemas::offsets::Offsets;
use watershed_store::{Store, StoreError};

use super::answers::json;
use super::guard::Asker;
use super::openapi::Comparing;
use super::query::parameters;
use crate::ask::Serving;
use crate::cells::{self, CellsError};
use crate::diff::{self, Change, DateDiff, Moved, Why, WindowDiff};
use crate::refusal::{Reason, Refusal};
use crate::turns::beside;

/// How many windows are told of by name unless `limit` says otherwise.
const LIMIT: usize = 1_000;
/// The largest `limit`.
const MOST: usize = 10_000;

#[derive(Serialize, ToSchema)]
struct Diff {
    stream: String,
    from: Side,
    to: Side,
    /// All windows that changed; `windows` holds the first of them.
    windows_changed: u64,
    #[schema(value_type = BTreeMap<String, u64>)]
    reasons: BTreeMap<Why, u64>,
    views: Vec<View>,
    windows: Vec<Window>,
}

/// One of the two versions.
#[derive(Serialize, ToSchema)]
#[schema(as = DiffSide)]
struct Side {
    version: u64,
    #[schema(value_type = BTreeMap<String, i64>)]
    watershed: Offsets,
    created_at: String,
    run_id: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ViewDiff)]
struct View {
    view: String,
    definition_changed: bool,
    windows_changed: u64,
    files: Files,
}

#[derive(Serialize, ToSchema)]
#[schema(as = FilesDiff)]
struct Files {
    carried_over: usize,
    made_again: usize,
    compared: usize,
}

#[derive(Serialize, ToSchema)]
#[schema(as = WindowDiff)]
struct Window {
    view: String,
    window_start: String,
    window_end: String,
    change: Change,
    why: Why,
    cells_before: usize,
    cells_after: usize,
}

/// Which windows differ between two versions, and why.
#[utoipa::path(get, path = "/v1/streams/{stream}/versions/{a}/diff/{b}", tag = "streams",
    params(
        ("stream" = String, Path), ("a" = u64, Path), ("b" = u64, Path),
        ("limit" = Option<usize>, Query, description = "How many windows are listed; default 1000, at most 10000")
    ),
    responses((status = 200, description = "From version a to version b", body = Diff), Comparing))]
pub async fn diff(
    request: HttpRequest,
    path: web::Path<(String, String, String)>,
    serving: web::Data<Serving>,
    asker: Asker,
) -> Result<HttpResponse, Refusal> {
    let (stream, before, after) = path.into_inner();
    let stream = asker.stream(&serving, &stream)?.stream.name.as_str();
    asker.sees_all_rows("what changed between versions")?;
    let limit = limit(&parameters(&request)?)?;
    let versions = (number("a", &before)?, number("b", &after)?);
    let store = &serving.streams.store;
    let before = retained(store, stream, versions.0).await?;
    let after = retained(store, stream, versions.1).await?;
    // Many files may have to be read, and one such question after another is soon enough.
    let _turn = serving.comparing.wait().await?;
    match compare(store, &before, &after, limit, &asker).await {
        Ok(diff) => Ok(json(&diff)),
        Err(refusal) => {
            // Retention may have been faster: then a version is gone, not damaged.
            retained(store, stream, versions.0).await?;
            retained(store, stream, versions.1).await?;
            Err(refusal)
        }
    }
}

/// One pair of files is held at a time.
async fn compare(
    store: &Store,
    before: &Manifest,
    after: &Manifest,
    limit: usize,
    asker: &Asker,
) -> Result<Diff, Refusal> {
    let moved = Moved::between(before, after);
    let reasons = [Why::Definition, Why::Rollback, Why::Late, Why::Rerun].map(|why| (why, 0));
    let mut diff = Diff {
        stream: after.stream.clone(),
        from: side(before),
        to: side(after),
        windows_changed: 0,
        reasons: BTreeMap::from(reasons),
        views: Vec::new(),
        windows: Vec::new(),
    };
    for view in diff::compare(before, after).into_iter().filter(|view| asker.grant.names(&view.view)) {
        let files = Files {
            carried_over: view.carried_over,
            made_again: view.made_again,
            compared: view.differing.len(),
        };
        let mut windows_changed = 0;
        for date in view.differing {
            for window in windows(store, date).await? {
                let why = moved.why(view.definition, &window);
                windows_changed += 1;
                *diff.reasons.entry(why).or_default() += 1;
                if diff.windows.len() < limit {
                    diff.windows.push(told(&view.view, &window, why));
                }
            }
        }
        diff.windows_changed += windows_changed;
        let definition_changed = view.definition;
        diff.views.push(View { view: view.view, definition_changed, windows_changed, files });
    }
    Ok(diff)
}

async fn windows(store: &Store, date: DateDiff) -> Result<Vec<WindowDiff>, Refusal> {
    let DateDiff { before, after } = date;
    let paths: Vec<&str> = [&before, &after].into_iter().flatten().map(|file| file.path.as_str()).collect();
    let paths = paths.join(" or ");
    let before = read(store, before.as_ref()).await?;
    let after = read(store, after.as_ref()).await?;
    let compared = beside(move || {
        let before = before.map(cells::rows).transpose()?;
        let after = after.map(cells::rows).transpose()?;
        diff::windows(before.as_ref(), after.as_ref())
    });
    compared.await?.map_err(|error: CellsError| {
        tracing::error!(paths, %error, "view files not compared");
        Refusal::new(Reason::Failed, format!("{paths} is not a view file that this build can read: {error}"))
    })
}

async fn read(store: &Store, file: Option<&StoredFile>) -> Result<Option<Bytes>, Refusal> {
    let Some(file) = file else { return Ok(None) };
    store.read(file).await.map(Some).map_err(unread)
}

async fn retained(store: &Store, stream: &str, version: Version) -> Result<Manifest, Refusal> {
    if let Some(manifest) = store.manifest(stream, version).await.map_err(unread)? {
        return Ok(manifest);
    }
    let retained = store.versions(stream).await.map_err(unread)?;
    let retained = match (retained.first(), retained.last()) {
        (Some(first), Some(last)) => format!("it holds {first} to {last}"),
        _ => "it holds none yet".to_string(),
    };
    let detail = format!("version {version} of stream {stream} is not retained: {retained}");
    Err(Refusal::new(Reason::UnknownName, detail))
}

fn unread(error: StoreError) -> Refusal {
    // The store is away for the moment.
    if error.is_unreached() {
        return Refusal::not_ready(error.to_string());
    }
    tracing::error!(%error, "versions not compared");
    Refusal::new(Reason::Failed, error.to_string())
}

fn number(name: &str, text: &str) -> Result<Version, Refusal> {
    let wrong = |_| Refusal::wrong(name, format!("a version is a whole number, found \"{text}\""));
    text.parse().map(Version).map_err(wrong)
}

fn limit(parameters: &[(String, String)]) -> Result<usize, Refusal> {
    let mut limit = LIMIT;
    for (key, value) in parameters {
        let wrong = || format!("limit is a whole number up to {MOST}, found \"{value}\"");
        limit = match key.as_str() {
            "limit" => value
                .parse()
                .ok()
                .filter(|limit| *limit <= MOST)
                .ok_or_else(|| Refusal::wrong("limit", wrong()))?,
            _ => {
                return Err(Refusal::wrong(
                    key,
                    format!("unexpected parameter \"{key}\": there is \"limit\""),
                ));
            }
        };
    }
    Ok(limit)
}

fn side(manifest: &Manifest) -> Side {
    Side {
        version: manifest.version.0,
        watershed: manifest.watershed.clone(),
        created_at: manifest.created_at.clone(),
        run_id: manifest.run_id.clone(),
    }
}

fn told(view: &str, window: &WindowDiff, why: Why) -> Window {
    Window {
        view: view.to_string(),
        window_start: rfc3339(window.start),
        window_end: rfc3339(window.end),
        change: window.change,
        why,
        cells_before: window.cells_before,
        cells_after: window.cells_after,
    }
}

fn rfc3339(micros: i64) -> String {
    DateTime::from_timestamp_micros(micros).unwrap_or_default().to_rfc3339_opts(SecondsFormat::AutoSi, true)
}
