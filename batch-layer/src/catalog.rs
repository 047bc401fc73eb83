//! `catalog.sql`: the newest versions of all streams as DuckDB views over named files.
//!
//! Files are named one by one, never by a glob, so a reader sees whole versions. Addresses are
//! absolute: `duckdb -init catalog.sql` works from any folder.

use std::collections::BTreeMap;
use std::fmt::Write;

use watershed_schemas::layout::{self, Object};
use watershed_schemas::manifest::{Manifest, ViewVersion};
use watershed_schemas::states::{WINDOW_END, WINDOW_START};
use watershed_store::{Store, StoreError};

/// How often the catalogue is written anew because another stream published meanwhile.
const ROUNDS: usize = 3;

/// Writes the catalogue of everything that is published now, unless it stands there already. `known` is what was just
/// published, if anything was.
pub(crate) async fn refresh(store: &Store, known: Option<&Manifest>) -> Result<(), StoreError> {
    let known = known.map(|known| (known.stream.clone(), known.clone())).into_iter().collect();
    let mut newest = newest_of_all(store, &known).await?;
    for _ in 0..ROUNDS {
        let text = text(newest.values(), |path| store.address(path));
        if store.get(layout::CATALOG).await?.is_some_and(|written| written == text.as_bytes()) {
            break;
        }
        store.put(layout::CATALOG, text.into()).await?;
        // Another stream's run may have written the catalogue between our look and our put.
        let now = newest_of_all(store, &newest).await?;
        if now == newest {
            break;
        }
        newest = now;
    }
    Ok(())
}

/// Each stream's newest manifest, by its name. Those that are known already are not read again.
async fn newest_of_all(
    store: &Store,
    known: &BTreeMap<String, Manifest>,
) -> Result<BTreeMap<String, Manifest>, StoreError> {
    let mut last = Vec::new();
    for manifest in known.values() {
        if store.manifest(&manifest.stream, manifest.version.next()).await?.is_none() {
            last.push(manifest);
        }
    }
    // Retention removes the oldest first: one that is there after its successor was not is the newest.
    let listed = store.list(layout::VERSIONS).await?;
    let is_listed = |manifest: &&&Manifest| {
        let Manifest { stream, version, .. } = manifest;
        listed.contains(&Object::Manifest { stream: stream.clone(), version: *version }.path())
    };
    let last = last.iter().filter(is_listed);
    let mut newest: BTreeMap<String, Manifest> =
        last.map(|manifest| (manifest.stream.clone(), Manifest::clone(manifest))).collect();
    for path in &listed {
        if let Some(Object::Manifest { stream, .. }) = Object::parse(path)
            && !newest.contains_key(&stream)
            && let Some(manifest) = store.newest(&stream, None).await?
        {
            newest.insert(stream, manifest);
        }
    }
    Ok(newest)
}

/// The catalogue's SQL. Statements are in the order of streams, then views.
fn text<'a>(manifests: impl Iterator<Item = &'a Manifest>, address: impl Fn(&str) -> String) -> String {
    let mut sql = String::from(
        "-- The newest published versions, for DuckDB: duckdb -init catalog.sql\n\
         -- Views by name; batch.<view> adds the mergeable states, events.<stream> is the master dataset.\n\
         CREATE SCHEMA IF NOT EXISTS events;\nCREATE SCHEMA IF NOT EXISTS batch;\n",
    );
    for manifest in manifests {
        let Manifest { stream, version, watershed, .. } = manifest;
        // Comments end at the line's end, and names are checked words: nothing here can leave its line.
        _ = writeln!(sql, "\n-- stream {stream}, version {version}, watershed {watershed}");
        let events: Vec<String> = manifest.events.iter().map(|file| address(&file.file.path)).collect();
        let name = format!("events.{}", quoted(stream));
        push_view(&mut sql, &name, "*", &events);
        for (view, published) in &manifest.views {
            let files: Vec<String> = published.files.iter().map(|file| address(&file.file.path)).collect();
            push_view(&mut sql, &format!("batch.{}", quoted(view)), "*", &files);
            push_view(&mut sql, &quoted(view), &columns(published), &files);
        }
    }
    sql
}

/// What people read: the window's start under the view's own name, its end, dimensions and measures.
fn columns(view: &ViewVersion) -> String {
    let window = format!("{WINDOW_START} AS {}", quoted(&view.window));
    let columns = view.columns.iter().map(|column| quoted(column));
    [window, WINDOW_END.to_string()].into_iter().chain(columns).collect::<Vec<_>>().join(", ")
}

fn push_view(sql: &mut String, name: &str, columns: &str, files: &[String]) {
    if files.is_empty() {
        _ = writeln!(sql, "-- {name} has no rows yet");
        return;
    }
    let files: Vec<String> = files.iter().map(|file| format!("  '{}'", file.replace('\'', "''"))).collect();
    _ = writeln!(
        sql,
        "CREATE OR REPLACE VIEW {name} AS SELECT {columns} FROM read_parquet([\n{}\n], hive_partitioning = false, \
         union_by_name = true);",
        files.join(",\n")
    );
}

fn quoted(identifier: &str) -> String {
    format!("\"{}\"", identifier.replace('"', "\"\""))
}
