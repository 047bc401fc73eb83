//! `POST /v1/query` and `GET /v1/views/{view}/query`.

use actix_web::{HttpRequest, HttpResponse, web};

use super::guard::Asker;
use super::metrics::Requests;
use super::slow::{Body, Room};
use super::{answers, body};
use crate::ask::Serving;
use crate::query::{self, Query};
use crate::refusal::Refusal;

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
    let query = asker.question(&serving, Query::from_json(&body)?).map_err(located)?;
    let answer = serving.ask(&query).await.map_err(located)?;
    requests.answered(&answer);
    answers::respond(&request, &room, answer, format).await
}

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
    let query = asker.question(&serving, Query::from_parameters(&view, &parameters)?)?;
    let answer = serving.ask(&query).await?;
    requests.answered(&answer);
    answers::respond(&request, &room, answer, format).await
}

pub fn parameters(request: &HttpRequest) -> Result<Vec<(String, String)>, Refusal> {
    let parameters = web::Query::<Vec<(String, String)>>::from_query(request.query_string());
    let parameters = parameters
        .map_err(|error| Refusal::wrong("query", format!("the parameters cannot be read: {error}")))?;
    Ok(parameters.into_inner())
}
