//! One partition at one moment, or what changed of it.

use std::collections::BTreeMap;

use bytes::Bytes;
use watershed_schemas::image::{Extent, Image};
use watershed_schemas::offsets::Offset;

use super::CheckpointError;
use super::chain::{Chain, Link, Part, Plan};
use super::link::{FoldHeader, Header, seal};
use crate::changes::Changes;
use crate::epoch::FoldKey;
use crate::partition::PartitionEpochs;

/// Rows of a partition's folds, copied. Taking it is quick; encoding it needs the partition no more.
#[derive(Debug)]
pub struct Snapshot {
    pub revision: u64,
    pub live: Offset,
    cut: u64,
    header: Header,
    /// By fold of the header.
    images: Vec<Option<Image>>,
    changes: Vec<Changes>,
}

impl Snapshot {
    /// All folds, whole: what begins a chain. Void folds are left out: they hold nothing.
    pub fn of(stream: &str, epochs: &PartitionEpochs) -> Snapshot {
        Snapshot::after(&Chain::default(), stream, epochs)
    }

    /// What continues the partition's chain: what has changed up to [`PartitionEpochs::cut`], after which nothing has.
    pub fn next(stream: &str, epochs: &PartitionEpochs) -> Snapshot {
        Snapshot::after(epochs.chain(), stream, epochs)
    }

    fn after(chain: &Chain, stream: &str, epochs: &PartitionEpochs) -> Snapshot {
        let kept = || epochs.folds().iter().filter(|(_, fold)| !fold.is_void());
        let cells: BTreeMap<FoldKey, usize> =
            kept().map(|(key, fold)| (key.clone(), fold.table().cells())).collect();
        let Plan { continues, mut parts } = chain.plan(&cells);
        let (mut folds, mut images, mut all) = (Vec::new(), Vec::new(), Vec::new());
        for (key, fold) in kept() {
            let table = fold.table();
            let changes = parts.remove(key).unwrap_or(Changes::All);
            let extent = Extent::of(table);
            let since = match changes {
                Changes::All => None,
                Changes::Rows(_) => chain.extent(continues.len(), key).cloned(),
            };
            let image = match (&changes, &since) {
                (Changes::Rows(rows), Some(since)) if rows.is_empty() && *since == extent => None,
                (Changes::Rows(rows), Some(since)) => Some(Image::since(table, since, rows.to_vec())),
                (Changes::All, _) | (_, None) => Some(Image::whole(table)),
            };
            folds.push(FoldHeader {
                key: key.clone(),
                hash: fold.view().hash.clone(),
                span: fold.span(),
                extent,
                since,
                rows: changes.count(table.cells()),
                batches: Vec::new(),
            });
            images.push(image);
            all.push(changes);
        }
        let header = Header {
            stream: stream.to_string(),
            partition: epochs.partition(),
            origin: epochs.origin(),
            live: epochs.live(),
            log: epochs.log().clone(),
            continues,
            folds,
        };
        let (revision, live, cut) = (epochs.revision(), epochs.live(), chain.cuts());
        Snapshot { revision, live, cut, header, images, changes: all }
    }

    pub fn encode(self) -> Result<Bytes, CheckpointError> {
        self.seal().map(|(_, bytes)| bytes)
    }

    /// The object, and what the chain has to know of it once it is written at the link's path.
    pub fn seal(self) -> Result<(Link, Bytes), CheckpointError> {
        let images = self.images.into_iter().map(|image| image.map(Image::encode)).collect();
        let (header, path, bytes) = seal(self.header, images)?;
        let parts = header
            .folds
            .into_iter()
            .zip(self.changes)
            .map(|(fold, changes)| (fold.key, Part { changes, extent: fold.extent, rows: fold.rows }));
        let kept = header.continues.len();
        let (revision, cut, parts) = (self.revision, self.cut, parts.collect());
        Ok((Link { path, revision, cut, kept, parts }, bytes))
    }
}
