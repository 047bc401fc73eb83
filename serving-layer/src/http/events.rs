//! `POST /v1/streams/{stream}/events`.

use actix_web::{HttpRequest, HttpResponse, web};
use watershed_security::Denied;

use super::guard::Asker;
use super::openapi::Ingesting;
use super::{body, query};
use crate::ask::Serving;
use crate::ingest::{Ingest, MOST_BYTES, MOST_KEY_BYTES, Receipt};
use crate::refusal::{Reason, Refusal, nearest};

/// Events into the stream's topic.
#[utoipa::path(post, path = "/v1/streams/{stream}/events", tag = "streams",
    params(
        ("stream" = String, Path),
        ("key" = Option<String>, Query, description = "The field whose value is the record's key"),
        ("Idempotency-Key" = Option<String>, Header, description = "Sent again, written once")
    ),
    request_body(content(
        (String = "application/x-ndjson"), (Vec<serde_json::Map<String, serde_json::Value>> = "application/json")
    )),
    responses((status = 202, description = "Kafka has acknowledged what is accepted", body = Receipt), Ingesting))]
pub async fn post(
    request: HttpRequest,
    stream: web::Path<String>,
    payload: web::Payload,
    serving: web::Data<Serving>,
    ingest: web::Data<Ingest>,
    asker: Asker,
) -> Result<HttpResponse, Refusal> {
    let stream = asker.stream(&serving, &stream)?.stream.clone();
    let rows = asker.grant.events(&serving.streams.project, &stream).map_err(|denied| match denied {
        Denied::Forbidden(reason) => Refusal::new(Reason::Forbidden, reason),
        Denied::Unknown => Refusal::unknown_name("stream", &stream.name, []),
    })?;
    let mut key = None;
    for (name, value) in query::parameters(&request)? {
        match name.as_str() {
            "key" => key = Some(value),
            _ => {
                let did_you_mean = nearest(&name, ["key"]);
                let wrong = Refusal::wrong(&name, format!("unknown parameter \"{name}\", expected key"));
                return Err(Refusal { did_you_mean, ..wrong });
            }
        }
    }
    // What one caller has sent is nothing to another.
    let idempotency_key = idempotency_key(&request)?.map(|key| format!("{} {key}", asker.id()));
    let body = body::read(payload, MOST_BYTES).await?;
    let receipt = ingest.take(&stream, body, key.as_deref(), idempotency_key.as_deref(), rows).await?;
    Ok(HttpResponse::Accepted().json(receipt))
}

fn idempotency_key(request: &HttpRequest) -> Result<Option<&str>, Refusal> {
    let Some(value) = request.headers().get("Idempotency-Key") else { return Ok(None) };
    match value.to_str() {
        Ok(key) if !key.is_empty() && key.len() <= MOST_KEY_BYTES => Ok(Some(key)),
        _ => Err(Refusal::wrong(
            "Idempotency-Key",
            format!("expected 1 to {MOST_KEY_BYTES} visible ASCII characters in the header Idempotency-Key"),
        )),
    }
}
