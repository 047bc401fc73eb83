//! The HTTP API.
//!
//! Whatever a caller sends is answered with what was asked for or with a problem (RFC 9457) that
//! says what is wrong with it; bodies have a size and a deadline.

mod answers;
mod body;
mod dashboard;
mod diff;
mod events;
mod guard;
mod live;
mod metrics;
mod origins;
mod partials;
mod problem;
mod query;
mod routes;
mod server;
mod slow;
mod status;
mod views;

pub use guard::Access;
pub use routes::{API, Endpoint, NODE};
pub use server::{PartialsServer, PartialsSettings, ServeError, ServeSettings, Server};
