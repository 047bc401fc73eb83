//! What statements are answered.

use std::time::{Duration, Instant};

use arrow::ipc::reader::StreamReader;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};

use super::{World, above, below};
use crate::support::serving::{DAY, HOUR, NEW_YEAR, Trip, offsets, trip};

pub(super) const TIMEOUT: Duration = Duration::from_secs(20);

#[tokio::test]
async fn a_statement_sees_batch_and_live_at_the_coverage_that_it_names() {
    let world = World::new(TIMEOUT, 2).await;
    let answer =
        world.sql("SELECT city, sum(trips) AS n, max(dearest) AS most FROM trips_hourly GROUP BY city ORDER BY n DESC, city").await;
    assert_eq!(
        answer["meta"],
        json!([{ "name": "city", "type": "text" }, { "name": "n", "type": "hugeint" }, { "name": "most", "type": "bigint" }])
    );
    assert_eq!(
        answer["data"],
        json!([{ "city": "Oslo", "n": 4, "most": 600 }, { "city": "Lima", "n": 1, "most": 300 }, { "city": "Pune", "n": 1, "most": 50 }])
    );
    assert_eq!((&answer["rows"], &answer["truncated"]), (&json!(3), &json!(false)));
    let block = &answer["answer"];
    assert_eq!(
        (&block["stream"], &block["version"], &block["watershed"], &block["live"], &block["complete"]),
        (&json!("trips"), &json!(1), &json!({ "0": 3, "1": 1 }), &json!({ "0": 4, "1": 2 }), &json!(true))
    );
    assert_eq!(
        block["tables"],
        json!([{ "table": "trips_hourly", "stream": "trips", "rows": 4, "exact": true }])
    );
    assert_eq!(answer["statistics"]["tables"], 1);
}

#[tokio::test]
async fn estimates_are_told_where_they_come_straight_from_a_view() {
    let world = World::new(TIMEOUT, 1).await;
    let answer = world.sql("SELECT h.city, middle, trips, middle + 1 AS more FROM trips_hourly h").await;
    let exact: Vec<&Json> =
        answer["meta"].as_array().expect("columns").iter().map(|column| &column["exact"]).collect();
    assert_eq!(exact, [&Json::Null, &json!(false), &json!(true), &Json::Null]);
    assert_eq!(answer["meta"][1]["error"]["kind"], "relative");
    assert_eq!(answer["answer"]["tables"][0]["estimated"], json!(["middle"]));
    let answer = world.sql("SELECT * FROM batch.trips_hourly").await;
    let exact = answer["meta"].as_array().expect("columns").iter().map(|column| column["exact"].as_bool());
    assert_eq!(exact.filter(|exact| *exact == Some(true)).count(), 6);
    assert_eq!(answer["answer"]["tables"][0]["exact"], true);
    // Of a name that an inner query gave to something else nothing is known.
    let answer = world.sql("SELECT middle FROM (SELECT trips AS middle FROM trips_hourly)").await;
    assert_eq!(answer["meta"][0]["exact"], Json::Null);
}

#[tokio::test]
async fn versions_and_events_are_tables_too() {
    let world = World::new(TIMEOUT, 2).await;
    let one = |answer: Json| answer["data"][0]["n"].clone();
    assert_eq!(one(world.sql("SELECT sum(trips) AS n FROM batch.trips_hourly").await), 4);
    assert_eq!(one(world.sql("SELECT count(*) AS n FROM events.trips").await), 4);
    assert_eq!(one(world.sql("SELECT sum(fare) AS n FROM Events.TRIPS WHERE city = 'Oslo'").await), 700);
    let both = "SELECT sum(h.trips) - (SELECT count(*) FROM events.trips) - (SELECT sum(trips) FROM batch.trips_daily) AS n
                FROM trips_hourly h";
    let answer = world.sql(both).await;
    assert_eq!(answer["data"][0]["n"], -2);
    assert_eq!(answer["answer"]["tables"].as_array().map(Vec::len), Some(3));
}

