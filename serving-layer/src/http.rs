//! The HTTP API.
//!
//! Whatever a caller sends is answered with what was asked for or with a problem (RFC 9457) that
//! says what is wrong with it; bodies have a size and a deadline.

mod answers;
mod body;
mod dashboard;
mod diff;
mod events;
mod live;
mod metrics;
mod partials;
mod problem;
mod query;
mod server;
mod slow;
mod sql;
mod status;
mod views;

pub use server::{PartialsServer, ServeError, ServeSettings, Server};
