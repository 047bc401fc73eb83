//! Asking: one version, one live half, one answer.

mod hand_over;
mod heard;
mod kept;
mod recent;
mod required;
mod standing;
mod tables;

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use chrono::DateTime;
use tracing::Instrument as _;
use watershed_schemas::keys::Keys;
use watershed_schemas::live::{LiveError, Partials, PartialsRequest, PartitionStates};
use watershed_schemas::manifest::Version;
use watershed_schemas::offsets::Offsets;
use watershed_schemas::scope::Scope;
use watershed_schemas::states::StateTable;
use watershed_schemas::superseded;
use watershed_schemas::value::Value;
use watershed_schemas::view::View;

use crate::answer::{self, Answer, Block, Cursor, Found, Known, Pin, Recomputed, Statistics};
use crate::cells::Cells;
use crate::explain::{self, EventsRead, Explanation, Looked};
use crate::live::{Chosen, choose};
use crate::merge::{self, Groups, Selection, Source};
use crate::plan::Plan;
use crate::query::{Accuracy, Fill, Query};
use crate::recompute::{self, RecomputeError, Row};
use crate::refusal::{Reason, Refusal};
use crate::turns::{Turns, beside};
use crate::versions::{LoadError, Loaded, LoadedView, Readiness, StreamState, Streams};
use hand_over::HandOver;
use heard::Heard;
use kept::Kept;
use recent::Recent;
use standing::Standing;
use tables::Tables;

/// Questions that look at more cells than this leave the thread that serves connections.
const INLINE_CELLS: usize = 20_000;
/// Decoding a cell takes longer than looking at one.
const INLINE_DECODED: usize = 2_000;
/// How often several views are asked for again that were not cut alike, and the pause between.
const MOST_APART: usize = 20;
const BETWEEN: Duration = Duration::from_millis(10);

/// Answers questions from the streams' versions in service and the speed layer.
pub struct Serving {
    pub streams: Arc<Streams>,
    pub heard: Heard,
    tables: Arc<Tables>,
    kept: Kept,
    recent: Recent,
    standing: Standing,
    /// How long a question waits for partitions that are handed over.
    wait_for_partitions: Duration,
    /// For questions of many cells: each may hold a view's groups once more.
    pub large: Turns,
    /// For reading events anew: Polars takes every core for one question.
    recomputing: Turns,
    /// For comparing versions, which reads every file that differs.
    pub(crate) comparing: Turns,
}

/// What an answer is made of: a version, and for live questions the states at or above its watershed.
#[derive(Clone)]
pub(crate) struct Halves {
    pub(crate) loaded: Option<Arc<Loaded>>,
    pub(crate) live: Option<Live>,
}

/// The live half, as far as there is one.
#[derive(Clone)]
pub(crate) struct Live {
    chosen: Chosen,
    pub(crate) tables: Vec<Arc<StateTable>>,
    missing: Option<Missing>,
}

/// Why there is no live half.
#[derive(Clone)]
pub(crate) struct Missing {
    reason: String,
    /// It is on its way from one speed node to another.
    passing: bool,
}

impl Serving {
    /// `wait_for_partitions` is how long a question waits for partitions that are handed over.
    pub fn new(streams: Arc<Streams>, wait_for_partitions: Duration) -> Self {
        Serving {
            streams,
            heard: Heard::default(),
            tables: Arc::default(),
            kept: Kept::default(),
            recent: Recent::default(),
            standing: Standing::default(),
            wait_for_partitions,
            large: Turns::of_large_work(),
            recomputing: Turns::new(1),
            comparing: Turns::new(1),
        }
    }

    /// A view of the project by name.
    pub fn view(&self, name: &str) -> Result<&Arc<View>, Refusal> {
        let views = &self.streams.project.views;
        self.streams.project.view(name).ok_or_else(|| {
            Refusal::unknown_name("view", name, views.iter().map(|view| view.name.as_str())).at("view", name)
        })
    }

