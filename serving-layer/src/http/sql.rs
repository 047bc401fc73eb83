//! `POST /v1/sql`.

use actix_web::{HttpMessage as _, HttpRequest, HttpResponse, web};

use super::slow::{Body, Room};
use super::{answers, body};
use crate::query;
use crate::refusal::Refusal;
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
    let answer = sql.ask(question).await?;
    answers::respond(&request, &room, answer, format).await
}
