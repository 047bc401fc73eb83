//! Which Kafka to use: a real one, the embedded broker of this process, or that of another one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use tokio::net::TcpStream;
use watershed_broker::{Broker, BrokerConfig, BrokerError, FsyncPolicy};
use watershed_kafka::{Creation, KafkaLog, KafkaProducer, KafkaSettings};
use watershed_schemas::log::Log;
use watershed_schemas::project::Project;
use watershed_store::Store;

use crate::config::Settings;
use crate::project::Workspace;

/// In the broker's folder: where the process that has it open listens, and its id.
const ADDRESS_FILE: &str = "address";
/// A broker on this machine answers sooner than this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How often, and how long apart, a broker that is starting is looked for.
const STARTING_LOOKS: usize = 40;
const LOOK: Duration = Duration::from_millis(50);

/// A Kafka that can be used.
pub struct Kafka {
    settings: KafkaSettings,
    log: KafkaLog,
    embedded: Option<Embedded>,
}

struct Embedded {
    broker: Broker,
    address_file: PathBuf,
}

impl Kafka {
    /// For a service that is the broker's home: starts the embedded one unless `kafka.brokers` is set.
    pub async fn serve(workspace: &Workspace, store: &Store) -> anyhow::Result<Kafka> {
        let settings = &workspace.settings;
        if !settings.kafka.brokers.0.is_empty() {
            return Kafka::at(&settings.kafka.brokers.to_string(), settings, None);
        }
        let dir = broker_dir(workspace, store);
        // Records in a folder that goes with the process, and versions that stay, would contradict each other.
        if dir.is_none() && !settings.store.url.0.starts_with("memory://") {
            bail!(
                "{store} is no folder for the embedded broker's log: set broker.dir, or kafka.brokers to use a real Kafka"
            );
        }
        let embedded = start(settings, &settings.broker.listen.0, dir.as_deref()).await?;
        let address = embedded.broker.address().to_string();
        Kafka::at(&address, settings, Some(embedded))
    }

    /// For a service beside the broker: a real Kafka, or an embedded broker that runs already.
    pub async fn connect(workspace: &Workspace, store: &Store) -> anyhow::Result<Kafka> {
        match find(workspace, store).await? {
            Some(kafka) => Ok(kafka),
            None => bail!(
                "no broker: `watershed up` does not run in {}, and kafka.brokers is not set",
                workspace.folder.display()
            ),
        }
    }

    /// For a command that ends: as [`Kafka::connect`], but where no broker runs it starts the embedded one for as long as it lasts.
    pub async fn reach(workspace: &Workspace, store: &Store) -> anyhow::Result<Kafka> {
        if let Some(kafka) = find(workspace, store).await? {
            return Ok(kafka);
        }
        let Some(dir) = broker_dir(workspace, store) else {
            bail!(
                "nothing listens on {} (broker.listen): start `watershed up`, or set broker.dir or kafka.brokers",
                workspace.settings.broker.listen
            );
        };
        // Not on broker.listen: nobody else shall find a broker that is gone in a moment.
        let embedded = start(&workspace.settings, "127.0.0.1:0", Some(&dir)).await?;
        let address = embedded.broker.address().to_string();
        Kafka::at(&address, &workspace.settings, Some(embedded))
    }

    /// A Kafka at an address that the command line names.
    pub fn named(brokers: &str, settings: &Settings) -> anyhow::Result<Kafka> {
        Kafka::at(brokers, settings, None)
    }

    fn at(brokers: &str, settings: &Settings, embedded: Option<Embedded>) -> anyhow::Result<Kafka> {
        // Settings for a real Kafka (TLS, credentials) mean nothing to the embedded broker.
        let real = embedded.is_none() && !settings.kafka.brokers.0.is_empty();
        let client = if real { settings.client()? } else { BTreeMap::new() };
        let settings = KafkaSettings { client, ..KafkaSettings::new(brokers) };
        let log = KafkaLog::connect(settings.clone())?;
        Ok(Kafka { settings, log, embedded })
    }

    pub fn brokers(&self) -> &str {
        &self.settings.brokers
    }

    pub fn is_embedded(&self) -> bool {
        self.embedded.is_some()
    }

    pub fn log(&self) -> Arc<dyn Log> {
        Arc::new(self.log.clone())
    }

    pub fn producer(&self) -> anyhow::Result<KafkaProducer> {
        Ok(KafkaProducer::connect(self.settings.clone())?)
    }

