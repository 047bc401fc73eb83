//! Answers as responses.

use actix_web::http::header::{self, ETag};
use actix_web::{HttpRequest, HttpResponse};
use serde::Serialize;

use super::caching;
use super::slow::{Body, Room};
use crate::answer::Answer;
use crate::format::{Document, Format};
use crate::query::Query;
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

/// Answers of more values than this are written beside the threads that serve connections.
const INLINE_VALUES: usize = 50_000;

/// An answer to a question that an address holds: it may be kept for as long as it says, and asked for again by its tag.
pub async fn respond_to_address(
    request: &HttpRequest,
    room: &Room,
    query: &Query,
    answer: Answer,
    format: Format,
) -> Result<HttpResponse<Body>, Refusal> {
    let tag = caching::tag(request, query, &answer, format);
    let known = caching::is_known(request, &tag);
    let control = caching::control(query, &answer);
    let next = caching::next_page(request, &answer);
    let mut response = match known {
        true => HttpResponse::NotModified().message_body(Body::empty()).expect("there are no headers yet"),
        false => written(request, room, answer, format).await?,
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, header::HeaderValue::from_static(control));
    headers.append(header::VARY, header::HeaderValue::from_static("accept"));
    headers.append(header::VARY, header::HeaderValue::from_static("authorization"));
    next.into_iter().for_each(|next| headers.insert(header::LINK, next).for_each(drop));
    let tag = header::TryIntoHeaderValue::try_into_value(ETag(tag)).expect("a tag of ours is hexadecimal");
    headers.insert(header::ETAG, tag);
    Ok(response)
}

/// An answer to a question that a body holds.
pub async fn respond(
    request: &HttpRequest,
    room: &Room,
    answer: impl Document,
    format: Format,
) -> Result<HttpResponse<Body>, Refusal> {
    let mut response = written(request, room, answer, format).await?;
    // No cache knows the question.
    response.headers_mut().insert(header::CACHE_CONTROL, header::HeaderValue::from_static("no-store"));
    Ok(response)
}

/// Written whole before its first byte is sent: what fails is a problem, never half an answer.
async fn written(
    request: &HttpRequest,
    room: &Room,
    answer: impl Document,
    format: Format,
) -> Result<HttpResponse<Body>, Refusal> {
    let header = (format != Format::Json).then(|| answer.header());
    let values = answer.values();
    let body = match values > INLINE_VALUES {
        true => {
            let reserved = room.reserve(values)?;
            let body = room.turns.take(move || answer.write(format)).await??;
            room.body_within(request, body, reserved)?
        }
        false => room.body(request, answer.write(format)?)?,
    };
    let mut response = HttpResponse::Ok();
    response.content_type(format.media_type());
    if let Some(header) = header {
        response.insert_header(("Watershed-Answer", header));
    }
    Ok(response.message_body(body).expect("headers of our own are well formed"))
}

pub fn json<T: Serialize>(value: &T) -> HttpResponse {
    HttpResponse::Ok().insert_header((header::CACHE_CONTROL, "no-store")).json(value)
}
