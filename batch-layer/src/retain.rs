//! Retention: old versions, and files that no retained version names.
//!
//! A manifest goes before its files, the oldest first, so a crash leaves orphans and never a version
//! with missing files. Nothing goes that somebody may still be reading or about to publish, nor any
//! file that the store's layout does not know. While the manifest of a version that stays cannot be read, what
//! it names is not known, and no file goes.

use std::collections::BTreeSet;
use std::time::Duration;

use watershed_schemas::layout::{self, Object};
use watershed_schemas::manifest::{Manifest, Version};
use watershed_store::{Store, StoreError, StoredObject};

/// What is kept.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// How many of the newest versions stay, at least one.
    pub versions: usize,
    /// A version stays for this long after its successor came, whatever the count: answers are being made from
    /// it, and a run that began on it must find that its number is taken.
    pub superseded: Duration,
    /// A file that no version names stays for this long, and for as long as its run has an intent.
    pub orphans: Duration,
}

/// Orphans are looked for so many times in the age at which they go.
const PARTS: i64 = 24;

impl Default for Retention {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Retention { versions: 5, superseded: 10 * minute, orphans: 24 * 60 * minute }
    }
}

impl Retention {
    /// The oldest version that stays whatever time passes, until one comes after `newest`.
    pub(crate) fn oldest_kept(self, newest: Version) -> Version {
        let others = u64::try_from(self.versions.max(1) - 1).unwrap_or(u64::MAX);
        Version(newest.0.saturating_sub(others).max(1))
    }
}

/// The versions to drop, oldest first. `published` has when each was published (milliseconds since 1970-01-01),
/// oldest version first.
fn dropped(published: &[(Version, i64)], retention: Retention, now_ms: i64) -> Vec<Version> {
    let past_count = published.len().saturating_sub(retention.versions.max(1));
    let superseded = |successor: i64| successor.saturating_add(millis(retention.superseded)) <= now_ms;
    let versions = published.windows(2).take(past_count);
    // The first that has to stay keeps all later ones: versions go in their order.
    versions.take_while(|pair| superseded(pair[1].1)).map(|pair| pair[0].0).collect()
}

/// Drops what is past retention; gives the number of removed objects.
pub(crate) async fn retain(
    store: &Store,
    newest: &Manifest,
    retention: Retention,
    now_ms: i64,
) -> Result<usize, StoreError> {
    let stream = &newest.stream;
    let mut published = Vec::new();
    for object in store.list_objects(&layout::versions(stream)).await? {
        if let Some(Object::Manifest { version, .. }) = Object::parse(&object.path) {
            published.push((version, object.modified_ms));
        }
    }
    published.sort();
    let dropped = dropped(&published, retention, now_ms);
    let mut unnamed = BTreeSet::new();
    for version in &dropped {
        match store.manifest(stream, *version).await {
            Ok(Some(manifest)) => unnamed.extend(named(&manifest)),
            Ok(None) => continue,
            // What it named goes with age, as what dead runs leave.
            Err(error) if error.is_damage() => {
                tracing::warn!(stream, %version, %error, "a damaged version is past retention");
            }
            Err(error) => return Err(error),
        }
        store.delete(&Object::Manifest { stream: stream.clone(), version: *version }.path()).await?;
    }
    let before = published.iter().rfind(|(version, _)| *version < newest.version).map(|(_, at_ms)| *at_ms);
    let is_due = is_due(retention.orphans, before, now_ms);
    if is_due {
        unnamed.extend(orphans(store, stream, retention, now_ms).await?);
    }
    if !unnamed.is_empty() {
        let oldest_kept =
            published.get(dropped.len()).map_or(newest.version, |(oldest_kept, _)| *oldest_kept);
        keep_what_versions_name(store, stream, oldest_kept, newest.version, &mut unnamed).await?;
        keep_what_other_streams_name(store, stream, &mut unnamed).await?;
    }
    for path in &unnamed {
        store.delete(path).await?;
    }
    let mut swept = 0;
    if is_due {
        let unfinished = now_ms.saturating_sub(millis(retention.orphans));
        swept = store.sweep_unfinished(&layout::folders(stream), unfinished).await?;
    }
    Ok(dropped.len() + unnamed.len() + swept)
}

