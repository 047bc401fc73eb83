//! Answers as responses.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::slow::{Body, Room};
use crate::format::{Document, Format};
use crate::refusal::Refusal;
use crate::turns::beside;

/// The form asked for: `?format=`, else `Accept`.
pub fn form(request: &HttpRequest, named: Option<&str>) -> Result<Format, Refusal> {
    match named {
        Some(name) => Format::named(name),
        None => {
            let accept = request.headers().get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
            Ok(accept.map(Format::accepted).unwrap_or_default())
        }
    }
}

/// Answers of more values than this are written beside the threads that serve connections.
const INLINE_VALUES: usize = 50_000;

pub async fn respond(
    request: &HttpRequest,
    room: &Room,
    answer: impl Document,
    format: Format,
) -> Result<HttpResponse<Body>, Refusal> {
    let header = (format != Format::Json).then(|| answer.header());
    let body = match answer.values() > INLINE_VALUES {
        true => beside(move || answer.write(format)).await??,
        false => answer.write(format)?,
    };
    let mut response = HttpResponse::Ok();
    response.content_type(format.media_type());
    // The same address has another answer in a moment.
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    if let Some(header) = header {
        response.insert_header(("Watershed-Answer", header));
    }
    let body = room.body(request, body)?;
    Ok(response.message_body(body).expect("headers of our own are well formed"))
}

pub fn json<T: Serialize>(value: &T) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(value)
}
