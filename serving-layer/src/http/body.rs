//! Request bodies, bounded in size and time.

use std::pin::pin;
use std::time::Duration;

use actix_web::web;
use futures::StreamExt as _;
use futures::future::poll_immediate;

use crate::refusal::{Reason, Refusal};

/// A question larger than this is none.
pub const MOST_QUESTION_BYTES: usize = 1 << 20;
/// A body that has not arrived whole by then is given up.
const DEADLINE: Duration = Duration::from_secs(10);

/// A body of at most `most_bytes`.
pub async fn read(payload: web::Payload, most_bytes: usize) -> Result<Vec<u8>, Refusal> {
    let mut reading = pin!(collect(payload, most_bytes));
    // A body that came with its headers needs no clock.
    if let Some(read) = poll_immediate(&mut reading).await {
        return read;
    }
    tokio::time::timeout(DEADLINE, reading).await.unwrap_or_else(|_| {
        let detail = format!("the body did not arrive within {} s", DEADLINE.as_secs());
        Err(Refusal::new(Reason::TooSlow, detail))
    })
}

async fn collect(mut payload: web::Payload, most_bytes: usize) -> Result<Vec<u8>, Refusal> {
    let mut body = Vec::new();
    while let Some(chunk) = payload.next().await {
        let broken = |error| Refusal::new(Reason::WrongQuestion, format!("the body cannot be read: {error}"));
        body.extend_from_slice(&chunk.map_err(broken)?);
        if body.len() > most_bytes {
            return Err(Refusal::new(
                Reason::TooLarge,
                format!("the body is larger than {most_bytes} bytes"),
            ));
        }
    }
    Ok(body)
}
