//! The exact half of the batch benchmark's view as a person would write it, in Polars and in DuckDB's SQL.

use std::path::PathBuf;
use std::time::Instant;

use arrow::array::AsArray;
use arrow::datatypes::{Float64Type, Int64Type};
use arrow::record_batch::RecordBatch;
use polars::prelude::*;
use watershed_duckdb::Engine as DuckDb;

/// What the cells come to: enough to see that two sides have computed the same.
#[derive(Debug)]
pub struct Totals {
    pub cells: u64,
    pub readings: u64,
    devices: i64,
    /// Occurrences of the most frequent parts.
    occurrences: i64,
    means: f64,
    p95s: f64,
}

impl Totals {
    pub fn assert_same(&self, other: &Totals) {
        let counts = |of: &Totals| (of.cells, of.readings, of.devices, of.occurrences);
        assert_eq!(counts(self), counts(other));
        for (left, right) in [(self.means, other.means), (self.p95s, other.p95s)] {
            assert!((left - right).abs() <= 1e-9 * left.abs(), "{left} and {right}");
        }
    }
}

/// Seconds, and what came of it.
pub fn polars(files: &[PathBuf]) -> (f64, Totals) {
    let begun = Instant::now();
    let cells = polars_cells(files);
    let taken = begun.elapsed().as_secs_f64();
    let whole = |name: &str| cells.column(name).expect("a column").cast(&DataType::Int64).expect("numbers");
    let sum = |column: &Column| column.i64().expect("integers").sum().expect("a sum");
    let float =
        |name: &str| cells.column(name).expect("a column").f64().expect("doubles").sum().expect("a sum");
    let parts = cells.column("parts").expect("a column").list().expect("a list").get_inner();
    let counts = parts.struct_().expect("pairs").field_by_name("count").expect("a count");
    let totals = Totals {
        cells: cells.height() as u64,
        readings: sum(&whole("readings")) as u64,
        devices: sum(&whole("devices")),
        occurrences: sum(&Column::from(counts.cast(&DataType::Int64).expect("numbers"))),
        means: float("mean"),
        p95s: float("p95"),
    };
    (taken, totals)
}

fn polars_cells(files: &[PathBuf]) -> DataFrame {
    let paths: Vec<_> =
        files.iter().map(|path| PlRefPath::new(path.to_str().expect("a path in UTF-8"))).collect();
    let events =
        LazyFrame::scan_parquet_sources(ScanSources::Paths(paths.into()), ScanArgsParquet::default())
            .expect("the files are scanned");
    let keys = [col("site"), col("at").dt().truncate(lit("6h")).alias("shift")];
    let parts = events
        .clone()
        .filter(col("part").is_not_null())
        .group_by([keys[0].clone(), keys[1].clone(), col("part")])
        .agg([len().alias("count")])
        .sort(["count", "part"], SortMultipleOptions::default().with_order_descending_multi([true, false]))
        .group_by([col("site"), col("shift")])
        .agg([as_struct(vec![col("part"), col("count")]).head(Some(3)).alias("parts")]);
    events
        .group_by(keys)
        .agg([
            len().alias("readings"),
            col("value").mean().alias("mean"),
            col("value").quantile(lit(0.95), QuantileMethod::Linear).alias("p95"),
            col("device").n_unique().alias("devices"),
        ])
        .join(parts, [col("site"), col("shift")], [col("site"), col("shift")], JoinArgs::new(JoinType::Left))
        .collect_with_engine(Engine::Streaming)
        .expect("Polars computes")
        .unwrap_single()
}

/// Seconds, and what came of it.
pub fn duckdb(files: &[PathBuf]) -> (f64, Totals) {
    let paths: Vec<String> = files.iter().map(|path| format!("'{}'", path.display())).collect();
    let sql = format!(
        "WITH events AS (
           SELECT site, time_bucket(INTERVAL '6 hours', \"at\") AS shift, device, part, value
           FROM read_parquet([{}])
         ), parts AS (
           SELECT site, shift, list({{'part': part, 'count': n}} ORDER BY n DESC, part)[1:3] AS parts
           FROM (SELECT site, shift, part, count(*) AS n FROM events WHERE part IS NOT NULL GROUP BY ALL)
           GROUP BY ALL
         ), others AS (
           SELECT site, shift, count(*) AS readings, avg(value) AS mean, quantile_cont(value, 0.95) AS p95,
                  count(DISTINCT device) AS devices
           FROM events GROUP BY ALL
         )
         SELECT others.*, parts FROM others LEFT JOIN parts USING (site, shift)",
        paths.join(", ")
    );
    let begun = Instant::now();
    let engine = DuckDb::new().expect("DuckDB starts");
    let cells = engine.query(&sql).expect("DuckDB computes");
    let taken = begun.elapsed().as_secs_f64();
    let column = |batch: &RecordBatch, name: &str| batch.column_by_name(name).expect("a column").clone();
    let whole = |name: &str| -> i64 {
        let sums = cells
            .iter()
            .map(|batch| column(batch, name).as_primitive::<Int64Type>().values().iter().sum::<i64>());
        sums.sum()
    };
    let float = |name: &str| -> f64 {
        let sums = cells
            .iter()
            .map(|batch| column(batch, name).as_primitive::<Float64Type>().values().iter().sum::<f64>());
        sums.sum()
    };
    let occurrences = |batch: &RecordBatch| -> i64 {
        let parts = column(batch, "parts");
        let pairs = parts.as_list::<i32>().values().clone();
        let counts = pairs.as_struct().column_by_name("count").expect("a count").clone();
        counts.as_primitive::<Int64Type>().iter().flatten().sum()
    };
    let totals = Totals {
        cells: cells.iter().map(|batch| batch.num_rows() as u64).sum(),
        readings: whole("readings") as u64,
        devices: whole("devices"),
        occurrences: cells.iter().map(occurrences).sum(),
        means: float("mean"),
        p95s: float("p95"),
    };
    (taken, totals)
}