#[tokio::test]
async fn joins_expressions_windows_and_parameters_are_as_duckdb_has_them() {
    let world = World::new(TIMEOUT, 2).await;
    let answer = world
        .sql(
            "WITH trips_daily AS (SELECT 1 AS one), more AS (SELECT * FROM trips_daily) SELECT one FROM more",
        )
        .await;
    assert_eq!(answer["data"], json!([{ "one": 1 }]));
    assert_eq!(answer["answer"], json!({ "complete": true, "streams": [], "tables": [] }));
    let joined = "SELECT d.city, d.trips, sum(h.trips) AS of_hours FROM trips_daily d JOIN trips_hourly h
                  ON h.city = d.city AND time_bucket(INTERVAL 1 DAY, h.hour) = d.day GROUP BY ALL";
    for row in world.sql(joined).await["data"].as_array().expect("rows") {
        assert_eq!(row["trips"], row["of_hours"], "{row}");
    }
    let ranked =
        "SELECT city, row_number() OVER (ORDER BY fares DESC) AS place FROM trips_hourly QUALIFY place = 1";
    assert_eq!(world.sql(ranked).await["data"], json!([{ "city": "Oslo", "place": 1 }]));
    let cases = [
        (json!({ "sql": "SELECT ? + ? AS n", "parameters": [1, 2] }), json!([{ "n": 3 }])),
        (
            json!({ "sql": "SELECT $2 AS n, $1 AS m", "parameters": ["a", null] }),
            json!([{ "n": null, "m": "a" }]),
        ),
        (
            json!({ "sql": "SELECT count(*) AS n FROM trips_hourly WHERE city = $city", "parameters": { "city": "Lima" } }),
            json!([{ "n": 1 }]),
        ),
    ];
    for (question, data) in cases {
        let (status, answer) = world.said(&question).await;
        assert_eq!((status, &answer["data"]), (200, &data), "{question}: {answer}");
    }
    for (parameters, word) in
        [(json!([1]), "2 parameters"), (json!({ "a": 1 }), "no parameter $a"), (json!(5), "list")]
    {
        let (status, problem) = world.said(&json!({ "sql": "SELECT ? + ?", "parameters": parameters })).await;
        assert_eq!(status, 400, "{problem}");
        assert!(problem["detail"].as_str().is_some_and(|detail| detail.contains(word)), "{problem}");
    }
    let names = world.sql("SELECT 1 AS a, 2 AS a, [1, 2] AS l, {'x': 1.5} AS s, 1.25::DECIMAL(5,2) AS d, 'NaN'::DOUBLE AS nan").await;
    assert_eq!(
        names["data"],
        json!([{ "a": 1, "a_1": 2, "l": [1, 2], "s": { "x": "1.5" }, "d": "1.25", "nan": null }])
    );
}

#[tokio::test]
async fn a_cut_result_says_that_it_is_cut() {
    let world = World::new(TIMEOUT, 1).await;
    for (limit, rows, truncated) in [(0, 0, true), (9, 9, true), (10, 10, false), (11, 10, false)] {
        let (_, answer) = world.said(&json!({ "sql": "SELECT * FROM range(10)", "limit": limit })).await;
        assert_eq!(
            (&answer["rows"], &answer["truncated"]),
            (&json!(rows), &json!(truncated)),
            "limit {limit}"
        );
        assert_eq!(answer["meta"].as_array().map(Vec::len), Some(1));
    }
    let answer = world.sql("SELECT * FROM range(1000000)").await;
    assert_eq!((&answer["rows"], &answer["truncated"]), (&json!(10_000), &json!(true)));
    let (status, _) = world.said(&json!({ "sql": "SELECT 1", "limit": 100_001 })).await;
    assert_eq!(status, 400);
}

#[tokio::test]
async fn what_is_wrong_is_told_with_its_place_and_the_nearest_name() {
    let world = World::new(TIMEOUT, 1).await;
    let (status, problem) = world.refused("SELECT *\nFROM trips_hourl").await;
    assert_eq!((status, &problem["did_you_mean"]), (404, &json!("trips_hourly")));
    assert_eq!(problem["position"], json!({ "line": 2, "column": 6 }));
    let (status, problem) = world.refused("SELECT fare\n  FORM trips_hourly x y").await;
    assert_eq!((status, &problem["position"]["line"]), (400, &json!(2)), "{problem}");
    let (status, problem) = world.refused("SELECT city, trps FROM trips_hourly").await;
    assert_eq!((status, &problem["did_you_mean"]), (400, &json!("trips")), "{problem}");
    assert_eq!(problem["position"], json!({ "line": 1, "column": 14 }));
    for sql in [
        "",
        "SELECT 1; SELECT 2",
        "DELETE FROM trips_hourly",
        "SELECT sum(trips) FROM trips_hourly GROUP",
        "SHOW TABLES",
    ] {
        assert_eq!(world.refused(sql).await.0, 400, "{sql}");
    }
    for (body, word) in
        [(json!({ "sq": "SELECT 1" }), "sql"), (json!({ "sql": 5 }), "text"), (json!([1]), "object")]
    {
        let (status, problem) = world.said(&body).await;
        assert_eq!(status, 400);
        assert!(problem.to_string().contains(word), "{problem}");
    }
    // A worker that has refused serves on.
    assert_eq!(world.sql("SELECT 1 AS one").await["data"], json!([{ "one": 1 }]));
}