    /// A stream of the project by name.
    pub fn stream(&self, name: &str) -> Result<&StreamState, Refusal> {
        let names = self.streams.iter().map(|state| state.stream.name.as_str());
        self.streams.get(name).ok_or_else(|| Refusal::unknown_name("stream", name, names))
    }

    pub async fn ask(&self, query: &Arc<Query>) -> Result<Answer, Refusal> {
        let view = self.view(&query.view)?;
        let state = self.stream(&view.stream.name)?;
        loop {
            let definition = self.definition(state, view, query.as_of).await?;
            let answer = self.ask_in(state, &definition, query).await;
            // A version that holds another definition may have come into service meanwhile.
            if self.definition(state, view, query.as_of).await?.hash == definition.hash {
                return answer;
            }
        }
    }

    /// The definition in which a view is answered: that of the version which is asked, if it holds the view, else the
    /// project's.
    pub(crate) async fn definition(
        &self,
        state: &StreamState,
        view: &Arc<View>,
        as_of: Option<Version>,
    ) -> Result<Arc<View>, Refusal> {
        let asked = match as_of {
            Some(version) => state.retained(&self.streams, version).await.map_err(|error| unread(&error))?,
            None => state.current(),
        };
        let held = asked.as_ref().and_then(|asked| asked.definition(&view.name));
        Ok(held.unwrap_or(view).clone())
    }

    async fn ask_in(
        &self,
        state: &StreamState,
        view: &Arc<View>,
        query: &Arc<Query>,
    ) -> Result<Answer, Refusal> {
        let began = Instant::now();
        let plan = tracing::info_span!("plan").in_scope(|| self.heard.plan(query, view))?;
        if state.readiness() == Readiness::Unknown {
            let trouble = state.trouble().unwrap_or_else(|| "the store has not been read yet".to_string());
            return Err(Refusal::not_ready(trouble));
        }
        let cursor = plan.cursor.as_deref().map(|text| Cursor::read(&plan, text)).transpose()?;
        let halves = self.halves(state, &plan, cursor.as_ref());
        let halves = halves.instrument(tracing::info_span!("partials", view = view.name)).await?;
        let held = halves.held(view);
        let mut block = block(state, held, halves.live.as_ref());
        block.definition = superseded::is_name(&view.name).then(|| view.hash.clone());
        if let Some(cursor) = cursor.as_ref().filter(|cursor| cursor.pin != Pin::of(&block)) {
            return Err(gone(cursor));
        }
        let standing = plan.follows_from_records().then_some(&self.standing);
        let found = match standing.and_then(|standing| standing.find(view, &block, query)) {
            Some(found) => found,
            None => {
                let found = Arc::new(self.find(&plan, &halves, &block, cursor).await?);
                standing.into_iter().for_each(|standing| standing.keep(view, &block, query, &found));
                found
            }
        };
        if found.next_cursor.is_some() {
            self.kept.keep(view, &plan.scope, Pin::of(&block), halves.clone());
        }
        let mut statistics =
            Statistics { elapsed_ms: 0.0, batch_rows: found.batch_rows, live_groups: found.live_groups };
        let answer =
            Answer { block: block.with(found.told.clone(), found.unknown.clone()), found, statistics };
        required::meets(&answer, &plan.require)?;
        statistics.elapsed_ms = began.elapsed().as_micros() as f64 / 1_000.0;
        Ok(Answer { statistics, ..answer })
    }

