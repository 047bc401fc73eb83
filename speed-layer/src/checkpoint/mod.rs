//! A checkpoint: one partition's folds, written down as a chain of objects.
//!
//! The first object of a chain, its base, has whole folds; each further one has what changed since the
//! one before, and names all that it continues. So every object is a checkpoint of its own, and what is
//! written follows what changed ([`Chain`] says which objects there are and what comes next). Guarantee:
//! what is loaded is what was there when the chain's last object was taken, row by row, or an error.
//! Objects are sealed by their hash and seen whole or not at all, so a crash leaves the chain before or
//! the chain after. A fold of a view whose definition has changed is left out, for its states mean something else.

mod chain;
mod link;
mod snapshot;

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::error::ArrowError;
use bytes::Bytes;
use watershed_schemas::identity::LogIdentity;
use watershed_schemas::image::{self, Encoded};
use watershed_schemas::measure::StateError;
use watershed_schemas::offsets::{Offset, Partition};
use watershed_schemas::states::StateTable;
use watershed_schemas::view::View;

pub use self::chain::{Chain, Link};
pub use self::snapshot::Snapshot;
use crate::changes::Changes;
use crate::epoch::{Fold, FoldKey, Span};
use chain::Part;
use link::{FoldHeader, Opened};

/// A decoded checkpoint.
#[derive(Debug)]
pub struct Checkpoint {
    pub origin: Offset,
    pub live: Offset,
    /// The log that was folded.
    pub log: LogIdentity,
    pub folds: BTreeMap<FoldKey, Fold>,
    /// What it was decoded from: the next one continues it.
    pub(crate) chain: Chain,
}

/// Why bytes are not a checkpoint that can be resumed.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    #[error("found {found} bytes, expected at least {expected}")]
    Short { found: usize, expected: usize },
    #[error("found a file that begins with {found:?}, expected \"WSCKPT02\"")]
    Magic { found: Vec<u8> },
    #[error("its SHA-256 does not match: the file is damaged")]
    Damaged,
    #[error("found what belongs at {found}, expected {expected}")]
    Misnamed { found: String, expected: String },
    #[error("it continues {path}, which is no checkpoint's path")]
    NotACheckpoint { path: String },
    #[error("found partition {found}, expected {expected}")]
    Other { found: String, expected: String },
    #[error("it continues {expected:?}, found {found:?}")]
    Chain { found: Vec<String>, expected: Vec<String> },
    #[error("fold {epoch} of view {view}: {path} does not continue what comes before it")]
    Torn { epoch: String, view: String, path: String },
    #[error("fold {epoch} of view {view}: span {span:?} at {live}")]
    Span { epoch: String, view: String, span: Span, live: Offset },
    #[error("header: {0}")]
    Header(#[from] serde_json::Error),
    #[error("states: {0}")]
    Arrow(#[from] ArrowError),
    #[error(transparent)]
    States(#[from] StateError),
}

/// One object of a chain, undamaged.
#[derive(Debug)]
pub struct StoredLink(Opened);

impl StoredLink {
    /// Opens what was found at a path.
    pub fn open(path: &str, bytes: Bytes) -> Result<StoredLink, CheckpointError> {
        link::open(Some(path), bytes).map(StoredLink)
    }

    /// The paths of the objects that it continues, the base first.
    pub fn continues(&self) -> &[String] {
        &self.0.header.continues
    }

    /// True if some fold here is of these views as they are defined now.
    pub fn is_of(&self, views: &BTreeMap<String, Arc<View>>) -> bool {
        self.0.header.folds.iter().any(|fold| defined(fold, views).is_some())
    }
}

impl Checkpoint {
    /// Reads a checkpoint that continues nothing; `views` are those of the project over the stream.
    pub fn decode(
        bytes: &[u8],
        stream: &str,
        partition: Partition,
        views: &BTreeMap<String, Arc<View>>,
    ) -> Result<Checkpoint, CheckpointError> {
        let base = StoredLink(link::open(None, Bytes::copy_from_slice(bytes))?);
        Checkpoint::of(&[&base], stream, partition, views)
    }

    /// Reads a chain whose last object is the checkpoint.
    pub fn of(
        chain: &[&StoredLink],
        stream: &str,
        partition: Partition,
        views: &BTreeMap<String, Arc<View>>,
    ) -> Result<Checkpoint, CheckpointError> {
        for StoredLink(link) in chain {
            if link.header.stream != stream || link.header.partition != partition {
                return Err(CheckpointError::Other {
                    found: format!("{} of stream {}", link.header.partition, link.header.stream),
                    expected: format!("{partition} of stream {stream}"),
                });
            }
        }
        let found: Vec<String> = chain.iter().map(|link| link.0.path.clone()).collect();
        let Some((StoredLink(last), before)) = chain.split_last() else {
            return Err(CheckpointError::Chain { found, expected: vec!["a base".to_string()] });
        };
        if found[..before.len()] != last.header.continues {
            return Err(CheckpointError::Chain { found, expected: last.header.continues.clone() });
        }
        let mut links: Vec<Link> = chain.iter().map(|link| link.0.unread()).collect();
        let (origin, live) = (last.header.origin, last.header.live);
        let mut folds = BTreeMap::new();
        for fold in &last.header.folds {
            let FoldHeader { key, span, .. } = fold;
            let Some(view) = defined(fold, views) else {
                tracing::warn!(%partition, view = key.view, "a view's definition has changed: its states in the checkpoint are not used");
                continue;
            };
            if !span.is_sound(live) || span.from != key.epoch.from(partition, origin) {
                let epoch = key.epoch.to_string();
                return Err(CheckpointError::Span { epoch, view: key.view.clone(), span: *span, live });
            }
            let table = table(view.clone(), key, chain, &mut links)?;
            folds.insert(key.clone(), Fold::restored(table, *span));
        }
        let log = last.header.log.clone();
        Ok(Checkpoint { origin, live, log, folds, chain: Chain::loaded(links) })
    }

    /// The objects that it was read from, the base first.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Takes note of objects on the same base: those that are not of this chain are not needed for long.
    pub(crate) fn beside<'a>(&mut self, paths: impl Iterator<Item = &'a str>) {
        self.chain.beside(paths);
    }
}

/// The view that a fold is of, as it is defined now.
fn defined<'a>(fold: &FoldHeader, views: &'a BTreeMap<String, Arc<View>>) -> Option<&'a Arc<View>> {
    views.get(&fold.key.view).filter(|view| view.hash == fold.hash)
}

