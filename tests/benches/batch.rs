//! A full recomputation of one view over hand-written Polars doing the same group-by on the same files.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use polars::prelude::*;
use watershed_batch::{Outcome, Report};
use watershed_duckdb::{Engine as DuckDb, Published, compare};

use crate::table::{Table, median};
use crate::world::World;

const RECORDS: i64 = 1_000_000;
/// Event time between two records: all of them spread over some 7,000 cells.
const STEP: Duration = Duration::from_secs(1);

pub async fn measure(table: &mut Table, rounds: usize) {
    let world = World::start(RECORDS, STEP).await;
    let begun = Instant::now();
    let Outcome::Published(first) = world.platform.batch().await else { panic!("a first run publishes") };
    let landing = begun.elapsed().as_secs_f64();
    world.until_version(first.manifest.version.0, RECORDS).await;

    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    let mut newest = files(&world, &first);
    for _ in 0..rounds {
        let begun = Instant::now();
        let Outcome::Published(report) = world.platform.batch_full().await else {
            panic!("a full run publishes")
        };
        ours.push(begun.elapsed().as_secs_f64());
        world.until_version(report.manifest.version.0, RECORDS).await;
        newest = files(&world, &report);
        let events = newest.events.clone();
        let begun = Instant::now();
        let cells = tokio::task::spawn_blocking(move || by_hand(&events)).await.expect("Polars ends");
        bare.push(begun.elapsed().as_secs_f64());
        assert_eq!(cells as u64, report.manifest.views["by_site"].rows, "both find the same cells");
    }
    check(&world, newest).await;
    let shown = |seconds: &[f64]| format!("{:.2} s", median(seconds));
    let ratios: Vec<f64> = ours.iter().zip(&bare).map(|(ours, bare)| ours / bare).collect();
    table.add(
        "full batch run (exact + states + publish) over hand-written Polars",
        shown(&ours),
        shown(&bare),
        ratios,
    );
    let ratio = landing / median(&bare);
    table.add(
        "first batch run, landing included, over hand-written Polars",
        format!("{landing:.2} s"),
        shown(&bare),
        vec![ratio],
    );
    world.stop().await;
}

/// The files of a version.
fn files(world: &World, report: &Report) -> Published {
    let path = |path: &str| -> PathBuf { world.platform.folder.path().join(path) };
    let manifest = &report.manifest;
    Published {
        events: manifest.events.iter().map(|file| path(&file.file.path)).collect(),
        view: manifest.views["by_site"].files.iter().map(|file| path(&file.file.path)).collect(),
    }
}

/// DuckDB finds every published cell to be what the events say.
async fn check(world: &World, files: Published) {
    let view = world.platform.project.views[0].clone();
    let compared = tokio::task::spawn_blocking(move || compare(&DuckDb::new()?, &view, &files));
    let comparison = compared.await.expect("DuckDB ends").expect("a comparison");
    assert_eq!((comparison.events, comparison.differences.as_slice()), (RECORDS, &[][..]));
}

/// The exact half of the view as a person would write it; the number of cells.
fn by_hand(files: &[PathBuf]) -> usize {
    let paths: Vec<_> =
        files.iter().map(|path| PlRefPath::new(path.to_str().expect("a path in UTF-8"))).collect();
    let events =
        LazyFrame::scan_parquet_sources(ScanSources::Paths(paths.into()), ScanArgsParquet::default())
            .expect("the files are scanned");
    let keys = [col("site"), col("at").dt().truncate(lit("1h")).alias("hour")];
    let parts = events
        .clone()
        .filter(col("part").is_not_null())
        .group_by([keys[0].clone(), keys[1].clone(), col("part")])
        .agg([len().alias("count")])
        .sort(["count", "part"], SortMultipleOptions::default().with_order_descending_multi([true, false]))
        .group_by([col("site"), col("hour")])
        .agg([as_struct(vec![col("part"), col("count")]).head(Some(3)).alias("parts")]);
    events
        .group_by(keys)
        .agg([
            len().alias("readings"),
            col("value").mean().alias("mean"),
            col("value").quantile(lit(0.95), QuantileMethod::Linear).alias("p95"),
            col("device").n_unique().alias("devices"),
        ])
        .join(parts, [col("site"), col("hour")], [col("site"), col("hour")], JoinArgs::new(JoinType::Left))
        .collect_with_engine(Engine::Streaming)
        .expect("Polars computes")
        .unwrap_single()
        .height()
}
