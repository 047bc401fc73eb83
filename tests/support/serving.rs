//! What the tests of the serving layer share: a small view, cells made from events by the fold, an
//! oracle that counts by hand, and a speed layer that says what it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, Int64Array};
use arrow::datatypes::{Field, Schema};
use arrow::record_batch::RecordBatch;
use async_trait::async_trait;
use parquet::arrow::ArrowWriter;
use polars::prelude::{
    Column, DataFrame, DataType as PolarsType, NamedFrom, ParquetReader, ParquetWriter, SerReader, Series,
    TimeUnit,
};
use watershed_schemas::budget::{Budget, Limits};
use watershed_schemas::layout::Object;
use watershed_schemas::live::{
    LiveError, LiveSource, LiveStatus, Partials, PartialsRequest, PartitionStates,
};
use watershed_schemas::manifest::{EventFile, Manifest, StoredFile, Version, ViewFile, ViewVersion};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};
use watershed_schemas::project::{Project, SourceFile};
use watershed_schemas::states::StateTable;
use watershed_schemas::value::Value;
use watershed_schemas::view::View;
use watershed_serving::sql::SqlSettings;
use watershed_store::{Publication, Store};

use super::binary::watershed;

pub const HOUR: i64 = 3_600_000_000;
pub const DAY: i64 = 24 * HOUR;
/// 2013-01-01T00:00:00Z.
pub const NEW_YEAR: i64 = 1_356_998_400_000_000;

const SCHEMA: &str = "CREATE TABLE trips (
    at TIMESTAMP NOT NULL, city TEXT, line INTEGER NOT NULL, fare BIGINT, rider TEXT
) WITH (topic = 'trips', format = 'json', event_time = 'at');";

const VIEW: &str = "CREATE MATERIALIZED VIEW trips_hourly WITH (schedule = '*/5 * * * *') AS
SELECT city, line, tumble(at, INTERVAL '1 hour') AS hour,
       count(*) AS trips, sum(fare) AS fares, min(fare) AS cheapest, max(fare) AS dearest,
       count(DISTINCT rider) AS riders, quantile_cont(fare, 0.5) AS middle
FROM trips GROUP BY city, line, hour;";

const DAILY: &str = "CREATE MATERIALIZED VIEW trips_daily AS
SELECT city, tumble(at, INTERVAL '1 day') AS day, count(*) AS trips
FROM trips GROUP BY city, day;";

/// One stream, an hourly and a daily view.
pub fn project() -> Project {
    let file = |path: &str, text: &str| SourceFile { path: path.to_string(), text: text.to_string() };
    let jobs = [file("jobs/trips_hourly.sql", VIEW), file("jobs/trips_daily.sql", DAILY)];
    Project::parse(&[file("schemas/trips.sql", SCHEMA)], &jobs).unwrap_or_else(|problems| {
        panic!("{}", problems.iter().map(|p| format!("{p}\n")).collect::<String>())
    })
}

pub fn hourly() -> Arc<View> {
    project().view("trips_hourly").expect("the project has it").clone()
}

/// One event, in a partition at an offset of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Trip {
    pub at: i64,
    pub city: Option<String>,
    pub line: i32,
    pub fare: Option<i64>,
    pub rider: Option<String>,
}

pub fn trip(at: i64, city: &str, line: i32, fare: i64, rider: &str) -> Trip {
    Trip { at, city: Some(city.to_string()), line, fare: Some(fare), rider: Some(rider.to_string()) }
}

/// Events as the master dataset holds them.
pub fn frame(trips: &[Trip]) -> DataFrame {
    let times: Vec<i64> = trips.iter().map(|trip| trip.at).collect();
    let timestamp = PolarsType::Datetime(TimeUnit::Microseconds, None);
    let at = Series::new("at".into(), times).cast(&timestamp).expect("microseconds are a timestamp");
    let column = |series: Series| Column::from(series);
    let columns = vec![
        column(at),
        column(Series::new("city".into(), trips.iter().map(|trip| trip.city.clone()).collect::<Vec<_>>())),
        column(Series::new("line".into(), trips.iter().map(|trip| trip.line).collect::<Vec<_>>())),
        column(Series::new("fare".into(), trips.iter().map(|trip| trip.fare).collect::<Vec<_>>())),
        column(Series::new("rider".into(), trips.iter().map(|trip| trip.rider.clone()).collect::<Vec<_>>())),
        column(Series::new("_partition".into(), vec![0i32; trips.len()])),
        column(Series::new("_offset".into(), (0..trips.len() as i64).collect::<Vec<_>>())),
    ];
    DataFrame::new(trips.len(), columns).expect("columns are of equal length")
}