#[tokio::test]
async fn every_form_holds_the_same_rows() {
    let world = World::new(TIMEOUT, 1).await;
    let ask = async |format: &str| {
        let sql = "SELECT city, hour, trips, cheapest FROM trips_hourly ORDER BY ALL";
        let request = world.client.post(world.url(&format!("/v1/sql?format={format}")));
        let response =
            request.header("content-type", "application/sql").body(sql).send().await.expect("an answer");
        assert_eq!(response.status(), 200, "{format}");
        response.bytes().await.expect("a body")
    };
    let json: Json = serde_json::from_slice(&ask("json").await).expect("JSON");
    let rows = json["data"].as_array().expect("rows").clone();
    let lines = String::from_utf8(ask("ndjson").await.to_vec()).expect("text");
    let lines: Vec<Json> = lines.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(lines, rows);
    let text = String::from_utf8(ask("csv").await.to_vec()).expect("text");
    assert_eq!(text.lines().next(), Some("city,hour,trips,cheapest"));
    assert_eq!(text.lines().nth(1), Some("Lima,2013-01-01T01:00:00Z,1,300"));
    assert_eq!(text.lines().count(), rows.len() + 1);
    let arrow = ask("arrow").await;
    let reader = StreamReader::try_new(arrow.as_ref(), None).expect("an Arrow stream");
    let head: Json = serde_json::from_str(&reader.schema().metadata()["watershed-answer"]).expect("JSON");
    assert_eq!(head["answer"]["live"], json!({ "0": 4, "1": 2 }));
    assert_eq!(reader.map(|batch| batch.expect("rows").num_rows()).sum::<usize>(), rows.len());
    assert_eq!(&ask("parquet").await[..4], b"PAR1");
}

pub(super) fn random_trips(random: &mut ChaCha8Rng, count: usize) -> Vec<Trip> {
    let mut one = || {
        let at = NEW_YEAR + random.random_range(0..4 * DAY / HOUR) * HOUR / 2;
        let city = ["Oslo", "Lima", "Pune", "Bonn"][random.random_range(0..4)];
        let rider = format!("r{}", random.random_range(0..9));
        trip(at, city, random.random_range(0..3), random.random_range(0..500), &rider)
    };
    (0..count).map(|_| one()).collect()
}

/// Invariant `COVER`: both ways to ask are folds of the same records.
#[tokio::test]
async fn a_merged_view_in_sql_is_the_view_at_the_same_coverage() {
    for seed in 0..6 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let world = World::empty(TIMEOUT, 1).await;
        let (below, above) = (random_trips(&mut random, 300), random_trips(&mut random, 100));
        world.publish(1, &[(0, 300), (1, 0)], &below).await;
        world
            .live
            .open(&offsets(&[(0, 300), (1, 0)]), &[(0, above[..50].to_vec()), (1, above[50..].to_vec())]);
        world.live.reach(offsets(&[(0, 350), (1, 50)]));
        world.until_version(1).await;
        for view in ["trips_hourly", "trips_daily"] {
            let asked = world.post("/v1/query", &json!({ "view": view })).await;
            let asked: Json = asked.json().await.expect("JSON");
            let order = if view == "trips_hourly" { "hour, city, line" } else { "day, city" };
            let answer = world.sql(&format!("SELECT * FROM {view} ORDER BY {order}")).await;
            assert_eq!(answer["data"], asked["data"], "seed {seed}, {view}");
            assert_eq!(answer["meta"], asked["meta"], "seed {seed}, {view}");
            for key in ["version", "watershed", "live"] {
                assert_eq!(answer["answer"][key], asked["answer"][key], "seed {seed}, {view}");
            }
        }
    }
}

#[tokio::test]
async fn a_request_that_is_cancelled_frees_its_worker() {
    let world = World::new(Duration::from_secs(30), 1).await;
    let endless = json!({ "sql": "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) SELECT max(n) FROM t" });
    let request = world.client.post(world.url("/v1/sql")).json(&endless).timeout(Duration::from_millis(500));
    assert!(request.send().await.is_err(), "it has no end");
    let began = Instant::now();
    assert_eq!(world.sql("SELECT 1 AS one").await["data"], json!([{ "one": 1 }]));
    assert!(began.elapsed() < Duration::from_secs(8), "its worker was busy for {:?}", began.elapsed());
}

#[tokio::test]
async fn without_a_live_half_an_answer_says_so() {
    let world = World::new(TIMEOUT, 1).await;
    world.live.go_away();
    let answer = world.sql("SELECT sum(trips) AS n FROM trips_hourly").await;
    assert_eq!(answer["data"], json!([{ "n": below().len() }]));
    assert_eq!(answer["answer"]["complete"], false);
    world.live.come_back();
    let answer = world.sql("SELECT sum(trips) AS n FROM trips_hourly").await;
    assert_eq!(answer["data"], json!([{ "n": below().len() + above().len() }]));
}
