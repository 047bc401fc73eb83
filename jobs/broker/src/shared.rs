//! What every connection of a broker sees.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;

use bytes::Bytes;
use uuid::Uuid;

use crate::config::BrokerConfig;
use crate::disk::DataDir;
use crate::group::Groups;
use crate::group::commits::Commits;
use crate::journal::{Change, Journal};
use crate::locks::lock;
use crate::topics::Topics;
use crate::{BrokerError, CLUSTER_JOURNAL, FsyncPolicy, GROUPS_JOURNAL};

/// The id of the one broker there is.
pub const NODE_ID: i32 = 1;

#[derive(Debug)]
pub struct Shared {
    pub config: BrokerConfig,
    pub cluster_id: String,
    /// The number of this start: marks the batches it writes.
    pub leader_epoch: i32,
    pub topics: Topics,
    pub groups: Groups,
    pub producer_ids: ProducerIds,
    journal: Arc<Journal>,
    /// Dropped last, so that nobody else can own the folder while anything here still writes to it.
    dir: DataDir,
}

impl Shared {
    /// Opens everything in the folder, counting one more start.
    pub fn open(config: BrokerConfig) -> Result<Shared, BrokerError> {
        let data_dir = DataDir::open(config.dir.as_deref())?;
        let dir = data_dir.path();
        let sync_always = config.fsync == FsyncPolicy::Always;
        let journal = Arc::new(Journal::open(&dir.join(CLUSTER_JOURNAL), sync_always)?);
        let leader_epoch = journal.get(STARTS).map_or(0, |value| read_i64(&value) as i32);
        let cluster_id = journal.get(CLUSTER_ID).map_or_else(
            || Uuid::new_v4().simple().to_string(),
            |value| String::from_utf8_lossy(&value).into_owned(),
        );
        journal.apply(vec![
            put_i64(STARTS, i64::from(leader_epoch) + 1),
            Change::Put(Bytes::from_static(CLUSTER_ID), Bytes::from(cluster_id.clone())),
        ])?;
        journal.sync()?;
        let topics = Topics::open(dir, Arc::clone(&journal), leader_epoch, config.max_partitions)?;
        let commits = Commits::new(Journal::open(&dir.join(GROUPS_JOURNAL), sync_always)?);
        Ok(Shared {
            groups: Groups::new(config.group.clone(), commits),
            producer_ids: ProducerIds::new(Arc::clone(&journal)),
            config,
            cluster_id,
            leader_epoch,
            topics,
            journal,
            dir: data_dir,
        })
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Lets other processes find the broker by its folder.
    pub fn announce(&self, address: SocketAddr) -> Result<(), BrokerError> {
        self.dir.announce(address)
    }

    /// Forces everything that was written to the disk.
    pub fn sync(&self) -> Result<(), BrokerError> {
        for topic in self.topics.all() {
            for partition in topic.partitions() {
                partition.with_log(|log| log.sync())?;
            }
        }
        self.sync_journals()
    }

    pub fn sync_journals(&self) -> Result<(), BrokerError> {
        self.groups.commits.sync()?;
        self.journal.sync()
    }
}

const STARTS: &[u8] = b"starts";
const CLUSTER_ID: &[u8] = b"cluster-id";
const PRODUCER_IDS: &[u8] = b"producer-ids";

/// Ids reserved by one write; those unused at the end of the process are skipped.
const PRODUCER_ID_BLOCK: i64 = 1000;

/// Gives every idempotent producer an id that no other ever had.
#[derive(Debug)]
pub struct ProducerIds {
    journal: Arc<Journal>,
    next: Mutex<std::ops::Range<i64>>,
}

impl ProducerIds {
    fn new(journal: Arc<Journal>) -> ProducerIds {
        let reserved = journal.get(PRODUCER_IDS).map_or(0, |value| read_i64(&value));
        ProducerIds { journal, next: Mutex::new(reserved..reserved) }
    }

    pub fn next(&self) -> Result<i64, BrokerError> {
        let mut ids = lock(&self.next);
        if ids.is_empty() {
            let end = ids.end + PRODUCER_ID_BLOCK;
            self.journal.apply(vec![put_i64(PRODUCER_IDS, end)])?;
            ids.end = end;
        }
        let id = ids.start;
        ids.start += 1;
        Ok(id)
    }
}

fn put_i64(key: &'static [u8], value: i64) -> Change {
    Change::Put(Bytes::from_static(key), Bytes::copy_from_slice(&value.to_be_bytes()))
}

fn read_i64(value: &Bytes) -> i64 {
    value.first_chunk().map_or(0, |bytes| i64::from_be_bytes(*bytes))
}
