//! `watershed serve`: the serving layer as a service of its own.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
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
use crate::project::Place;
use crate::say;

/// Between two looks at whether the server is ready.
const LOOK: Duration = Duration::from_millis(50);
/// After this long without being ready the log says so.
const PATIENCE: Duration = Duration::from_secs(10);

pub async fn serve(place: &Place) -> anyhow::Result<ExitCode> {
    let workspace = place.open()?;
    let store = workspace.store()?;
    let settings = &workspace.settings;
    let peers = match settings.speed.peers.0.as_slice() {
        [] => vec![settings.speed.listen.0.clone()],
        peers => peers.to_vec(),
    };
    let live = Arc::new(Peers::new(&peers)?);
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
    let server = Server::start(serve_settings(settings), project, store, live, log, sink).await?;
    let ready = async {
        wait_until_ready(server.address).await;
        say::line(format!("ready: http://{}", server.address));
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
pub fn serve_settings(settings: &Settings) -> ServeSettings {
    let serve = &settings.serve;
    ServeSettings {
        workers: serve.workers.and_then(|workers| usize::try_from(workers.0).ok()),
        wait_for_partitions: serve.wait_for_partitions.0,
        sql: sql_settings(settings),
        ..ServeSettings::new(&serve.listen.0)
    }
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
pub async fn wait_until_ready(address: SocketAddr) {
    let url = format!("http://{}/readyz", reachable(address));
    let client =
        reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(5)).build().unwrap_or_default();
    let started = Instant::now();
    let mut told = false;
    loop {
        let answer = client.get(&url).send().await;
        match answer {
            Ok(answer) if answer.status().is_success() => return,
            Ok(answer) if !told && started.elapsed() > PATIENCE => {
                told = true;
                let reason = answer.text().await.unwrap_or_default();
                tracing::warn!(reason, "not ready yet");
            }
            _ => {}
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// An address that listens on all of a machine's is reached over its loopback.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        address.set_ip(match address.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    address
}
