//! What a statement is handed: the rows of each table that it names, as Arrow, of the columns that may matter.
//!
//! Guarantee (invariant `COVER`): all tables of one stream are folds of the same records. A merged view, its version
//! alone and the events below it are taken from one version, and merged views reach to the same live offsets.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::{
    Array as _, ArrayRef, BooleanArray, TimestampMicrosecondArray, UInt32Array, new_null_array,
};
use arrow::compute::{cast, concat_batches, filter_record_batch, take};
use arrow::datatypes::{Field, Schema};
use arrow::error::ArrowError;
use arrow::record_batch::RecordBatch;
use bytes::Bytes;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use watershed_schemas::keys::Keys;
use watershed_schemas::manifest::EventFile;
use watershed_schemas::measure::{ErrorBound, error_bound};
use watershed_schemas::predicate::Predicate;
use watershed_schemas::project::Project;
use watershed_schemas::sql_worker::TableName;
use watershed_schemas::states::StateTable;
use watershed_schemas::stream::{OFFSET_COLUMN, PARTITION_COLUMN, Stream, TIMESTAMP_COLUMN};
use watershed_schemas::types::DataType;
use watershed_schemas::value::Value;
use watershed_schemas::view::View;
use watershed_security::{Denied, Grant, RowFilter, Views};

use super::names::{Named, Names};
use crate::answer::Block;
use crate::ask::{Halves, Serving, block};
use crate::cells::CellsError;
use crate::format::array;
use crate::grain::Buckets;
use crate::merge::{self, Selection, Source};
use crate::refusal::{Reason, Refusal};
use crate::turns::beside;
use crate::versions::{Loaded, LoadedView, StreamState};

pub const BATCH: &str = "batch";
pub const EVENTS: &str = "events";

/// A table that a statement names, as it is known here.
#[derive(Clone, Debug)]
pub enum Known {
    /// Batch and live.
    Merged(Arc<View>),
    /// The newest version alone.
    Batch(Arc<View>),
    /// The master dataset of the newest version.
    Events(Arc<Stream>),
}

/// A table as it was handed over.
#[derive(Clone, Debug)]
pub struct Handed {
    pub name: TableName,
    pub stream: String,
    pub rows: usize,
    pub bytes: usize,
    /// Of the columns that were handed over: for measures, whether every cell is exact, and how wrong one may be.
    pub columns: Vec<HandedColumn>,
}

#[derive(Clone, Debug)]
pub struct HandedColumn {
    pub name: String,
    pub exact: Option<bool>,
    pub error: Option<ErrorBound>,
}

/// What all tables of one stream are taken from.
pub struct Cut {
    pub block: Block,
    loaded: Option<Arc<Loaded>>,
    merged: BTreeMap<String, (Arc<View>, Halves)>,
}

impl Known {
    pub fn name(&self) -> TableName {
        let (schema, name) = match self {
            Known::Merged(view) => (None, &view.name),
            Known::Batch(view) => (Some(BATCH), &view.name),
            Known::Events(stream) => (Some(EVENTS), &stream.name),
        };
        TableName { schema: schema.map(str::to_string), name: name.clone() }
    }

    /// Whether a grant shows anything of the table. Events tell more than any view does, so they are for those who see all
    /// views.
    fn given(&self, grant: &Grant, project: &Project) -> Result<(), Denied> {
        match self {
            Known::Merged(view) | Known::Batch(view) => grant.cells(view).map(drop),
            Known::Events(_) if grant.views != Views::All => Err(Denied::Unknown),
            Known::Events(stream) => grant.events(project, stream).map(drop),
        }
    }

    pub fn stream(&self) -> &str {
        match self {
            Known::Merged(view) | Known::Batch(view) => &view.stream.name,
            Known::Events(stream) => &stream.name,
        }
    }