/// The fold of some events.
pub fn fold(view: &Arc<View>, trips: &[Trip]) -> StateTable {
    let mut table = StateTable::new(view.clone());
    table.fold(&frame(trips)).expect("the events are the view's own");
    table
}

/// The fold of some events under a budget.
pub fn fold_within(view: &Arc<View>, trips: &[Trip], limits: Limits) -> StateTable {
    let mut table = StateTable::new(view.clone()).within(&Budget::new(limits));
    table.fold(&frame(trips)).expect("the events are the view's own");
    table
}

/// The measures of `trips_hourly` over some events, counted by hand.
#[derive(Clone, Debug, PartialEq)]
pub struct Counted {
    pub trips: i64,
    pub fares: Option<i64>,
    pub cheapest: Option<i64>,
    pub dearest: Option<i64>,
    pub riders: i64,
    pub middle: Option<f64>,
}

pub fn count<'a>(trips: impl IntoIterator<Item = &'a Trip>) -> Counted {
    let trips: Vec<&Trip> = trips.into_iter().collect();
    let mut fares: Vec<i64> = trips.iter().filter_map(|trip| trip.fare).collect();
    fares.sort_unstable();
    let riders: BTreeSet<&String> = trips.iter().filter_map(|trip| trip.rider.as_ref()).collect();
    let middle = |fares: &[i64]| {
        let place = (fares.len().checked_sub(1)?) as f64 / 2.0;
        let (low, high) = (fares[place.floor() as usize] as f64, fares[place.ceil() as usize] as f64);
        Some(low + (high - low) * place.fract())
    };
    Counted {
        trips: trips.len() as i64,
        fares: (!fares.is_empty()).then(|| fares.iter().sum()),
        cheapest: fares.first().copied(),
        dearest: fares.last().copied(),
        riders: riders.len() as i64,
        middle: middle(&fares),
    }
}

/// A cell's key: window start, city, line.
pub type Key = (i64, Option<String>, i32);

pub fn by_cell(trips: &[Trip]) -> BTreeMap<Key, Vec<Trip>> {
    let mut cells: BTreeMap<Key, Vec<Trip>> = BTreeMap::new();
    for trip in trips {
        let key = (trip.at - trip.at.rem_euclid(HOUR), trip.city.clone(), trip.line);
        cells.entry(key).or_default().push(trip.clone());
    }
    cells
}

/// The exact values of sketched measures, aligned to a table's rows.
pub fn exact_columns(table: &StateTable, trips: &[Trip]) -> Vec<Option<ArrayRef>> {
    let cells = by_cell(trips);
    let counted: Vec<Counted> = (0..table.keys.len() as u32)
        .map(|row| {
            let city = match table.keys.value(row, 0) {
                Value::Text(city) => Some(city.to_string()),
                _ => None,
            };
            let Value::Integer(line) = table.keys.value(row, 1) else { panic!("a line is a number") };
            count(&cells[&(table.keys.windows()[row as usize], city, *line as i32)])
        })
        .collect();
    let riders: Int64Array = counted.iter().map(|counted| Some(counted.riders)).collect();
    let middle: Float64Array = counted.iter().map(|counted| counted.middle).collect();
    vec![None, None, None, None, Some(Arc::new(riders)), Some(Arc::new(middle))]
}

/// A view file of these events, as the batch layer writes it.
pub fn view_file(view: &Arc<View>, trips: &[Trip]) -> (Vec<u8>, u64) {
    let states = fold(view, trips).to_record_batch();
    // Rows are written in the order of their keys: read back, they are rows of the table.
    let table = StateTable::from_record_batch(view.clone(), &states).expect("what was written can be read");
    let mut fields = states.schema().fields().to_vec();
    let mut columns = states.columns().to_vec();
    if view.name == "trips_hourly" {
        for (measure, exact) in view.measures.iter().zip(exact_columns(&table, trips)) {
            if let Some(column) = exact {
                fields.push(Arc::new(Field::new(&measure.name, column.data_type().clone(), true)));
                columns.push(column);
            }
        }
    }
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).expect("columns fit the schema");
    (parquet(&batch), batch.num_rows() as u64)
}

fn parquet(batch: &RecordBatch) -> Vec<u8> {
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).expect("the schema is plain");
    writer.write(batch).expect("memory takes it");
    writer.into_inner().expect("memory takes it")
}