    /// Merges both halves and finishes what comes of it.
    async fn find(
        &self,
        plan: &Arc<Plan>,
        halves: &Halves,
        block: &Block,
        cursor: Option<Cursor>,
    ) -> Result<Found, Refusal> {
        let (view, pin) = (&plan.view, Pin::of(block));
        let held = halves.held(view);
        let recomputed = match (plan.accuracy, held) {
            (Accuracy::Exact, Some(held)) => {
                self.recompute(held, plan).instrument(tracing::info_span!("recompute")).await?
            }
            _ => Exacts::default(),
        };
        let batch = held.and_then(|held| held.views.get(&view.name)).cloned();
        let batch = batch.unwrap_or_else(|| Arc::new(LoadedView::empty(view.clone())));
        let tables = halves.live.as_ref().map(|live| live.tables.clone()).unwrap_or_default();

        let cells = batch.rows() + tables.iter().map(|table| table.cells()).sum::<usize>();
        let small = cells <= INLINE_CELLS && plan.fill == Fill::None;
        let filtered = plan.rows.is_some();
        let known = known(block, held, halves.live.as_ref());
        let why = if plan.explain { explain_halves(plan, held, halves.live.as_ref()) } else { Vec::new() };
        let merge = tracing::info_span!("merge", cells);
        let (plan, after) = (plan.clone(), cursor.map(|cursor| cursor.after));
        let compute = move || {
            let _within = merge.entered();
            let mut found = compute(&plan, &batch, &tables, &recomputed, &known, pin, after.as_deref())?;
            if let Some(explanation) = &mut found.explanation {
                explanation.why = why;
            }
            Ok(found)
        };
        match (small, filtered) {
            (true, false) => compute(),
            // Polars evaluates the filter, which blocks the thread that it is called on.
            (true, true) => beside(compute).await?,
            (false, _) => self.large.take(compute).await?,
        }
    }

    /// What the answer is to be made of: for a page, what the page before was made of, if it is still there.
    async fn halves(
        &self,
        state: &StreamState,
        plan: &Plan,
        cursor: Option<&Cursor>,
    ) -> Result<Arc<Halves>, Refusal> {
        let view = &plan.view;
        if let Some(kept) = cursor.and_then(|cursor| self.kept.find(view, &plan.scope, cursor.pin)) {
            return Ok(kept);
        }
        if !plan.batch_only {
            return Ok(Arc::new(self.live_halves_of_one(state, view, &plan.scope).await?));
        }
        let continued = cursor.and_then(|cursor| cursor.pin.version());
        let Some(version) = plan.as_of.or(continued) else {
            return Ok(Arc::new(Halves { loaded: state.current(), live: None }));
        };
        let retained = state.retained(&self.streams, version).await.map_err(|error| unread(&error))?;
        let halves = Halves { loaded: retained, live: None };
        if halves.held(view).is_none() {
            return Err(match (plan.as_of, cursor) {
                (None, Some(cursor)) => gone(cursor),
                _ => no_such_version(view, version, halves.loaded.is_some()),
            });
        }
        Ok(Arc::new(halves))
    }

    async fn live_halves_of_one(
        &self,
        state: &StreamState,
        view: &Arc<View>,
        scope: &Scope,
    ) -> Result<Halves, Refusal> {
        // Before anything else is looked at, so that what comes after is as new as this at least.
        let glance = self.streams.live().glance(&view.stream.name);
        let find = |glance| self.recent.find(state, (view, scope), glance, state.current().as_ref());
        if let Some(halves) = glance.as_ref().and_then(find) {
            return Ok(halves);
        }
        let mut halves = self.live_halves(state, std::slice::from_ref(view), scope).await?;
        let halves = halves.pop().expect("one view has one pair of halves");
        if let Some(glance) = glance {
            self.recent.keep(state, (view, scope), glance.moved, &halves);
        }
        Ok(halves)
    }

