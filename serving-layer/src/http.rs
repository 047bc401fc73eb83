//! The HTTP API.
//!
//! Whatever a caller sends is answered with what was asked for or with a problem (RFC 9457) that
//! says what is wrong with it; bodies have a size and a deadline.

mod answers;
mod body;
mod caching;
mod dashboard;
mod diff;
mod docs;
mod events;
mod guard;
mod live;
mod metrics;
mod naming;
mod openapi;
mod origins;
mod partials;
mod problem;
mod query;
mod routes;
mod server;
mod slow;
mod sql;
mod status;
mod views;

pub use guard::Access;
pub use openapi::{Gap as GapForm, document as openapi};
pub use routes::{API, Endpoint, NODE, routes};
pub use server::{PartialsServer, PartialsSettings, ServeError, ServeSettings, Server};