/// Publishes `trips` as a version: one view file per view and date, one event file per date.
pub async fn publish(
    store: &Store,
    project: &Project,
    version: u64,
    watershed: Offsets,
    trips: &[Trip],
) -> Manifest {
    let mut dates: BTreeMap<i32, Vec<Trip>> = BTreeMap::new();
    for trip in trips {
        dates.entry(trip.at.div_euclid(DAY) as i32).or_default().push(trip.clone());
    }
    let run = format!("run{version}");
    let mut views = BTreeMap::new();
    for view in &project.views {
        let mut files = Vec::new();
        for (date, trips) in &dates {
            let (bytes, rows) = view_file(view, trips);
            let path = Object::View {
                view: view.name.clone(),
                version: Version(version),
                date: *date,
                run: run.clone(),
            };
            let file = store.write(&path.path(), bytes.into(), rows).await.expect("memory takes it");
            files.push(ViewFile { file, date: *date });
        }
        let names = view.dimensions.iter().map(|dimension| &dimension.name);
        let columns = names.chain(view.measures.iter().map(|measure| &measure.name)).cloned().collect();
        let (hash, window) = (view.hash.clone(), view.window.name.clone());
        let rows = files.iter().map(|file| file.file.rows).sum();
        views.insert(
            view.name.clone(),
            ViewVersion { hash, sql: String::new(), window, columns, files, rows, accuracy: Vec::new() },
        );
    }
    let mut events = Vec::new();
    for (date, trips) in &dates {
        let range = OffsetRange::new(Offset(0), watershed.get(Partition(0)));
        let path = Object::Events {
            stream: "trips".to_string(),
            date: *date,
            partition: Partition(0),
            range,
            run: run.clone(),
        };
        let mut bytes = Vec::new();
        ParquetWriter::new(&mut bytes).finish(&mut frame(trips)).expect("memory takes it");
        let file =
            store.write(&path.path(), bytes.into(), trips.len() as u64).await.expect("memory takes it");
        events.push(EventFile { file, date: *date, partition: Partition(0), range });
    }
    let manifest = Manifest {
        stream: "trips".to_string(),
        version: Version(version),
        run_id: run,
        watershed,
        origin: offsets(&[(0, 0), (1, 0)]),
        log: Default::default(),
        created_at: "2013-01-02T00:00:00Z".to_string(),
        seconds: 0.5,
        rows_landed: trips.len() as u64,
        windows_recomputed: 1,
        events,
        dead_letters: Vec::new(),
        views,
        gaps: Vec::new(),
        ahead: Default::default(),
    };
    assert_eq!(store.publish(&manifest).await.expect("memory takes it"), Publication::Published);
    manifest
}

/// An event file as it was landed when the stream had one field more.
pub async fn with_another_field(store: &Store, file: &StoredFile) -> StoredFile {
    let bytes = store.read(file).await.expect("the file is whole");
    let mut frame = ParquetReader::new(std::io::Cursor::new(bytes)).finish().expect("it is Parquet");
    let notes = Series::new("note".into(), vec!["a note"; frame.height()]);
    frame.with_column(Column::from(notes)).expect("columns are of equal length");
    let mut bytes = Vec::new();
    ParquetWriter::new(&mut bytes).finish(&mut frame).expect("memory takes it");
    let path = file.path.replace("run", "older");
    store.write(&path, bytes.into(), file.rows).await.expect("memory takes it")
}

pub fn offsets(positions: &[(i32, i64)]) -> Offsets {
    positions.iter().map(|(partition, offset)| (Partition(*partition), Offset(*offset))).collect()
}

/// A speed layer of one node that says what it is told to.
#[derive(Default)]
pub struct ScriptedLive {
    script: Mutex<Script>,
}

#[derive(Default)]
struct Script {
    away: bool,
    never_current: bool,
    /// True where it shares its server's process.
    here: bool,
    /// What it says of itself beside its positions.
    told: LiveStatus,
    /// Live trips by partition, above these watersheds, up to these positions.
    epochs: Vec<Epoch>,
    live: Offsets,
    /// Partitions that end elsewhere than where they were folded to.
    end: Offsets,
    limits: Limits,
}

struct Epoch {
    watershed: Offsets,
    trips: BTreeMap<i32, Vec<Trip>>,
}

impl ScriptedLive {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    pub fn go_away(&self) {
        self.lock().away = true;
    }

    pub fn come_back(&self) {
        self.lock().away = false;
    }

    /// From now on it says that it never was at the log's end.
    pub fn lose_sight_of_the_end(&self) {
        self.lock().never_current = true;
    }

