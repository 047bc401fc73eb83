//! Settings: plain data with human units, from defaults, then `watershed.toml`, then the environment.
//!
//! A key that no setting has is refused, by the name of the file or variable that holds it. Every setting `a.b` is also the
//! environment variable `WATERSHED__A__B`; a variable that is empty counts as not set.

mod security;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use figment::providers::{Format, Serialized, Toml};
use figment::value::{Dict, Map, Value};
use figment::{Figment, Metadata, Profile, Provider};
use serde::{Deserialize, Serialize};
use watershed_schemas::problem::nearest;

use crate::human::{Count, Names, Share, Size, Span, Text};

pub use self::security::Security;

const PREFIX: &str = "WATERSHED__";
/// The one table whose keys are not ours: librdkafka's own settings.
const CLIENT: &str = "kafka.client";

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Settings {
    pub kafka: Kafka,
    pub broker: Broker,
    pub store: Store,
    pub streams: Streams,
    pub speed: Speed,
    pub batch: Batch,
    pub serve: Serve,
    pub security: Security,
    pub sql: Sql,
    pub log: Log,
    pub traces: Traces,
}

/// The Kafka to use.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Kafka {
    /// `host:port,…`; none: the embedded broker.
    pub brokers: Names,
    pub fetch: Fetch,
    /// Handed to librdkafka as it is.
    pub client: Dict,
}

/// How records are fetched from Kafka.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fetch {
    /// Whole batches, where connections are plain.
    #[default]
    Batches,
    /// Message by message, by librdkafka.
    Messages,
}

/// The embedded broker.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Broker {
    pub listen: Text,
    /// Told to clients where it differs from what they connect to.
    pub advertised: Option<Text>,
    /// None: `broker` in a local store's folder.
    pub dir: Option<Text>,
    /// Segments older than this are deleted; none: kept.
    pub retention: Option<Span>,
    /// A partition's oldest segments beyond this size are deleted; none: kept.
    pub retention_bytes: Option<Size>,
    /// How long written bytes may wait for an fsync; `0s`: before every acknowledgement.
    pub fsync: Span,
}