/// True for the first run in each of the parts that the age of orphans is cut into: looking through all files takes time
/// that grows with them. `before` is when the version before was published.
fn is_due(age: Duration, before: Option<i64>, now_ms: i64) -> bool {
    let part = (millis(age) / PARTS).max(1);
    before.is_none_or(|before| before.div_euclid(part) != now_ms.div_euclid(part))
}

/// What is old, and of no run that is on its way.
async fn orphans(
    store: &Store,
    stream: &str,
    retention: Retention,
    now_ms: i64,
) -> Result<Vec<String>, StoreError> {
    let running = running(store).await?;
    let orphaned = |object: &StoredObject| {
        let old = object.modified_ms.saturating_add(millis(retention.orphans)) <= now_ms;
        old && run_of(&object.path).is_some_and(|run| !running.contains(&run))
    };
    let mut orphans = Vec::new();
    // All views: what dead runs leave may belong to one that no version has ever named.
    for folder in [layout::events(stream), layout::dead_letters(stream), layout::VIEWS.to_string()] {
        let found = store.list_objects(&folder).await?;
        orphans.extend(found.into_iter().filter(orphaned).map(|object| object.path));
    }
    Ok(orphans)
}

/// Takes out what any version of the stream names.
async fn keep_what_versions_name(
    store: &Store,
    stream: &str,
    oldest_kept: Version,
    newest: Version,
    unnamed: &mut BTreeSet<String>,
) -> Result<(), StoreError> {
    // Counted down and up, for numbers have no holes: this sees what a listing may not show yet, and a version that
    // came meanwhile, such as a rollback to an old one.
    let mut version = oldest_kept;
    while let Some(before) = version.0.checked_sub(1).filter(|before| *before > 0).map(Version)
        && store.manifest(stream, before).await?.is_some()
    {
        version = before;
    }
    loop {
        match store.manifest(stream, version).await? {
            Some(manifest) => named(&manifest).for_each(|path| _ = unnamed.remove(&path)),
            None if version > newest => break Ok(()),
            None => {}
        }
        version = version.next();
    }
}

/// A view that moved to another stream keeps its folder.
async fn keep_what_other_streams_name(
    store: &Store,
    stream: &str,
    unnamed: &mut BTreeSet<String>,
) -> Result<(), StoreError> {
    for path in store.list(layout::VERSIONS).await? {
        let Some(Object::Manifest { stream: other, version }) = Object::parse(&path) else { continue };
        if other != stream
            && let Some(manifest) = store.manifest(&other, version).await?
        {
            named(&manifest).for_each(|path| _ = unnamed.remove(path.as_str()));
        }
    }
    Ok(())
}

/// The paths of all files of a version, those above its watershed too.
fn named(manifest: &Manifest) -> impl Iterator<Item = String> + '_ {
    let events = manifest.landed_events().map(|file| &file.file);
    let dead_letters = manifest.landed_dead_letters().map(|file| &file.file);
    let views = manifest.views.values().flat_map(|view| &view.files).map(|file| &file.file);
    events.chain(dead_letters).chain(views).map(|file| file.path.clone())
}

/// The runs that have an intent, whichever stream's: their files may yet be named, however long they take, and a
/// view's folder does not say which stream's run is writing in it.
async fn running(store: &Store) -> Result<BTreeSet<String>, StoreError> {
    let intents = store.list(layout::INTENTS).await?;
    Ok(intents.iter().filter_map(|path| run_of(path)).collect())
}

/// The run that wrote an object.
fn run_of(path: &str) -> Option<String> {
    match Object::parse(path)? {
        Object::Events { run, .. }
        | Object::DeadLetters { run, .. }
        | Object::View { run, .. }
        | Object::Intent { run, .. } => Some(run),
        Object::Manifest { .. } | Object::Checkpoint { .. } | Object::Catalog => None,
    }
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
