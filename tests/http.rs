//! The HTTP API through a real server: what it answers, in which shape, and how it refuses.

mod caching;
mod contract;
mod coverage;
mod damage;
mod dashboard;
mod explain;
mod hand_over;
mod live;
mod metrics;
mod naming;
mod overflow;
mod pages;
mod refusals;
mod slow;

use std::sync::Arc;
use std::time::{Duration, Instant};

use object_store::memory::InMemory;
use reqwest::{Client, Response};
use serde_json::{Value as Json, json};
use watershed_schemas::live::{LiveSource, Partials, PartialsRequest, PartitionStates};
use watershed_schemas::manifest::{Manifest, Version};
use watershed_schemas::offsets::{Offset, Partition};
use watershed_schemas::project::Project;
use watershed_schemas::scope::Scope;
use watershed_serving::http::{PartialsServer, ServeSettings, Server};
use watershed_serving::live::{Peers, choose};
use watershed_store::Store;

use self::contract::described;
use crate::support::serving::{
    DAY, HOUR, NEW_YEAR, ScriptedLive, Trip, client, fold, hourly, offsets, project, publish, trip,
    with_another_field,
};

/// A server over a store in memory and a speed layer that says what it is told to.
struct World {
    project: Arc<Project>,
    store: Store,
    live: Arc<ScriptedLive>,
    server: Server,
    client: Client,
}

impl World {
    async fn new() -> World {
        World::over(Store::new(Arc::new(InMemory::new())), ScriptedLive::new()).await
    }

    /// One version below {0: 3, 1: 1}, two live records above it.
    async fn with_both_sides() -> World {
        let world = World::new().await;
        world.publish(1, &[(0, 3), (1, 1)], &below()).await;
        world.live.open(
            &offsets(&[(0, 3), (1, 1)]),
            &[(0, vec![above()[0].clone()]), (1, vec![above()[1].clone()])],
        );
        world.live.reach(offsets(&[(0, 4), (1, 2)]));
        world.until_version(1).await;
        world.until("/readyz", 200).await;
        world
    }

    async fn over(store: Store, live: Arc<ScriptedLive>) -> World {
        let project = Arc::new(project());
        let settings = ServeSettings { workers: Some(1), ..ServeSettings::new("127.0.0.1:0") };
        let server = Server::start(settings, project.clone(), store.clone(), live.clone(), None, None).await;
        World { project, store, live, server: server.expect("the server starts"), client: client() }
    }

