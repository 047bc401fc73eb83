//! What lies between two versions, of versions that real runs have published.

use std::sync::Arc;

use arrow::array::{AsArray, Int64Array, RecordBatch};
use arrow::datatypes::Int64Type;
use object_store::memory::InMemory;
use parquet::arrow::ArrowWriter;
use reqwest::Client;
use serde_json::{Value as Json, json};
use support::batch_world::{DAY, HOUR, STREAM, VIEWS, World, project, published, reading};
use support::serving::{ScriptedLive, client};
use watershed_schemas::layout::Object;
use watershed_schemas::manifest::{Manifest, Version};
use watershed_serving::cells;
use watershed_serving::diff::{self, Change};
use watershed_serving::http::{ServeSettings, Server};
use watershed_store::{Publication, Store};

/// Runs over one view, and a server beside them.
struct Compared {
    world: World,
    server: Server,
    client: Client,
}

impl Compared {
    async fn new() -> Compared {
        let world = World::with(&VIEWS[..1], Store::new(Arc::new(InMemory::new())));
        let live = ScriptedLive::new();
        live.go_away();
        let settings = ServeSettings { workers: Some(1), ..ServeSettings::new("127.0.0.1:0") };
        let project = Arc::new(project(STREAM, &VIEWS[..1]));
        let server = Server::start(settings, project, world.store.clone(), live, None, None).await;
        Compared { world, server: server.expect("the server starts"), client: client() }
    }

    /// A reading at this hour since 2013 began.
    fn produce(&self, hour: i64, site: &str) {
        self.world.produce(0, &reading(hour * HOUR, site, "d", 1.0, 1));
    }

    async fn get(&self, path: &str) -> (u16, Json) {
        let url = format!("http://{}/v1/streams/{path}", self.server.address);
        let response = self.client.get(url).send().await.expect("the server answers");
        let status = response.status().as_u16();
        let media = if status == 200 { "application/json" } else { "application/problem+json" };
        assert_eq!(response.headers()["content-type"], media);
        (status, response.json().await.expect("the body is JSON"))
    }

    async fn diff(&self, before: u64, after: u64) -> Json {
        let (status, body) = self.get(&format!("readings/versions/{before}/diff/{after}")).await;
        assert_eq!(status, 200, "{body}");
        body
    }
}

fn window(day: i64, hour: i64, change: &str, why: &str, cells: [u64; 2]) -> Json {
    json!({ "view": "hourly", "window_start": format!("2013-01-0{day}T{hour:02}:00:00Z"),
            "window_end": format!("2013-01-0{day}T{:02}:00:00Z", hour + 1), "change": change, "why": why,
            "cells_before": cells[0], "cells_after": cells[1] })
}

#[tokio::test]
async fn windows_that_late_records_touched_are_told_and_their_neighbours_are_not() {
    let compared = Compared::new().await;
    for hour in 0..72 {
        compared.produce(hour, "a");
    }
    compared.world.publish().await;
    compared.produce(30, "b");
    compared.produce(24 + 1, "a");
    compared.produce(72, "a");
    compared.world.publish().await;
    let diff = compared.diff(1, 2).await;
    assert_eq!(
        diff["windows"],
        json!([
            window(2, 1, "changed", "late", [1, 1]),
            window(2, 6, "changed", "late", [1, 2]),
            window(4, 0, "added", "late", [0, 1]),
        ])
    );
    assert_eq!(diff["windows_changed"], 3);
    assert_eq!(diff["reasons"], json!({ "definition": 0, "rollback": 0, "late": 3, "rerun": 0 }));
    assert_eq!(
        diff["views"],
        json!([{ "view": "hourly", "definition_changed": false, "windows_changed": 3,
                 "files": { "carried_over": 2, "made_again": 0, "compared": 2 } }])
    );
    assert_eq!((&diff["from"]["version"], &diff["to"]["version"]), (&json!(1), &json!(2)));
    assert_eq!((&diff["from"]["watershed"]["0"], &diff["to"]["watershed"]["0"]), (&json!(72), &json!(75)));
    let same = compared.diff(2, 2).await;
    assert_eq!((&same["windows_changed"], &same["windows"]), (&json!(0), &json!([])));
}