    /// A version and the states at or above its watershed, of several views alike: all are folds of the same records.
    /// Should the epoch be gone because a newer version took over meanwhile, that one is asked for. States hold what lies
    /// in `scope` at least.
    pub(crate) async fn live_halves(
        &self,
        state: &StreamState,
        views: &[Arc<View>],
        scope: &Scope,
    ) -> Result<Vec<Halves>, Refusal> {
        let mut loaded = state.current();
        let mut hand_over = HandOver::new(self.wait_for_partitions);
        let mut apart = 0;
        loop {
            let holds = |view: &View| loaded.as_ref().filter(|loaded| loaded.views.contains_key(&view.name));
            let watershed = |view: &View| holds(view).map(|held| &held.manifest.watershed);
            let error = match self.partials(views, scope, watershed).await {
                Ok(replies) => {
                    let chosen: Vec<Chosen> = (views.iter().zip(replies))
                        .map(|(view, replies)| choose(replies, watershed(view)))
                        .collect();
                    let unheld = views.iter().zip(&chosen).any(|(view, chosen)| {
                        !hand_over::unheld(&ends(state, chosen, watershed(view)), chosen).is_empty()
                    });
                    if unheld && hand_over.wait(state, &self.streams.store).await {
                        loaded = state.current();
                        continue;
                    }
                    // Nodes on the way from one to another may be chosen differently for a moment.
                    if chosen.windows(2).any(|pair| pair[0].live != pair[1].live) {
                        apart += 1;
                        if apart > MOST_APART {
                            return Err(Refusal::not_ready(
                                "the speed layer's views are apart for the moment",
                            ));
                        }
                        self.streams.store.sleep(BETWEEN).await;
                        loaded = state.current();
                        continue;
                    }
                    let mut halves = Vec::with_capacity(views.len());
                    for (view, mut chosen) in views.iter().zip(chosen) {
                        if let (None, Some(loaded)) = (holds(view), &loaded)
                            && let Some((partition, found)) = chosen.begins_elsewhere(&loaded.manifest.origin)
                        {
                            let expected = loaded.manifest.origin.get(partition);
                            return Err(Refusal::not_ready(format!(
                                "view {} is in no version yet, and partition {partition} is folded from offset \
                                 {found}, where the log began at {expected}",
                                view.name
                            )));
                        }
                        let tables = self.decode(view, scope, &chosen).await?;
                        chosen.states = Vec::new();
                        let live = Live { chosen, tables, missing: None };
                        halves.push(Halves { loaded: loaded.clone(), live: Some(live) });
                    }
                    return Ok(halves);
                }
                Err(error) => error,
            };
            let newer = state.current();
            let same = same_version(newer.as_ref(), loaded.as_ref());
            if matches!(error, LiveError::NotReady { .. }) && !same {
                loaded = newer;
                continue;
            }
            let passing = matches!(error, LiveError::NotReady { .. })
                && hand_over::is_plausible(state, &self.streams.store);
            if passing && hand_over.wait(state, &self.streams.store).await {
                loaded = state.current();
                continue;
            }
            // With neither half there is nothing to answer from.
            if let Some(view) = views.iter().find(|view| holds(view).is_none()) {
                return Err(Refusal::not_ready(format!(
                    "view {} has no version yet, and {error}",
                    view.name
                )));
            }
            let without = |_: &Arc<View>| {
                let missing = Some(Missing { reason: error.to_string(), passing });
                let live = Live { chosen: Chosen::default(), tables: Vec::new(), missing };
                Halves { loaded: loaded.clone(), live: Some(live) }
            };
            return Ok(views.iter().map(without).collect());
        }
    }

