//! `GET /v1/views`, `/v1/views/{view}`, `/v1/views/{view}/accuracy`.

use actix_web::{HttpResponse, web};
use serde::Serialize;
use utoipa::ToSchema;
use watershed_schemas::manifest::Accuracy;
use watershed_schemas::measure::error_bound;
use watershed_schemas::view::View;

use super::answers::json;
use super::guard::Asker;
use super::openapi::{self, Finding, Plain};
use crate::ask::Serving;
use crate::refusal::Refusal;

#[derive(Serialize, ToSchema)]
struct Views<'a> {
    views: Vec<ViewInfo<'a>>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = View)]
struct ViewInfo<'a> {
    name: &'a str,
    stream: &'a str,
    window: Window<'a>,
    dimensions: Vec<Column<'a>>,
    measures: Vec<MeasureInfo<'a>>,
    #[schema(required)]
    schedule: Option<Schedule<'a>>,
    /// The newest version in service that holds the view, and its rows; those are not told where the caller sees some
    /// of them only.
    #[schema(required)]
    version: Option<u64>,
    #[schema(required)]
    rows: Option<usize>,
    sql: &'a str,
}

#[derive(Serialize, ToSchema)]
#[schema(as = ViewWindow)]
struct Window<'a> {
    name: &'a str,
    r#type: &'static str,
    length: String,
}

#[derive(Serialize, ToSchema)]
struct Column<'a> {
    name: &'a str,
    r#type: String,
}

#[derive(Serialize, ToSchema)]
#[schema(as = Measure)]
struct MeasureInfo<'a> {
    name: &'a str,
    r#type: String,
    /// False where live or coarser numbers are estimates.
    always_exact: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    error: Option<Bound>,
}

#[derive(Serialize, ToSchema)]
#[schema(as = MeasureBound)]
struct Bound {
    kind: &'static str,
    bound: f64,
    confidence: f64,
}

#[derive(Serialize, ToSchema)]
struct Schedule<'a> {
    cron: &'a str,
    time_zone: &'a str,
}

#[derive(Serialize, ToSchema)]
struct Ledger<'a> {
    view: &'a str,
    stream: &'a str,
    #[schema(required)]
    version: Option<u64>,
    #[schema(value_type = Vec<openapi::Accuracy>)]
    accuracy: &'a [Accuracy],
}

/// All views.
#[utoipa::path(get, path = "/v1/views", tag = "views",
    responses((status = 200, description = "The project's views", body = Views), Plain))]
pub async fn list(serving: web::Data<Serving>, asker: Asker) -> HttpResponse {
    let views = asker.grant.visible(&serving.streams.project).map(|view| info(&serving, view, &asker));
    let views = views.collect();
    json(&Views { views })
}

/// One view: its columns, window, measures with their error bounds, schedule and SQL.
#[utoipa::path(get, path = "/v1/views/{view}", tag = "views", params(("view" = String, Path)),
    responses((status = 200, description = "The view", body = ViewInfo), Finding))]
pub async fn one(
    view: web::Path<String>,
    serving: web::Data<Serving>,
    asker: Asker,
) -> Result<HttpResponse, Refusal> {
    Ok(json(&info(&serving, known(&serving, &view, &asker)?, &asker)))
}

/// The accuracy ledger: how far sketches were from exact values.
#[utoipa::path(get, path = "/v1/views/{view}/accuracy", tag = "views", params(("view" = String, Path)),
    responses((status = 200, description = "Per measure, of the version in service", body = Ledger), Finding))]
pub async fn accuracy(
    view: web::Path<String>,
    serving: web::Data<Serving>,
    asker: Asker,
) -> Result<HttpResponse, Refusal> {
    let view = known(&serving, &view, &asker)?;
    asker.sees_all_rows("the accuracy ledger")?;
    let current = serving.stream(&view.stream.name)?.current();
    let held = current.as_ref().filter(|current| current.views.contains_key(&view.name));
    let stored = held.and_then(|held| held.manifest.views.get(&view.name));
    Ok(json(&Ledger {
        view: &view.name,
        stream: &view.stream.name,
        version: held.map(|held| held.version().0),
        accuracy: stored.map_or(&[], |stored| stored.accuracy.as_slice()),
    }))
}

fn known<'a>(serving: &'a Serving, name: &str, asker: &Asker) -> Result<&'a View, Refusal> {
    let view = asker.view(serving, name).map_err(|refusal| Refusal { place: None, ..refusal })?;
    Ok(view)
}

fn info<'a>(serving: &Serving, view: &'a View, asker: &Asker) -> ViewInfo<'a> {
    let current = serving.streams.get(&view.stream.name).and_then(|state| state.current());
    let held = current.as_ref().filter(|current| current.views.contains_key(&view.name));
    let measure = |measure: &'a watershed_schemas::view::Measure| MeasureInfo {
        name: &measure.name,
        r#type: measure.result_type.to_string(),
        always_exact: !measure.aggregate.is_sketched(),
        error: error_bound(measure).map(|error| Bound {
            kind: error.kind,
            bound: error.bound,
            confidence: error.confidence,
        }),
    };
    let dimensions = view.dimensions.iter();
    ViewInfo {
        name: &view.name,
        stream: &view.stream.name,
        window: Window {
            name: &view.window.name,
            r#type: "timestamp",
            length: view.window.window.length().to_string(),
        },
        dimensions: dimensions
            .map(|dimension| Column { name: &dimension.name, r#type: dimension.scalar.data_type.to_string() })
            .collect(),
        measures: view.measures.iter().map(measure).collect(),
        schedule: view
            .schedule
            .as_ref()
            .map(|schedule| Schedule { cron: &schedule.cron, time_zone: &schedule.time_zone }),
        version: held.map(|held| held.version().0),
        rows: held
            .filter(|_| asker.grant.rows.is_none())
            .and_then(|held| held.views.get(&view.name))
            .map(|view| view.rows()),
        sql: &view.sql,
    }
}