/// Where versions, events and checkpoints lie.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Store {
    pub url: Text,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Streams {
    /// Partitions of topics that Watershed creates.
    pub partitions: Count,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Speed {
    pub listen: Text,
    /// Where a serving layer finds speed nodes; none: at `speed.listen`.
    pub peers: Names,
    /// The consumer group of the speed nodes; nodes of one deployment share it.
    pub group: Text,
    /// This node's name in status; none: the machine's.
    pub node: Option<Text>,
    /// How often changed states are written down.
    pub checkpoint_interval: Span,
    /// What a view's live states may take on a node, unless the view says: groups (none: any number), and memory.
    pub max_groups: Option<Count>,
    pub max_state_bytes: Size,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Batch {
    /// A run that died is waited for this long by the next one.
    pub lease: Span,
    /// Records, and bytes of payload, that landing holds in memory at once.
    pub chunk_rows: Count,
    pub chunk_bytes: Size,
    /// Bytes of event files (compressed) that recomputation holds in memory at once.
    pub group_bytes: Size,
    /// How long a partition may stand still before a run gives up.
    pub stall_timeout: Span,
    /// Versions that are kept, and how long a superseded one is kept whatever their number.
    pub keep_versions: Count,
    pub keep_superseded: Span,
    /// How long a file stays that no version names: longer than any run takes.
    pub keep_orphans: Span,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Serve {
    pub listen: Text,
    /// Threads that answer; none: one per core.
    pub workers: Option<Count>,
    /// How long a question waits for partitions that one speed node hands over to another.
    pub wait_for_partitions: Span,
    /// How long a server that was told to stop answers on while it says that it is not ready.
    pub drain: Span,
}

/// `POST /v1/sql`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Sql {
    pub enabled: bool,
    /// Statements at once, each in a process of its own; none: one per core, two at least.
    pub workers: Option<Count>,
    /// What such a process may take; a third of it is for the tables that a statement names.
    pub memory: Size,
    /// After this long a statement is ended.
    pub timeout: Span,
    /// The largest limit that may be asked for.
    pub max_rows: Count,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Log {
    pub format: LogFormat,
}

/// Spans of requests, for a collector.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Traces {
    /// A collector's OTLP over HTTP, such as `http://collector:4318`; none: nothing is exported.
    pub endpoint: Option<Text>,
    /// How this process is called there.
    pub service: Text,
    /// Of the traces that begin here, 0 to 1.
    pub share: Share,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    #[default]
    Text,
    Json,
}

fn text(value: &str) -> Text {
    Text(value.to_string())
}

impl Default for Broker {
    fn default() -> Self {
        Broker {
            listen: text("127.0.0.1:9092"),
            advertised: None,
            dir: None,
            retention: None,
            retention_bytes: None,
            fsync: Span(Duration::from_secs(1)),
        }
    }
}

impl Default for Store {
    fn default() -> Self {
        Store { url: text("data") }
    }
}

impl Default for Streams {
    fn default() -> Self {
        Streams { partitions: Count(4) }
    }
}

impl Default for Speed {
    fn default() -> Self {
        Speed {
            listen: text("127.0.0.1:8081"),
            peers: Names::default(),
            group: text("watershed"),
            node: None,
            checkpoint_interval: Span(Duration::from_secs(10)),
            max_groups: None,
            max_state_bytes: Size(8 << 30),
        }
    }
}

impl Default for Batch {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Batch {
            lease: Span(minute),
            chunk_rows: Count(1_000_000),
            chunk_bytes: Size(256 << 20),
            group_bytes: Size(256 << 20),
            stall_timeout: Span(minute),
            keep_versions: Count(5),
            keep_superseded: Span(10 * minute),
            keep_orphans: Span(24 * 60 * minute),
        }
    }
}

impl Default for Serve {
    fn default() -> Self {
        let second = Span(Duration::from_secs(1));
        Serve { listen: text("127.0.0.1:8080"), workers: None, wait_for_partitions: second, drain: second }
    }
}

impl Default for Sql {
    fn default() -> Self {
        Sql {
            enabled: true,
            workers: None,
            memory: Size(512 << 20),
            timeout: Span(Duration::from_secs(10)),
            max_rows: Count(1_000_000),
        }
    }
}

impl Default for Traces {
    fn default() -> Self {
        Traces { endpoint: None, service: text("watershed"), share: Share(1.0) }
    }
}

impl Default for Log {
    fn default() -> Self {
        Log { format: LogFormat::Text }
    }
}

impl Settings {
    /// Reads `file` (which may be absent unless it is `required`) and this process's environment.
    pub fn read(file: &Path, required: bool) -> anyhow::Result<Settings> {
        let text = match std::fs::read_to_string(file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound && !required => String::new(),
            Err(error) => return Err(error).with_context(|| file.display().to_string()),
        };
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Settings::from_sources(&file.display().to_string(), &text, variables)
    }

    /// Settings from a file's text and environment variables.
    fn from_sources(
        file: &str,
        text: &str,
        variables: impl Iterator<Item = (String, String)>,
    ) -> anyhow::Result<Settings> {
        let known = Value::serialize(Settings::default())?;
        let mut figment = Figment::from(Serialized::defaults(Settings::default()));
        let contents: Dict = Toml::from_str(text).map_err(|error| {
            let until = error.span().map_or(0, |span| span.start);
            let line = text.get(..until).unwrap_or_default().matches('\n').count() + 1;
            anyhow::anyhow!("{file}:{line}: {}", error.message().replace('\n', ", "))
        })?;
        let mut sources = vec![Source { name: file.to_string(), values: contents }];
        let mut variables: Vec<_> =
            variables.filter(|(name, value)| name.starts_with(PREFIX) && !value.is_empty()).collect();
        variables.sort();
        sources.extend(variables.into_iter().map(|(name, value)| Source::variable(name, value)));
        for source in sources {
            refuse_unknown(&source.name, "", &source.values, &known)?;
            figment = figment.merge(source);
        }
        let settings: Settings = figment.extract().map_err(|error| {
            let source = error.metadata.as_ref().map_or("settings", |metadata| &metadata.name);
            anyhow::anyhow!("{source}: setting {}: {}", error.path.join("."), error.kind)
        })?;
        settings.check()?;
        Ok(settings)
    }

    fn check(&self) -> anyhow::Result<()> {
        if !(1..=10_000).contains(&self.streams.partitions.0) {
            bail!("setting streams.partitions: found {}, expected 1 to 10000", self.streams.partitions);
        }
        if self.store.url.0.is_empty() {
            bail!("setting store.url is empty: name a folder, file://…, s3://bucket/prefix or memory://");
        }
        let workers = self.serve.workers.map_or(1, |workers| workers.0);
        if !(1..=512).contains(&workers) {
            bail!("setting serve.workers: found {workers}, expected 1 to 512");
        }
        let workers = self.sql.workers.map_or(1, |workers| workers.0);
        if !(1..=64).contains(&workers) {
            bail!("setting sql.workers: found {workers}, expected 1 to 64");
        }
        if self.sql.memory.0 < 128 << 20 {
            bail!("setting sql.memory: found {}, expected at least 128MiB", self.sql.memory);
        }
        let counts = [
            ("batch.chunk_rows", self.batch.chunk_rows.0),
            ("batch.chunk_bytes", self.batch.chunk_bytes.0),
            ("batch.group_bytes", self.batch.group_bytes.0),
            ("batch.keep_versions", self.batch.keep_versions.0),
            ("speed.max_groups", self.speed.max_groups.map_or(1, |groups| groups.0)),
            ("speed.max_state_bytes", self.speed.max_state_bytes.0),
        ];
        let spans = [
            ("batch.lease", self.batch.lease),
            ("batch.stall_timeout", self.batch.stall_timeout),
            ("speed.checkpoint_interval", self.speed.checkpoint_interval),
            ("sql.timeout", self.sql.timeout),
        ];
        let mut nothing = (counts.iter().filter(|(_, count)| *count == 0).map(|(name, _)| *name))
            .chain(spans.iter().filter(|(_, span)| span.0.is_zero()).map(|(name, _)| *name));
        if let Some(name) = nothing.next() {
            bail!("setting {name}: found 0, expected more");
        }
        self.client().map(drop)
    }

    /// `[kafka.client]` as librdkafka takes it: names with dots, values as text.
    pub fn client(&self) -> anyhow::Result<BTreeMap<String, String>> {
        let mut client = BTreeMap::new();
        flatten("", &self.kafka.client, &mut client)?;
        Ok(client)
    }
}

/// `sasl.mechanism = "PLAIN"` reads in TOML as a table `sasl`: its name is put together again.
fn flatten(path: &str, dict: &Dict, into: &mut BTreeMap<String, String>) -> anyhow::Result<()> {
    for (key, value) in dict {
        let name = join(path, key);
        let text = match value {
            Value::Dict(_, inner) => {
                flatten(&name, inner, into)?;
                continue;
            }
            Value::String(_, text) => text.clone(),
            Value::Bool(_, truth) => truth.to_string(),
            Value::Num(_, number) => {
                let whole =
                    number.to_i128().or_else(|| number.to_u128().and_then(|number| number.try_into().ok()));
                whole.map_or_else(
                    || number.to_f64().unwrap_or_default().to_string(),
                    |whole| whole.to_string(),
                )
            }
            other => bail!(
                "setting {CLIENT}.{name}: found {}, expected text, a number or a truth value",
                other.to_actual()
            ),
        };
        into.insert(name, text);
    }
    Ok(())
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_string() } else { format!("{path}.{key}") }
}