    /// The live states of several views; `watershed` is that of the version which holds a view, if one does.
    async fn partials<'a>(
        &self,
        views: &[Arc<View>],
        scope: &Scope,
        watershed: impl Fn(&View) -> Option<&'a Offsets>,
    ) -> Result<Vec<Vec<Partials>>, LiveError> {
        let request = |view: &Arc<View>| PartialsRequest {
            stream: view.stream.name.clone(),
            view: view.name.clone(),
            view_hash: view.hash.clone(),
            watershed: watershed(view).cloned().unwrap_or_default(),
            scope: scope.clone(),
        };
        match views {
            [view] => Ok(vec![self.streams.live().partials(&request(view)).await?]),
            views => {
                let requests: Vec<PartialsRequest> = views.iter().map(request).collect();
                self.streams.live().partials_together(&requests).await
            }
        }
    }

    async fn decode(
        &self,
        view: &Arc<View>,
        scope: &Scope,
        chosen: &Chosen,
    ) -> Result<Vec<Arc<StateTable>>, Refusal> {
        let encoded = chosen.states.iter().map(|(.., states)| match states {
            PartitionStates::Held(_) => 0,
            PartitionStates::Encoded(batch) => batch.num_rows(),
        });
        if encoded.sum::<usize>() <= INLINE_DECODED {
            return self.tables.decode(view, scope, chosen);
        }
        let (tables, view, scope, chosen) =
            (self.tables.clone(), view.clone(), scope.clone(), chosen.clone());
        beside(move || tables.decode(&view, &scope, &chosen)).await?
    }

    async fn recompute(&self, held: &Loaded, plan: &Plan) -> Result<Exacts, Refusal> {
        let measures = recompute::needed(plan);
        if measures.is_empty() {
            return Ok(Exacts::default());
        }
        let turn = self.recomputing.wait().await?;
        let rows = recompute::recompute(&self.streams.store, &held.manifest, plan, &measures, turn).await;
        let read = plan.explain.then(|| EventsRead {
            measures: measures.iter().map(|index| explain::measure(plan, *index).to_string()).collect(),
            ..recompute::reads(&held.manifest, plan)
        });
        let rows = rows.map_err(|error| match error {
            RecomputeError::TooLarge { .. } => Refusal::new(Reason::TooLarge, error.to_string()),
            RecomputeError::Store(ref unread) if unread.is_unreached() => {
                Refusal::not_ready(error.to_string())
            }
            error => {
                tracing::error!(view = plan.view.name, %error, "exact values not recomputed");
                Refusal::new(Reason::Failed, error.to_string())
            }
        })?;
        Ok(Exacts { measures, rows, read })
    }
}

impl Halves {
    /// The version, if it holds the view in this very definition.
    pub(crate) fn held(&self, view: &View) -> Option<&Loaded> {
        self.loaded.as_deref().filter(|loaded| loaded.views.contains_key(&view.name))
    }

    /// Cells of the live half.
    fn live_cells(&self) -> usize {
        self.live.iter().flat_map(|live| &live.tables).map(|table| table.cells()).sum()
    }
}

fn same_version(one: Option<&Arc<Loaded>>, other: Option<&Arc<Loaded>>) -> bool {
    one.map(|loaded| loaded.version()) == other.map(|loaded| loaded.version())
}

/// Values recomputed from events: of which of the plan's measures, by group.
#[derive(Default)]
struct Exacts {
    measures: Vec<usize>,
    rows: Vec<Row>,
    /// What was read for them, if the question asks for it.
    read: Option<EventsRead>,
}