#[tokio::test]
async fn a_new_definition_is_the_reason_where_it_changed_a_window() {
    let mut compared = Compared::new().await;
    compared.produce(0, "a");
    compared.world.produce(0, &reading(HOUR, "a", "d", 99.0, 1));
    compared.world.publish().await;
    let stricter = VIEWS[0].replace("value > 50", "value > 0.5");
    compared.world.project = project(STREAM, &[&stricter]);
    compared.world.publish().await;
    let diff = compared.diff(1, 2).await;
    assert_eq!(diff["views"][0]["definition_changed"], true);
    assert_eq!(diff["windows"], json!([window(1, 0, "changed", "definition", [1, 1])]));
    // A view that only one version holds is new in all its windows.
    compared.world.project = project(STREAM, &[&stricter, VIEWS[1]]);
    compared.world.publish().await;
    let diff = compared.diff(2, 3).await;
    assert_eq!(
        (&diff["windows"][0]["view"], &diff["windows"][0]["change"]),
        (&json!("weekly"), &json!("added"))
    );
    assert_eq!(diff["reasons"]["definition"], 1);
}

#[tokio::test]
async fn a_full_run_changes_no_window_unless_it_comes_to_other_cells() {
    let compared = Compared::new().await;
    compared.produce(0, "a");
    compared.produce(1, "a");
    compared.world.publish().await;
    let second = compared.world.publish_full().await.manifest;
    let diff = compared.diff(1, 2).await;
    assert_eq!(diff["windows_changed"], 0);
    assert_eq!(diff["views"][0]["files"], json!({ "carried_over": 0, "made_again": 1, "compared": 0 }));
    with_other_units(&compared.world, second).await;
    let diff = compared.diff(1, 3).await;
    assert_eq!(diff["windows"], json!([window(1, 0, "changed", "rerun", [1, 1])]));
}

/// Publishes a version after `base` whose first cell holds other units, from the same records.
async fn with_other_units(world: &World, base: Manifest) {
    let mut next = Manifest { version: base.version.next(), run_id: "other".to_string(), ..base };
    let (version, view) = (next.version, next.views.get_mut("hourly").expect("it was published"));
    let file = &mut view.files[0];
    let rows = cells::rows(world.store.read(&file.file).await.expect("the file is whole"));
    let rows = rows.expect("it is a view file");
    let index = rows.schema().index_of("units").expect("the view has units");
    let mut columns = rows.columns().to_vec();
    let units = rows["units"].as_primitive::<Int64Type>().values();
    columns[index] = Arc::new(Int64Array::from_iter_values(
        units.iter().enumerate().map(|(row, units)| if row == 0 { units + 1 } else { *units }),
    ));
    let rows = RecordBatch::try_new(rows.schema(), columns).expect("the columns fit");
    let mut writer = ArrowWriter::try_new(Vec::new(), rows.schema(), None).expect("the schema is plain");
    writer.write(&rows).expect("memory takes it");
    let bytes = writer.into_inner().expect("memory takes it");
    let path =
        Object::View { view: "hourly".to_string(), version, date: file.date, run: "other".to_string() };
    file.file = world.store.write(&path.path(), bytes.into(), file.file.rows).await.expect("memory takes it");
    assert_eq!(world.store.publish(&next).await.expect("memory takes it"), Publication::Published);
}

#[tokio::test]
async fn what_a_rollback_gives_back_is_told_and_a_later_run_is_compared_by_cells() {
    let compared = Compared::new().await;
    compared.produce(0, "a");
    compared.world.publish().await;
    compared.produce(0, "b");
    compared.produce(5, "a");
    compared.world.publish().await;
    let _ = published(watershed_batch::rollback(&compared.world.job(), Version(1)).await);
    let expected = [window(1, 0, "changed", "rollback", [2, 1]), window(1, 5, "removed", "rollback", [1, 0])];
    assert_eq!(compared.diff(2, 3).await["windows"], json!(expected));
    // Asked backwards it is what going back would change.
    assert_eq!(compared.diff(2, 1).await["windows"], json!(expected));
    assert_eq!(compared.diff(1, 3).await["windows_changed"], 0);
    compared.produce(7, "a");
    compared.world.publish().await;
    assert_eq!(compared.diff(2, 4).await["windows"], json!([window(1, 7, "added", "late", [0, 1])]));
}

