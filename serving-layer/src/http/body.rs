//! Request bodies, bounded in size and time.

use std::time::Duration;

use actix_web::web;
use futures::StreamExt as _;

use crate::refusal::{Reason, Refusal};

/// A question larger than this is none.
const MOST_BYTES: usize = 1 << 20;
/// A body that has not arrived whole by then is given up.
const DEADLINE: Duration = Duration::from_secs(10);

pub async fn read(payload: web::Payload) -> Result<Vec<u8>, Refusal> {
    tokio::time::timeout(DEADLINE, collect(payload)).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} s", DEADLINE.as_secs());
        Err(Refusal::new(Reason::TooSlow, detail))
    })
}

async fn collect(mut payload: web::Payload) -> Result<Vec<u8>, Refusal> {
    let mut body = Vec::new();
    while let Some(chunk) = payload.next().await {
        let broken = |error| Refusal::new(Reason::WrongQuestion, format!("the body cannot be read: {error}"));
        body.extend_from_slice(&chunk.map_err(broken)?);
        if body.len() > MOST_BYTES {
            return Err(Refusal::new(
                Reason::TooLarge,
                format!("the body is larger than {MOST_BYTES} bytes"),
            ));
        }
    }
    Ok(body)
}
