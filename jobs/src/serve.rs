//! `watershed serve`: the serving layer as a service of its own.

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use watershed_schemas::sink::Sink;
use watershed_serving::http::{ServeSettings, Server};
use watershed_serving::live::Peers;
use watershed_serving::sql::SqlSettings;

use crate::config::Settings;
use crate::kafka::Kafka;
use crate::process;
use crate::project::{Place, Workspace};
use crate::say;
use crate::security::{self, Listener};

/// Between two looks at whether the server is ready.
const LOOK: Duration = Duration::from_millis(50);
/// After this long without being ready the log says so.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn serve(place: &Place) -> anyhow::Result<ExitCode> {
    let workspace = place.open()?;
    let store = workspace.store()?;
    let settings = &workspace.settings;
    let serve_settings = serve_settings(&workspace)?;
    let peers = match settings.speed.peers.0.as_slice() {
        [] => vec![format!("{}://{}", scheme(settings), settings.speed.listen)],
        peers => peers.to_vec(),
    };
    let secret = security::node_secret(&workspace)?;
    let live = Arc::new(Peers::secured(&peers, secret, &security::client_tls(&workspace))?);
    // The log tells its own bounds here and takes events: a server answers without it.
    let (log, sink) = match Kafka::connect(&workspace, &store).await {
        Ok(kafka) => (Some(kafka.log()), Some(Arc::new(kafka.producer()?) as Arc<dyn Sink>)),
        Err(error) => {
            let error = format!("{error:#}");
            tracing::warn!(
                error,
                "status will not say where the log begins and ends, and no events are taken"
            );
            (None, None)
        }
    };
    let project = Arc::new(workspace.project.clone());
    let server = Server::start(serve_settings, project, store, live, log, sink).await?;
    let ready = async {
        wait_until_ready(&server).await;
        say::line(format!("ready: {}://{}", scheme(settings), server.address));
        std::future::pending::<()>().await;
    };
    tokio::select! {
        stop = process::told_to_stop() => stop?,
        () = ready => {}
    }
    tracing::info!("stopping");
    server.drain(settings.serve.drain.0).await;
    server.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// The server's own settings. Without `serve.workers` there is one per core.
pub fn serve_settings(workspace: &Workspace) -> anyhow::Result<ServeSettings> {
    let settings = &workspace.settings;
    let serve = &settings.serve;
    security::refuse_exposed(settings, Listener::Serve)?;
    Ok(ServeSettings {
        listen: serve.listen.0.clone(),
        workers: serve.workers.and_then(|workers| usize::try_from(workers.0).ok()),
        wait_for_partitions: serve.wait_for_partitions.0,
        gate: security::gate(workspace)?,
        certificates: security::certificates(workspace)?,
        cors_origins: settings.security.cors_origins.0.clone(),
        open_metrics: settings.security.open_metrics.0 || security::is_here(&serve.listen.0),
        sql: sql_settings(settings),
    })
}

/// `http` or `https`: what a server with these settings speaks.
pub fn scheme(settings: &Settings) -> &'static str {
    if settings.security.tls.certificate.is_some() { "https" } else { "http" }
}

/// Workers are this very command: also after another one was put in its place on disk.
#[cfg(feature = "duckdb")]
fn sql_settings(settings: &Settings) -> Option<SqlSettings> {
    let sql = &settings.sql;
    let cores = std::thread::available_parallelism().map_or(1, usize::from).max(2);
    let memory = sql.memory.0;
    let arguments = ["sql-worker".to_string(), "--memory".to_string(), memory.to_string()];
    sql.enabled.then(|| SqlSettings {
        program: "/proc/self/exe".into(),
        arguments: arguments.map(Into::into).to_vec(),
        workers: sql.workers.and_then(|workers| usize::try_from(workers.0).ok()).unwrap_or(cores),
        memory,
        timeout: sql.timeout.0,
        max_rows: sql.max_rows.0,
    })
}

/// Nothing that could run a statement is linked.
#[cfg(not(feature = "duckdb"))]
fn sql_settings(_: &Settings) -> Option<SqlSettings> {
    None
}

/// Waits until `/readyz` says so.
pub async fn wait_until_ready(server: &Server) {
    let started = Instant::now();
    let mut told = false;
    loop {
        let waiting = server.waiting_for();
        if waiting.is_empty() {
            return;
        }
        if !told && started.elapsed() > PATIENCE {
            told = true;
            tracing::warn!(reason = waiting.join("; "), "not ready yet");
        }
        tokio::time::sleep(LOOK).await;
    }
}
