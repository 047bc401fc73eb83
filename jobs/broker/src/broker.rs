//! Starting and stopping.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::config::BrokerConfig;
use crate::shared::Shared;
use crate::{BrokerError, housekeeping, server};

/// A running broker. Dropping it stops serving at once, without the final sync that `stop` does.
#[derive(Debug)]
pub struct Broker {
    address: SocketAddr,
    shared: Arc<Shared>,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

impl Broker {
    /// Opens the folder, repairs what a crash left torn, listens, and serves on the present tokio runtime.
    pub async fn start(config: BrokerConfig) -> Result<Broker, BrokerError> {
        config.check()?;
        let listen_fault = |source| BrokerError::Listen { address: config.listen.clone(), source };
        let listener = TcpListener::bind(&config.listen).await.map_err(listen_fault)?;
        let address = listener.local_addr().map_err(listen_fault)?;
        let shared = Arc::new(blocking(move || Shared::open(config)).await?);
        shared.announce(address)?;

        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        tasks.spawn(server::serve(listener, Arc::clone(&shared), stop.clone()));
        tasks.spawn(housekeeping::tick_groups(Arc::clone(&shared), stop.clone()));
        tasks.spawn(housekeeping::sync(Arc::clone(&shared), stop.clone()));
        tasks.spawn(housekeeping::retain(Arc::clone(&shared), stop.clone()));
        tracing::info!(%address, dir = %shared.dir().display(), start = shared.leader_epoch, "broker listens");
        Ok(Broker { address, shared, stop, tasks })
    }

    /// Where it listens, with the port that was picked.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The folder of its data.
    pub fn dir(&self) -> &std::path::Path {
        self.shared.dir()
    }

    /// Closes every connection, then forces everything to the disk. A temporary folder is removed.
    pub async fn stop(mut self) -> Result<(), BrokerError> {
        self.stop.cancel();
        while self.tasks.join_next().await.is_some() {}
        let shared = Arc::clone(&self.shared);
        let synced = blocking(move || shared.sync()).await;
        tracing::info!(address = %self.address, "broker stopped");
        synced
    }
}

/// Runs what may take long on the disk where it holds up nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, BrokerError> + Send + 'static,
) -> Result<T, BrokerError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(ended) => match ended.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_cancelled) => Err(BrokerError::Stopping),
        },
    }
}
