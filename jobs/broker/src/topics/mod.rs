//! Topics and their partitions.
//!
//! The cluster's journal says which topics there are; the folders `<topic>-<partition>` hold their records. A topic
//! exists from the moment the journal has it and is gone from the moment it has not: folders without a topic are set
//! aside at start under another name, never read and never silently deleted.

mod entry;
mod strays;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};

use bytes::{Buf, Bytes};
use rayon::prelude::*;
use uuid::Uuid;

use entry::{TOPIC_PREFIX, decode_topic, encode_topic, start_key, topic_key};
use strays::set_strays_aside;

use crate::BrokerError;
use crate::disk::sync_dir;
use crate::journal::{Change, Journal};
use crate::locks::{lock, read, write};
use crate::log::Log;
use crate::partition::Partition;
use crate::settings::TopicSettings;

#[derive(Debug)]
pub struct Topic {
    pub name: String,
    pub id: Uuid,
    partitions: RwLock<Vec<Arc<Partition>>>,
    settings: RwLock<TopicSettings>,
}

impl Topic {
    pub fn partition(&self, index: i32) -> Option<Arc<Partition>> {
        read(&self.partitions).get(usize::try_from(index).ok()?).cloned()
    }

    pub fn partitions(&self) -> Vec<Arc<Partition>> {
        read(&self.partitions).clone()
    }

    pub fn partition_count(&self) -> usize {
        read(&self.partitions).len()
    }

    pub fn settings(&self) -> TopicSettings {
        read(&self.settings).clone()
    }
}

/// Why a topic is not created, grown or changed.
#[derive(Debug, thiserror::Error)]
pub enum TopicFault {
    #[error(
        "topic {name:?}: found an illegal name, expected 1 to 249 of a-z A-Z 0-9 . _ - and neither . nor .."
    )]
    Name { name: String },
    #[error("topic {name:?} exists already")]
    Exists { name: String },
    #[error("found no topic {name:?}")]
    Unknown { name: String },
    #[error("found {found} partitions, expected {expected}")]
    Partitions { found: i64, expected: String },
    #[error(transparent)]
    Storage(#[from] BrokerError),
}

#[derive(Debug)]
pub struct Topics {
    dir: PathBuf,
    journal: Arc<Journal>,
    leader_epoch: i32,
    max_partitions: usize,
    /// Held while topics come, grow and go; looking one up needs only the maps.
    changing: Mutex<()>,
    maps: RwLock<Maps>,
}

#[derive(Debug, Default)]
struct Maps {
    by_name: BTreeMap<String, Arc<Topic>>,
    by_id: HashMap<Uuid, Arc<Topic>>,
}

impl Maps {
    fn insert(&mut self, topic: Arc<Topic>) {
        self.by_id.insert(topic.id, Arc::clone(&topic));
        self.by_name.insert(topic.name.clone(), topic);
    }
}

impl Topics {
    /// Opens every topic of the journal, reading its log.
    pub fn open(
        dir: &Path,
        journal: Arc<Journal>,
        epoch: i32,
        max_partitions: usize,
    ) -> Result<Topics, BrokerError> {
        let mut maps = Maps::default();
        for (key, value) in journal.with_prefix(TOPIC_PREFIX) {
            let Some((id, count, settings)) = decode_topic(value) else {
                let reason = format!("found no topic in entry {:?}", String::from_utf8_lossy(&key));
                return Err(BrokerError::Damaged {
                    path: dir.join(crate::CLUSTER_JOURNAL),
                    position: 0,
                    reason,
                });
            };
            let name = String::from_utf8_lossy(&key[TOPIC_PREFIX.len()..]).into_owned();
            let open = |index| {
                let start = journal.get(&start_key(&name, index)).map_or(0, |mut value| value.get_i64());
                let log = Log::open(&partition_dir(dir, &name, index), start, epoch)?;
                Ok(Arc::new(Partition::new(index, log)))
            };
            // On all cores, for every byte of each newest segment is read. The first that fails is told, whichever ends first.
            let opened: Vec<Result<_, BrokerError>> = (0..count).into_par_iter().map(open).collect();
            let partitions = opened.into_iter().collect::<Result<Vec<_>, BrokerError>>()?;
            let (partitions, settings) = (RwLock::new(partitions), RwLock::new(settings));
            maps.insert(Arc::new(Topic { name, id, partitions, settings }));
        }
        set_strays_aside(dir, &maps)?;
        Ok(Topics {
            dir: dir.to_owned(),
            journal,
            leader_epoch: epoch,
            max_partitions,
            changing: Mutex::new(()),
            maps: RwLock::new(maps),
        })
    }

    pub fn by_name(&self, name: &str) -> Option<Arc<Topic>> {
        read(&self.maps).by_name.get(name).cloned()
    }

    pub fn by_id(&self, id: Uuid) -> Option<Arc<Topic>> {
        read(&self.maps).by_id.get(&id).cloned()
    }

    pub fn all(&self) -> Vec<Arc<Topic>> {
        read(&self.maps).by_name.values().cloned().collect()
    }

    /// Whether `create` would succeed.
    pub fn check_new(&self, name: &str, partitions: i32) -> Result<(), TopicFault> {
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if name.is_empty() || name.len() > 249 || name == "." || name == ".." || !name.bytes().all(legal) {
            return Err(TopicFault::Name { name: name.to_owned() });
        }
        if self.by_name(name).is_some() {
            return Err(TopicFault::Exists { name: name.to_owned() });
        }
        self.check_room(i64::from(partitions), 1)
    }

