//! Accepting connections, within their limit.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::connection;
use crate::shared::Shared;

/// One permit of the inflight limit stands for this many bytes.
pub const PERMIT_BYTES: usize = 1024;

/// Serves until `stop`, then returns when every connection is closed.
pub async fn serve(listener: TcpListener, shared: Arc<Shared>, stop: CancellationToken) {
    let mut connections = JoinSet::new();
    let places = Arc::new(Semaphore::new(shared.config.max_connections));
    let inflight = Arc::new(Semaphore::new(shared.config.max_inflight_bytes.div_ceil(PERMIT_BYTES)));
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => break,
            Some(_ended) = connections.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // Out of file descriptors, most likely: trying again at once would spin.
                tracing::error!(%error, "cannot accept connections");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::warn!(%peer, limit = shared.config.max_connections, "connection refused, too many are open");
            continue;
        };
        let (shared, inflight) = (Arc::clone(&shared), Arc::clone(&inflight));
        connections.spawn(async move {
            match connection::serve(socket, peer, &shared, &inflight).await {
                Ok(()) => tracing::debug!(%peer, "connection closed"),
                Err(error) => tracing::warn!(%peer, %error, "connection ended"),
            }
            drop(place);
        });
    }
    connections.shutdown().await;
}