    async fn publish(&self, version: u64, watershed: &[(i32, i64)], trips: &[Trip]) -> Manifest {
        let manifest = publish(&self.store, &self.project, version, offsets(watershed), trips).await;
        self.server.refresh();
        manifest
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    async fn get(&self, path: &str) -> Response {
        let response = self.client.get(self.url(path)).send().await.expect("the server answers");
        described("GET", path, response).await
    }

    async fn json(&self, path: &str) -> Json {
        let response = self.get(path).await;
        assert_eq!(response.status(), 200, "{path}");
        response.json().await.expect("the body is JSON")
    }

    async fn post(&self, body: impl Into<reqwest::Body>) -> Response {
        let response = self.client.post(self.url("/v1/query")).body(body).send().await;
        described("POST", "/v1/query", response.expect("the server answers")).await
    }

    /// An answer that must be one.
    async fn ask(&self, question: Json) -> Json {
        let response = self.post(question.to_string()).await;
        let status = response.status();
        let body: Json = response.json().await.expect("the body is JSON");
        assert_eq!(status, 200, "{question}: {body}");
        body
    }

    /// A refusal that must be one.
    async fn refused(&self, question: Json) -> (u16, Json) {
        problem(self.post(question.to_string()).await).await
    }

    async fn until(&self, path: &str, status: u16) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.get(path).await.status() != status {
            assert!(Instant::now() < deadline, "{path} never answered {status}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    async fn until_version(&self, version: u64) {
        let deadline = Instant::now() + Duration::from_secs(20);
        while self.status().await["version"] != version {
            assert!(
                Instant::now() < deadline,
                "version {version} was never in service: {}",
                self.status().await
            );
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// The one stream's status.
    async fn status(&self) -> Json {
        self.json("/v1/status").await["streams"][0].clone()
    }
}

/// A problem's status and body.
async fn problem(response: Response) -> (u16, Json) {
    let status = response.status().as_u16();
    assert_eq!(response.headers()["content-type"], "application/problem+json");
    let body: Json = response.json().await.expect("a problem is JSON");
    assert_eq!(body["status"], status, "{body}");
    for key in ["type", "title", "detail"] {
        assert!(body[key].as_str().is_some_and(|text| !text.is_empty()), "{key} of {body}");
    }
    (status, body)
}

/// Three trips in two cells of one day, one on the next.
fn below() -> Vec<Trip> {
    vec![
        trip(NEW_YEAR, "Oslo", 1, 100, "ada"),
        trip(NEW_YEAR + 5, "Oslo", 1, 200, "bob"),
        trip(NEW_YEAR + HOUR, "Lima", 2, 300, "ada"),
        trip(NEW_YEAR + DAY, "Oslo", 1, 400, "cyd"),
    ]
}

/// One trip in a known cell, one in a city that batch has not seen.
fn above() -> Vec<Trip> {
    vec![trip(NEW_YEAR + 7, "Oslo", 1, 600, "ada"), trip(NEW_YEAR + DAY, "Pune", 3, 50, "dan")]
}

#[tokio::test]
async fn an_answer_has_the_shape_that_the_contract_shows() {
    let world = World::with_both_sides().await;
    let answer = world
        .ask(json!({ "view": "trips_hourly", "measures": ["trips", "fares", "middle"], "group_by": ["city"],
                     "to": "2013-01-02T00:00:00Z", "include": ["provenance"] }))
        .await;
    assert_eq!(
        answer["meta"],
        json!([
            { "name": "hour", "type": "timestamp" },
            { "name": "city", "type": "text" },
            { "name": "trips", "type": "bigint", "exact": true },
            { "name": "fares", "type": "bigint", "exact": true },
            { "name": "middle", "type": "double", "exact": false,
              "error": { "kind": "relative", "bound": 0.01, "confidence": 1.0 } },
        ])
    );
    let data = answer["data"].as_array().expect("data is a list");
    assert_eq!(data.len(), 2);
    let keys: Vec<&String> = data[0].as_object().expect("a row is an object").keys().collect();
    assert_eq!(keys.len(), 6);
    assert_eq!(data[0]["hour"], "2013-01-01T00:00:00Z");
    assert_eq!(
        (&data[0]["city"], &data[0]["trips"], &data[0]["fares"]),
        (&json!("Oslo"), &json!(3), &json!(900))
    );
    assert!(data[0]["middle"].as_f64().is_some_and(|middle| (middle - 200.0).abs() <= 2.0), "{}", data[0]);
    assert_eq!(data[0]["_live"], true);
    assert_eq!(
        data[1],
        json!({ "hour": "2013-01-01T01:00:00Z", "city": "Lima", "trips": 1, "fares": 300, "middle": 300.0, "_live": false })
    );
    assert_eq!((&answer["rows"], &answer["next_cursor"]), (&json!(2), &Json::Null));
    let mut block = answer["answer"].clone();
    let freshness = block.as_object_mut().and_then(|block| block.remove("freshness_ms"));
    assert!(freshness.and_then(|age| age.as_i64()).is_some_and(|age| (0..10_000).contains(&age)));
    assert_eq!(
        block,
        json!({ "stream": "trips", "version": 1, "watershed": { "0": 3, "1": 1 }, "live": { "0": 4, "1": 2 },
                "end": { "0": 4, "1": 2 }, "complete": true, "gaps": [] })
    );
    assert_eq!(
        (&answer["statistics"]["batch_rows"], &answer["statistics"]["live_groups"]),
        (&json!(2), &json!(1))
    );
    assert!(answer["statistics"]["elapsed_ms"].is_f64());
}

#[tokio::test]
async fn a_browser_gets_what_a_body_gets() {
    let world = World::with_both_sides().await;
    let body = world
        .ask(json!({ "view": "trips_hourly", "measures": ["trips"], "group_by": ["city"], "grain": "all",
                     "where": { "city": ["Oslo", "Pune"] }, "order_by": ["-trips"], "limit": 10 }))
        .await;
    let url = world
        .json("/v1/views/trips_hourly/query?measures=trips&group_by=city&grain=all&where.city=Oslo,Pune&order_by=-trips&limit=10")
        .await;
    assert_eq!(body["data"], json!([{ "city": "Oslo", "trips": 4 }, { "city": "Pune", "trips": 1 }]));
    assert_eq!(url["data"], body["data"]);
    assert_eq!(url["meta"], body["meta"]);
}

#[tokio::test]
async fn before_the_first_version_answers_are_live_from_the_logs_start() {
    let world = World::new().await;
    world.live.open(&offsets(&[(0, 0), (1, 0)]), &[(0, above())]);
    world.live.reach(offsets(&[(0, 2), (1, 0)]));
    world.until("/readyz", 200).await;
    let answer = world
        .ask(json!({ "view": "trips_hourly", "measures": ["trips"], "group_by": [], "grain": "all" }))
        .await;
    assert_eq!(answer["data"], json!([{ "trips": 2 }]));
    let block = &answer["answer"];
    assert_eq!((&block["version"], &block["watershed"]), (&Json::Null, &json!({ "0": 0, "1": 0 })));
    assert_eq!((&block["live"], &block["complete"]), (&json!({ "0": 2, "1": 0 }), &json!(true)));
}

#[tokio::test]
async fn without_a_speed_layer_the_newest_version_answers_and_says_that_it_is_not_complete() {
    let world = World::with_both_sides().await;
    world.live.go_away();
    world.publish(2, &[(0, 4), (1, 2)], &[below(), above()].concat()).await;
    world.until_version(2).await;
    world.until("/readyz", 200).await;
    let answer = world
        .ask(json!({ "view": "trips_hourly", "measures": ["trips"], "group_by": [], "grain": "all" }))
        .await;
    assert_eq!(answer["data"], json!([{ "trips": 6 }]));
    let block = &answer["answer"];
    assert_eq!((&block["version"], &block["complete"]), (&json!(2), &json!(false)));
    assert_eq!(block["live"], block["watershed"]);
    assert!(block["incomplete_because"].as_str().is_some_and(|why| why.contains("away")), "{block}");
    let (status, _) = world.refused(json!({ "view": "trips_hourly", "require": ["complete"] })).await;
    assert_eq!(status, 422);
}

#[tokio::test]
async fn with_neither_half_a_question_is_told_to_come_back() {
    let world = World::new().await;
    world.live.go_away();
    world.until("/readyz", 200).await;
    let response = world.post(json!({ "view": "trips_hourly" }).to_string()).await;
    assert_eq!(response.headers()["retry-after"], "1");
    let (status, body) = problem(response).await;
    assert_eq!(status, 503);
    assert!(body["detail"].as_str().is_some_and(|detail| detail.contains("no version yet")), "{body}");
}

#[tokio::test]
async fn a_newer_version_takes_over_only_when_its_epoch_is_ready() {
    let world = World::with_both_sides().await;
    let all = [below(), above()].concat();
    let question = json!({ "view": "trips_hourly", "measures": ["trips"], "group_by": [], "grain": "all" });
    world.publish(2, &[(0, 4), (1, 2)], &all).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while world.status().await["newest_version"] != 2 {
        assert!(Instant::now() < deadline, "version 2 was never loaded");
        assert_eq!(world.ask(question.clone()).await["data"], json!([{ "trips": 6 }]));
    }
    let waiting = world.ask(question.clone()).await;
    assert_eq!((&waiting["answer"]["version"], &waiting["data"]), (&json!(1), &json!([{ "trips": 6 }])));
    world.live.open(&offsets(&[(0, 4), (1, 2)]), &[(0, vec![trip(NEW_YEAR, "Oslo", 1, 1, "eve")])]);
    world.live.reach(offsets(&[(0, 5), (1, 2)]));
    world.until_version(2).await;
    let answer = world.ask(question).await;
    assert_eq!((&answer["answer"]["version"], &answer["data"]), (&json!(2), &json!([{ "trips": 7 }])));
}

#[tokio::test]
async fn accuracy_chooses_what_takes_part() {
    let world = World::with_both_sides().await;
    let ask = async |accuracy: &str| {
        world
            .ask(json!({ "view": "trips_hourly", "measures": ["trips", "riders", "middle"], "group_by": ["city"],
                         "grain": "1 day", "accuracy": accuracy, "where": { "city": "Oslo" }, "to": "2013-01-02T00:00:00Z" }))
            .await
    };
    let live = ask("live").await;
    assert_eq!((&live["data"][0]["trips"], &live["meta"][3]["exact"]), (&json!(3), &json!(false)));
    let batch = ask("batch").await;
    // All trips of this city on that day are in one cell: batch needs no sketch for it.
    let row =
        json!({ "hour": "2013-01-01T00:00:00Z", "city": "Oslo", "trips": 2, "riders": 2, "middle": 150.0 });
    assert_eq!(batch["data"], json!([row]));
    assert_eq!(batch["answer"]["live"], batch["answer"]["watershed"]);
    assert_eq!(batch["answer"]["complete"], true);
    let exact = ask("exact").await;
    assert_eq!(exact["data"], batch["data"]);
}

#[tokio::test]
async fn exact_numbers_at_a_coarser_grain_come_from_the_events() {
    let world = World::with_both_sides().await;
    let question = |accuracy: &str| {
        json!({ "view": "trips_hourly", "measures": ["trips", "riders", "middle"], "group_by": [], "grain": "1 day",
                "time_zone": "America/New_York", "accuracy": accuracy, "where": { "city": { "not": ["Pune", null] } } })
    };
    let merged = world.ask(question("batch")).await;
    assert_eq!(merged["meta"][2]["exact"], false);
    let exact = world.ask(question("exact")).await;
    assert!(exact["meta"].as_array().is_some_and(|meta| meta.iter().all(|column| column["exact"] != false)));
    assert_eq!(
        exact["data"],
        json!([
            { "hour": "2012-12-31T00:00:00-05:00", "trips": 3, "riders": 2, "middle": 200.0 },
            { "hour": "2013-01-01T00:00:00-05:00", "trips": 1, "riders": 1, "middle": 400.0 },
        ])
    );
    // What is required can be met this way, and only this way.
    let requiring = |accuracy| {
        let mut question = question(accuracy);
        question["require"] = json!(["exact"]);
        question
    };
    world.ask(requiring("exact")).await;
    let (status, body) = world.refused(requiring("batch")).await;
    assert_eq!(status, 422);
    assert!(body["detail"].as_str().is_some_and(|detail| detail.starts_with("exact: ")), "{body}");
}

#[tokio::test]
async fn exact_numbers_come_also_from_events_with_a_field_that_is_declared_no_more() {
    let world = World::with_both_sides().await;
    let question = json!({ "view": "trips_hourly", "measures": ["riders"], "group_by": [], "grain": "all",
                           "accuracy": "exact" });
    let before = world.ask(question.clone()).await;
    let first = world.store.manifest("trips", Version(1)).await.expect("memory reads").expect("it is there");
    let mut second = Manifest { version: Version(2), run_id: "run2".to_string(), ..first };
    for event in &mut second.events {
        event.file = with_another_field(&world.store, &event.file).await;
    }
    let _ = world.store.publish(&second).await.expect("memory takes it");
    world.server.refresh();
    world.until_version(2).await;
    let after = world.ask(question).await;
    assert_eq!((&after["data"], &after["answer"]["version"]), (&before["data"], &json!(2)));
    assert_eq!(after["data"], json!([{ "riders": 3 }]));
}

#[tokio::test]
async fn a_retained_version_can_be_asked() {
    let world = World::with_both_sides().await;
    world.live.open(&offsets(&[(0, 4), (1, 2)]), &[]);
    world.publish(2, &[(0, 4), (1, 2)], &[below(), above()].concat()).await;
    world.until_version(2).await;
    let question =
        json!({ "view": "trips_hourly", "measures": ["trips"], "group_by": [], "grain": "all", "as_of": 1 });
    let answer = world.ask(question).await;
    assert_eq!((&answer["answer"]["version"], &answer["data"]), (&json!(1), &json!([{ "trips": 4 }])));
    let (status, body) = world.refused(json!({ "view": "trips_hourly", "as_of": 9 })).await;
    assert_eq!(status, 404, "{body}");
}

#[tokio::test]
async fn pages_hold_every_row_once_in_order() {
    let world = World::with_both_sides().await;
    let question = json!({ "view": "trips_hourly", "measures": ["trips"], "order_by": ["-trips"] });
    let whole = world.ask(question.clone()).await;
    let mut paged = Vec::new();
    let mut cursor = Json::Null;
    loop {
        let mut question = question.clone();
        question["limit"] = json!(1);
        question["cursor"] = cursor;
        let page = world.ask(question).await;
        paged.extend(page["data"].as_array().expect("a list").clone());
        cursor = page["next_cursor"].clone();
        if cursor.is_null() {
            break;
        }
    }
    assert_eq!(json!(paged), whole["data"]);
    assert_eq!(paged.len(), 4);
    let (status, _) = world.refused(json!({ "view": "trips_hourly", "cursor": "abc" })).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn buckets_without_data_are_filled_when_asked() {
    let world = World::with_both_sides().await;
    let question = |fill: &str| {
        json!({ "view": "trips_hourly", "measures": ["trips", "middle"], "group_by": ["city"], "fill": fill,
                "where": { "city": "Lima" }, "from": "2013-01-01T00:00:00Z", "to": "2013-01-01T03:00:00Z" })
    };
    let row = |hour: i64, trips: Json, middle: Json| json!({ "hour": format!("2013-01-01T0{hour}:00:00Z"), "city": "Lima", "trips": trips, "middle": middle });
    let data = row(1, json!(1), json!(300.0));
    assert_eq!(world.ask(question("none")).await["data"], json!([data]));
    let (null, zero) = (Json::Null, json!(0));
    let filled = world.ask(question("null")).await;
    assert_eq!(filled["data"], json!([row(0, null.clone(), null.clone()), data, row(2, null.clone(), null)]));
    let filled = world.ask(question("zero")).await;
    assert_eq!(filled["data"], json!([row(0, zero.clone(), json!(0.0)), data, row(2, zero, json!(0.0))]));
    let mut endless = question("zero");
    (endless["from"], endless["to"]) = (json!("0001-01-01T00:00:00Z"), json!("9999-01-01T00:00:00Z"));
    assert_eq!(world.refused(endless).await.0, 413);
}

#[tokio::test]
async fn an_answer_comes_in_the_form_that_is_accepted() {
    let world = World::with_both_sides().await;
    let path = "/v1/views/trips_hourly/query?measures=trips,riders&group_by=city&grain=all&accuracy=batch";
    let get = async |accept: &str| {
        let response =
            world.client.get(world.url(path)).header("accept", accept).send().await.expect("an answer");
        assert_eq!(response.status(), 200);
        let header = response.headers().get("watershed-answer").cloned();
        let media = response.headers()["content-type"].to_str().expect("text").to_string();
        (media, header, response.bytes().await.expect("a body"))
    };
    let (media, header, body) = get("text/csv").await;
    assert_eq!(
        (media.as_str(), body.as_ref()),
        ("text/csv", b"city,trips,riders\nLima,1,1\nOslo,3,3\n".as_slice())
    );
    let head: Json = serde_json::from_slice(header.expect("a header").as_bytes()).expect("JSON");
    assert_eq!((&head["answer"]["version"], &head["rows"]), (&json!(1), &json!(2)));
    let (_, _, body) = get("application/x-ndjson;q=0.9, text/csv;q=0.5").await;
    assert_eq!(
        body.as_ref(),
        b"{\"city\":\"Lima\",\"trips\":1,\"riders\":1}\n{\"city\":\"Oslo\",\"trips\":3,\"riders\":3}\n"
    );
    let (_, _, body) = get("application/vnd.apache.arrow.stream").await;
    let mut stream = arrow::ipc::reader::StreamReader::try_new(body.as_ref(), None).expect("an Arrow stream");
    let batch = stream.next().expect("a batch").expect("a batch that can be read");
    assert_eq!((batch.num_rows(), batch.num_columns()), (2, 3));
    assert!(batch.schema().metadata()["watershed-answer"].contains("\"version\":1"));
    let (_, _, body) = get("application/vnd.apache.parquet").await;
    let file =
        parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(body).expect("a Parquet file");
    assert_eq!(file.metadata().file_metadata().num_rows(), 2);
    let (media, header, _) = get("text/html,*/*;q=0.8").await;
    assert_eq!((media.as_str(), header), ("application/json", None));
    let csv = world.get(&format!("{path}&format=csv")).await;
    assert_eq!(csv.headers()["content-type"], "text/csv");
}

#[tokio::test]
async fn whatever_is_wrong_with_a_question_is_a_problem_and_never_a_failure() {
    let world = World::with_both_sides().await;
    for (method, path, body, status, detail) in [
        ("POST", "/v1/query", "{", 400, "not JSON"),
        ("POST", "/v1/query", "", 400, "not JSON"),
        ("POST", "/v1/query", "\u{feff}[1,2]", 400, "not JSON"),
        ("POST", "/v1/query", "\"trips\"", 400, "expected an object"),
        ("POST", "/v1/query", "{\"view\":\"trips_hourly\",\"limt\":1}", 400, "unknown key \"limt\""),
        ("POST", "/v1/query", "{\"view\":\"trips_hourly\",\"limit\":1e99}", 400, "expected a whole number"),
        ("POST", "/v1/query", "{\"view\":\"trips_houly\"}", 404, "unknown view \"trips_houly\""),
        (
            "POST",
            "/v1/query",
            "{\"view\":\"trips_hourly\",\"measures\":[\"trip\"]}",
            404,
            "unknown measure \"trip\"",
        ),
        ("POST", "/v1/query", "{\"view\":\"trips_hourly\",\"from\":\"9999-99-99\"}", 400, "not a time"),
        (
            "POST",
            "/v1/query",
            "{\"view\":\"trips_hourly\",\"grain\":\"1 minute\"}",
            400,
            "not made of whole windows",
        ),
        ("POST", "/v1/query?limit=1", "{\"view\":\"trips_hourly\"}", 400, "the question goes into the body"),
        ("POST", "/v1/query?format=xml", "{\"view\":\"trips_hourly\"}", 400, "format \"xml\" is unknown"),
        ("GET", "/v1/query", "", 405, "POST"),
        ("DELETE", "/v1/views", "", 405, "GET"),
        ("GET", "/v1/vews", "", 404, "nothing at /v1/vews"),
        ("GET", "/index.html", "", 404, "nothing at /index.html"),
        ("GET", "/v1/views/trips", "", 404, "unknown view"),
        ("GET", "/v1/views/trips_houly/query", "", 404, "unknown view"),
        ("GET", "/v1/views/%00/query", "", 404, "unknown view"),
        ("GET", "/v1/views/trips_hourly/query?mesures=a", "", 400, "unknown parameter \"mesures\""),
        ("GET", "/v1/views/trips_hourly/query?limit=-1", "", 400, "expected a whole number"),
        ("GET", "/v1/views/trips_hourly/query?where.town=Oslo", "", 404, "unknown dimension \"town\""),
        ("GET", "/v1/views/trips_hourly/query?where.line=one", "", 400, "expected a whole number"),
        ("GET", "/v1/views/trips_hourly/query?from=%ff", "", 400, "not a time"),
        ("GET", "/v1/streams/trip/versions", "", 404, "unknown stream"),
    ] {
        let method = method.parse().expect("a method");
        let request = world.client.request(method, world.url(path)).body(body);
        let (found, problem) = problem(request.send().await.expect("an answer")).await;
        assert_eq!(found, status, "{path} {body}: {problem}");
        assert!(
            problem["detail"].as_str().is_some_and(|text| text.contains(detail)),
            "{path} {body}: {problem}"
        );
    }
}

#[tokio::test]
async fn a_problem_says_where_and_suggests_what_was_meant() {
    let world = World::with_both_sides().await;
    let question = "{\n  \"view\": \"trips_hourly\",\n  \"measures\": [\"fares\", \"ridders\"]\n}";
    let (_, body) = problem(world.post(question).await).await;
    assert_eq!(
        (&body["position"], &body["did_you_mean"]),
        (&json!({ "line": 3, "column": 25 }), &json!("riders"))
    );
    let (_, body) = problem(world.get("/v1/views/trips_hourly/query?where.cty=Oslo").await).await;
    assert_eq!(
        (&body["position"], &body["did_you_mean"]),
        (&json!({ "parameter": "where.cty" }), &json!("city"))
    );
    let (_, body) = problem(world.get("/v1/vies").await).await;
    assert_eq!(body["did_you_mean"], "/v1/views");
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_as_such() {
    let world = World::with_both_sides().await;
    let (status, body) = problem(world.post(vec![b' '; (1 << 20) + 1]).await).await;
    assert_eq!(status, 413, "{body}");
    let deep = "[".repeat(100_000);
    assert_eq!(problem(world.post(deep).await).await.0, 400);
}

#[tokio::test]
async fn views_show_their_columns_bounds_and_sql() {
    let world = World::with_both_sides().await;
    let views = world.json("/v1/views").await;
    let view = world.json("/v1/views/trips_hourly").await;
    assert_eq!(views["views"].as_array().map(Vec::len), Some(2));
    assert_eq!(views["views"][0], view);
    assert_eq!(view["window"], json!({ "name": "hour", "type": "timestamp", "length": "1 hour" }));
    assert_eq!(
        view["dimensions"],
        json!([{ "name": "city", "type": "text" }, { "name": "line", "type": "integer" }])
    );
    assert_eq!(view["measures"][0], json!({ "name": "trips", "type": "bigint", "always_exact": true }));
    assert_eq!(view["measures"][5]["error"]["kind"], "relative");
    assert_eq!(view["schedule"], json!({ "cron": "*/5 * * * *", "time_zone": "UTC" }));
    assert!(view["sql"].as_str().is_some_and(|sql| sql.starts_with("CREATE MATERIALIZED VIEW trips_hourly")));
    let ledger = world.json("/v1/views/trips_hourly/accuracy").await;
    assert_eq!((&ledger["version"], &ledger["accuracy"]), (&json!(1), &json!([])));
}

#[tokio::test]
async fn status_says_how_far_each_side_is() {
    let world = World::with_both_sides().await;
    let status = world.status().await;
    assert_eq!((&status["state"], &status["version"]), (&json!("live"), &json!(1)));
    assert_eq!(
        (&status["watershed"], &status["live"]),
        (&json!({ "0": 3, "1": 1 }), &json!({ "0": 4, "1": 2 }))
    );
    assert_eq!((&status["lag"], &status["running"]), (&json!({ "0": 0, "1": 0 }), &Json::Null));
    assert_eq!(status["nodes"][0]["node"], "scripted");
    let versions = world.json("/v1/streams/trips/versions").await;
    assert_eq!(versions["versions"].as_array().map(Vec::len), Some(1));
    let version = &versions["versions"][0];
    assert_eq!((&version["version"], &version["rows_landed"]), (&json!(1), &json!(4)));
    assert_eq!(version["watershed"], json!({ "0": 3, "1": 1 }));
    assert_eq!(world.json("/healthz").await["status"], "alive");
}

#[tokio::test]
async fn a_server_is_not_ready_while_the_epoch_of_its_version_is_opened() {
    let store = Store::new(Arc::new(InMemory::new()));
    publish(&store, &project(), 1, offsets(&[(0, 3), (1, 1)]), &below()).await;
    let live = ScriptedLive::new();
    live.reach(offsets(&[(0, 4), (1, 2)]));
    let world = World::over(store, live).await;
    world.until_version(1).await;
    assert_eq!(problem(world.get("/readyz").await).await.0, 503);
    world.live.open(&offsets(&[(0, 3), (1, 1)]), &[]);
    world.until("/readyz", 200).await;
}

#[tokio::test]
async fn status_tells_of_a_node_in_the_same_process_as_it_is_now() {
    let world = World::with_both_sides().await;
    world.live.be_here();
    // Far more often than the server looks.
    for offset in 10..20 {
        world.live.reach(offsets(&[(0, offset), (1, offset)]));
        let stream = world.status().await;
        let live = json!({ "0": offset, "1": offset });
        assert_eq!((&stream["nodes"][0]["live"], &stream["live"], &stream["end"]), (&live, &live, &live));
        assert_eq!(stream["lag"], json!({ "0": 0, "1": 0 }));
    }
}

#[tokio::test]
async fn a_speed_node_over_http_says_what_it_says_in_process() {
    let live = ScriptedLive::new();
    live.open(&offsets(&[(0, 3), (1, 1)]), &[(0, vec![above()[0].clone()]), (1, vec![above()[1].clone()])]);
    live.reach(offsets(&[(0, 4), (1, 2)]));
    let node = PartialsServer::start("127.0.0.1:0", live.clone()).await.expect("the endpoint starts");
    let peers = Peers::new(&[format!("http://{}", node.address)]).expect("an address");
    let request = |view_hash: &str| PartialsRequest {
        stream: "trips".to_string(),
        view: "trips_hourly".to_string(),
        view_hash: view_hash.to_string(),
        watershed: offsets(&[(0, 3), (1, 1)]),
        scope: Scope::default(),
    };
    let known = request(&hourly().hash);
    let (there, here) =
        (peers.partials(&known).await.expect("a reply"), live.partials(&known).await.expect("a reply"));
    assert_eq!((there.len(), here.len()), (1, 1));
    assert_eq!(there[0].live, here[0].live);
    assert_eq!(there[0].partitions, here[0].partitions);
    for (there, here) in there[0].states.iter().zip(&here[0].states) {
        assert_eq!(there.to_batch().columns(), here.to_batch().columns());
    }
    assert_eq!(
        peers.status("trips").await.expect("a status")[0].epochs,
        live.status("trips").await.expect("a status")[0].epochs
    );
    // A refusal crosses the wire as what it is.
    let unknown = request("another definition");
    assert_eq!(peers.partials(&unknown).await.err(), live.partials(&unknown).await.err());
    live.close(&offsets(&[(0, 3), (1, 1)]));
    assert_eq!(peers.partials(&known).await.err(), live.partials(&known).await.err());
    live.go_away();
    assert_eq!(peers.partials(&known).await.err(), live.partials(&known).await.err());
    live.come_back();
    node.stop().await;
    assert!(peers.partials(&known).await.is_err_and(|error| error.to_string().contains("unavailable")));
}

#[test]
fn a_partition_that_two_nodes_hold_is_counted_once_and_from_the_one_that_came_further() {
    let watershed = offsets(&[(0, 3), (1, 1)]);
    let reply = |positions: &[(i32, i64)], at| Partials {
        watershed: watershed.clone(),
        live: offsets(positions),
        end: offsets(&[(0, 9), (1, 9)]),
        current_at_ms: at,
        partitions: positions.iter().map(|(partition, _)| Partition(*partition)).collect(),
        states: positions.iter().map(|_| PartitionStates::Held(fold(&hourly(), &above()).into())).collect(),
    };
    let mut other = reply(&[(0, 9)], 5);
    other.watershed = offsets(&[(0, 7)]);
    let replies = vec![reply(&[(0, 5), (1, 4)], 30), reply(&[(0, 6)], 20), other];
    let chosen = choose(replies, Some(&watershed));
    assert_eq!(chosen.live, offsets(&[(0, 6), (1, 4)]));
    let taken: Vec<(Partition, Offset)> =
        chosen.states.iter().map(|(partition, live, _)| (*partition, *live)).collect();
    assert_eq!(taken, [(Partition(0), Offset(6)), (Partition(1), Offset(4))]);
    assert_eq!(chosen.current_at_ms, Some(20));
    // A node that has not come to the watershed yet holds nothing above it, and nothing below it is missing.
    let behind = choose(vec![reply(&[(0, 2)], 1)], Some(&watershed));
    assert_eq!(behind.live, offsets(&[(0, 3)]));
}

#[tokio::test]
async fn a_stopped_server_has_let_its_address_go() {
    let world = World::with_both_sides().await;
    let address = world.server.address;
    world.server.stop().await;
    assert!(world.client.get(format!("http://{address}/healthz")).send().await.is_err());
    std::net::TcpListener::bind(address).expect("the address is free again");
}
