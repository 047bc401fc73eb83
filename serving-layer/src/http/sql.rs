//! `POST /v1/sql`.

use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};

use super::guard::Asker;
use super::openapi::{Statement, StatementDocument, Stating};
use super::slow::{self, Body, Room};
use super::{answers, body};
use crate::format::Format;
use crate::query;
use crate::refusal::{Reason, Refusal};
use crate::sql::{Question, Sql};

/// A statement in DuckDB's SQL over views (batch and live), `batch.<view>` and `events.<stream>`.
#[utoipa::path(post, path = "/v1/sql", tag = "questions",
    params(("format" = inline(Option<Format>), Query, description = "The form of the answer, whatever Accept says")),
    request_body(content((Statement = "application/json"), (String = "application/sql"))),
    responses(
        (status = 200, description = "The statement's rows, and what they are made of", content(
            (StatementDocument = "application/json"),
            (String = "application/x-ndjson"), (String = "text/csv"),
            (Vec<u8> = "application/vnd.apache.arrow.stream"), (Vec<u8> = "application/vnd.apache.parquet"))),
        Stating))]
pub async fn post(
    request: HttpRequest,
    payload: web::Payload,
    sql: web::Data<Sql>,
    room: web::Data<Room>,
    asker: Asker,
) -> Result<HttpResponse<Body>, Refusal> {
    let parameters = super::query::parameters(&request)?;
    query::only_form(&parameters)?;
    let format = answers::form(&request, query::format(&parameters))?;
    let is_text = request.content_type().eq_ignore_ascii_case("application/sql");
    let body = body::read(payload, body::MOST_QUESTION_BYTES).await?;
    asker.note(&body);
    let question = if is_text { Question::from_text(body)? } else { Question::from_json(&body)? };
    // Nobody reads what is refused then: it is the worker that has to hear of it.
    let answer = tokio::select! {
        answer = sql.ask(question, asker.grant.clone()) => answer?,
        () = slow::gone(&request) => return Err(Refusal::new(Reason::TooSlow, "the one who asked has gone")),
    };
    answers::respond(&request, &room, answer, format).await
}
