//! The addresses, and who may use them: there is no way to add one without saying that. What is registered here is what
//! `/openapi.json` describes.

use actix_web::body::BoxBody;
use actix_web::dev::{HttpServiceFactory, ServiceRequest};
use actix_web::middleware::{Next, from_fn};
use actix_web::{Route, web};
use watershed_security::Verb;

use super::guard::{Access, guard};
use super::problem::{method_not_allowed, unknown_route};
use super::{dashboard, diff, docs, events, live, metrics, partials, query, sql, status, views};

/// An address.
#[derive(Clone, Copy)]
pub struct Endpoint {
    pub method: &'static str,
    pub path: &'static str,
    pub access: Access,
    route: fn() -> Route,
}

const fn get(path: &'static str, access: Access, route: fn() -> Route) -> Endpoint {
    Endpoint { method: "GET", path, access, route }
}

const fn post(path: &'static str, access: Access, route: fn() -> Route) -> Endpoint {
    Endpoint { method: "POST", path, access, route }
}

/// What a server answers.
pub const API: &[Endpoint] = &[
    post("/v1/query", Access::For(Verb::Query), || web::post().to(query::post)),
    post("/v1/sql", Access::For(Verb::Sql), || web::post().to(sql::post)),
    post("/v1/streams/{stream}/events", Access::For(Verb::Ingest), || web::post().to(events::post)),
    get("/v1/views", Access::For(Verb::Query), || web::get().to(views::list)),
    get("/v1/views/{view}", Access::For(Verb::Query), || web::get().to(views::one)),
    get("/v1/views/{view}/query", Access::For(Verb::Query), || web::get().to(query::get)),
    get("/v1/views/{view}/live", Access::For(Verb::Live), || web::get().to(live::live)),
    get("/v1/views/{view}/accuracy", Access::For(Verb::Query), || web::get().to(views::accuracy)),
    get("/v1/status", Access::For(Verb::Status), || web::get().to(status::status)),
    get("/v1/streams/{stream}/versions", Access::For(Verb::Status), || web::get().to(status::versions)),
    get("/v1/streams/{stream}/versions/{a}/diff/{b}", Access::For(Verb::Status), || {
        web::get().to(diff::diff)
    }),
    get("/", Access::Open, || web::get().to(dashboard::page)),
    get("/assets/{name}", Access::Open, || web::get().to(dashboard::asset)),
    get("/openapi.json", Access::Open, || web::get().to(docs::document)),
    get("/docs", Access::Open, || web::get().to(docs::page)),
    get("/healthz", Access::Open, || web::get().to(status::healthz)),
    get("/readyz", Access::Open, || web::get().to(status::readyz)),
    get("/metrics", Access::Metrics, || web::get().to(metrics::server)),
];

/// What a speed node answers.
pub const NODE: &[Endpoint] = &[
    post("/v1/partials", Access::Nodes, || web::post().to(partials::partials)),
    post("/v1/partials/together", Access::Nodes, || web::post().to(partials::together)),
    get("/v1/partials/status/{stream}", Access::Nodes, || web::get().to(partials::status)),
    get("/healthz", Access::Open, || web::get().to(status::healthz)),
    get("/metrics", Access::Metrics, || web::get().to(metrics::node)),
];

/// Method and path of everything that a server answers.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    API.iter().map(|endpoint| (endpoint.method, endpoint.path))
}

pub fn api(config: &mut web::ServiceConfig) {
    register(config, API);
}

pub fn node(config: &mut web::ServiceConfig) {
    register(config, NODE);
}

fn register(config: &mut web::ServiceConfig, endpoints: &'static [Endpoint]) {
    for endpoint in endpoints {
        config.service(resource(endpoint));
    }
    config.default_service(web::to(unknown_route));
}

fn resource(endpoint: &'static Endpoint) -> impl HttpServiceFactory {
    let Endpoint { method, path, access, route } = *endpoint;
    web::resource(path)
        .route(route())
        .default_service(web::to(move || async move { method_not_allowed(method) }))
        .wrap(from_fn(move |request: ServiceRequest, next: Next<BoxBody>| guard(access, request, next)))
}
