//! `GET /v1/views/{view}/live`: server-sent events.

use std::sync::Arc;
use std::time::Duration;

use actix_web::http::header::{self, ContentEncoding};
use actix_web::{HttpRequest, HttpResponse, web};
use futures::StreamExt as _;

use super::guard::{Asker, Callers};
use super::openapi::{Following, QuestionParameters};
use super::query::parameters;
use crate::ask::Serving;
use crate::follow::{EVERY, Follow, LONGEST, SHORTEST};
use crate::query::Query;
use crate::refusal::{Reason, Refusal};

/// Follows a question: its rows once, then those that change.
#[utoipa::path(get, path = "/v1/views/{view}/live", tag = "questions",
    params(
        ("view" = String, Path),
        ("every" = Option<String>, Query, description = "100ms to 1h; default 1s"),
        ("Last-Event-ID" = Option<String>, Header, description = "Brings what was missed"),
        QuestionParameters
    ),
    responses(
        (status = 200, description = "Events `rows` and `trouble`", body = String, content_type = "text/event-stream"),
        Following))]
pub async fn live(
    request: HttpRequest,
    view: web::Path<String>,
    follow: web::Data<Follow>,
    serving: web::Data<Serving>,
    callers: web::Data<Callers>,
    asker: Asker,
) -> Result<HttpResponse, Refusal> {
    let (own, question): (Vec<_>, Vec<_>) =
        parameters(&request)?.into_iter().partition(|(name, _)| name == "every" || name == "format");
    let mut every = EVERY;
    for (name, text) in own {
        match name.as_str() {
            "every" => every = interval(&text)?,
            _ => {
                return Err(Refusal::wrong(
                    "format",
                    "changes are server-sent events: there is no other format",
                ));
            }
        }
    }
    let query = Query::from_parameters(&view, &question)?;
    if query.cursor.is_some() || query.as_of.is_some() {
        let key = if query.cursor.is_some() { "cursor" } else { "as_of" };
        return Err(Refusal::wrong(key, format!("\"{key}\" asks for what does not change: ask /v1/query")));
    }
    let last_event = request.headers().get("Last-Event-ID").and_then(|last| last.to_str().ok());
    let unplaced = |refusal: Refusal| match refusal.reason {
        Reason::UnknownName => Refusal { place: None, ..refusal },
        _ => refusal,
    };
    let query = asker.question(&serving, Arc::new(query)).map_err(unplaced)?;
    let frames = follow.follow(query, every, last_event).await.map_err(unplaced)?;
    // Whoever loses its key in the middle is let go before the next frame.
    let gate = callers.gate.clone();
    let frames = frames.take_while(move |_| std::future::ready(gate.is_current(&asker)));
    Ok(HttpResponse::Ok()
        .content_type("text/event-stream")
        // Compression would hold frames back until there is enough of them.
        .insert_header(ContentEncoding::Identity)
        .insert_header((header::CACHE_CONTROL, "no-store"))
        .insert_header(("X-Accel-Buffering", "no"))
        .streaming(frames.map(Ok::<_, std::convert::Infallible>)))
}

/// `500ms`, `2s`, `1m`.
fn interval(text: &str) -> Result<Duration, Refusal> {
    let expected = || {
        let detail = format!(
            "every is \"{text}\", expected a duration from {SHORTEST:?} to {LONGEST:?}, such as 500ms or 2s"
        );
        Refusal::wrong_at("every", text, detail)
    };
    let every = crate::query::duration(text).ok_or_else(expected)?;
    if (SHORTEST..=LONGEST).contains(&every) { Ok(every) } else { Err(expected()) }
}
