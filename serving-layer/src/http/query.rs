//! `POST /v1/query` and `GET /v1/views/{view}/query`.

use std::sync::Arc;

use actix_web::{HttpRequest, HttpResponse, web};

use super::guard::Asker;
use super::metrics::Requests;
use super::openapi::{AnswerDocument, Asking, Question, QuestionParameters};
use super::slow::{Body, Room};
use super::{answers, body};
use crate::ask::Serving;
use crate::format::Format;
use crate::query::{self, Query};
use crate::refusal::Refusal;

/// A question about one view.
#[utoipa::path(post, path = "/v1/query", tag = "questions",
    params(("format" = inline(Option<Format>), Query, description = "The form of the answer, whatever Accept says")),
    request_body(content = Question, content_type = "application/json"),
    responses(
        (status = 200, description = "The answer; forms other than JSON say where it comes from in a header",
            content(
                (AnswerDocument = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
                (String = "application/vnd.apache.arrow.stream"), (String = "application/vnd.apache.parquet")
            ),
            headers(("Watershed-Answer" = String, description = "JSON: all but the rows"))),
        Asking))]
pub async fn post(
    request: HttpRequest,
    payload: web::Payload,
    serving: web::Data<Serving>,
    room: web::Data<Room>,
    requests: web::Data<Requests>,
    asker: Asker,
) -> Result<HttpResponse<Body>, Refusal> {
    let parameters = parameters(&request)?;
    query::only_form(&parameters)?;
    let format = answers::form(&request, query::format(&parameters))?;
    let body = body::read(payload, body::MOST_QUESTION_BYTES).await?;
    asker.note(&body);
    let located = |refusal| query::locate(&body, refusal);
    let query = asker.question(&serving, serving.heard.question(&body)?).map_err(located)?;
    let answer = serving.ask(&query).await.map_err(located)?;
    requests.answered(&answer);
    answers::respond(&request, &room, answer, format).await
}

/// The same from a browser, and for caches.
#[utoipa::path(get, path = "/v1/views/{view}/query", tag = "questions",
    params(
        ("view" = String, Path),
        ("format" = inline(Option<Format>), Query, description = "The form of the answer, whatever Accept says"),
        QuestionParameters
    ),
    responses(
        (status = 200, description = "The answer; forms other than JSON say where it comes from in a header",
            content(
                (AnswerDocument = "application/json"), (String = "application/x-ndjson"), (String = "text/csv"),
                (String = "application/vnd.apache.arrow.stream"), (String = "application/vnd.apache.parquet")
            ),
            headers(
                ("Watershed-Answer" = String, description = "JSON: all but the rows"),
                ("ETag" = String, description = "Strong: the same rows of the same records in the same form"),
                ("Link" = String, description = "The next page, where there is one")
            )),
        (status = 304, description = "If-None-Match names the answer"),
        Asking))]
pub async fn get(
    request: HttpRequest,
    view: web::Path<String>,
    serving: web::Data<Serving>,
    room: web::Data<Room>,
    requests: web::Data<Requests>,
    asker: Asker,
) -> Result<HttpResponse<Body>, Refusal> {
    asker.view(&serving, &view).map_err(|refusal| Refusal { place: None, ..refusal })?;
    let parameters = parameters(&request)?;
    let format = answers::form(&request, query::format(&parameters))?;
    let query = asker.question(&serving, Arc::new(Query::from_parameters(&view, &parameters)?))?;
    let answer = serving.ask(&query).await?;
    requests.answered(&answer);
    answers::respond_to_address(&request, &room, &query, answer, format).await
}

pub fn parameters(request: &HttpRequest) -> Result<Vec<(String, String)>, Refusal> {
    let parameters = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
    let parameters = parameters
        .map_err(|error| Refusal::wrong("query", format!("the parameters cannot be read: {error}")))?;
    Ok(parameters.into_inner())
}