    /// All columns that the table has, whether or not they are handed over.
    pub fn columns(&self) -> Vec<&str> {
        match self {
            Known::Merged(view) | Known::Batch(view) => {
                let dimensions = view.dimensions.iter().map(|dimension| dimension.name.as_str());
                let measures = view.measures.iter().map(|measure| measure.name.as_str());
                std::iter::once(view.window.name.as_str()).chain(dimensions).chain(measures).collect()
            }
            Known::Events(stream) => event_columns(stream).into_iter().map(|(name, _)| name).collect(),
        }
    }
}

/// What is shown of a table.
#[derive(Clone, Copy)]
pub struct Shown<'a> {
    /// The columns that may matter, in lower case; `None`: all.
    pub wanted: Option<&'a BTreeSet<String>>,
    /// The rows that the one who asks may see; `None`: all.
    pub rows: Option<&'a RowFilter>,
}

impl Shown<'_> {
    fn wants(&self, name: &str) -> bool {
        self.wanted.is_none_or(|wanted| wanted.contains(&name.to_lowercase()))
    }
}

/// Finds the tables that a statement names, each once. What a grant does not name is as unknown as what there is not;
/// `place` says where in the statement such a one stands.
pub fn known(
    serving: &Serving,
    grant: &Grant,
    names: &Names,
    place: impl Fn(Refusal, Option<usize>) -> Refusal,
) -> Result<Vec<Known>, Refusal> {
    let mut tables: BTreeMap<TableName, Known> = BTreeMap::new();
    for named in &names.tables {
        let known = find(serving, named).ok_or(Denied::Unknown);
        let known = known.and_then(|known| known.given(grant, &serving.streams.project).map(|()| known));
        let known = known.map_err(|denied| {
            let refusal = match denied {
                Denied::Unknown => unknown(serving, grant, named),
                Denied::Forbidden(reason) => Refusal::new(Reason::Forbidden, reason),
            };
            place(refusal, named.position)
        })?;
        tables.insert(known.name(), known);
    }
    Ok(tables.into_values().collect())
}

fn find(serving: &Serving, named: &Named) -> Option<Known> {
    let table = named.table()?;
    let project = &serving.streams.project;
    // Names are told apart as DuckDB does: not by case.
    let view = || project.views.iter().find(|view| view.name.eq_ignore_ascii_case(&table.name)).cloned();
    match table.schema.as_deref() {
        None => view().map(Known::Merged),
        Some(BATCH) => view().map(Known::Batch),
        Some(EVENTS) => {
            let mut streams = project.streams.iter();
            streams.find(|stream| stream.name.eq_ignore_ascii_case(&table.name)).cloned().map(Known::Events)
        }
        Some(_) => None,
    }
}

fn unknown(serving: &Serving, grant: &Grant, named: &Named) -> Refusal {
    let project = &serving.streams.project;
    let views =
        project.views.iter().flat_map(|view| [Known::Merged(view.clone()), Known::Batch(view.clone())]);
    let events = project.streams.iter().cloned().map(Known::Events);
    let given = views.chain(events).filter(|table| table.given(grant, project).is_ok());
    let all: Vec<String> = given.map(|table| shown(&table.name())).collect();
    Refusal::unknown_name("table", &named.shown(), all.iter().map(String::as_str))
}

