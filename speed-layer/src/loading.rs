//! Checkpoints from the store.
//!
//! The last one written that is whole and that the log continues is taken. Written, not furthest: of a topic
//! that was created anew, offsets begin again. One that is damaged, or that continues one that is, is reported
//! and passed over: an older one or a replay takes its place, so a checkpoint saves time and is never needed.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use futures::future::try_join_all;
use watershed_schemas::layout::{self, Object};
use watershed_schemas::offsets::{Offset, OffsetRange, Partition};
use watershed_schemas::view::View;
use watershed_store::{Store, StoreError};

use crate::checkpoint::{Checkpoint, StoredLink};
use crate::opening;

/// An object in a partition's folder.
struct Candidate {
    path: String,
    offset: Offset,
    base: String,
    modified_ms: i64,
}

/// The last checkpoint of a partition, by whatever node, that is readable and of these views, and that a log which
/// holds `held` continues.
pub async fn load(
    store: &Store,
    stream: &str,
    partition: Partition,
    held: OffsetRange,
    views: &BTreeMap<String, Arc<View>>,
) -> Result<Option<Checkpoint>, StoreError> {
    let candidates = candidates(store, stream, partition).await?;
    let mut read = Read { store, links: BTreeMap::new() };
    let (reached, beyond): (Vec<&Candidate>, Vec<&Candidate>) =
        candidates.iter().partition(|candidate| opening::reaches(held, candidate.offset));
    if let Some(Candidate { path, .. }) = beyond.first() {
        let more = beyond.len() - 1;
        tracing::warn!(stream, path, more, %held, "checkpoints are passed over: the log does not continue them");
    }
    for Candidate { path, base, .. } in reached {
        let Some(chain) = read.chain(path).await? else { continue };
        if !chain.last().is_some_and(|last| last.is_of(views)) {
            tracing::info!(stream, path, "a checkpoint is passed over: it is of other definitions");
            continue;
        }
        let decoding = {
            let (chain, stream, views) = (chain.clone(), stream.to_string(), views.clone());
            store.beside(move || {
                let chain: Vec<&StoredLink> = chain.iter().map(|link| &**link).collect();
                Checkpoint::of(&chain, &stream, partition, &views)
            })
        };
        match decoding.await {
            Ok(Ok(mut checkpoint)) => {
                let same_base = candidates.iter().filter(|other| other.base == *base);
                checkpoint.beside(same_base.map(|other| other.path.as_str()));
                return Ok(Some(checkpoint));
            }
            Ok(Err(error)) => tracing::warn!(stream, path, %error, "a checkpoint is passed over"),
            Err(error) => tracing::warn!(stream, path, %error, "a checkpoint is passed over"),
        }
    }
    Ok(None)
}

/// All that there are, the last written first.
async fn candidates(store: &Store, stream: &str, partition: Partition) -> Result<Vec<Candidate>, StoreError> {
    let listed = store.list_objects(&layout::checkpoints(stream, partition)).await?;
    let mut candidates: Vec<Candidate> = (listed.into_iter())
        .filter_map(|object| match Object::parse(&object.path)? {
            Object::Checkpoint { offset, base, .. } => {
                Some(Candidate { path: object.path, offset, base, modified_ms: object.modified_ms })
            }
            _ => None,
        })
        .collect();
    candidates.sort_by_key(|candidate| Reverse((candidate.modified_ms, candidate.offset)));
    Ok(candidates)
}

/// Objects that were read: chains share theirs.
struct Read<'a> {
    store: &'a Store,
    /// By path; `None` for one that cannot be used.
    links: BTreeMap<String, Option<Arc<StoredLink>>>,
}

impl Read<'_> {
    /// A checkpoint's objects, the base first; `None` if one of them cannot be used.
    async fn chain(&mut self, path: &str) -> Result<Option<Vec<Arc<StoredLink>>>, StoreError> {
        self.fetch([path.to_string()]).await?;
        let Some(last) = self.link(path) else { return Ok(None) };
        self.fetch(last.continues().to_vec()).await?;
        let mut chain = Vec::with_capacity(last.continues().len() + 1);
        for continued in last.continues() {
            let Some(link) = self.link(continued) else {
                tracing::warn!(
                    path,
                    continued,
                    "a checkpoint is passed over: it continues one that cannot be used"
                );
                return Ok(None);
            };
            chain.push(link);
        }
        chain.push(last);
        Ok(Some(chain))
    }

    fn link(&self, path: &str) -> Option<Arc<StoredLink>> {
        self.links.get(path).cloned().flatten()
    }

    async fn fetch(&mut self, paths: impl IntoIterator<Item = String>) -> Result<(), StoreError> {
        let new = paths.into_iter().filter(|path| !self.links.contains_key(path));
        let read = new.map(async |path| {
            let link = open(self.store, &path).await?;
            Ok::<_, StoreError>((path, link))
        });
        let read = try_join_all(read).await?;
        self.links.extend(read);
        Ok(())
    }
}

/// An object, if it is there and whole.
async fn open(store: &Store, path: &str) -> Result<Option<Arc<StoredLink>>, StoreError> {
    let Some(bytes) = store.get(path).await? else {
        tracing::warn!(path, "a checkpoint is gone");
        return Ok(None);
    };
    let opening = {
        let path = path.to_string();
        store.beside(move || StoredLink::open(&path, bytes))
    };
    match opening.await {
        Ok(Ok(link)) => Ok(Some(Arc::new(link))),
        Ok(Err(error)) => {
            tracing::warn!(path, %error, "a checkpoint cannot be used");
            Ok(None)
        }
        Err(error) => {
            tracing::warn!(path, %error, "a checkpoint cannot be used");
            Ok(None)
        }
    }
}
