//! `GET /` and `/assets/{name}`: the dashboard, embedded in the binary.
//!
//! It asks the same API as everybody and loads nothing from elsewhere, which its content security policy says too.

use actix_web::http::header::{self, ETag};
use actix_web::{HttpRequest, HttpResponse, web};

use super::caching;
use super::openapi::Finding;
use crate::refusal::{Reason, Refusal};

struct Asset {
    name: &'static str,
    media_type: &'static str,
    bytes: &'static [u8],
}

const HTML: &str = "text/html; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";
const IMAGE: &str = "image/svg+xml";

/// The name under which the page itself lies here; no path leads to an empty name.
const PAGE: &str = "";
const DOCS: &str = "/docs";

const ASSETS: &[Asset] = &[
    Asset { name: PAGE, media_type: HTML, bytes: include_bytes!("../dashboard/index.html") },
    Asset { name: "main.js", media_type: SCRIPT, bytes: include_bytes!("../dashboard/main.js") },
    Asset { name: "explore.js", media_type: SCRIPT, bytes: include_bytes!("../dashboard/explore.js") },
    Asset { name: "sql.js", media_type: SCRIPT, bytes: include_bytes!("../dashboard/sql.js") },
    Asset { name: "streams.js", media_type: SCRIPT, bytes: include_bytes!("../dashboard/streams.js") },
    Asset { name: "chart.js", media_type: SCRIPT, bytes: include_bytes!("../dashboard/chart.js") },
    Asset { name: "api.js", media_type: SCRIPT, bytes: include_bytes!("../dashboard/api.js") },
    Asset { name: "dom.js", media_type: SCRIPT, bytes: include_bytes!("../dashboard/dom.js") },
    Asset { name: "dashboard.css", media_type: STYLE, bytes: include_bytes!("../dashboard/dashboard.css") },
    Asset { name: "icon.svg", media_type: IMAGE, bytes: include_bytes!("../dashboard/icon.svg") },
    Asset {
        name: "uPlot.js",
        media_type: SCRIPT,
        bytes: include_bytes!("../dashboard/vendor/uPlot.iife.min.js"),
    },
    Asset {
        name: "uPlot.css",
        media_type: STYLE,
        bytes: include_bytes!("../dashboard/vendor/uPlot.min.css"),
    },
    Asset { name: DOCS, media_type: HTML, bytes: include_bytes!("../dashboard/docs.html") },
    Asset {
        name: "rapidoc.js",
        media_type: SCRIPT,
        bytes: include_bytes!("../dashboard/vendor/rapidoc-min.js"),
    },
];

/// The API's browser sets styles of its own; scripts and connections are this server's all the same.
const DOCS_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; \
                           connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Nothing but this server's own, no markup or script from data, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// The dashboard.
#[utoipa::path(get, path = "/", tag = "operations",
    responses(
        (status = 200, description = "A page that needs no network", body = String, content_type = "text/html"),
        (status = 304, description = "If-None-Match names it")))]
pub async fn page(request: HttpRequest) -> Result<HttpResponse, Refusal> {
    respond(&request, PAGE)
}

/// What the dashboard and the API's browser are made of.
#[utoipa::path(get, path = "/assets/{name}", tag = "operations", params(("name" = String, Path)),
    responses(
        (status = 200, description = "The file",
            content((String = "text/javascript"), (String = "text/css"), (String = "image/svg+xml"), (String = "text/html"))),
        (status = 304, description = "If-None-Match names it"),
        Finding))]
pub async fn asset(request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, Refusal> {
    respond(&request, &name)
}

/// The page of the API's browser.
pub fn docs(request: &HttpRequest) -> Result<HttpResponse, Refusal> {
    respond(request, DOCS)
}

fn respond(request: &HttpRequest, name: &str) -> Result<HttpResponse, Refusal> {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return Err(Refusal::new(Reason::UnknownName, format!("the dashboard has no file {name}")));
    };
    let tag = caching::tag_of(asset.bytes);
    let known = caching::is_known(request, &tag);
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    // Another build may bring another page: a browser asks each time, and is mostly told that it has it.
    response
        .insert_header(ETag(tag))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, if name == DOCS { DOCS_POLICY } else { POLICY }))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    Ok(if known { response.finish() } else { response.content_type(asset.media_type).body(asset.bytes) })
}
