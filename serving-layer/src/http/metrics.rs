//! `GET /metrics`: what `/v1/status` says as numbers for Prometheus, and how requests are answered.
//!
//! A server tells of its streams, and of the speed node that shares its process; a speed node by itself tells of itself.
//! So every process is told of once, wherever it is asked. All but the counts of requests is read at the moment of
//! asking, from the state that `/v1/status` reads.

mod nodes;
mod page;
mod process;
mod requests;
mod streams;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse, web};
use watershed_schemas::live::LiveStatus;

pub use self::requests::{Requests, measured};

use self::page::{Form, Page};
use super::openapi::Plain;
use super::partials::Source;
use super::status;
use crate::ask::Serving;
use crate::refusal::{Reason, Refusal};

/// What `/v1/status` says as numbers for Prometheus, and how requests are answered.
#[utoipa::path(get, path = "/metrics", tag = "operations",
    responses(
        (status = 200, description = "Prometheus' text, or OpenMetrics where Accept asks for it",
            content((String = "text/plain"), (String = "application/openmetrics-text"))),
        Plain))]
pub async fn server(
    request: HttpRequest,
    serving: web::Data<Serving>,
    requests: web::Data<Requests>,
) -> Result<HttpResponse, Refusal> {
    let streams = status::streams(&serving).await;
    let mut page = Page::default();
    streams::add(&mut page, &streams);
    let own = serving.streams.live().own_streams();
    let here = streams.iter().filter(|stream| own.contains(&stream.stream));
    let nodes = here.flat_map(|stream| stream.nodes.iter().map(|node| (stream.stream.as_str(), node)));
    nodes::add(&mut page, &nodes.collect::<Vec<_>>());
    respond(&request, page, &requests)
}

/// A speed node's page.
pub async fn node(
    request: HttpRequest,
    live: Source,
    requests: web::Data<Requests>,
) -> Result<HttpResponse, Refusal> {
    let mut nodes: Vec<(String, LiveStatus)> = Vec::new();
    for stream in live.own_streams() {
        let status = live.status(&stream).await.map_err(|error| Refusal::not_ready(error.to_string()))?;
        nodes.extend(status.into_iter().map(|node| (stream.clone(), node)));
    }
    let mut page = Page::default();
    let nodes: Vec<(&str, &LiveStatus)> =
        nodes.iter().map(|(stream, node)| (stream.as_str(), node)).collect();
    nodes::add(&mut page, &nodes);
    respond(&request, page, &requests)
}

fn respond(request: &HttpRequest, mut page: Page, requests: &Requests) -> Result<HttpResponse, Refusal> {
    process::add(&mut page);
    let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    let form = Form::accepted(accept.unwrap_or_default());
    let text = form.write(page, requests.registry()).map_err(|error| {
        tracing::error!(%error, "metrics not written");
        Refusal::new(Reason::Failed, format!("the metrics could not be written: {error}"))
    })?;
    let mut response = HttpResponse::Ok();
    response.content_type(form.media_type()).insert_header((header::CACHE_CONTROL, "no-store"));
    Ok(response.body(text))
}
