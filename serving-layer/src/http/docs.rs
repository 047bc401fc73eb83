//! `GET /openapi.json` and `GET /docs`: what this API is, for machines and for people.

use std::sync::LazyLock;

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};

use super::{dashboard, openapi};
use crate::refusal::Refusal;

static DOCUMENT: LazyLock<String> =
    LazyLock::new(|| openapi::document().to_json().expect("the document is texts, numbers and maps"));

/// This API as OpenAPI 3.1.
#[utoipa::path(get, path = "/openapi.json", tag = "operations",
    responses((status = 200, description = "This document", body = serde_json::Value)))]
pub async fn document() -> HttpResponse {
    let mut response = HttpResponse::Ok();
    response.insert_header((header::CACHE_CONTROL, "no-cache"));
    response.content_type("application/json").body(DOCUMENT.as_str())
}

/// A browser for this document.
#[utoipa::path(get, path = "/docs", tag = "operations",
    responses((status = 200, description = "A page that needs no network", body = String, content_type = "text/html")))]
pub async fn page(request: HttpRequest) -> Result<HttpResponse, Refusal> {
    dashboard::docs(&request)
}
