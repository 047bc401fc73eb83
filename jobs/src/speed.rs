//! `watershed speed`: the speed layer as a service of its own.

use std::process::ExitCode;
use std::sync::Arc;

use watershed_schemas::budget::Limits;
use watershed_schemas::live::LiveSource;
use watershed_serving::http::{PartialsServer, PartialsSettings};
use watershed_speed::{SpeedNode, SpeedSettings};

use crate::config::Settings;
use crate::kafka::Kafka;
use crate::process;
use crate::project::{Place, Workspace};
use crate::say;
use crate::security::{self, Listener};
use crate::serve::scheme;

pub async fn speed(place: &Place) -> anyhow::Result<ExitCode> {
    let workspace = place.open()?;
    security::refuse_exposed(&workspace.settings, Listener::Speed)?;
    let endpoint = endpoint(&workspace)?;
    let store = workspace.store()?;
    let kafka = Kafka::connect(&workspace, &store).await?;
    kafka.create_topics(&workspace.project, &workspace.settings).await?;
    kafka.refuse_compacted_topics(&workspace.project).await?;
    let runtime = tokio::runtime::Handle::current();
    let settings = settings(&workspace.settings);
    let node = Arc::new(SpeedNode::start(&settings, &workspace.project, &store, &kafka.log(), runtime)?);
    let live: Arc<dyn LiveSource> = node.clone();
    let server = PartialsServer::start(endpoint, live).await?;
    say::line(format!("ready: {}://{}", scheme(&workspace.settings), server.address));
    process::told_to_stop().await?;
    tracing::info!("stopping");
    // It answers on until others can take its partitions over.
    node.shutdown().await;
    server.stop().await;
    kafka.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// Where and whom the node answers.
fn endpoint(workspace: &Workspace) -> anyhow::Result<PartialsSettings> {
    let settings = &workspace.settings;
    let listen = settings.speed.listen.0.clone();
    let open_metrics = settings.security.open_metrics.0 || security::is_here(&listen);
    Ok(PartialsSettings {
        listen,
        secret: security::node_secret(workspace)?,
        certificates: security::certificates(workspace)?,
        open_metrics,
    })
}

/// The node's settings. Its name tells it from others on the same machine by where it listens.
pub fn settings(settings: &Settings) -> SpeedSettings {
    let speed = &settings.speed;
    let node = match &speed.node {
        Some(node) => node.0.clone(),
        None => {
            let port = speed.listen.0.rsplit(':').next().unwrap_or_default();
            format!("{}-{port}", process::host())
        }
    };
    SpeedSettings {
        checkpoint_interval: speed.checkpoint_interval.0,
        limits: Limits {
            groups: speed.max_groups.map(|groups| groups.0),
            bytes: Some(speed.max_state_bytes.0),
        },
        ..SpeedSettings::new(&speed.group.0, node)
    }
}
