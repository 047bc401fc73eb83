//! Retention: old versions, and files that no retained version names.
//!
//! A manifest goes before its files, the oldest first, so a crash leaves orphans and never a version
//! with missing files. Nothing goes that somebody may still be reading or about to publish.

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
    /// A file that no version names stays for this long: longer than any run takes.
    pub orphans: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        let minute = Duration::from_secs(60);
        Retention { versions: 5, superseded: 10 * minute, orphans: 24 * 60 * minute }
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
    let mut folders = folders(newest);
    for version in &dropped {
        if let Some(manifest) = store.manifest(stream, *version).await? {
            unnamed.extend(named(&manifest));
            folders.extend(self::folders(&manifest));
            store.delete(&Object::Manifest { stream: stream.clone(), version: *version }.path()).await?;
        }
    }
    for folder in folders {
        let orphans = store.list_objects(&folder).await?;
        let old =
            |object: &StoredObject| object.modified_ms.saturating_add(millis(retention.orphans)) <= now_ms;
        unnamed.extend(orphans.into_iter().filter(old).map(|object| object.path));
    }
    let retained = published.iter().map(|(version, _)| *version).filter(|version| !dropped.contains(version));
    for version in retained {
        if let Some(manifest) = store.manifest(stream, version).await? {
            named(&manifest).for_each(|path| _ = unnamed.remove(path.as_str()));
        }
    }
    if !unnamed.is_empty() {
        keep_what_other_streams_name(store, stream, &mut unnamed).await?;
    }
    for path in &unnamed {
        store.delete(path).await?;
    }
    Ok(dropped.len() + unnamed.len())
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

/// The paths of all files of a version.
fn named(manifest: &Manifest) -> impl Iterator<Item = String> + '_ {
    let events = manifest.events.iter().map(|file| &file.file);
    let dead_letters = manifest.dead_letters.iter().map(|file| &file.file);
    let views = manifest.views.values().flat_map(|view| &view.files).map(|file| &file.file);
    events.chain(dead_letters).chain(views).map(|file| file.path.clone())
}

/// Where a version's files lie.
fn folders(manifest: &Manifest) -> BTreeSet<String> {
    let views = manifest.views.keys().map(|view| layout::views(view));
    views.chain([layout::events(&manifest.stream), layout::dead_letters(&manifest.stream)]).collect()
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
