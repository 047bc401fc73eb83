//! Which folds there must be, and which may go.
//!
//! A fold must be there for every question that a serving node may ask soon: at the newest version and
//! the one before it (some servers still answer from that), and at the target of every run that is
//! alive. A view that a version does not hold is asked from the log's start instead, one that it holds in
//! another definition is asked in that one, if it is known ([`superseded`]). "No version yet" counts as a
//! version that holds no view.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use watershed_schemas::identity::LogIdentity;
use watershed_schemas::manifest::{Intent, Manifest, Version};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};
use watershed_schemas::superseded;
use watershed_schemas::view::View;

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
    /// Hash by view; each also under the name that its definition has when it is the view's no more.
    pub views: BTreeMap<String, String>,
    /// By view, its definition as it was written.
    pub sql: BTreeMap<String, String>,
    pub landed: Arc<Landed>,
}

impl From<&Manifest> for Published {
    fn from(manifest: &Manifest) -> Self {
        let views = manifest.views.iter().flat_map(|(name, view)| {
            [name.clone(), superseded::name(name, &view.hash)].map(|name| (name, view.hash.clone()))
        });
        Published {
            version: manifest.version,
            watershed: manifest.watershed.clone(),
            origin: manifest.origin.clone(),
            log: manifest.log.clone(),
            views: views.collect(),
            sql: manifest.views.iter().map(|(name, view)| (name.clone(), view.sql.clone())).collect(),
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
    /// Definitions that are not the project's and that folds are wanted of.
    pub superseded: Superseded,
}

/// Definitions that are the project's no more, by their names. Equal where names and hashes are.
#[derive(Clone, Debug, Default)]
pub struct Superseded(pub BTreeMap<String, Arc<View>>);

impl Superseded {
    /// What the versions that servers may answer from hold of the project's views in other definitions.
    pub fn of(known: &Known, views: &BTreeMap<String, Arc<View>>) -> Superseded {
        let versions = known.newest.iter().chain(&known.previous);
        let found = versions.flat_map(|version| {
            version.sql.iter().filter_map(move |(name, sql)| {
                superseded::view(views.get(name)?.as_ref(), version.views.get(name)?, sql)
            })
        });
        Superseded(found.map(|view| (view.name.clone(), view)).collect())
    }
}

impl PartialEq for Superseded {
    fn eq(&self, other: &Self) -> bool {
        let hashes = |of: &Superseded| {
            of.0.iter().map(|(name, view)| (name.clone(), view.hash.clone())).collect::<Vec<_>>()
        };
        hashes(self) == hashes(other)
    }
}

impl Eq for Superseded {}

/// The project's views, and what versions hold of them in other definitions: compiled when these change.
#[derive(Debug)]
pub struct Definitions {
    views: BTreeMap<String, Arc<View>>,
    /// The hashes that the versions hold.
    held: [Option<BTreeMap<String, String>>; 2],
    superseded: Superseded,
}

impl Definitions {
    pub fn new(views: BTreeMap<String, Arc<View>>) -> Self {
        Definitions { views, held: [None, None], superseded: Superseded::default() }
    }

    /// [`wanted`] of all definitions that servers may ask for.
    pub fn wanted(&mut self, known: &Known, now_ms: i64) -> Wanted {
        let held = [&known.newest, &known.previous].map(|of| of.as_ref().map(|of| of.views.clone()));
        if self.held != held {
            (self.held, self.superseded) = (held, Superseded::of(known, &self.views));
        }
        let all = self.views.iter().chain(&self.superseded.0);
        let hashes = all.map(|(name, view)| (name.clone(), view.hash.clone())).collect();
        Wanted { superseded: self.superseded.clone(), ..wanted(&hashes, known, now_ms) }
    }
}

impl Wanted {
    /// The view of this name: one of the project's `views`, or a definition that is a view's no more.
    pub fn view<'a>(&'a self, views: &'a BTreeMap<String, Arc<View>>, name: &str) -> Option<&'a Arc<View>> {
        views.get(name).or_else(|| self.superseded.0.get(name))
    }

    /// The fields of the stream that all views read, the project's and the others.
    pub fn fields_read(&self, views: &BTreeMap<String, Arc<View>>) -> BTreeSet<String> {
        let all = views.values().chain(self.superseded.0.values());
        all.flat_map(|view| view.fields_read()).map(str::to_string).collect()
    }

    /// The first offset of the origin epoch of a partition, `held` being what its log holds.
    pub fn origin(&self, partition: Partition, held: OffsetRange) -> Offset {
        self.origin.as_ref().map_or(held.from, |origin| origin.get(partition))
    }
}

/// Decides. `views` are the project's views over the stream with their hashes, and those of [`Superseded::of`];
/// leases are judged at `now_ms` (milliseconds since 1970-01-01).
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
        let views = views.keys().filter(|view| !superseded::is_name(view));
        open.extend(views.map(|view| target.of(view)));
    }
    keep.extend(open.iter().cloned());
    Wanted {
        open,
        keep,
        newest: known.newest.as_ref().map_or(Epoch::Origin, |newest| Epoch::At(newest.watershed.clone())),
        origin: known.newest.as_ref().map(|newest| newest.origin.clone()),
        log: known.newest.as_ref().map(|newest| newest.log.clone()).unwrap_or_default(),
        landed: known.newest.as_ref().map(|newest| newest.landed.clone()).unwrap_or_default(),
        superseded: Superseded::default(),
    }
}

/// The folds that a server which answers from `version` asks for.
fn asked_at<'a>(
    views: &'a BTreeMap<String, String>,
    version: Option<&'a Published>,
) -> impl Iterator<Item = FoldKey> + 'a {
    views.iter().filter_map(move |(view, hash)| {
        let held = version.and_then(|version| Some((version.views.get(view)?, &version.watershed)));
        match held {
            Some((held, watershed)) if held == hash => Some(Epoch::At(watershed.clone()).of(view)),
            Some((held, _)) if views.contains_key(&superseded::name(view, held)) => None,
            Some(_) | None if superseded::is_name(view) => None,
            Some(_) | None => Some(Epoch::Origin.of(view)),
        }
    })
}
