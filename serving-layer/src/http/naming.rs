//! A name for every request, so that what a client saw, what this server logs and what a trace shows can be brought together.

use std::time::Instant;

use actix_web::Error;
use actix_web::dev::{ServiceRequest, ServiceResponse};
use actix_web::http::header::{HeaderMap, HeaderName, HeaderValue};
use tracing::Instrument as _;
use tracing::field::Empty;

use crate::ids;
use crate::trace::{self, Context};

const NAME: HeaderName = HeaderName::from_static("x-request-id");
/// A longer name is not taken over: it ends up in every line of the log.
const LONGEST: usize = 128;

/// Answers under the client's name for its request, or under a new one, and works under it. It came at `began`.
pub async fn named<B, F: Future<Output = Result<ServiceResponse<B>, Error>>>(
    request: ServiceRequest,
    began: Instant,
    work: impl FnOnce(ServiceRequest) -> F,
) -> Result<ServiceResponse<B>, Error> {
    let name = given(request.headers()).unwrap_or_else(ids::name);
    let above = request.headers().get(trace::HEADER).and_then(|header| header.to_str().ok());
    let above = above.and_then(Context::parse);
    let context = above.map_or_else(Context::begin, Context::child);
    let span = tracing::info_span!(
        "request",
        id = name,
        method = request.method().as_str(),
        path = request.path(),
        status = Empty,
        otel.kind = "server",
        sampled = context.sampled,
        trace_id = %format_args!("{:032x}", context.trace),
        span_id = %format_args!("{:016x}", context.span),
        parent_id = Empty,
    );
    if let Some(above) = above {
        span.record("parent_id", format!("{:016x}", above.span));
    }
    let mut response = context.scope(work(request).instrument(span.clone())).await?;
    let status = response.status().as_u16();
    span.record("status", status);
    span.in_scope(|| match status {
        500 => tracing::warn!(status, took = ?began.elapsed(), "request answered"),
        _ => tracing::debug!(status, took = ?began.elapsed(), "request answered"),
    });
    if let Ok(name) = HeaderValue::try_from(name) {
        response.headers_mut().insert(NAME, name);
    }
    Ok(response)
}

fn given(headers: &HeaderMap) -> Option<String> {
    let name = headers.get(NAME)?.to_str().ok()?;
    let fits = (1..=LONGEST).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_graphic());
    fits.then(|| name.to_string())
}
