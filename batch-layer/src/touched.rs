//! Which windows events touch that no version's views hold yet.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use polars::prelude::*;
use watershed_schemas::manifest::EventFile;
use watershed_schemas::stream::Stream;
use watershed_schemas::view::View;
use watershed_store::Store;

use crate::BatchError;
use crate::engine::Engine;
use crate::plan::ViewPlan;

/// What of a view has to be made anew.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Touched {
    /// Every window that has events.
    All,
    /// The windows that start at these times (microseconds).
    Windows(BTreeSet<i64>),
}

/// Adds the starts of the windows that these events fall into. Events that the view's filter drops touch nothing.
pub(crate) fn add(starts: &mut BTreeSet<i64>, view: &View, events: LazyFrame) -> PolarsResult<()> {
    let counted = match &view.filter {
        Some(filter) => events.filter(filter.expr.clone()),
        None => events,
    };
    let time = view.stream.event_time().name.as_str();
    let times = counted.select([col(time)]).collect()?;
    let mut times: Vec<i64> = times.column(time)?.datetime()?.physical().iter().flatten().collect();
    let window = view.window.window;
    times.iter_mut().for_each(|time| *time = window.start(*time));
    // Events of one window follow one another.
    times.dedup();
    starts.extend(times);
    Ok(())
}

/// By view, the starts of the windows that the events of these files touch. Views that are made anew as a whole are left
/// out. One file is held at a time.
pub(crate) async fn by_files(
    store: &Store,
    stream: &Arc<Stream>,
    views: &[ViewPlan],
    files: &[EventFile],
    engine: &Arc<dyn Engine>,
) -> Result<BTreeMap<String, BTreeSet<i64>>, BatchError> {
    let views: Vec<Arc<View>> =
        views.iter().filter(|view| !view.whole).map(|view| view.view.clone()).collect();
    let mut touched = BTreeMap::new();
    for file in if views.is_empty() { &[][..] } else { files } {
        let bytes = store.read(&file.file).await?;
        let (stream, views, engine) = (stream.clone(), views.clone(), engine.clone());
        let mut found = std::mem::take(&mut touched);
        let looked = store.beside(move || {
            for view in &views {
                let starts = found.entry(view.name.clone()).or_default();
                let events = engine.read_events(&stream, &bytes);
                let added = events.and_then(|events| add(starts, view, events));
                added.map_err(|source| BatchError::Compute { view: view.name.clone(), source })?;
            }
            Ok::<_, BatchError>(found)
        });
        touched = looked.await??;
    }
    Ok(touched)
}