/// Merges both halves and finishes what comes of it.
fn compute(
    plan: &Plan,
    batch: &LoadedView,
    live: &[Arc<StateTable>],
    exacts: &Exacts,
    known: &Known,
    pin: Pin,
    after: Option<&[Value]>,
) -> Result<Found, Refusal> {
    let reached = |cells: &&Arc<Cells>| cells.windows.is_some_and(|(first, last)| plan.reaches(first, last));
    let read: Vec<&Arc<Cells>> = batch.files.iter().map(|file| &file.cells).filter(reached).collect();
    let below = read.iter();
    let below =
        below.map(|cells| Source { table: &cells.table, exact: Some(&cells.exact), sorted: cells.sorted });
    let above = live.iter().map(|table| Source { table, exact: None, sorted: false });
    let sources: Vec<Source<'_>> = below.chain(above).collect();
    let masks = plan.rows.as_ref().map(|rows| {
        let tables: Vec<&Keys> = sources.iter().map(|source| &source.table.keys).collect();
        rows.cells(&plan.view, &tables)
    });
    let masks = masks.transpose().map_err(|error| {
        tracing::error!(view = plan.view.name, %error, "a row filter was not evaluated");
        Refusal::new(Reason::Failed, "which rows this key may see could not be found out")
    })?;
    let selection = Selection {
        view: &plan.view,
        scope: &plan.scope,
        masks: masks.as_deref(),
        buckets: plan.buckets,
        dimensions: &plan.dimensions,
        measures: &plan.measures,
    };
    let groups = merge::merge(&sources, &selection);
    let recomputed = by_group(&groups, exacts);
    let explanation = plan.explain.then(|| {
        let rows = |tables: &[Arc<StateTable>]| tables.iter().map(|table| table.cells()).sum();
        let explanation = Explanation {
            batch: Looked {
                files: batch.files.len(),
                files_read: read.len(),
                rows_read: read.iter().map(|cells| cells.table.cells()).sum(),
                rows_taken: 0,
            },
            live: Looked { files: live.len(), files_read: live.len(), rows_read: rows(live), rows_taken: 0 },
            events: exacts.read.clone(),
            ..Explanation::default()
        };
        explanation.merged(&groups)
    });
    Ok(Found { explanation, ..answer::finish(plan, groups, &recomputed, known, pin, after)? })
}

/// Finds for each group what was recomputed for it.
fn by_group(groups: &Groups<'_>, exacts: &Exacts) -> Recomputed {
    let mut recomputed: Recomputed =
        exacts.measures.iter().map(|measure| (*measure, vec![None; groups.len()])).collect();
    for row in &exacts.rows {
        let codes =
            row.dimensions.iter().enumerate().map(|(index, value)| groups.keys.find_code(index, value));
        let group =
            codes.collect::<Option<Vec<u32>>>().and_then(|codes| groups.keys.find(row.bucket, &codes));
        if let Some(group) = group {
            for (measure, value) in exacts.measures.iter().zip(&row.measures) {
                if let Some(values) = recomputed.get_mut(measure) {
                    values[group as usize] = Some(value.clone());
                }
            }
        }
    }
    recomputed
}

/// How far the records of an answer tell of time.
fn known(block: &Block, held: Option<&Loaded>, live: Option<&Live>) -> Known {
    if let Some(gap) = block.gaps.first() {
        return Known::nothing(format!("the log had lost {gap} before it could be read"));
    }
    if let Some(current_at_ms) = live.and_then(|live| live.chosen.current_at_ms)
        && block.complete
        && current_at_ms > 0
    {
        return Known::as_of(current_at_ms.saturating_mul(1_000));
    }
    let began = held.and_then(|held| DateTime::parse_from_rfc3339(&held.manifest.created_at).ok());
    match began {
        Some(began) => Known::below_the_watershed(began.timestamp_micros()),
        None => Known::nothing("there is no version yet, and not all that is live is known".to_string()),
    }
}

/// What was decided, with what became of either half.
fn explain_halves(plan: &Plan, held: Option<&Loaded>, live: Option<&Live>) -> Vec<String> {
    let mut why = explain::decisions(plan);
    why.push(match held {
        Some(held) => format!("below the watershed: version {}, whose cells are in memory", held.version()),
        None => "below the watershed: nothing, for no version holds this view yet".to_string(),
    });
    why.extend(live.map(|live| match &live.missing {
        Some(missing) => format!("above the watershed: nothing, for {}", missing.reason),
        None => format!(
            "above the watershed: the states of {} partitions, up to the live offsets",
            live.chosen.live.len()
        ),
    }));
    why
}