    /// Creates a topic unless it is there.
    pub async fn create_topic(&self, topic: &str, partitions: u64) -> anyhow::Result<()> {
        let (log, name) = (self.log.clone(), topic.to_string());
        let partitions = usize::try_from(partitions)?;
        match tokio::task::spawn_blocking(move || log.create_topic(&name, partitions)).await?? {
            Creation::Created => tracing::info!(topic, partitions, "topic created"),
            Creation::Existed(partitions) => tracing::debug!(topic, partitions, "topic exists"),
        }
        Ok(())
    }

    pub async fn create_topics(&self, project: &Project, settings: &Settings) -> anyhow::Result<()> {
        for stream in &project.streams {
            self.create_topic(&stream.topic, settings.streams.partitions.0).await?;
        }
        Ok(())
    }

    /// Stops the embedded broker, if it runs here, with everything on disk.
    pub async fn stop(self) {
        let Some(Embedded { broker, address_file }) = self.embedded else { return };
        // Clients before their broker, so that they do not complain of its absence.
        drop(self.log);
        // Whoever finds the file tries the address: a stale one costs nothing but that.
        let _ = std::fs::remove_file(address_file);
        if let Err(error) = broker.stop().await {
            tracing::error!(%error, "the embedded broker did not stop cleanly");
        }
    }
}

/// A real Kafka, or this project's embedded broker where another process runs it.
async fn find(workspace: &Workspace, store: &Store) -> anyhow::Result<Option<Kafka>> {
    let settings = &workspace.settings;
    if !settings.kafka.brokers.0.is_empty() {
        return Kafka::at(&settings.kafka.brokers.to_string(), settings, None).map(Some);
    }
    let address = match broker_dir(workspace, store) {
        // Whoever listens on broker.listen may be another project's broker: the folder says where this one's is.
        Some(dir) => running(&dir).await,
        None => Some(settings.broker.listen.0.clone()),
    };
    let Some(address) = address else { return Ok(None) };
    match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&address)).await {
        Ok(Ok(_)) => Kafka::at(&address, settings, None).map(Some),
        _ => Ok(None),
    }
}

/// Where the broker that has a folder open listens. One that is just starting says so in a moment.
async fn running(dir: &Path) -> Option<String> {
    for _ in 0..STARTING_LOOKS {
        if !watershed_broker::in_use(dir) {
            return None;
        }
        if let Some((address, _)) = holder_of(dir) {
            return Some(address);
        }
        tokio::time::sleep(LOOK).await;
    }
    None
}

async fn start(settings: &Settings, listen: &str, dir: Option<&Path>) -> anyhow::Result<Embedded> {
    let fsync = settings.broker.fsync.0;
    let config = BrokerConfig {
        listen: listen.to_string(),
        advertised: settings.broker.advertised.as_ref().map(|address| address.0.clone()),
        dir: dir.map(Path::to_owned),
        default_partitions: i32::try_from(settings.streams.partitions.0)?,
        retention: settings.broker.retention.map(|retention| retention.0),
        retention_bytes: settings.broker.retention_bytes.map(|retention| retention.0),
        fsync: if fsync.is_zero() { FsyncPolicy::Always } else { FsyncPolicy::Interval(fsync) },
        ..BrokerConfig::default()
    };
    let broker = Broker::start(config).await.map_err(|error| match (&error, dir.and_then(holder_of)) {
        (BrokerError::InUse { path }, Some((address, process))) => anyhow::anyhow!(
            "the broker's folder {} is in use by process {process}, which listens on {address}: stop it or wait for it",
            path.display()
        ),
        (BrokerError::Listen { .. }, _) => anyhow::Error::from(error).context("setting broker.listen"),
        _ => error.into(),
    })?;
    let address_file = broker.dir().join(ADDRESS_FILE);
    let note = format!("{} {}\n", broker.address(), std::process::id());
    std::fs::write(&address_file, note).with_context(|| address_file.display().to_string())?;
    Ok(Embedded { broker, address_file })
}

/// Where the broker of a folder listens, and the process it runs in, if it left word.
fn holder_of(dir: &Path) -> Option<(String, String)> {
    let note = std::fs::read_to_string(dir.join(ADDRESS_FILE)).ok()?;
    let (address, process) = note.trim().split_once(' ')?;
    Some((address.to_string(), process.to_string()))
}

/// `broker.dir`, or `broker` beside a local store; none where the store is not a folder.
fn broker_dir(workspace: &Workspace, store: &Store) -> Option<PathBuf> {
    match &workspace.settings.broker.dir {
        Some(dir) => Some(workspace.folder.join(&dir.0)),
        None => Some(store.local_path()?.join("broker")),
    }
}
