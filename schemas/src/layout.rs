//! Every stored object: paths are built and parsed only here.
//!
//! ```text
//! events/<stream>/date=YYYY-MM-DD/p<partition>-<from>-<until>-<run>.parquet
//! dead_letters/<stream>/p<partition>-<from>-<until>-<run>.parquet
//! views/<view>/version=<n>/date=YYYY-MM-DD/<run>.parquet
//! versions/<stream>/<n>.json
//! intents/<stream>/<n>-<run>.json
//! checkpoints/<stream>/p<partition>/<offset>-<base>-<id>.ckpt
//! catalog.sql
//! ```
//!
//! Numbers are padded to twenty digits where names are to sort as numbers do. `<run>` is a run's id:
//! two runs never write the same object, except the manifest, which is created once. `<id>` is of a checkpoint's own
//! hash, and `<base>` the id of the one that its chain begins with: the same, if it is that one.

use chrono::{Days, NaiveDate};

use crate::manifest::Version;
use crate::offsets::{Offset, OffsetRange, Partition};

pub const CATALOG: &str = "catalog.sql";
/// The folders of all streams' manifests and intents, and of all views.
pub const VERSIONS: &str = "versions/";
pub const INTENTS: &str = "intents/";
pub const VIEWS: &str = "views/";

/// A stored object that this layout knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Object {
    Events { stream: String, date: i32, partition: Partition, range: OffsetRange, run: String },
    DeadLetters { stream: String, partition: Partition, range: OffsetRange, run: String },
    View { view: String, version: Version, date: i32, run: String },
    Manifest { stream: String, version: Version },
    Intent { stream: String, version: Version, run: String },
    Checkpoint { stream: String, partition: Partition, offset: Offset, base: String, id: String },
    Catalog,
}

impl Object {
    pub fn path(&self) -> String {
        match self {
            Object::Events { stream, date, partition, range, run } => {
                format!("{}{}/{}", events(stream), date_folder(*date), ranged(*partition, *range, run))
            }
            Object::DeadLetters { stream, partition, range, run } => {
                format!("{}{}", dead_letters(stream), ranged(*partition, *range, run))
            }
            Object::View { view, version, date, run } => {
                format!("{VIEWS}{view}/version={version}/{}/{run}.parquet", date_folder(*date))
            }
            Object::Manifest { stream, version } => format!("{}{:020}.json", versions(stream), version.0),
            Object::Intent { stream, version, run } => {
                format!("{}{:020}-{run}.json", intents(stream), version.0)
            }
            Object::Checkpoint { stream, partition, offset, base, id } => {
                format!("{}{:020}-{base}-{id}.ckpt", checkpoints(stream, *partition), offset.0)
            }
            Object::Catalog => CATALOG.to_string(),
        }
    }

    /// The object at a path, or `None` for a path that no object has. Other spellings of an object's numbers and
    /// dates are other paths.
    pub fn parse(path: &str) -> Option<Object> {
        Object::read(path).filter(|object| object.path() == path)
    }

    fn read(path: &str) -> Option<Object> {
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            ["catalog.sql"] => Some(Object::Catalog),
            ["events", stream, date, file] => {
                let (partition, range, run) = parse_ranged(file)?;
                let date = parse_date(date)?;
                Some(Object::Events { stream: stream.to_string(), date, partition, range, run })
            }
            ["dead_letters", stream, file] => {
                let (partition, range, run) = parse_ranged(file)?;
                Some(Object::DeadLetters { stream: stream.to_string(), partition, range, run })
            }
            ["views", view, version, date, file] => Some(Object::View {
                view: view.to_string(),
                version: Version(version.strip_prefix("version=")?.parse().ok()?),
                date: parse_date(date)?,
                run: file.strip_suffix(".parquet")?.to_string(),
            }),
            ["versions", stream, file] => Some(Object::Manifest {
                stream: stream.to_string(),
                version: Version(file.strip_suffix(".json")?.parse().ok()?),
            }),
            ["intents", stream, file] => {
                let (version, run) = file.strip_suffix(".json")?.split_once('-')?;
                Some(Object::Intent {
                    stream: stream.to_string(),
                    version: Version(version.parse().ok()?),
                    run: run.to_string(),
                })
            }
            ["checkpoints", stream, partition, file] => {
                let mut parts = file.strip_suffix(".ckpt")?.splitn(3, '-');
                let offset = parts.next()?.parse().ok()?;
                Some(Object::Checkpoint {
                    stream: stream.to_string(),
                    partition: Partition(partition.strip_prefix('p')?.parse().ok()?),
                    offset: Offset(offset),
                    base: parts.next()?.to_string(),
                    id: parts.next()?.to_string(),
                })
            }
            _ => None,
        }
    }
}

/// The folder of a stream's events; ends with `/`, as all folders here do.
pub fn events(stream: &str) -> String {
    format!("events/{stream}/")
}

pub fn dead_letters(stream: &str) -> String {
    format!("dead_letters/{stream}/")
}

pub fn versions(stream: &str) -> String {
    format!("{VERSIONS}{stream}/")
}

pub fn intents(stream: &str) -> String {
    format!("{INTENTS}{stream}/")
}

pub fn checkpoints(stream: &str, partition: Partition) -> String {
    format!("checkpoints/{stream}/p{partition}/")
}

/// Every folder that runs and nodes of a stream write in; those of views are everybody's.
pub fn folders(stream: &str) -> Vec<String> {
    let checkpoints = format!("checkpoints/{stream}/");
    [events(stream), dead_letters(stream), versions(stream), intents(stream), checkpoints, VIEWS.to_string()]
        .to_vec()
}

/// `YYYY-MM-DD` of a day counted from 1970-01-01.
pub fn date_text(date: i32) -> String {
    let epoch = NaiveDate::default();
    let day = if date >= 0 {
        epoch.checked_add_days(Days::new(date as u64))
    } else {
        epoch.checked_sub_days(Days::new(u64::from(date.unsigned_abs())))
    };
    day.unwrap_or(epoch).format("%Y-%m-%d").to_string()
}

fn date_folder(date: i32) -> String {
    format!("date={}", date_text(date))
}

fn parse_date(folder: &str) -> Option<i32> {
    let text = folder.strip_prefix("date=")?;
    let date = NaiveDate::parse_from_str(text, "%Y-%m-%d").ok()?;
    i32::try_from((date - NaiveDate::default()).num_days()).ok()
}

fn ranged(partition: Partition, range: OffsetRange, run: &str) -> String {
    format!("p{partition}-{:020}-{:020}-{run}.parquet", range.from.0, range.until.0)
}

fn parse_ranged(file: &str) -> Option<(Partition, OffsetRange, String)> {
    let mut parts = file.strip_suffix(".parquet")?.strip_prefix('p')?.splitn(4, '-');
    let partition = Partition(parts.next()?.parse().ok()?);
    let from = Offset(parts.next()?.parse().ok()?);
    let until = Offset(parts.next()?.parse().ok()?);
    Some((partition, OffsetRange { from, until }, parts.next()?.to_string()))
}