    fn check_room(&self, added: i64, least: i64) -> Result<(), TopicFault> {
        let held: usize = read(&self.maps).by_name.values().map(|topic| topic.partition_count()).sum();
        let room = self.max_partitions.saturating_sub(held) as i64;
        if added < least || added > room {
            return Err(TopicFault::Partitions { found: added, expected: format!("{least} to {room} more") });
        }
        Ok(())
    }

    pub fn create(
        &self,
        name: &str,
        partitions: i32,
        settings: TopicSettings,
    ) -> Result<Arc<Topic>, TopicFault> {
        let _changing = lock(&self.changing);
        self.check_new(name, partitions)?;
        let made = self.make_partitions(name, 0..partitions)?;
        let id = Uuid::new_v4();
        self.write_down(name, id, partitions, &settings)?;
        let topic = Arc::new(Topic {
            name: name.to_owned(),
            id,
            partitions: RwLock::new(made),
            settings: RwLock::new(settings),
        });
        write(&self.maps).insert(Arc::clone(&topic));
        tracing::info!(topic = name, partitions, "topic created");
        Ok(topic)
    }

    /// Whether `grow` would succeed.
    pub fn check_growth(&self, name: &str, partitions: i32) -> Result<Arc<Topic>, TopicFault> {
        let topic = self.by_name(name).ok_or_else(|| TopicFault::Unknown { name: name.to_owned() })?;
        let present = topic.partition_count() as i64;
        if i64::from(partitions) <= present {
            let expected = format!("more than the present {present}");
            return Err(TopicFault::Partitions { found: partitions.into(), expected });
        }
        self.check_room(i64::from(partitions) - present, 1)?;
        Ok(topic)
    }

    /// Adds partitions until there are `partitions`.
    pub fn grow(&self, name: &str, partitions: i32) -> Result<(), TopicFault> {
        let _changing = lock(&self.changing);
        let topic = self.check_growth(name, partitions)?;
        let made = self.make_partitions(name, topic.partition_count() as i32..partitions)?;
        self.write_down(name, topic.id, partitions, &topic.settings())?;
        write(&topic.partitions).extend(made);
        tracing::info!(topic = name, partitions, "topic grown");
        Ok(())
    }

    pub fn change_settings(&self, topic: &Topic, settings: TopicSettings) -> Result<(), TopicFault> {
        let _changing = lock(&self.changing);
        self.write_down(&topic.name, topic.id, topic.partition_count() as i32, &settings)?;
        *write(&topic.settings) = settings;
        Ok(())
    }

    pub fn delete(&self, topic: &Topic) -> Result<(), TopicFault> {
        let _changing = lock(&self.changing);
        let gone = || TopicFault::Unknown { name: topic.name.clone() };
        self.by_id(topic.id).ok_or_else(gone)?;
        let partitions = topic.partitions();
        let mut changes = vec![Change::Delete(topic_key(&topic.name))];
        changes.extend(
            partitions.iter().map(|partition| Change::Delete(start_key(&topic.name, partition.index))),
        );
        self.journal.apply(changes)?;
        self.journal.sync()?;
        let mut maps = write(&self.maps);
        maps.by_name.remove(&topic.name);
        maps.by_id.remove(&topic.id);
        drop(maps);
        for partition in partitions {
            partition.delete();
            let dir = partition_dir(&self.dir, &topic.name, partition.index);
            std::fs::remove_dir_all(&dir).map_err(BrokerError::io(&dir))?;
        }
        tracing::info!(topic = topic.name, "topic deleted");
        Ok(())
    }

    /// Makes a log's start, moved by request, outlive the process.
    pub fn write_start(&self, topic: &str, partition: i32, start_offset: i64) -> Result<(), BrokerError> {
        let value = Bytes::copy_from_slice(&start_offset.to_be_bytes());
        self.journal.apply(vec![Change::Put(start_key(topic, partition), value)])
    }

    fn make_partitions(
        &self,
        name: &str,
        range: std::ops::Range<i32>,
    ) -> Result<Vec<Arc<Partition>>, BrokerError> {
        let made = range
            .map(|index| {
                let dir = partition_dir(&self.dir, name, index);
                // A creation that failed half-way may have left a folder; it never held an acknowledged record.
                if dir.exists() {
                    std::fs::remove_dir_all(&dir).map_err(BrokerError::io(&dir))?;
                }
                Ok(Arc::new(Partition::new(index, Log::open(&dir, 0, self.leader_epoch)?)))
            })
            .collect::<Result<Vec<_>, BrokerError>>()?;
        sync_dir(&self.dir)?;
        Ok(made)
    }

    fn write_down(
        &self,
        name: &str,
        id: Uuid,
        partitions: i32,
        settings: &TopicSettings,
    ) -> Result<(), BrokerError> {
        self.journal.apply(vec![Change::Put(topic_key(name), encode_topic(id, partitions, settings))])?;
        self.journal.sync()
    }
}

fn partition_dir(dir: &Path, name: &str, index: i32) -> PathBuf {
    dir.join(format!("{name}-{index}"))
}