impl Cut {
    /// Takes one version of a stream, and the live halves of its views that are to be merged.
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
            let halves = serving.live_halves(state, &asked).await?;
            // A version that holds another definition may have come into service meanwhile.
            let now = definitions(serving, state, &views).await?;
            if now.iter().map(|view| &view.hash).ne(asked.iter().map(|view| &view.hash)) {
                continue;
            }
            let first = &halves[0];
            let block = block(state, first.held(&asked[0]), first.live.as_ref());
            let loaded = first.loaded.clone();
            let named = views.iter().map(|view| view.name.clone());
            let merged = named.zip(asked.into_iter().zip(halves)).collect();
            return Ok(Cut { block, loaded, merged });
        }
    }

    /// The rows of one table, piece by piece, and what there is to tell of them. Whoever may see some rows only is to get no
    /// others from here: there is no other way to a worker.
    pub async fn rows(
        &mut self,
        serving: &Serving,
        table: &Known,
        shown: Shown<'_>,
        pieces: &mut impl Pieces,
    ) -> Result<Handed, Refusal> {
        match table {
            Known::Merged(view) => {
                let (definition, halves) = &self.merged[&view.name];
                let live = halves.live.as_ref().map(|live| live.tables.clone()).unwrap_or_default();
                let cells = Folded::of(definition.clone(), halves.held(definition), live, shown).await?;
                self.block = std::mem::take(&mut self.block).with(cells.overflow.clone(), None);
                cells.hand(table, pieces).await
            }
            Known::Batch(view) => {
                let held = self.loaded.as_deref().and_then(|loaded| loaded.definition(&view.name)).cloned();
                let definition = held.ok_or_else(|| no_version(&table.name()))?;
                let cells = Folded::of(definition, self.loaded.as_deref(), Vec::new(), shown).await?;
                cells.hand(table, pieces).await
            }
            Known::Events(stream) => {
                let loaded = self.loaded.as_ref().ok_or_else(|| no_version(&table.name()))?;
                events(serving, table, stream, &loaded.manifest.events, shown, pieces).await
            }
        }
    }
}

fn no_version(table: &TableName) -> Refusal {
    Refusal::not_ready(format!("no version holds {} yet: run `watershed batch run`", shown(table)))
}