#[tokio::test]
async fn the_list_is_bounded_and_the_count_is_not() {
    let compared = Compared::new().await;
    compared.world.publish().await;
    for hour in 0..3 * DAY / HOUR {
        compared.produce(hour, "a");
    }
    compared.world.publish().await;
    let (status, diff) = compared.get("readings/versions/1/diff/2?limit=2").await;
    assert_eq!((status, diff["windows"].as_array().map(Vec::len)), (200, Some(2)));
    assert_eq!((&diff["windows_changed"], &diff["reasons"]["late"]), (&json!(72), &json!(72)));
    for wrong in ["limit=-1", "limit=10001", "limit=x", "page=2"] {
        let (status, body) = compared.get(&format!("readings/versions/1/diff/2?{wrong}")).await;
        assert_eq!(status, 400, "{wrong}: {body}");
    }
}

#[tokio::test]
async fn streams_and_versions_that_there_are_not_are_named() {
    let compared = Compared::new().await;
    compared.world.publish().await;
    let (status, body) = compared.get("reading/versions/1/diff/1").await;
    assert_eq!((status, &body["did_you_mean"]), (404, &json!("readings")));
    for missing in ["readings/versions/1/diff/9", "readings/versions/9/diff/1", "readings/versions/0/diff/1"]
    {
        let (status, body) = compared.get(missing).await;
        assert_eq!(status, 404, "{missing}: {body}");
        let detail = body["detail"].as_str().unwrap_or_default();
        assert!(detail.contains("is not retained: it holds 1 to 1"), "{body}");
    }
    let (status, body) = compared.get("readings/versions/one/diff/1").await;
    assert_eq!((status, &body["position"]["parameter"]), (400, &json!("a")));
}

#[tokio::test]
async fn files_with_other_columns_have_no_cell_in_common() {
    let world = World::with(&VIEWS[..1], Store::new(Arc::new(InMemory::new())));
    world.produce(0, &reading(0, "a", "d", 1.0, 1));
    let manifest = world.publish().await.manifest;
    let file = &manifest.views["hourly"].files[0].file;
    let rows = cells::rows(world.store.read(file).await.expect("the file is whole")).expect("a view file");
    assert_eq!(diff::windows(Some(&rows), Some(&rows)).expect("it is sorted"), []);
    let without = rows.schema().index_of("p90").expect("the view has it");
    let mut fewer = rows.clone();
    fewer.remove_column(without);
    let windows = diff::windows(Some(&fewer), Some(&rows)).expect("it is sorted");
    assert_eq!(windows.iter().map(|window| window.change).collect::<Vec<_>>(), [Change::Changed]);
    assert_eq!(diff::windows(Some(&rows), None).expect("it is sorted")[0].change, Change::Removed);
}

#[tokio::test]
async fn a_damaged_file_is_named_and_no_window_is_told() {
    let compared = Compared::new().await;
    compared.produce(0, "a");
    compared.world.publish().await;
    compared.produce(0, "a");
    let second = compared.world.publish().await.manifest;
    let manifest = Object::Manifest { stream: "readings".to_string(), version: Version(2) }.path();
    let store = &compared.world.store;
    for path in [&second.views["hourly"].files[0].file.path, &manifest] {
        let whole = store.get(path).await.expect("memory reads").expect("it is there");
        let mut flipped = whole.to_vec();
        flipped[whole.len() / 2] ^= 1;
        for damaged in [flipped.into(), whole.slice(..whole.len() - 1), whole.slice(..0)] {
            store.put(path, damaged).await.expect("memory takes it");
            let (status, body) = compared.get("readings/versions/1/diff/2").await;
            assert_eq!(status, 500, "{path}: {body}");
            assert!(body["detail"].as_str().is_some_and(|detail| detail.contains(path)), "{path}: {body}");
        }
        store.put(path, whole).await.expect("memory takes it");
        assert_eq!(compared.diff(1, 2).await["windows_changed"], 1);
    }
}
