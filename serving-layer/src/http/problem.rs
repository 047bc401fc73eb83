//! Refusals as `application/problem+json`.

use std::borrow::Cow;
use std::collections::BTreeMap;

use actix_web::http::{StatusCode, header};
use actix_web::{HttpRequest, HttpResponse, ResponseError};
use serde::Serialize;
use serde_json::Value as Json;

use crate::refusal::{Place, Reason, Refusal, nearest};

#[derive(Serialize)]
struct Problem<'a> {
    r#type: String,
    title: &'static str,
    status: u16,
    detail: Cow<'a, str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    position: Option<Position<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    did_you_mean: Option<&'a str>,
    /// What a problem of this kind says beside.
    #[serde(flatten)]
    more: BTreeMap<&'static str, Json>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Position<'a> {
    Text { line: usize, column: usize },
    Parameter { parameter: Cow<'a, str> },
}

fn kind(reason: Reason) -> (StatusCode, &'static str, &'static str) {
    match reason {
        Reason::WrongQuestion => (StatusCode::BAD_REQUEST, "wrong-question", "The question is wrong"),
        Reason::UnknownName => (StatusCode::NOT_FOUND, "unknown-name", "There is nothing of that name"),
        Reason::MethodNotAllowed => {
            (StatusCode::METHOD_NOT_ALLOWED, "method", "This address has other methods")
        }
        Reason::Gone => (StatusCode::CONFLICT, "gone", "The answer that this page continues is gone"),
        Reason::TooMany => (StatusCode::TOO_MANY_REQUESTS, "too-many", "Too much is asked at once"),
        Reason::TooSlow => (StatusCode::REQUEST_TIMEOUT, "too-slow", "The question took too long to arrive"),
        Reason::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Larger than this server gives"),
        Reason::Unmet => (StatusCode::UNPROCESSABLE_ENTITY, "unmet", "A requirement cannot be met"),
        Reason::NotReady => (StatusCode::SERVICE_UNAVAILABLE, "not-ready", "Not ready"),
        Reason::Failed => (StatusCode::INTERNAL_SERVER_ERROR, "failed", "This server failed"),
    }
}

impl ResponseError for Refusal {
    fn status_code(&self) -> StatusCode {
        kind(self.reason).0
    }

    fn error_response(&self) -> HttpResponse {
        response(self, BTreeMap::new())
    }
}

/// A problem that says `more` under a name of its own.
pub fn problem_with(refusal: &Refusal, name: &'static str, more: &impl Serialize) -> HttpResponse {
    let more = serde_json::to_value(more).expect("texts and numbers have a JSON form");
    response(refusal, BTreeMap::from([(name, more)]))
}

fn response(refusal: &Refusal, more: BTreeMap<&'static str, Json>) -> HttpResponse {
    let (status, slug, title) = kind(refusal.reason);
    let position = refusal.place.as_ref().map(|place| match place {
        Place::Text { line, column } => Position::Text { line: *line, column: *column },
        Place::Key { key, .. } => Position::Parameter { parameter: shortened(key) },
    });
    let problem = Problem {
        r#type: format!("urn:watershed:problem:{slug}"),
        title,
        status: status.as_u16(),
        detail: shortened(&refusal.detail),
        position,
        did_you_mean: refusal.did_you_mean.as_deref(),
        more,
    };
    let body = serde_json::to_vec(&problem).expect("texts and numbers have a JSON form");
    let mut response = HttpResponse::build(status);
    if let Some(after) = refusal.retry_after {
        response.insert_header((header::RETRY_AFTER, after.as_secs().max(1)));
    }
    response.content_type("application/problem+json").body(body)
}

/// A problem quotes what was sent, but not all of a long text.
fn shortened(text: &str) -> Cow<'_, str> {
    const MOST_CHARACTERS: usize = 2_000;
    match text.char_indices().nth(MOST_CHARACTERS) {
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
        None => Cow::Borrowed(text),
    }
}

/// No such route.
pub async fn unknown_route(request: HttpRequest) -> Result<HttpResponse, Refusal> {
    const ROUTES: [&str; 8] =
        ["/v1/query", "/v1/sql", "/v1/views", "/v1/status", "/v1/streams", "/healthz", "/readyz", "/metrics"];
    let path = request.path();
    let did_you_mean = nearest(path, ROUTES);
    Err(Refusal { did_you_mean, ..Refusal::new(Reason::UnknownName, format!("there is nothing at {path}")) })
}

/// A route asked with another method than `allowed`.
pub fn method_not_allowed(allowed: &'static str) -> HttpResponse {
    let mut response =
        Refusal::new(Reason::MethodNotAllowed, format!("ask this address with {allowed}")).error_response();
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static(allowed));
    response
}