/// `batch.flight_delays`
pub fn shown(table: &TableName) -> String {
    match &table.schema {
        Some(schema) => format!("{schema}.{}", table.name),
        None => table.name.clone(),
    }
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

/// Takes the rows of a table, in order.
pub trait Pieces {
    /// Refuses what is more than a statement may have.
    async fn take(&mut self, table: &TableName, rows: RecordBatch) -> Result<(), Refusal>;
}

/// A view's rows.
struct Folded {
    rows: RecordBatch,
    columns: Vec<HandedColumn>,
    overflow: Option<crate::overflow::Told>,
}

impl Folded {
    async fn of(
        view: Arc<View>,
        held: Option<&Loaded>,
        live: Vec<Arc<StateTable>>,
        shown: Shown<'_>,
    ) -> Result<Folded, Refusal> {
        let batch = held.and_then(|held| held.views.get(&view.name)).cloned();
        let batch = batch.unwrap_or_else(|| Arc::new(LoadedView::empty(view.clone())));
        let (wanted, rows) = (shown.wanted.cloned(), shown.rows.cloned());
        let folded = beside(move || {
            let shown = Shown { wanted: wanted.as_ref(), rows: rows.as_ref() };
            fold(&view, &batch, &live, shown)
        })
        .await?;
        folded
            .map_err(|error| Refusal::new(Reason::Failed, format!("rows could not be handed over: {error}")))
    }

    async fn hand(self, table: &Known, pieces: &mut impl Pieces) -> Result<Handed, Refusal> {
        /// Rows of a piece.
        const PIECE: usize = 65_536;
        let name = table.name();
        let rows = self.rows.num_rows();
        let mut begun = 0;
        loop {
            pieces.take(&name, self.rows.slice(begun, PIECE.min(rows - begun))).await?;
            begun += PIECE;
            if begun >= rows {
                break;
            }
        }
        let bytes = self.rows.get_array_memory_size();
        Ok(Handed { name, stream: table.stream().to_string(), rows, bytes, columns: self.columns })
    }
}

/// All cells of both halves, merged by the view's own windows and dimensions.
fn fold(
    view: &View,
    batch: &LoadedView,
    live: &[Arc<StateTable>],
    shown: Shown<'_>,
) -> Result<Folded, ArrowError> {
    let is_wanted = |name: &str| shown.wants(name);
    let dimensions: Vec<usize> = (0..view.dimensions.len()).collect();
    let measures: Vec<usize> =
        (0..view.measures.len()).filter(|measure| is_wanted(&view.measures[*measure].name)).collect();
    let below = batch.files.iter().map(|file| &file.cells);
    let below =
        below.map(|cells| Source { table: &cells.table, exact: Some(&cells.exact), sorted: cells.sorted });
    let above = live.iter().map(|table| Source { table, exact: None, sorted: false });
    let sources: Vec<Source<'_>> = below.chain(above).collect();
    let masks = shown.rows.map(|rows| {
        let tables: Vec<&Keys> = sources.iter().map(|source| &source.table.keys).collect();
        let rows = rows.over_view(view).map_err(external)?;
        rows.cells(view, &tables).map_err(external)
    });
    let masks = masks.transpose()?;
    let selection = Selection {
        view,
        from: i64::MIN,
        to: i64::MAX,
        conditions: &[],
        masks: masks.as_deref(),
        buckets: Buckets::Stored(view.window.window),
        dimensions: &dimensions,
        measures: &measures,
    };
    let groups = merge::merge(&sources, &selection);
    let all: Vec<u32> = (0..groups.len() as u32).collect();
    let (mut fields, mut arrays, mut columns) = (Vec::new(), Vec::new(), Vec::new());
    let mut add = |name: &str, column: ArrayRef, exact: Option<bool>, error: Option<ErrorBound>| {
        fields.push(Field::new(name, column.data_type().clone(), true));
        arrays.push(column);
        columns.push(HandedColumn { name: name.to_string(), exact, error });
    };
    // Something has to tell how many rows there are.
    let any = measures.is_empty() && !view.dimensions.iter().any(|dimension| is_wanted(&dimension.name));
    if any || is_wanted(&view.window.name) {
        let starts = TimestampMicrosecondArray::from_iter_values(groups.keys.windows().iter().copied());
        add(&view.window.name, Arc::new(starts), None, None);
    }
    for (index, dimension) in view.dimensions.iter().enumerate() {
        if is_wanted(&dimension.name) {
            let values: Vec<&Value> = groups.keys.dictionary(index).iter().collect();
            let values = array(&dimension.scalar.data_type, &values)?;
            let codes = UInt32Array::from_iter_values(groups.keys.codes(index));
            add(&dimension.name, take(&values, &codes, None)?, None, None);
        }
    }
    for (place, measure) in measures.iter().enumerate() {
        let measure = &view.measures[*measure];
        let mut exact = !groups.overflow.is_undecided();
        let finish = |group: &u32| match groups.finish(*group, place) {
            Some(finished) => {
                exact &= finished.exact;
                finished.value
            }
            None => Value::Null,
        };
        let values: Vec<Value> = all.iter().map(finish).collect();
        let values: Vec<&Value> = values.iter().collect();
        // A sketch's bound holds for the records that it has seen.
        let bound = (!exact && groups.overflow.told().is_none()).then(|| error_bound(measure)).flatten();
        add(&measure.name, array(&measure.result_type, &values)?, Some(exact), bound);
    }
    let rows = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays)?;
    Ok(Folded { rows, columns, overflow: groups.overflow.told() })
}

/// What every event has beside its fields.
fn event_columns(stream: &Stream) -> Vec<(&str, DataType)> {
    let fields = stream.fields.iter().map(|field| (field.name.as_str(), field.data_type.clone()));
    let own = [
        (PARTITION_COLUMN, DataType::Integer),
        (OFFSET_COLUMN, DataType::BigInt),
        (TIMESTAMP_COLUMN, DataType::Timestamp),
    ];
    fields.chain(own).collect()
}

