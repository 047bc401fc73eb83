//! The speed layer as a server sees it: peers over HTTP, and the choice of what to believe of their replies.

mod chosen;
mod peers;

pub use chosen::{Chosen, choose};
pub use peers::{Peers, PeersError, together};

use async_trait::async_trait;
use watershed_schemas::live::{LiveError, LiveSource, LiveStatus, Partials, PartialsRequest};

/// A serving layer of its own: there is no speed layer, and nobody expects one.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoSpeedLayer;

#[async_trait]
impl LiveSource for NoSpeedLayer {
    async fn partials(&self, _request: &PartialsRequest) -> Result<Vec<Partials>, LiveError> {
        Err(LiveError::Unavailable { reason: "none is configured".to_string() })
    }

    async fn status(&self, _stream: &str) -> Result<Vec<LiveStatus>, LiveError> {
        Err(LiveError::Unavailable { reason: "none is configured".to_string() })
    }
}
