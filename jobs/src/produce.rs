//! `watershed produce`: files into a stream's topic.
//!
//! Every row becomes one record with a JSON payload, acknowledged and in the file's order per partition. A row that
//! cannot be read is reported with its file and line and left out; a payload that is JSON is sent as it is,
//! whether it fits the stream or not: what is wrong with it the layers say.

mod csv;
mod json;
mod ndjson;
pub mod parquet;
pub mod rows;

use std::fs::File;
use std::io::{BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use watershed_kafka::{KafkaProducer, ProducerRecord};
use watershed_schemas::stream::Stream;

use crate::kafka::Kafka;
use crate::outcome::Refusal;
use crate::project::Place;
use crate::say;
use rows::{Rows, Wanted};

/// How long records may wait for their acknowledgements at the end.
const FLUSH: Duration = Duration::from_secs(60);
/// Between two looks at a terminal's bar, and between two lines about progress where there is no terminal.
const REDRAW: Duration = Duration::from_millis(100);
const TELL: Duration = Duration::from_secs(10);
/// Rows that cannot be read are reported one by one up to this many; the rest are counted.
const REPORTED: u64 = 20;

#[derive(Args)]
pub struct Arguments {
    #[arg(value_name = "STREAM")]
    stream: String,
    /// .ndjson, .jsonl or .json (an object per line), .csv (with a header), .parquet; `-` reads objects from standard input
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// At most this many records per second
    #[arg(long, value_name = "N/s")]
    rate: Option<Rate>,
    /// host:port,… of the Kafka to use instead of the project's
    #[arg(long, value_name = "ADDRESSES")]
    brokers: Option<String>,
    /// The field whose value is the record's key: records of one key keep their order [default: none, spread evenly]
    #[arg(long, value_name = "FIELD")]
    key: Option<String>,
    /// The field that gives the record's Kafka timestamp: text, or milliseconds since 1970 [default: now]
    #[arg(long, value_name = "FIELD")]
    timestamp: Option<String>,
}

/// `500/s`, or `500`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Rate(f64);

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix("/s").unwrap_or(text).trim().parse::<f64>();
        let rate = number.ok().filter(|rate| rate.is_finite() && *rate > 0.0);
        rate.map(Rate).ok_or_else(|| format!("found \"{text}\", expected records per second such as 500/s"))
    }
}

pub async fn produce(place: &Place, arguments: Arguments) -> anyhow::Result<ExitCode> {
    let workspace = place.open()?;
    workspace.streams(Some(&arguments.stream))?;
    let stream = workspace.project.stream(&arguments.stream).context("a stream that was just found")?.clone();
    for file in &arguments.files {
        Source::check(file)?;
    }
    let kafka = match &arguments.brokers {
        Some(brokers) => Kafka::named(brokers, &workspace.settings)?,
        None => Kafka::reach(&workspace, &workspace.store()?).await?,
    };
    kafka.create_topic(&stream.topic, workspace.settings.streams.partitions.0).await?;
    let producer = kafka.producer()?;
    // Reading files and a full queue block.
    let loaded = tokio::task::spawn_blocking(move || load(&producer, &stream, &arguments)).await?;
    kafka.stop().await;
    loaded
}

