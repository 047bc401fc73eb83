//! All layers in one process, around one Kafka and one store.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use watershed_schemas::live::LiveSource;
use watershed_schemas::sink::Sink;
use watershed_serving::http::Server;
use watershed_speed::SpeedNode;
use watershed_store::Store;

use crate::kafka::Kafka;
use crate::project::Workspace;
use crate::run::Runner;
use crate::{serve, speed};

/// Running layers.
pub struct Stack {
    pub kafka: Kafka,
    pub runner: Arc<Runner>,
    node: Arc<SpeedNode>,
    server: Server,
    drain: Duration,
}

impl Stack {
    /// Starts from the log upwards; whoever asks before [`Stack::ready`] hears that it is not ready.
    pub async fn start(workspace: &Workspace, store: Store) -> anyhow::Result<Stack> {
        let settings = &workspace.settings;
        let listen = serve::serve_settings(workspace)?;
        let kafka = Kafka::serve(workspace, &store).await?;
        kafka.create_topics(&workspace.project, settings).await?;
        kafka.refuse_compacted_topics(&workspace.project).await?;
        let speed = speed::settings(settings);
        let node = SpeedNode::start(&speed, &workspace.project, &store, &kafka.log(), Handle::current())?;
        let node = Arc::new(node);
        let live: Arc<dyn LiveSource> = node.clone();
        let project = Arc::new(workspace.project.clone());
        let sink: Arc<dyn Sink> = Arc::new(kafka.producer()?);
        let log = Some(kafka.log());
        let server = Server::start(listen, project, store.clone(), live, log, Some(sink)).await?;
        let runner = Arc::new(Runner::new(workspace, store, kafka.log()));
        Ok(Stack { kafka, runner, node, server, drain: settings.serve.drain.0 })
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address
    }

    pub async fn ready(&self) {
        serve::wait_until_ready(&self.server).await;
    }

    /// Stops from the answers downwards, each layer with its work done.
    pub async fn stop(self) {
        self.server.drain(self.drain).await;
        self.server.stop().await;
        self.node.shutdown().await;
        drop(self.runner);
        self.kafka.stop().await;
    }
}
