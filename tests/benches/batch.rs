//! A full recomputation of one view over hand-written Polars doing the same group-by on the same files.

use std::time::Instant;

use polars::prelude::*;
use support::platform::{Kafka, Platform, unique};
use watershed_batch::Outcome;

use crate::speed::{VIEW, fill, schema};
use crate::table::{Table, median};

const RECORDS: i64 = 1_000_000;
const ROUNDS: usize = 5;

pub async fn measure(table: &mut Table) {
    let kafka = Kafka::start().await;
    let topic = unique("readings");
    kafka.create_topic(&topic).await;
    fill(&kafka, &topic, 0, RECORDS);
    let platform = Platform::start(&kafka, &schema(&topic), VIEW).await;
    let begun = Instant::now();
    assert!(matches!(platform.batch().await, Outcome::Published(_)));
    let landing = begun.elapsed().as_secs_f64();

    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        let Outcome::Published(report) = platform.batch_full().await else { panic!("a full run publishes") };
        ours.push(begun.elapsed().as_secs_f64());
        let files: Vec<_> =
            report.manifest.events.iter().map(|file| platform.folder.path().join(&file.file.path)).collect();
        let begun = Instant::now();
        let rows = tokio::task::spawn_blocking(move || by_hand(&files)).await.expect("Polars ends");
        bare.push(begun.elapsed().as_secs_f64());
        assert_eq!(rows as u64, report.manifest.views["by_site"].rows, "both find the same cells");
    }
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
    platform.stop().await;
    kafka.stop().await;
}

/// The exact half of the view as a person would write it; the number of cells.
fn by_hand(files: &[std::path::PathBuf]) -> usize {
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