fn load(producer: &KafkaProducer, stream: &Arc<Stream>, arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let wanted = Wanted { key: arguments.key.clone(), timestamp: arguments.timestamp.clone() };
    let mut pace = Pace { rate: arguments.rate, started: Instant::now(), sent: 0 };
    let receipts = Arc::new(Receipts::default());
    let (mut refused, mut first_refused) = (0, None);
    for file in &arguments.files {
        let mut source = Source::open(file, stream, &wanted)?;
        let before = pace.sent;
        let mut bad = 0;
        while let Some(row) = source.rows.next()? {
            source.show(pace.sent - before);
            let at = format!("{}:{}", file.display(), row.line);
            let problem = match row.content {
                Err(reason) => Some(reason),
                Ok(content) => {
                    pace.wait();
                    let record = ProducerRecord {
                        key: content.key.as_deref(),
                        payload: Some(&content.payload),
                        timestamp: content.timestamp,
                        ..ProducerRecord::default()
                    };
                    let (receipts, place) = (receipts.clone(), at.clone());
                    let sent =
                        producer.send(&stream.topic, record, move |outcome| receipts.note(&place, outcome));
                    sent.err().map(|error| error.to_string())
                }
            };
            match problem {
                None => pace.sent += 1,
                Some(reason) => {
                    bad += 1;
                    source.complain(refused + bad, &format!("{at}: {reason}"));
                    first_refused.get_or_insert(format!("{at}: {reason}"));
                }
            }
        }
        source.bar.finish_and_clear();
        say::line(format!("{}: {} records sent, {bad} lines refused", file.display(), pace.sent - before));
        refused += bad;
    }
    producer.flush(FLUSH)?;
    let (failed, first_failed) = receipts.outcome();
    if let Some(first) = first_failed {
        bail!("{failed} of {} records were not taken by the broker, the first: {first}", pace.sent);
    }
    if let Some(first) = first_refused {
        bail!("{refused} lines were left out, the first: {first}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Keeps to a rate.
struct Pace {
    rate: Option<Rate>,
    started: Instant,
    sent: u64,
}

impl Pace {
    fn wait(&self) {
        let Some(Rate(rate)) = self.rate else { return };
        let due = Duration::try_from_secs_f64(self.sent as f64 / rate).unwrap_or(Duration::MAX);
        std::thread::sleep(due.saturating_sub(self.started.elapsed()));
    }
}

/// What became of the records that were sent.
#[derive(Default)]
struct Receipts {
    failed: AtomicU64,
    first: Mutex<Option<String>>,
}

impl Receipts {
    fn note<T>(&self, place: &str, outcome: Result<T, watershed_schemas::log::LogError>) {
        if let Err(error) = outcome {
            self.failed.fetch_add(1, Ordering::Relaxed);
            let mut first = self.first.lock().unwrap_or_else(PoisonError::into_inner);
            first.get_or_insert_with(|| format!("{place}: {error}"));
        }
    }

    fn outcome(&self) -> (u64, Option<String>) {
        let first = self.first.lock().unwrap_or_else(PoisonError::into_inner).clone();
        (self.failed.load(Ordering::Relaxed), first)
    }
}

/// A file that is being loaded.
struct Source {
    name: String,
    rows: Box<dyn Rows>,
    bar: ProgressBar,
    on_terminal: bool,
    told: Instant,
}

impl Source {
    /// Refuses what cannot be loaded before anything is.
    fn check(file: &Path) -> anyhow::Result<()> {
        if file == Path::new("-") {
            return Ok(());
        }
        let kind = extension(file);
        if !["ndjson", "jsonl", "json", "csv", "parquet"].contains(&kind.as_str()) {
            let message = format!(
                "{}: expected a file that ends in .ndjson, .jsonl, .json, .csv or .parquet",
                file.display()
            );
            return Err(Refusal::Usage(message).into());
        }
        File::open(file).map(drop).with_context(|| file.display().to_string())
    }

    fn open(file: &Path, stream: &Arc<Stream>, wanted: &Wanted) -> anyhow::Result<Source> {
        let name = file.display().to_string();
        let (bar, rows): (ProgressBar, Box<dyn Rows>) = if file == Path::new("-") {
            let bar = ProgressBar::no_length();
            (
                bar.clone(),
                Box::new(ndjson::Ndjson::new(BufReader::new(bar.wrap_read(std::io::stdin())), wanted)),
            )
        } else {
            let opened = File::open(file).with_context(|| name.clone())?;
            let bar = ProgressBar::new(opened.metadata().map_or(0, |metadata| metadata.len()));
            match extension(file).as_str() {
                "parquet" => {
                    let rows =
                        parquet::Parquet::open(opened, stream, wanted).with_context(|| name.clone())?;
                    bar.set_length(rows.total());
                    (bar, Box::new(rows))
                }
                kind => {
                    let bytes = buffered(opened, &bar);
                    let rows: Box<dyn Rows> = match kind {
                        "csv" => {
                            Box::new(csv::Csv::open(bytes, stream, wanted).with_context(|| name.clone())?)
                        }
                        _ => Box::new(ndjson::Ndjson::new(bytes, wanted)),
                    };
                    (bar, rows)
                }
            }
        };
        let style = ProgressStyle::with_template("{msg} {wide_bar} {percent}% {eta}");
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        bar.set_message(name.clone());
        Ok(Source { name, rows, bar, on_terminal: std::io::stderr().is_terminal(), told: Instant::now() })
    }

    fn show(&mut self, sent: u64) {
        let every = if self.on_terminal { REDRAW } else { TELL };
        if self.told.elapsed() < every {
            return;
        }
        self.told = Instant::now();
        if !self.on_terminal {
            say::line(format!("{}: {sent} records so far", self.name));
            return;
        }
        if let Some(position) = self.rows.position() {
            self.bar.set_position(position);
        }
        self.bar.set_message(format!("{}: {sent} records", self.name));
    }

    fn complain(&self, count: u64, problem: &str) {
        if count <= REPORTED {
            self.bar.suspend(|| eprintln!("{problem}"));
        }
        if count == REPORTED {
            self.bar.suspend(|| eprintln!("further lines that are left out are only counted"));
        }
    }
}

fn buffered(file: File, bar: &ProgressBar) -> BufReader<Box<dyn Read>> {
    BufReader::with_capacity(1 << 20, Box::new(bar.wrap_read(file)))
}

fn extension(file: &Path) -> String {
    file.extension().unwrap_or_default().to_string_lossy().to_lowercase()
}
