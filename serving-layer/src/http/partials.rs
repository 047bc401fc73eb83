//! `POST /v1/partials`, `POST /v1/partials/together` and `GET /v1/partials/status/{stream}`: what speed nodes give to servers.

use actix_web::{HttpResponse, web};
use watershed_schemas::live::{LiveError, LiveSource, Partials, PartialsRequest};

use super::body;
use crate::refusal::{Reason, Refusal};
use crate::turns::beside;
use crate::wire;

pub type Source = web::Data<dyn LiveSource>;

/// States of more cells than this are written beside the threads that serve connections.
const INLINE_CELLS: usize = 2_000;

pub async fn partials(payload: web::Payload, live: Source) -> Result<HttpResponse, Refusal> {
    let body = body::read(payload, body::MOST_QUESTION_BYTES).await?;
    let request: PartialsRequest = serde_json::from_slice(&body).map_err(|error| {
        Refusal::new(Reason::WrongQuestion, format!("not a request for partials: {error}"))
    })?;
    Ok(match live.partials(&request).await {
        Ok(replies) => match encode(replies).await? {
            Ok(bytes) => HttpResponse::Ok().content_type(wire::MEDIA_TYPE).body(bytes),
            Err(error) => {
                tracing::error!(view = request.view, %error, "partials not written");
                return Err(Refusal::new(Reason::Failed, format!("partials could not be written: {error}")));
            }
        },
        Err(error) => refuse(error),
    })
}

/// `POST /v1/partials/together`: several views of one stream, each partition cut at one moment for all.
pub async fn together(payload: web::Payload, live: Source) -> Result<HttpResponse, Refusal> {
    let body = body::read(payload, body::MOST_QUESTION_BYTES).await?;
    let requests: Vec<PartialsRequest> = serde_json::from_slice(&body).map_err(|error| {
        Refusal::new(Reason::WrongQuestion, format!("not a list of requests for partials: {error}"))
    })?;
    Ok(match live.partials_together(&requests).await {
        Ok(views) => match beside(move || wire::encode_together(&views)).await? {
            Ok(bytes) => HttpResponse::Ok().content_type(wire::MEDIA_TYPE).body(bytes),
            Err(error) => {
                tracing::error!(%error, "partials not written");
                return Err(Refusal::new(Reason::Failed, format!("partials could not be written: {error}")));
            }
        },
        Err(error) => refuse(error),
    })
}

async fn encode(replies: Vec<Partials>) -> Result<Result<Vec<u8>, wire::WireError>, Refusal> {
    let cells: usize = replies.iter().flat_map(|reply| &reply.states).map(|states| states.cells()).sum();
    match cells <= INLINE_CELLS {
        true => Ok(wire::encode(&replies)),
        false => beside(move || wire::encode(&replies)).await,
    }
}

pub async fn status(stream: web::Path<String>, live: Source) -> HttpResponse {
    match live.status(&stream).await {
        Ok(status) => super::answers::json(&status),
        Err(error) => refuse(error),
    }
}

fn refuse(error: LiveError) -> HttpResponse {
    let mut response = match error {
        LiveError::UnknownView { .. } => HttpResponse::NotFound(),
        LiveError::NotReady { .. } | LiveError::Unavailable { .. } => HttpResponse::ServiceUnavailable(),
    };
    response.json(wire::Refused::from(error))
}
