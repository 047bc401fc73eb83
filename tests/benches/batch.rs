//! Batch runs over three million events of half a year: what one takes over the better of hand-written Polars and
//! hand-written DuckDB that give the same exact values from the same files, and over a whole run where one day was touched.
//!
//! The view's windows are six hours long: 18,100 cells of about 166 events each.

use std::time::{Duration, Instant};

use watershed_batch::{Outcome, Report};
use watershed_duckdb::{Engine as DuckDb, Published, compare};

use crate::batch_bare::{self, Totals};
use crate::table::{Table, median};
use crate::world::World;

pub const RECORDS: i64 = 3_000_000;
pub const DAYS: i64 = 181;
/// What comes anew before a run that touches one day.
pub const NEW_RECORDS: i64 = 10_000;
/// Each round touches the day after: a day that was touched again and again would hold several days' events.
const FIRST_TOUCHED_DAY: i64 = 60;
/// Windows of six hours.
pub const WINDOWS_A_DAY: i64 = 4;

pub const VIEW: &str = "CREATE MATERIALIZED VIEW by_site AS
    SELECT site, tumble(at, INTERVAL '6 hours') AS shift, count(*) AS readings, avg(value) AS mean,
           quantile_cont(value, 0.95) AS p95, count(DISTINCT device) AS devices, approx_top_k(part, 3) AS parts
    FROM readings GROUP BY site, shift";

#[derive(Default)]
struct Seconds {
    whole: Vec<f64>,
    first: Vec<f64>,
    touched: Vec<f64>,
    polars: Vec<f64>,
    duckdb: Vec<f64>,
    drained: Vec<f64>,
}

pub async fn measure(table: &mut Table, rounds: usize) {
    let world = World::of(VIEW, RECORDS, step(RECORDS)).await;
    let mut records = RECORDS;
    let (_, report) = timed(world.platform.batch()).await;
    world.until_version(report.manifest.version.0, records).await;
    let mut seconds = Seconds::default();
    let mut newest = files(&world, &report);
    for round in 0..rounds {
        let (taken, report) = timed(world.platform.batch_full()).await;
        seconds.whole.push(taken);
        world.until_version(report.manifest.version.0, records).await;
        newest = files(&world, &report);
        bare(&newest, &report, records, &mut seconds).await;
        seconds.first.push(first_run(&world, round).await);
        seconds.drained.push(drain(&world, records).await);

        let day = FIRST_TOUCHED_DAY + round as i64;
        world.fill_windows(records, NEW_RECORDS, (day, WINDOWS_A_DAY));
        records += NEW_RECORDS;
        world.until_readings(records).await;
        let (taken, report) = timed(world.platform.batch()).await;
        assert_eq!(
            (report.manifest.rows_landed, report.manifest.windows_recomputed),
            (NEW_RECORDS as u64, WINDOWS_A_DAY as u64)
        );
        seconds.touched.push(taken);
        world.until_version(report.manifest.version.0, records).await;
        newest = files(&world, &report);
    }
    check(&world, newest, records).await;
    add(table, &seconds);
    world.stop().await;
}

/// Event time between two of so many records, so that all of them are spread over half a year.
pub fn step(records: i64) -> Duration {
    Duration::from_secs(DAYS as u64 * 86_400) / records as u32
}

/// What a run that publishes takes.
pub async fn timed(run: impl Future<Output = Outcome>) -> (f64, Report) {
    let begun = Instant::now();
    let outcome = run.await;
    let taken = begun.elapsed().as_secs_f64();
    let Outcome::Published(report) = outcome else { panic!("expected a publication, found {outcome:?}") };
    (taken, report)
}

/// Both bare sides over the files that a run has just read.
async fn bare(files: &Published, report: &Report, records: i64, seconds: &mut Seconds) {
    let (events, others) = (files.events.clone(), files.events.clone());
    let polars = tokio::task::spawn_blocking(move || batch_bare::polars(&events));
    let (taken, by_polars): (f64, Totals) = polars.await.expect("Polars ends");
    seconds.polars.push(taken);
    let duckdb = tokio::task::spawn_blocking(move || batch_bare::duckdb(&others));
    let (taken, by_duckdb) = duckdb.await.expect("DuckDB ends");
    seconds.duckdb.push(taken);
    by_polars.assert_same(&by_duckdb);
    assert_eq!(
        (by_polars.cells, by_polars.readings),
        (report.manifest.views["by_site"].rows, records as u64)
    );
}

/// The first run over the whole topic, into a store of its own.
async fn first_run(world: &World, round: usize) -> f64 {
    let store = world.platform.store_beside(&format!("first-{round}"));
    let mut job = world.platform.job();
    job.store = store;
    let (taken, _) = timed(async { watershed_batch::run(&job).await.expect("the run succeeds") }).await;
    // Its files stay until the end: ext4 looks a while for numbers of files that were not removed lately.
    taken
}

/// Seconds that a bare consumer needs for all records.
async fn drain(world: &World, records: i64) -> f64 {
    let consumer = world.bare_consumer();
    let draining = tokio::task::spawn_blocking(move || crate::speed::drain(&consumer, records).seconds);
    draining.await.expect("the consumer ends")
}

/// The files of a version.
pub fn files(world: &World, report: &Report) -> Published {
    let path = |path: &str| world.platform.folder.path().join(path);
    let manifest = &report.manifest;
    Published {
        events: manifest.events.iter().map(|file| path(&file.file.path)).collect(),
        view: manifest.views["by_site"].files.iter().map(|file| path(&file.file.path)).collect(),
    }
}

/// DuckDB finds every published cell to be what the events say.
pub async fn check(world: &World, files: Published, records: i64) {
    let view = world.platform.project.views[0].clone();
    let compared = tokio::task::spawn_blocking(move || compare(&DuckDb::new()?, &view, &files));
    let comparison = compared.await.expect("DuckDB ends").expect("a comparison");
    assert_eq!((comparison.events, comparison.differences.as_slice()), (records, &[][..]));
}

fn add(table: &mut Table, seconds: &Seconds) {
    let better: Vec<f64> =
        seconds.polars.iter().zip(&seconds.duckdb).map(|(polars, duckdb)| polars.min(*duckdb)).collect();
    let drained: Vec<f64> =
        seconds.drained.iter().zip(&better).map(|(drained, bare)| drained + bare).collect();
    let shown = |seconds: &[f64]| format!("{:.3} s", median(seconds));
    let ratios = |ours: &[f64], bare: &[f64]| ours.iter().zip(bare).map(|(ours, bare)| ours / bare).collect();
    println!("hand-written Polars {}, DuckDB {}", shown(&seconds.polars), shown(&seconds.duckdb));
    let mut one = |name: &str, ours: &[f64], bare: &[f64]| {
        table.add(name, shown(ours), shown(bare), ratios(ours, bare));
    };
    one(
        "full batch run (exact + states + publish) over the better of Polars and DuckDB by hand",
        &seconds.whole,
        &better,
    );
    one("first batch run, landing included, over the same", &seconds.first, &better);
    one("first batch run over draining the topic, then the same", &seconds.first, &drained);
    one("batch run that touches one day of 181 over a full one", &seconds.touched, &seconds.whole);
}
