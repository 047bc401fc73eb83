//! `POST /v1/sql`.

use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};

use super::slow::{self, Body, Room};
use super::{answers, body};
use crate::query;
use crate::refusal::{Reason, Refusal};
use crate::sql::{Question, Sql};

pub async fn post(
    request: HttpRequest,
    payload: web::Payload,
    sql: web::Data<Sql>,
    room: web::Data<Room>,
) -> Result<HttpResponse<Body>, Refusal> {
    let parameters = super::query::parameters(&request)?;
    query::only_form(&parameters)?;
    let format = answers::form(&request, query::format(&parameters))?;
    let is_text = request.content_type().eq_ignore_ascii_case("application/sql");
    let body = body::read(payload, body::MOST_QUESTION_BYTES).await?;
    let question = if is_text { Question::from_text(body)? } else { Question::from_json(&body)? };
    // Nobody reads what is refused then: it is the worker that has to hear of it.
    let answer = tokio::select! {
        answer = sql.ask(question) => answer?,
        () = slow::gone(&request) => return Err(Refusal::new(Reason::TooSlow, "the one who asked has gone")),
    };
    answers::respond(&request, &room, answer, format).await
}
