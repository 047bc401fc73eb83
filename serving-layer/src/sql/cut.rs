//! What the tables of a statement are taken from.
//!
//! Guarantee (invariant `COVER`): all tables of one stream are folds of the same records. A merged view, its version
//! alone and the events below it are taken from one version, and merged views reach to the same live offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use watershed_schemas::manifest::Version;
use watershed_schemas::offsets::Offsets;
use watershed_schemas::scope::Scope;
use watershed_schemas::sql_worker::TableName;
use watershed_schemas::stream::{OFFSET_COLUMN, Stream};
use watershed_schemas::view::View;

use super::fold::Cells;
use super::tables::{self, Known};
use crate::answer::Block;
use crate::ask::{Halves, Serving, block};
use crate::refusal::Refusal;
use crate::versions::{Loaded, LoadedView, StreamState};

/// One version of a stream, and the live halves of its views that are to be merged.
pub struct Cut {
    pub block: Block,
    loaded: Option<Arc<Loaded>>,
    merged: BTreeMap<String, Merged>,
}

struct Merged {
    definition: Arc<View>,
    halves: Halves,
    source: Source,
    live: Offsets,
}

/// What a table's rows follow from, but for how far they reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The hash of the view's definition; none for events.
    definition: Option<String>,
    version: Option<(Version, String)>,
    watershed: Offsets,
}

/// A table as it is now: tables of one source that reach to the same offsets hold the same records.
pub struct Taken {
    pub source: Source,
    /// How far its live half reaches; nowhere for a table without one.
    pub live: Offsets,
    pub content: Content,
}

pub enum Content {
    Cells(Cells),
    Events(Arc<Stream>, Arc<Loaded>),
}

impl Cut {
    pub async fn take(serving: &Serving, state: &StreamState, tables: &[Known]) -> Result<Cut, Refusal> {
        let views: Vec<&Arc<View>> = (tables.iter())
            .filter_map(|table| match table {
                Known::Merged(view) => Some(view),
                Known::Batch(_) | Known::Events(_) => None,
            })
            .collect();
        loop {
            let asked = definitions(serving, state, &views).await?;
            if asked.is_empty() {
                let loaded = state.current();
                let block = block(state, loaded.as_deref(), None);
                return Ok(Cut { block, loaded, merged: BTreeMap::new() });
            }
            let halves = serving.live_halves(state, &asked, &Scope::default()).await?;
            // A version that holds another definition may have come into service meanwhile.
            let now = definitions(serving, state, &views).await?;
            if now.iter().map(|view| &view.hash).ne(asked.iter().map(|view| &view.hash)) {
                continue;
            }
            let first = &halves[0];
            let block = block(state, first.held(&asked[0]), first.live.as_ref());
            let loaded = first.loaded.clone();
            let named = views.iter().map(|view| view.name.clone());
            let merged = asked.into_iter().zip(halves).map(|(view, halves)| Merged::of(state, view, halves));
            return Ok(Cut { block, loaded, merged: named.zip(merged).collect() });
        }
    }

    /// One of the tables that it was taken for.
    pub fn table(&self, table: &Known) -> Result<Taken, Refusal> {
        Ok(match table {
            Known::Merged(view) => {
                let merged = &self.merged[&view.name];
                let live = merged.halves.live.as_ref().map(|live| live.tables.clone()).unwrap_or_default();
                let batch = batch(&merged.definition, merged.halves.held(&merged.definition));
                Taken {
                    source: merged.source.clone(),
                    live: merged.live.clone(),
                    content: Content::Cells(Cells { view: merged.definition.clone(), batch, live }),
                }
            }
            Known::Batch(view) => {
                let loaded = self.loaded.as_deref();
                let held = loaded.and_then(|loaded| loaded.definition(&view.name)).cloned();
                let view = held.ok_or_else(|| no_version(&table.name()))?;
                Taken {
                    source: Source::of(Some(view.hash.clone()), loaded),
                    live: Offsets::new(),
                    content: Content::Cells(Cells { batch: batch(&view, loaded), view, live: Vec::new() }),
                }
            }
            Known::Events(stream) => {
                let loaded = self.loaded.clone().ok_or_else(|| no_version(&table.name()))?;
                Taken {
                    source: Source::of(None, Some(&loaded)),
                    live: Offsets::new(),
                    content: Content::Events(stream.clone(), loaded),
                }
            }
        })
    }
}

impl Merged {
    fn of(state: &StreamState, definition: Arc<View>, halves: Halves) -> Merged {
        let held = halves.held(&definition);
        let Block { watershed, live, .. } = block(state, held, halves.live.as_ref());
        let source = Source { watershed, ..Source::of(Some(definition.hash.clone()), held) };
        Merged { definition, halves, source, live }
    }
}

impl Source {
    fn of(definition: Option<String>, loaded: Option<&Loaded>) -> Source {
        let manifest = loaded.map(|loaded| &loaded.manifest);
        Source {
            definition,
            version: manifest.map(|manifest| (manifest.version, manifest.run_id.clone())),
            watershed: manifest.map(|manifest| manifest.watershed.clone()).unwrap_or_default(),
        }
    }
}

impl Content {
    /// The columns of the table that may matter to a statement, which names these in lower case; at least one, since
    /// something has to tell how many rows there are.
    pub fn columns(&self, named: Option<&BTreeSet<String>>) -> BTreeSet<String> {
        let (all, least) = match self {
            Content::Cells(cells) => (tables::cell_columns(&cells.view), cells.view.window.name.as_str()),
            Content::Events(stream, _) => {
                (tables::event_columns(stream).into_iter().map(|(name, _)| name).collect(), OFFSET_COLUMN)
            }
        };
        let matters = |name: &&str| named.is_none_or(|named| named.contains(&name.to_lowercase()));
        let mut columns: BTreeSet<String> = all.into_iter().filter(matters).map(str::to_string).collect();
        if columns.is_empty() {
            columns.insert(least.to_string());
        }
        columns
    }
}

fn batch(view: &Arc<View>, held: Option<&Loaded>) -> Arc<LoadedView> {
    let batch = held.and_then(|held| held.views.get(&view.name)).cloned();
    batch.unwrap_or_else(|| Arc::new(LoadedView::empty(view.clone())))
}

fn no_version(table: &TableName) -> Refusal {
    Refusal::not_ready(format!("no version holds {} yet: run `watershed batch run`", tables::shown(table)))
}

async fn definitions(
    serving: &Serving,
    state: &StreamState,
    views: &[&Arc<View>],
) -> Result<Vec<Arc<View>>, Refusal> {
    let mut definitions = Vec::with_capacity(views.len());
    for view in views {
        definitions.push(serving.definition(state, view, None).await?);
    }
    Ok(definitions)
}
