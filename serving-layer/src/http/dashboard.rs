//! `GET /` and `/assets/{name}`: the dashboard, embedded in the binary.
//!
//! It asks the same API as everybody and loads nothing from elsewhere, which its content security policy says too.

use actix_web::http::header::{self, ETag, EntityTag, IfNoneMatch};
use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};
use sha2::{Digest, Sha256};

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
];

/// Nothing but this server's own, no markup or script from data, no frame around it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

pub async fn page(request: HttpRequest) -> Result<HttpResponse, Refusal> {
    respond(&request, PAGE)
}

pub async fn asset(request: HttpRequest, name: web::Path<String>) -> Result<HttpResponse, Refusal> {
    respond(&request, &name)
}

fn respond(request: &HttpRequest, name: &str) -> Result<HttpResponse, Refusal> {
    let Some(asset) = ASSETS.iter().find(|asset| asset.name == name) else {
        return Err(Refusal::new(Reason::UnknownName, format!("the dashboard has no file {name}")));
    };
    let tag = tag(asset.bytes);
    let known = match request.get_header::<IfNoneMatch>() {
        Some(IfNoneMatch::Any) => true,
        Some(IfNoneMatch::Items(tags)) => tags.iter().any(|known| known.weak_eq(&tag)),
        None => false,
    };
    let mut response = if known { HttpResponse::NotModified() } else { HttpResponse::Ok() };
    // Another build may bring another page: a browser asks each time, and is mostly told that it has it.
    response
        .insert_header(ETag(tag))
        .insert_header((header::CACHE_CONTROL, "no-cache"))
        .insert_header((header::CONTENT_SECURITY_POLICY, POLICY))
        .insert_header((header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .insert_header((header::REFERRER_POLICY, "no-referrer"));
    Ok(if known { response.finish() } else { response.content_type(asset.media_type).body(asset.bytes) })
}

/// Changes with the content, and with nothing else.
fn tag(bytes: &[u8]) -> EntityTag {
    let digest = Sha256::digest(bytes);
    let half = digest.iter().take(16).fold(0_u128, |half, byte| (half << 8) | u128::from(*byte));
    EntityTag::new_strong(format!("{half:032x}"))
}
