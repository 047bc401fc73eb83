//! DuckDB's recomputation: it agrees with what the batch layer publishes, and it finds every kind of difference.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use watershed_duckdb::{Comparison, Engine, Published, compare, recomputation};
use watershed_schemas::project::{Project, SourceFile};
use watershed_schemas::view::View;

const SCHEMA: &str = "CREATE TABLE trips (
  at TIMESTAMP NOT NULL, city TEXT, rider TEXT, seats INTEGER, fare DECIMAL(10,2), miles DOUBLE, day DATE, vip BOOLEAN
) WITH (topic = 'trips', format = 'json', event_time = 'at');";

const VIEW: &str = "CREATE MATERIALIZED VIEW busy AS
  SELECT city, CASE WHEN vip THEN 'vip' ELSE 'other' END AS class, tumble(at, INTERVAL '6 hours') AS slot,
         count(*) AS trips, count(rider) AS known, count(*) FILTER (WHERE miles > 5) AS long_trips,
         sum(seats) AS seats, sum(fare) AS takings, sum(miles) AS miles, avg(miles) AS mean_miles,
         min(fare) AS cheapest, max(day) AS latest_day, stddev_samp(miles) AS spread, var_samp(seats) AS seat_variance,
         count(DISTINCT rider) AS riders, quantile_cont(miles, 0.9) AS p90, median(fare) AS middle,
         approx_top_k(rider, 2) AS regulars, first(rider) AS first_rider, last(rider) FILTER (WHERE vip) AS last_vip
  FROM trips WHERE seats IS NULL OR seats < 9 GROUP BY city, class, slot;";

fn view() -> Arc<View> {
    defined(SCHEMA, VIEW)
}

fn defined(schema: &str, view: &str) -> Arc<View> {
    let file = |path: &str, text: &str| SourceFile { path: path.to_string(), text: text.to_string() };
    let project = Project::parse(&[file("schemas/trips.sql", schema)], &[file("jobs/busy.sql", view)]);
    project.unwrap_or_else(|problems| panic!("{problems:?}")).views[0].clone()
}

/// Events of every shape, made by DuckDB itself.
fn events(folder: &Path) -> PathBuf {
    let path = folder.join("events.parquet");
    let sql = format!(
        "COPY (SELECT TIMESTAMP '2026-03-01' + to_minutes(i * 37 % 4000) AS at,
                 CASE WHEN i % 7 = 0 THEN NULL ELSE 'city ' || i % 3 END AS city,
                 CASE WHEN i % 5 = 0 THEN NULL ELSE 'r' || i % 13 END AS rider,
                 CASE WHEN i % 11 = 0 THEN NULL ELSE (i % 10)::INTEGER END AS seats,
                 (i % 997 / 10)::DECIMAL(10,2) AS fare,
                 CASE WHEN i % 6 = 0 THEN NULL ELSE sin(i) * 20 END AS miles,
                 DATE '2026-01-01' + (i % 50)::INTEGER AS day, i % 4 = 0 AS vip,
                 (i % 4)::INTEGER AS _partition, i::BIGINT AS _offset
               FROM range(2000) t(i)) TO '{}' (FORMAT parquet)",
        path.display()
    );
    engine().execute(&sql).expect("events are written");
    path
}

fn engine() -> Engine {
    Engine::new().expect("an engine")
}

/// Publishes what DuckDB recomputes, after `change` has been at it.
fn published(view: &View, events: &Path, folder: &Path, change: &str) -> Comparison {
    let path = folder.join("view.parquet");
    let engine = engine();
    engine
        .execute(&format!("CREATE VIEW events AS SELECT * FROM read_parquet('{}')", events.display()))
        .expect("events");
    let select = format!("SELECT * {change} FROM ({}) recomputed", recomputation(view));
    engine
        .execute(&format!("COPY ({select}) TO '{}' (FORMAT parquet)", path.display()))
        .expect("a view file");
    let files = Published { events: vec![events.to_owned()], view: vec![path] };
    compare(&Engine::new().expect("another engine"), view, &files).expect("a comparison")
}

#[test]
fn what_is_equal_has_no_differences() {
    let folder = tempfile::tempdir().expect("a folder");
    let (view, events) = (view(), events(folder.path()));
    let comparison = published(&view, &events, folder.path(), "");
    assert_eq!(comparison.differences, []);
    assert_eq!(comparison.events, 2000);
    assert_eq!(comparison.published_rows, comparison.recomputed_rows);
    assert!(comparison.published_rows > 20 && comparison.cells == comparison.published_rows * 17);
}

