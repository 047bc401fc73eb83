//! Answers as responses.

use actix_web::http::header;
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use crate::answer::Answer;
use crate::format::{self, Format};
use crate::refusal::Refusal;

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

pub fn respond(answer: &Answer, format: Format) -> Result<HttpResponse, Refusal> {
    let body = format.write(answer)?;
    let mut response = HttpResponse::Ok();
    response.content_type(format.media_type());
    // The same address has another answer in a moment.
    response.insert_header((header::CACHE_CONTROL, "no-store"));
    if format != Format::Json {
        response.insert_header(("Watershed-Answer", format::header(answer)));
    }
    Ok(response.body(body))
}

pub fn json<T: Serialize>(value: &T) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(value)
}
