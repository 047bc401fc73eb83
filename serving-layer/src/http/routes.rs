//! Every route of a server, once: what is registered here is what `/openapi.json` describes.

use actix_web::http::Method;
use actix_web::{Resource, Route, web};

use super::problem::{method_not_allowed, unknown_route};
use super::{dashboard, diff, docs, events, live, metrics, query, status, views};

/// A path, a method, and who answers.
struct Served {
    path: &'static str,
    method: Method,
    route: fn() -> Route,
}

const fn get(path: &'static str, route: fn() -> Route) -> Served {
    Served { path, method: Method::GET, route }
}

const fn post(path: &'static str, route: fn() -> Route) -> Served {
    Served { path, method: Method::POST, route }
}

/// Routes of one path follow each other.
const ROUTES: &[Served] = &[
    post("/v1/query", || web::post().to(query::post)),
    get("/v1/views", || web::get().to(views::list)),
    get("/v1/views/{view}", || web::get().to(views::one)),
    get("/v1/views/{view}/query", || web::get().to(query::get)),
    get("/v1/views/{view}/live", || web::get().to(live::live)),
    get("/v1/views/{view}/accuracy", || web::get().to(views::accuracy)),
    post("/v1/streams/{stream}/events", || web::post().to(events::post)),
    get("/v1/streams/{stream}/versions", || web::get().to(status::versions)),
    get("/v1/streams/{stream}/versions/{a}/diff/{b}", || web::get().to(diff::diff)),
    get("/v1/status", || web::get().to(status::status)),
    get("/healthz", || web::get().to(status::healthz)),
    get("/readyz", || web::get().to(status::readyz)),
    get("/metrics", || web::get().to(metrics::server)),
    get("/openapi.json", || web::get().to(docs::document)),
    get("/docs", || web::get().to(docs::page)),
    get("/", || web::get().to(dashboard::page)),
    get("/assets/{name}", || web::get().to(dashboard::asset)),
];

/// Method and path of every route, as they are registered.
pub fn routes() -> impl Iterator<Item = (&'static str, &'static str)> {
    ROUTES.iter().map(|served| (served.method.as_str(), served.path))
}

pub fn api(config: &mut web::ServiceConfig) {
    for served in ROUTES.chunk_by(|one, next| one.path == next.path) {
        config.service(resource(served));
    }
    config.default_service(web::to(unknown_route));
}

fn resource(served: &'static [Served]) -> Resource {
    let resource = web::resource(served[0].path);
    let resource = served.iter().fold(resource, |resource, served| resource.route((served.route)()));
    let allowed: Vec<&str> = served.iter().map(|served| served.method.as_str()).collect();
    let allowed = allowed.join(", ");
    resource.default_service(web::to(move || std::future::ready(method_not_allowed(&allowed))))
}