/// One file or one variable, so that a fault names exactly the one that holds it.
struct Source {
    name: String,
    values: Dict,
}

impl Source {
    /// `WATERSHED__KAFKA__CLIENT__SASL_PASSWORD` sets `sasl.password` of `[kafka.client]`.
    fn variable(name: String, value: String) -> Source {
        let path = name[PREFIX.len()..].to_lowercase();
        let mut keys: Vec<String> = path.split("__").map(str::to_string).collect();
        if keys.len() > 2 && keys[0] == "kafka" && keys[1] == "client" {
            let name = keys.split_off(2).join("_").replace('_', ".");
            keys.push(name);
        }
        let mut values = Value::from(value);
        for key in keys.into_iter().rev() {
            values = Value::from(Dict::from([(key, values)]));
        }
        let values = values.into_dict().unwrap_or_default();
        Source { name: format!("variable {name}"), values }
    }
}

impl Provider for Source {
    fn metadata(&self) -> Metadata {
        Metadata::named(self.name.clone())
    }

    fn data(&self) -> Result<Map<Profile, Dict>, figment::Error> {
        Ok(Map::from([(Profile::Default, self.values.clone())]))
    }
}

fn refuse_unknown(source: &str, path: &str, values: &Dict, known: &Value) -> anyhow::Result<()> {
    let Some(known) = known.as_dict() else { return Ok(()) };
    for (key, value) in values {
        let name = join(path, key);
        if name == CLIENT {
            continue;
        }
        match known.get(key) {
            None => {
                let hint = match nearest(key, known.keys().map(String::as_str)) {
                    Some(near) => format!("did you mean {}?", join(path, &near)),
                    None => {
                        format!("expected one of {}", known.keys().cloned().collect::<Vec<_>>().join(", "))
                    }
                };
                bail!("{source}: unknown setting {name}, {hint}");
            }
            Some(known) => match (value.as_dict(), known.as_dict()) {
                (Some(inner), Some(_)) => refuse_unknown(source, &name, inner, known)?,
                (None, Some(_)) => {
                    bail!("{source}: setting {name}: found {}, expected a table", value.to_actual())
                }
                _ => {}
            },
        }
    }
    Ok(())
}
