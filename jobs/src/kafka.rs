//! Which Kafka to use: a real one, the embedded broker of this process, or that of another one.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::bail;
use tokio::net::TcpStream;
use watershed_batch::BatchError;
use watershed_broker::{Broker, BrokerConfig, BrokerError, FsyncPolicy, Owner, owner};
use watershed_kafka::{Creation, Fetching, KafkaLog, KafkaProducer, KafkaSettings};
use watershed_schemas::identity::compacts;
use watershed_schemas::log::Log;
use watershed_schemas::project::Project;
use watershed_store::Store;

use crate::config::{Fetch, Settings};
use crate::project::Workspace;
use crate::security::{self, Listener};

/// A broker on this machine answers sooner than this.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// How often, and how long apart, a broker that is starting is looked for.
const STARTING_LOOKS: usize = 40;
const LOOK: Duration = Duration::from_millis(50);

/// A Kafka that can be used.
pub struct Kafka {
    settings: KafkaSettings,
    log: KafkaLog,
    embedded: Option<Broker>,
}

impl Kafka {
    /// For a service that is the broker's home: starts the embedded one unless `kafka.brokers` is set.
    pub async fn serve(workspace: &Workspace, store: &Store) -> anyhow::Result<Kafka> {
        let settings = &workspace.settings;
        if !settings.kafka.brokers.0.is_empty() {
            return Kafka::named(&settings.kafka.brokers.to_string(), settings);
        }
        security::refuse_exposed(settings, Listener::Broker)?;
        let dir = broker_dir(workspace, store);
        // Records in a folder that goes with the process, and versions that stay, would contradict each other.
        if dir.is_none() && !settings.store.url.0.starts_with("memory://") {
            bail!(
                "{store} is no folder for the embedded broker's log: set broker.dir, or kafka.brokers to use a real Kafka"
            );
        }
        let broker = start(settings, &settings.broker.listen.0, dir.as_deref()).await?;
        Kafka::embedded(broker, settings.kafka.fetch)
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
        let broker = start(&workspace.settings, "127.0.0.1:0", Some(&dir)).await?;
        Kafka::embedded(broker, workspace.settings.kafka.fetch)
    }

    /// A Kafka that the settings or the command line name, with what `[kafka.client]` says to it.
    pub fn named(brokers: &str, settings: &Settings) -> anyhow::Result<Kafka> {
        let client = security::with_secrets(settings.client()?)?;
        Kafka::at(brokers, client, settings.kafka.fetch, None)
    }

    fn embedded(broker: Broker, fetch: Fetch) -> anyhow::Result<Kafka> {
        Kafka::at(&broker.address().to_string(), BTreeMap::new(), fetch, Some(broker))
    }

    fn at(
        brokers: &str,
        client: BTreeMap<String, String>,
        fetch: Fetch,
        embedded: Option<Broker>,
    ) -> anyhow::Result<Kafka> {
        let fetch = match fetch {
            Fetch::Batches => Fetching::Batches,
            Fetch::Messages => Fetching::Messages,
        };
        let settings = KafkaSettings { client, fetch, ..KafkaSettings::new(brokers) };
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

    /// Refuses streams over topics that do not keep every event.
    pub async fn refuse_compacted_topics(&self, project: &Project) -> anyhow::Result<()> {
        for stream in &project.streams {
            let (log, topic) = (self.log.clone(), stream.topic.clone());
            let policy = tokio::task::spawn_blocking(move || log.cleanup_policy(&topic)).await??;
            if let Some(policy) = policy.filter(|policy| compacts(policy)) {
                return Err(BatchError::Compacted { topic: stream.topic.clone(), policy }.into());
            }
        }
        Ok(())
    }

    /// Stops the embedded broker, if it runs here, with everything on disk.
    pub async fn stop(self) {
        let Some(broker) = self.embedded else { return };
        // Clients before their broker, so that they do not complain of its absence.
        drop(self.log);
        if let Err(error) = broker.stop().await {
            tracing::error!(%error, "the embedded broker did not stop cleanly");
        }
    }
}

/// A real Kafka, or this project's embedded broker where another process runs it.
async fn find(workspace: &Workspace, store: &Store) -> anyhow::Result<Option<Kafka>> {
    let settings = &workspace.settings;
    if !settings.kafka.brokers.0.is_empty() {
        return Kafka::named(&settings.kafka.brokers.to_string(), settings).map(Some);
    }
    let address = match broker_dir(workspace, store) {
        // Whoever listens on broker.listen may be another project's broker: the folder says where this one's is.
        Some(dir) => running(&dir).await,
        None => Some(settings.broker.listen.0.clone()),
    };
    let Some(address) = address else { return Ok(None) };
    match tokio::time::timeout(CONNECT_TIMEOUT, TcpStream::connect(&address)).await {
        // Settings for a real Kafka (TLS, credentials) mean nothing to the embedded broker.
        Ok(Ok(_)) => Kafka::at(&address, BTreeMap::new(), settings.kafka.fetch, None).map(Some),
        _ => Ok(None),
    }
}

/// Where the broker that has a folder open listens. One that is just starting says so in a moment.
async fn running(dir: &Path) -> Option<String> {
    for _ in 0..STARTING_LOOKS {
        match owner(dir) {
            Owner::Nobody => return None,
            Owner::Listening { address, .. } => return Some(address),
            Owner::Starting => tokio::time::sleep(LOOK).await,
        }
    }
    None
}

async fn start(settings: &Settings, listen: &str, dir: Option<&Path>) -> anyhow::Result<Broker> {
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
    Broker::start(config).await.map_err(|error| match (error, dir.map(owner)) {
        (BrokerError::InUse { path }, Some(Owner::Listening { address, process })) => anyhow::anyhow!(
            "the broker's folder {} is in use by process {process}, which listens on {address}: stop it or wait for it",
            path.display()
        ),
        (BrokerError::Setting { name, found, expected }, _) => {
            anyhow::anyhow!("setting broker.{name}: found {found}, expected {expected}")
        }
        (error @ BrokerError::Listen { .. }, _) => anyhow::Error::from(error).context("setting broker.listen"),
        (error, _) => error.into(),
    })
}

/// `broker.dir`, or `broker` beside a local store; none where the store is not a folder.
fn broker_dir(workspace: &Workspace, store: &Store) -> Option<PathBuf> {
    match &workspace.settings.broker.dir {
        Some(dir) => Some(workspace.folder.join(&dir.0)),
        None => Some(store.local_path()?.join("broker")),
    }
}