#[test]
fn every_measure_that_is_changed_is_found_in_every_row() {
    let folder = tempfile::tempdir().expect("a folder");
    let (view, events) = (view(), events(folder.path()));
    for (measure, changed) in [
        ("trips", "trips + 1"),
        ("takings", "(takings + 0.01)::DECIMAL(38,2)"),
        ("miles", "miles * (1 + 1e-8) + 1e-6"),
        ("mean_miles", "NULL::DOUBLE"),
        ("latest_day", "latest_day + 1"),
        ("regulars", "list_reverse(regulars) || regulars"),
        ("last_vip", "coalesce(last_vip, '') || '!'"),
    ] {
        let comparison =
            published(&view, &events, folder.path(), &format!("REPLACE ({changed} AS {measure})"));
        let wrong: Vec<_> =
            comparison.differences.iter().filter(|difference| difference.column != measure).collect();
        assert!(wrong.is_empty(), "{measure}: {wrong:?}");
        let share = comparison.differences.len() as f64 / comparison.published_rows as f64;
        assert!(share > 0.4, "{measure}: {} of {}", comparison.differences.len(), comparison.published_rows);
    }
}

#[test]
fn rounding_within_a_billionth_is_no_difference() {
    let folder = tempfile::tempdir().expect("a folder");
    let (view, events) = (view(), events(folder.path()));
    let comparison = published(&view, &events, folder.path(), "REPLACE (miles * (1 + 1e-12) AS miles)");
    assert_eq!(comparison.differences, []);
}

#[test]
fn a_missing_row_an_extra_row_and_a_wrong_window_end_are_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let (view, events) = (view(), events(folder.path()));
    let all = published(&view, &events, folder.path(), "").published_rows;
    let moved = published(&view, &events, folder.path(), "REPLACE (coalesce(city, 'nowhere') AS city)");
    // Rows without a city are missing, and there are as many of another.
    let rows: Vec<_> = moved.differences.iter().filter(|difference| difference.column == "row").collect();
    assert!(!rows.is_empty() && rows.len() % 2 == 0, "{rows:?}");
    assert_eq!(rows.len(), moved.differences.len());
    let ends =
        published(&view, &events, folder.path(), "REPLACE (window_end + INTERVAL 1 second AS window_end)");
    assert_eq!(ends.differences.len() as i64, all);
    assert!(ends.differences.iter().all(|difference| difference.column == "window_end"));
}

#[test]
fn an_infinity_or_nan_in_the_place_of_a_number_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let (view, events) = (view(), events(folder.path()));
    for wrong in ["inf", "-inf", "nan"] {
        let change = format!("REPLACE (CAST('{wrong}' AS DOUBLE) AS p90)");
        let comparison = published(&view, &events, folder.path(), &change);
        assert_eq!(comparison.differences.len() as i64, comparison.published_rows, "{wrong}");
        assert!(comparison.differences.iter().all(|difference| difference.column == "p90"), "{wrong}");
    }
}

#[test]
fn a_row_that_is_there_twice_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let (view, events) = (view(), events(folder.path()));
    let comparison = published(&view, &events, folder.path(), ", unnest([1, 2]) AS twin");
    assert_eq!(comparison.published_rows, 2 * comparison.recomputed_rows);
    assert_eq!(comparison.differences.len() as i64, comparison.recomputed_rows);
    assert!(comparison.differences.iter().all(|difference| difference.column == "row"));
}

#[test]
fn a_field_that_no_landed_file_has_is_null_in_all_of_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let schema = SCHEMA.replace("vip BOOLEAN", "vip BOOLEAN, tip DOUBLE");
    let younger = VIEW.replace("count(*) AS trips", "count(*) AS trips, count(tip) AS tips");
    assert!(schema != SCHEMA && younger != VIEW);
    let files = Published { events: vec![events(folder.path())], view: vec![] };
    let comparison = compare(&engine(), &defined(&schema, &younger), &files).expect("a comparison");
    assert_eq!((comparison.events, comparison.published_rows), (2000, 0));
    assert!(comparison.recomputed_rows > 20);
}

#[test]
fn a_column_of_another_type_is_found() {
    let folder = tempfile::tempdir().expect("a folder");
    let (view, events) = (view(), events(folder.path()));
    let comparison = published(&view, &events, folder.path(), "REPLACE (trips::DOUBLE AS trips)");
    assert_eq!(comparison.differences.len(), 1);
    assert_eq!(comparison.differences[0].column, "trips");
    assert_eq!(comparison.differences[0].recomputed, "BIGINT");
}

#[test]
fn a_version_without_events_has_no_rows() {
    let view = view();
    let nothing = Published { events: vec![], view: vec![] };
    let comparison = compare(&engine(), &view, &nothing).expect("a comparison");
    assert_eq!(comparison, Comparison::default());
}