/// Reads event files one by one, each verified before its first use.
async fn events(
    serving: &Serving,
    table: &Known,
    stream: &Arc<Stream>,
    files: &[EventFile],
    shown: Shown<'_>,
    pieces: &mut impl Pieces,
) -> Result<Handed, Refusal> {
    let is_wanted = |name: &str| shown.wants(name);
    let rows = shown.rows.map(|rows| rows.over_stream(stream)).transpose();
    let rows = rows.map_err(|error| Refusal::new(Reason::Forbidden, error.to_string()))?;
    let all = event_columns(stream);
    let mut columns: Vec<(String, DataType)> = (all.iter())
        .filter(|(name, _)| is_wanted(name))
        .map(|(name, data_type)| (name.to_string(), data_type.clone()))
        .collect();
    if columns.is_empty() {
        columns.push((OFFSET_COLUMN.to_string(), DataType::BigInt));
    }
    let name = table.name();
    let handed =
        columns.iter().map(|(name, _)| HandedColumn { name: name.clone(), exact: None, error: None });
    let mut told = Handed {
        name: name.clone(),
        stream: stream.name.clone(),
        rows: 0,
        bytes: 0,
        columns: handed.collect(),
    };
    let columns = Arc::new(columns);
    let fields = columns.iter().map(|(name, data_type)| Field::new(name, data_type.arrow(), true));
    let schema = Arc::new(Schema::new(fields.collect::<Vec<_>>()));
    pieces.take(&name, RecordBatch::new_empty(schema.clone())).await?;
    for file in files {
        let bytes = serving.streams.store.read(&file.file).await.map_err(|error| {
            if error.is_unreached() {
                return Refusal::not_ready(error.to_string());
            }
            tracing::error!(%error, "events not read");
            Refusal::new(Reason::Failed, error.to_string())
        })?;
        let (columns, schema) = (columns.clone(), schema.clone());
        let filter = rows.clone().map(|rows| (stream.clone(), rows));
        let rows =
            beside(move || decode(bytes, &columns, &schema, filter.as_ref())).await?.map_err(|error| {
                let path = &file.file.path;
                Refusal::new(
                    Reason::Failed,
                    format!("{path} is not an event file that this build can read: {error}"),
                )
            })?;
        for rows in rows {
            told.rows += rows.num_rows();
            told.bytes += rows.get_array_memory_size();
            pieces.take(&name, rows).await?;
        }
    }
    Ok(told)
}

/// An event file's rows under the stream's present definition: fields that are younger than the file are NULL.
fn decode(
    bytes: Bytes,
    columns: &[(String, DataType)],
    schema: &Arc<Schema>,
    filter: Option<&(Arc<Stream>, Arc<Predicate>)>,
) -> Result<Vec<RecordBatch>, CellsError> {
    let reader = ParquetRecordBatchReaderBuilder::try_new(bytes)?;
    let names = columns.iter().map(|(name, _)| name.as_str());
    let names = names.chain(filter.iter().flat_map(|(_, rows)| rows.names()));
    let mask = ProjectionMask::columns(reader.parquet_schema(), names);
    let reader = reader.with_projection(mask).with_batch_size(65_536).build()?;
    let conform = |batch: RecordBatch| -> Result<RecordBatch, CellsError> {
        let column = |(name, data_type): &(String, DataType)| match batch.column_by_name(name) {
            Some(column) => cast(column, &data_type.arrow()),
            None => Ok(new_null_array(&data_type.arrow(), batch.num_rows())),
        };
        let arrays = columns.iter().map(column).collect::<Result<Vec<_>, _>>()?;
        let rows = RecordBatch::try_new(schema.clone(), arrays)?;
        match filter {
            None => Ok(rows),
            Some((stream, filter)) => {
                let pass = filter.rows(stream, &batch).map_err(external)?;
                Ok(filter_record_batch(&rows, &BooleanArray::from(pass))?)
            }
        }
    };
    reader.map(|batch| conform(batch?)).collect()
}

fn external(error: impl std::error::Error + Send + Sync + 'static) -> ArrowError {
    ArrowError::ExternalError(Box::new(error))
}

/// All rows of a result in one piece.
pub fn whole(pieces: &[RecordBatch]) -> Result<RecordBatch, ArrowError> {
    let schema = pieces.first().map_or_else(|| Arc::new(Schema::empty()), RecordBatch::schema);
    concat_batches(&schema, pieces)
}
