//! Whose pages may ask from a browser (CORS): none unless the settings name them.

use actix_cors::Cors;
use actix_web::http::{Method, header};
use actix_web::middleware::Condition;

/// How long a browser remembers what it was allowed.
const MAX_AGE_SECONDS: usize = 600;

/// `*` is every page: callers are known by a key that a page must have, never by cookies.
pub fn allowed(origins: &[String]) -> Condition<Cors> {
    let cors = Cors::default()
        .allowed_methods([Method::GET, Method::POST])
        .allowed_headers([
            header::AUTHORIZATION,
            header::ACCEPT,
            header::CONTENT_TYPE,
            header::IF_NONE_MATCH,
            header::HeaderName::from_static("idempotency-key"),
            header::HeaderName::from_static("last-event-id"),
        ])
        .expose_headers([
            "etag",
            "link",
            "retry-after",
            "watershed-answer",
            "x-ratelimit-limit",
            "x-ratelimit-remaining",
            "x-ratelimit-reset",
        ])
        .max_age(MAX_AGE_SECONDS);
    let cors = match origins.iter().any(|origin| origin == "*") {
        true => cors.allow_any_origin(),
        false => origins.iter().fold(cors, |cors, origin| cors.allowed_origin(origin)),
    };
    Condition::new(!origins.is_empty(), cors)
}