/// The states of a fold at the chain's end. Notes in `links` which rows are whose.
fn table(
    view: Arc<View>,
    key: &FoldKey,
    chain: &[&StoredLink],
    links: &mut [Link],
) -> Result<StateTable, CheckpointError> {
    let torn = |link: &Opened| CheckpointError::Torn {
        epoch: key.epoch.to_string(),
        view: key.view.clone(),
        path: link.path.clone(),
    };
    let mut images: Vec<Encoded> = Vec::new();
    let mut extent = None;
    for (StoredLink(link), read) in chain.iter().zip(links) {
        let place = link.header.folds.iter().position(|fold| fold.key == *key);
        let Some(place) = place else {
            // Forgotten then; if it is there again, a later link has it whole.
            extent = None;
            continue;
        };
        let fold = &link.header.folds[place];
        match &fold.since {
            None => images.clear(),
            Some(since) if Some(since) == extent => {}
            Some(_) => return Err(torn(link)),
        }
        extent = Some(&fold.extent);
        let Some(image) = link.image(place)? else { continue };
        if let (Some(part), Some(rows)) = (read.parts.get_mut(key), image::rows(&image)?) {
            part.changes = Changes::Rows(rows.iter().copied().collect());
        }
        images.push(image);
    }
    let table = image::restore(view, &images)?;
    match chain.last() {
        Some(StoredLink(last)) if extent != Some(&image::Extent::of(&table)) => Err(torn(last)),
        _ => Ok(table),
    }
}

impl Opened {
    /// This object, as a link of which it is not known yet which rows it has.
    fn unread(&self) -> Link {
        let part = |fold: &FoldHeader| Part {
            changes: if fold.since.is_none() { Changes::All } else { Changes::none() },
            extent: fold.extent.clone(),
            rows: fold.rows,
        };
        Link {
            path: self.path.clone(),
            revision: 0,
            cut: 0,
            kept: self.header.continues.len(),
            parts: self.header.folds.iter().map(|fold| (fold.key.clone(), part(fold))).collect(),
        }
    }
}
