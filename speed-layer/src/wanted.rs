//! Which folds there must be, and which may go.
//!
//! A fold must be there for every question that a serving node may ask soon: at the newest version and
//! the one before it (some servers still answer from that), and at the target of every run that is
//! alive. A view that a version does not hold with this very definition is asked from the log's start
//! instead. "No version yet" counts as a version that holds no view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use watershed_schemas::identity::LogIdentity;
use watershed_schemas::manifest::{Intent, Manifest, Version};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};

use crate::epoch::{Epoch, FoldKey};
use crate::landed::Landed;

/// What the speed layer needs to know of a published version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Published {
    pub version: Version,
    pub watershed: Offsets,
    pub origin: Offsets,
    /// The log that it was folded from.
    pub log: LogIdentity,
    /// Hash by view.
    pub views: BTreeMap<String, String>,
    pub landed: Arc<Landed>,
}

impl From<&Manifest> for Published {
    fn from(manifest: &Manifest) -> Self {
        Published {
            version: manifest.version,
            watershed: manifest.watershed.clone(),
            origin: manifest.origin.clone(),
            log: manifest.log.clone(),
            views: manifest.views.iter().map(|(name, view)| (name.clone(), view.hash.clone())).collect(),
            landed: Arc::new(Landed::from(manifest)),
        }
    }
}

/// What the store says about a stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    pub newest: Option<Published>,
    /// The version before the newest, unless retention took it.
    pub previous: Option<Published>,
    pub intents: Vec<Intent>,
}

/// Which folds are wanted of every partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Must be there.
    pub open: BTreeSet<FoldKey>,
    /// Stay if they are there: `open`, and what servers that are one version behind may still ask, which is not
    /// worth reading the whole log again.
    pub keep: BTreeSet<FoldKey>,
    /// The epoch of the newest version: where a partition without a checkpoint begins.
    pub newest: Epoch,
    /// Where the log began, as the newest version says; without a version the log itself says it.
    pub origin: Option<Offsets>,
    /// The log that the newest version was folded from, as far as that is known.
    pub log: LogIdentity,
    /// What can be read where the log has let go of it; nothing before there is a version.
    pub landed: Arc<Landed>,
}

impl Wanted {
    /// The first offset of the origin epoch of a partition, `held` being what its log holds.
    pub fn origin(&self, partition: Partition, held: OffsetRange) -> Offset {
        self.origin.as_ref().map_or(held.from, |origin| origin.get(partition))
    }
}

/// Decides. `views` are the project's views over the stream with their hashes; leases are judged at `now_ms`
/// (milliseconds since 1970-01-01).
pub fn wanted(views: &BTreeMap<String, String>, known: &Known, now_ms: i64) -> Wanted {
    let mut open: BTreeSet<FoldKey> = asked_at(views, known.newest.as_ref()).collect();
    let mut keep = BTreeSet::new();
    if let Some(newest) = &known.newest {
        for key in asked_at(views, known.previous.as_ref()) {
            match (&key.epoch, &known.previous) {
                (Epoch::At(_), _) => open.insert(key),
                // Retention took the version before: nobody answers from it.
                (Epoch::Origin, None) if newest.version != Version(1) => false,
                (Epoch::Origin, _) => keep.insert(key),
            };
        }
    }
    let newest = known.newest.as_ref().map_or(Version::default(), |newest| newest.version);
    let alive =
        known.intents.iter().filter(|intent| intent.version > newest && intent.lease_until_ms > now_ms);
    for intent in alive {
        let target = Epoch::At(intent.target.clone());
        open.extend(views.keys().map(|view| target.of(view)));
    }
    keep.extend(open.iter().cloned());
    Wanted {
        open,
        keep,
        newest: known.newest.as_ref().map_or(Epoch::Origin, |newest| Epoch::At(newest.watershed.clone())),
        origin: known.newest.as_ref().map(|newest| newest.origin.clone()),
        log: known.newest.as_ref().map(|newest| newest.log.clone()).unwrap_or_default(),
        landed: known.newest.as_ref().map(|newest| newest.landed.clone()).unwrap_or_default(),
    }
}

/// The folds that a server which answers from `version` asks for.
fn asked_at<'a>(
    views: &'a BTreeMap<String, String>,
    version: Option<&'a Published>,
) -> impl Iterator<Item = FoldKey> + 'a {
    views.iter().map(move |(view, hash)| match version {
        Some(version) if version.views.get(view) == Some(hash) => {
            Epoch::At(version.watershed.clone()).of(view)
        }
        _ => Epoch::Origin.of(view),
    })
}