/// Where an answer comes from.
pub(crate) fn block(state: &StreamState, held: Option<&Loaded>, live: Option<&Live>) -> Block {
    let manifest = held.map(|held| &held.manifest);
    let gaps = manifest.map(|manifest| manifest.gaps.clone()).unwrap_or_default();
    let version = manifest.map(|manifest| manifest.version.0);
    let stream = state.stream.name.clone();
    let below = manifest.map(|manifest| manifest.watershed.clone()).unwrap_or_default();
    let incomplete = |reason: Option<String>| match (reason, gaps.first()) {
        (Some(reason), _) => Some(reason),
        (None, Some(gap)) => Some(format!("the log had lost {gap} before it could be read")),
        (None, None) => None,
    };
    let Some(live) = live else {
        let reason = manifest.is_none().then(|| "there is no version yet".to_string());
        let freshness_ms =
            manifest.and_then(|manifest| DateTime::parse_from_rfc3339(&manifest.created_at).ok());
        let incomplete_because = incomplete(reason);
        return Block {
            stream,
            version,
            live: below.clone(),
            end: state.end().furthest(&below),
            watershed: below,
            freshness_ms: freshness_ms.map(|began| (now_ms() - began.timestamp_millis()).max(0)),
            complete: incomplete_because.is_none(),
            incomplete_because,
            passing: false,
            gaps,
            definition: None,
            overflow: None,
            unknown: None,
        };
    };
    let chosen = &live.chosen;
    let watershed = if manifest.is_some() { below } else { chosen.watershed.clone() };
    // A partition that no node holds reaches as far as the version does.
    let reached = watershed.furthest(&chosen.live);
    let end = ends(state, chosen, Some(&watershed));
    let unheld = hand_over::unheld(&end, chosen);
    let (reason, passing) = match &live.missing {
        Some(missing) => (Some(missing.reason.clone()), missing.passing),
        None if unheld.is_empty() => (None, false),
        None => (Some(hand_over::told(&unheld, end.len())), true),
    };
    let incomplete_because = incomplete(reason);
    Block {
        stream,
        version,
        watershed,
        live: reached,
        end,
        freshness_ms: chosen.current_at_ms.and_then(age_ms),
        complete: incomplete_because.is_none(),
        incomplete_because,
        // What the log has lost does not come back.
        passing: passing && gaps.is_empty(),
        gaps,
        definition: None,
        overflow: None,
        unknown: None,
    }
}

/// Where the log ends, as far as anybody has said: of every partition that there is.
fn ends(state: &StreamState, chosen: &Chosen, watershed: Option<&Offsets>) -> Offsets {
    let end = state.end().furthest(&chosen.end).furthest(&chosen.live);
    watershed.map_or(end.clone(), |watershed| end.furthest(watershed))
}

fn unread(error: &LoadError) -> Refusal {
    // The store is away for the moment.
    if let LoadError::Store(unread) = error
        && unread.is_unreached()
    {
        return Refusal::not_ready(error.to_string());
    }
    tracing::error!(%error, "retained version not loaded");
    Refusal::new(Reason::Failed, error.to_string())
}

/// `other` is true where the version is retained but holds another definition of the view.
fn no_such_version(view: &View, version: Version, other: bool) -> Refusal {
    let stream = &view.stream.name;
    let detail = match other {
        true => format!(
            "version {version} of stream {stream} does not hold view {} as it is defined now",
            view.name
        ),
        false => format!("version {version} of stream {stream} is not retained"),
    };
    Refusal::new(Reason::UnknownName, detail).at("as_of", &version.to_string())
}

fn gone(cursor: &Cursor) -> Refusal {
    let of = match cursor.pin.version() {
        Some(version) => format!("version {version}"),
        None => "the log before the first version".to_string(),
    };
    let detail = format!(
        "the cursor continues an answer from {of} and the records live then, which are no longer held together: ask again without \"cursor\""
    );
    Refusal { reason: Reason::Gone, ..Refusal::wrong("cursor", detail) }
}

/// How long ago a speed node was at the log's end; `None` where it never was.
pub fn age_ms(current_at_ms: i64) -> Option<i64> {
    (current_at_ms > 0).then(|| (now_ms() - current_at_ms).max(0))
}

/// Milliseconds since 1970-01-01.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