    /// From now on it is a node of its server's own process.
    pub fn be_here(&self) {
        self.lock().here = true;
    }

    /// What it says of itself beside its positions.
    pub fn tell(&self, told: LiveStatus) {
        self.lock().told = told;
    }

    pub fn reach(&self, live: Offsets) {
        self.lock().live = live;
    }

    /// The log ends here, in partitions that no node holds too.
    pub fn end_at(&self, end: Offsets) {
        self.lock().end = end;
    }

    /// Opens (or replaces) the epoch of a watershed.
    pub fn open(&self, watershed: &Offsets, trips: &[(i32, Vec<Trip>)]) {
        let mut script = self.lock();
        script.epochs.retain(|epoch| epoch.watershed != *watershed);
        script.epochs.push(Epoch { watershed: watershed.clone(), trips: trips.iter().cloned().collect() });
    }

    /// From now on each partition's live states are folded under a budget.
    pub fn limit(&self, limits: Limits) {
        self.lock().limits = limits;
    }

    pub fn close(&self, watershed: &Offsets) {
        self.lock().epochs.retain(|epoch| epoch.watershed != *watershed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Script> {
        self.script.lock().expect("no test panics while it holds this lock")
    }
}

#[async_trait]
impl LiveSource for ScriptedLive {
    async fn partials(&self, request: &PartialsRequest) -> Result<Vec<Partials>, LiveError> {
        let script = self.lock();
        if script.away {
            return Err(LiveError::Unavailable { reason: "it was told to be away…".to_string() });
        }
        let project = project();
        let unknown = || LiveError::UnknownView { view: request.view.clone() };
        let view =
            project.view(&request.view).filter(|view| view.hash == request.view_hash).ok_or_else(unknown)?;
        // The log's start is the epoch of an empty request.
        let origin = offsets(&[(0, 0), (1, 0)]);
        let wanted = if request.watershed.is_empty() { &origin } else { &request.watershed };
        let epoch = script.epochs.iter().find(|epoch| epoch.watershed == *wanted).ok_or_else(|| {
            let (stream, reason) = (request.stream.clone(), "it was not opened".to_string());
            LiveError::NotReady { stream, watershed: wanted.clone(), reason }
        })?;
        let (partitions, states) = epoch
            .trips
            .iter()
            .map(|(of, trips)| (Partition(*of), fold_within(view, trips, script.limits)))
            .map(|(of, states)| (of, PartitionStates::Encoded(states.to_live_batch())))
            .unzip();
        Ok(vec![Partials {
            watershed: epoch.watershed.clone(),
            live: script.live.clone(),
            end: script.live.furthest(&script.end),
            current_at_ms: if script.never_current { 0 } else { now_ms() },
            partitions,
            states,
        }])
    }

    async fn status(&self, _stream: &str) -> Result<Vec<LiveStatus>, LiveError> {
        let script = self.lock();
        if script.away {
            return Err(LiveError::Unavailable { reason: "it was told to be away…".to_string() });
        }
        let node =
            if script.told.node.is_empty() { "scripted".to_string() } else { script.told.node.clone() };
        Ok(vec![LiveStatus {
            node,
            live: script.live.clone(),
            end: script.live.furthest(&script.end),
            current_at_ms: if script.never_current { 0 } else { now_ms() },
            epochs: script.epochs.iter().map(|epoch| epoch.watershed.clone()).collect(),
            ..script.told.clone()
        }])
    }

    fn own_streams(&self) -> Vec<String> {
        if self.lock().here { vec!["trips".to_string()] } else { Vec::new() }
    }
}

fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |now| now.as_millis() as i64)
}

/// What a worker of [`sql_settings`] may take.
pub const SQL_MEMORY: u64 = 256 << 20;

/// `[sql]`, with workers of the command that the tests build.
pub async fn sql_settings(timeout: Duration, workers: usize) -> SqlSettings {
    let program = tokio::task::spawn_blocking(watershed).await.expect("it is built").to_owned();
    let memory = SQL_MEMORY.to_string();
    let arguments = ["sql-worker", "--memory", &memory].map(Into::into).to_vec();
    SqlSettings { program, arguments, workers, memory: SQL_MEMORY, timeout, max_rows: 100_000 }
}

/// A client without keep-alive surprises: each server is there for one test only.
pub fn client() -> reqwest::Client {
    // Whoever came first has installed a provider; which one does not matter here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::builder().no_proxy().build().expect("the client has a provider")
}
