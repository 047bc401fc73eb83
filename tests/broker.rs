//! The embedded broker by itself: what it keeps through crashes and damage, what it deletes, what it refuses.

mod limits;
mod logs;
mod restarts;
mod versions;

use std::path::{Path, PathBuf};

use rdkafka::consumer::{BaseConsumer, Consumer};
use watershed_broker::BrokerConfig;

use crate::support::kafka::{EmbeddedBroker, PATIENCE, Target};

/// A broker over `dir`, with its target.
fn broker(config: BrokerConfig, dir: &Path) -> Target {
    Target::embedded(EmbeddedBroker::start(BrokerConfig { dir: Some(dir.to_owned()), ..config }))
}

fn embedded(target: &Target) -> &EmbeddedBroker {
    target.restartable().expect("the target is embedded")
}

/// First and next offset of partition 0.
fn bounds(target: &Target, topic: &str) -> (i64, i64) {
    let consumer: BaseConsumer = target.client(&[]);
    consumer.fetch_watermarks(topic, 0, PATIENCE).expect("the broker answers")
}

/// The segments of partition 0, oldest first.
fn segments(dir: &Path, topic: &str) -> Vec<PathBuf> {
    let folder = dir.join(format!("{topic}-0"));
    let entries = std::fs::read_dir(folder).expect("the partition has a folder");
    let mut paths: Vec<PathBuf> =
        entries.map(|entry| entry.expect("the folder can be read").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "log"));
    paths.sort();
    paths
}
