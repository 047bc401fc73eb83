//! Row filters: an answer under a filter is the answer with the filter's condition as `where`, on every way to ask.

use std::collections::BTreeMap;

use rand::seq::IndexedRandom as _;
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use super::*;

const CITIES: [&str; 5] = ["Oslo", "Lima", "Pune", "Bern", "Kyiv"];
/// Filters, and the same as a question's `where`.
fn filters() -> Vec<(&'static str, Json)> {
    vec![
        ("city IN ('Oslo')", json!({ "city": ["Oslo"] })),
        ("city IN ('Oslo', 'Pune', 'nowhere')", json!({ "city": ["Oslo", "Pune"] })),
        ("city = 'Lima' AND line = 2", json!({ "city": ["Lima"], "line": [2] })),
        ("line <> 1", json!({ "line": { "not": [1] } })),
        ("(line = 1 OR line = 3)", json!({ "line": [1, 3] })),
        ("city IS NULL", json!({ "city": [null] })),
        ("city <> 'Oslo'", json!({ "city": { "not": ["Oslo", null] } })),
        ("NOT (line = 2) AND city IS NOT NULL", json!({ "line": { "not": [2] }, "city": { "not": [null] } })),
        ("line + 0 = 2", json!({ "line": [2] })),
        ("city = 'nowhere'", json!({ "city": [] })),
    ]
}

fn trips(random: &mut ChaCha8Rng, count: usize) -> Vec<Trip> {
    let one = |_| {
        let city = *CITIES.choose(random).expect("there are some");
        let rider = ["ada", "bob", "cyd"][random.random_range(0..3)];
        let at = NEW_YEAR + random.random_range(0..72) * HOUR + random.random_range(0..HOUR);
        let mut trip = trip(at, city, random.random_range(1..4), random.random_range(0..500), rider);
        if random.random_bool(0.1) {
            trip.city = None;
        }
        trip
    };
    (0..count).map(one).collect()
}

fn question(random: &mut ChaCha8Rng) -> Json {
    let mut question = json!({ "view": "trips_hourly" });
    let group_by = [json!([]), json!(["city"]), json!(["line"]), json!(["city", "line"])];
    question["group_by"] = group_by.choose(random).expect("there are some").clone();
    if random.random_bool(0.7) {
        question["grain"] = ["all", "1 day", "1 hour"].choose(random).copied().into();
    }
    question["accuracy"] = ["live", "batch", "exact"].choose(random).copied().into();
    if random.random_bool(0.3) {
        question["as_of"] = json!(1);
        question["accuracy"] = json!("batch");
    }
    if random.random_bool(0.4) {
        question["from"] = json!("2013-01-01T12:00:00Z");
    }
    if random.random_bool(0.3) {
        question["include"] = json!(["provenance"]);
    }
    question
}

/// The question with one more condition on each of some dimensions.
fn with_where(question: &Json, condition: &Json) -> Json {
    let mut question = question.clone();
    question["where"] = condition.clone();
    question
}

#[tokio::test]
async fn an_answer_under_a_filter_is_the_answer_with_its_condition_as_where() {
    for seed in 0..4 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let folder = tempfile::tempdir().expect("a folder");
        let whole = add_key(&folder, everything("whole"));
        let filtered: Vec<(String, &str, Json)> = filters()
            .into_iter()
            .map(|(filter, condition)| (add_key(&folder, seeing(filter, filter)), filter, condition))
            .collect();
        let keys = KeyStore::open(World::key_file(&folder)).expect("the file is ours");
        let gate = Gate::new(Some(keys), None, Audit::default());
        let (below, above) = (trips(&mut random, 300), trips(&mut random, 80));
        let world = World::start(folder, settings(gate), &below, &above).await;
        for round in 0..40 {
            let question = question(&mut random);
            let (key, filter, condition) = filtered.choose(&mut random).expect("there are some");
            let (under, with) =
                (world.ask(key, &question).await, world.ask(&whole, &with_where(&question, condition)).await);
            let place = format!("seed {seed}, round {round}, {filter}, {question}");
            assert_eq!(under["data"], with["data"], "{place}");
            assert_eq!(under["meta"], with["meta"], "{place}");
            let counted = |answer: &Json| answer["statistics"]["batch_rows"].clone();
            assert_eq!(counted(&under), counted(&with), "what is counted tells of others' rows: {place}");
        }
    }
}

#[tokio::test]
async fn a_filter_over_several_dimensions_passes_the_rows_for_which_it_is_true() {
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let folder = tempfile::tempdir().expect("a folder");
    let whole = add_key(&folder, everything("whole"));
    let key = add_key(&folder, seeing("either", "city = 'Oslo' OR line = 2"));
    let keys = KeyStore::open(World::key_file(&folder)).expect("the file is ours");
    let gate = Gate::new(Some(keys), None, Audit::default());
    let (below, above) = (trips(&mut random, 300), trips(&mut random, 80));
    let world = World::start(folder, settings(gate), &below, &above).await;
    for accuracy in ["live", "batch"] {
        let question = json!({ "view": "trips_hourly", "accuracy": accuracy });
        let all = world.ask(&whole, &question).await;
        let passes = |row: &&Json| row["city"] == "Oslo" || row["line"] == 2;
        let expected: Vec<Json> =
            all["data"].as_array().expect("a list").iter().filter(passes).cloned().collect();
        assert!(!expected.is_empty() && expected.len() < all["data"].as_array().expect("a list").len());
        assert_eq!(world.ask(&key, &question).await["data"], Json::Array(expected));
    }
    // The same by events: exact numbers are read from the master dataset.
    let exact = json!({ "view": "trips_hourly", "accuracy": "exact", "grain": "all", "group_by": [],
                        "measures": ["trips", "riders", "middle"] });
    let answer = world.ask(&key, &exact).await;
    let theirs: Vec<&Trip> =
        below.iter().filter(|trip| trip.city.as_deref() == Some("Oslo") || trip.line == 2).collect();
    let counted = crate::support::serving::count(theirs);
    let row = &answer["data"][0];
    assert_eq!(row["trips"], counted.trips);
    assert_eq!(row["riders"], counted.riders);
    assert_eq!(row["middle"].as_f64(), counted.middle);
}

#[tokio::test]
async fn a_statement_sees_the_rows_of_the_one_who_asks_and_no_others() {
    let mut random = ChaCha8Rng::seed_from_u64(13);
    let folder = tempfile::tempdir().expect("a folder");
    let whole = add_key(&folder, everything("whole"));
    let filtered: Vec<(String, &str)> = filters()
        .into_iter()
        .map(|(filter, _)| (add_key(&folder, seeing(filter, filter)), filter))
        .chain([(
            add_key(&folder, seeing("either", "city = 'Oslo' OR line = 2")),
            "city = 'Oslo' OR line = 2",
        )])
        .collect();
    let keys = KeyStore::open(World::key_file(&folder)).expect("the file is ours");
    let gate = Gate::new(Some(keys), None, Audit::default());
    let (below, above) = (trips(&mut random, 300), trips(&mut random, 80));
    let world = World::start(folder, settings(gate), &below, &above).await;
    let mut seen = 0;
    for table in ["trips_hourly", "batch.trips_hourly", "events.trips"] {
        for (key, filter) in &filtered {
            let (under, with) = (
                world.sql(key, &format!("SELECT * FROM {table} ORDER BY ALL")).await,
                world.sql(&whole, &format!("SELECT * FROM {table} WHERE {filter} ORDER BY ALL")).await,
            );
            assert_eq!(under["data"], with["data"], "{table} where {filter}");
            assert_eq!(
                under["statistics"]["rows_read"], under["rows"],
                "what is counted tells of others' rows: {table} where {filter}"
            );
            // Not naming the filter's columns is no way round it.
            let count = |answer: &Json| answer["data"][0]["n"].clone();
            let counted = world.sql(key, &format!("SELECT count(*) AS n FROM {table}")).await;
            assert_eq!(count(&counted), with["rows"], "{table} where {filter}");
            seen += with["rows"].as_u64().expect("a number");
        }
    }
    assert!(seen > 100, "{seen} rows are too few to tell");
}

/// There is one worker, which keeps tables for statements to come.
#[tokio::test]
async fn callers_of_different_rows_take_turns_on_one_worker_and_see_their_own() {
    for seed in 0..3 {
        let mut random = ChaCha8Rng::seed_from_u64(seed);
        let folder = tempfile::tempdir().expect("a folder");
        let whole = add_key(&folder, everything("whole"));
        let one = KeyRequest { views: Some(vec!["trips_daily".to_string()]), ..everything("one") };
        let one = add_key(&folder, one);
        let filtered: Vec<(String, &str)> = filters()
            .into_iter()
            .map(|(filter, _)| (add_key(&folder, seeing(filter, filter)), filter))
            .collect();
        let keys = KeyStore::open(World::key_file(&folder)).expect("the file is ours");
        let gate = Gate::new(Some(keys), None, Audit::default());
        let (below, mut above) = (trips(&mut random, 300), trips(&mut random, 20));
        let world = World::start(folder, settings(gate), &below, &above).await;
        for turn in 0..60 {
            if random.random_bool(0.4) {
                above.extend(trips(&mut random, 3));
                let watershed = offsets(&[(0, below.len() as i64), (1, 0)]);
                world.live.open(&watershed, &[(0, above.clone()), (1, Vec::new())]);
                world.live.reach(offsets(&[(0, (below.len() + above.len()) as i64), (1, 0)]));
            }
            let (key, filter) = filtered.choose(&mut random).expect("there are some");
            let tables = ["trips_hourly", "batch.trips_hourly", "events.trips"];
            let table = tables.choose(&mut random).expect("there are some");
            let select = match random.random_range(0..3) {
                0 => "*",
                1 => "count(*) AS n",
                _ => "city, line",
            };
            let order = if select.contains('(') { "" } else { "ORDER BY ALL" };
            let theirs = format!("SELECT {select} FROM {table} {order}");
            let (ours, place) = (
                format!("SELECT {select} FROM {table} WHERE {filter} {order}"),
                format!("seed {seed}, turn {turn}, {theirs} where {filter}"),
            );
            // Whoever comes first, the other one finds what that left.
            let (under, with) = match random.random_bool(0.5) {
                true => (world.sql(key, &theirs).await, world.sql(&whole, &ours).await),
                false => {
                    let with = world.sql(&whole, &ours).await;
                    (world.sql(key, &theirs).await, with)
                }
            };
            assert_eq!(under["data"], with["data"], "{place}");
            if random.random_bool(0.3) {
                let (status, problem) = world.sql_refused(&one, &theirs).await;
                assert_eq!(status, 404, "{place}: {problem}");
                let days = world.sql(&one, "SELECT sum(trips) AS n FROM trips_daily").await;
                assert_eq!(days["data"][0]["n"], below.len() + above.len(), "{place}");
            }
        }
    }
}

#[tokio::test]
async fn a_statement_names_no_table_beyond_its_grant() {
    let folder = tempfile::tempdir().expect("a folder");
    let viewless = add_key(&folder, KeyRequest { views: Some(Vec::new()), ..everything("viewless") });
    let one = KeyRequest { views: Some(vec!["trips_hourly".to_string()]), ..everything("one") };
    let one = add_key(&folder, one);
    // No view has this field as a dimension; the stream has it.
    let rider = add_key(&folder, seeing("rider", "rider = 'ada'"));
    let keys = KeyStore::open(World::key_file(&folder)).expect("the file is ours");
    let gate = Gate::new(Some(keys), None, Audit::default());
    let world = World::start(folder, settings(gate), &below(), &above()).await;
    for table in ["trips_hourly", "batch.trips_hourly", "events.trips"] {
        let (status, problem) = world.sql_refused(&viewless, &format!("SELECT * FROM {table}")).await;
        assert_eq!((status, &problem["did_you_mean"]), (404, &Json::Null), "{problem}");
    }
    let (status, problem) = world.sql_refused(&one, "SELECT * FROM events.trips").await;
    assert_eq!(status, 404, "events tell more than a view does: {problem}");
    assert!(world.sql(&one, "SELECT * FROM trips_hourly").await["rows"].as_u64() > Some(0));
    let (status, problem) = world.sql_refused(&rider, "SELECT * FROM trips_hourly").await;
    assert!(
        status == 403 && problem["detail"].as_str().is_some_and(|told| told.contains("rider")),
        "{problem}"
    );
    let seen = world.sql(&rider, "SELECT DISTINCT rider FROM events.trips").await;
    assert_eq!(seen["data"], json!([{ "rider": "ada" }]));
}

#[tokio::test]
async fn pages_are_pages_of_the_callers_own_rows_and_a_cursor_serves_nobody_else() {
    let mut random = ChaCha8Rng::seed_from_u64(11);
    let folder = tempfile::tempdir().expect("a folder");
    let oslo = add_key(&folder, seeing("oslo", "city = 'Oslo'"));
    let lima = add_key(&folder, seeing("lima", "city = 'Lima'"));
    let whole = add_key(&folder, everything("whole"));
    let keys = KeyStore::open(World::key_file(&folder)).expect("the file is ours");
    let gate = Gate::new(Some(keys), None, Audit::default());
    let (below, above) = (trips(&mut random, 300), trips(&mut random, 80));
    let world = World::start(folder, settings(gate), &below, &above).await;
    let question = json!({ "view": "trips_hourly", "limit": 7 });
    let mut rows = Vec::new();
    let mut page = world.ask(&oslo, &question).await;
    let first = page["next_cursor"].as_str().expect("there is more").to_string();
    loop {
        rows.extend(page["data"].as_array().expect("a list").clone());
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        let mut next = question.clone();
        next["cursor"] = json!(cursor);
        page = world.ask(&oslo, &next).await;
    }
    let whole_answer = world.ask(&oslo, &json!({ "view": "trips_hourly" })).await;
    assert_eq!(Json::Array(rows), whole_answer["data"]);
    for other in [&lima, &whole] {
        let mut stolen = question.clone();
        stolen["cursor"] = json!(first);
        assert_eq!(world.refused(other, &stolen).await.0, 400);
    }
}

#[tokio::test]
async fn a_follower_hears_of_its_own_rows_alone() {
    let (world, keys) = World::with_keys(vec![seeing("pune", "city = 'Pune'"), everything("whole")]).await;
    let mut heard = BTreeMap::new();
    for (name, key) in [("pune", &keys[0]), ("whole", &keys[1])] {
        let path = "/v1/views/trips_hourly/live?every=100ms&group_by=city&grain=all&measures=trips";
        heard.insert(name, world.get(path, key).await);
    }
    // Everybody else's live records change, and Pune's.
    let mut more = above();
    more.push(trip(NEW_YEAR + 9, "Oslo", 1, 1, "eve"));
    more.push(trip(NEW_YEAR + 9, "Pune", 3, 1, "eve"));
    world.live.open(&offsets(&[(0, 4), (1, 0)]), &[(0, more), (1, Vec::new())]);
    world.live.reach(offsets(&[(0, 8), (1, 0)]));
    let mut texts = BTreeMap::new();
    for (name, mut response) in heard {
        let mut text = String::new();
        let deadline = Instant::now() + Duration::from_secs(20);
        while text.matches("event: rows").count() < 2 {
            assert!(Instant::now() < deadline, "{name} heard {text}");
            let chunk = tokio::time::timeout(Duration::from_secs(20), response.chunk()).await;
            let chunk = chunk.expect("something comes").expect("it is whole").expect("it goes on");
            text.push_str(&String::from_utf8_lossy(&chunk));
        }
        texts.insert(name, text);
    }
    assert!(texts["whole"].contains("Oslo") && texts["whole"].contains("Pune"));
    assert!(texts["pune"].contains("Pune"));
    assert!(!texts["pune"].contains("Oslo") && !texts["pune"].contains("Lima"), "{}", texts["pune"]);
}

#[tokio::test]
async fn a_follower_whose_key_is_revoked_is_let_go() {
    let (world, keys) = World::with_keys(vec![everything("follower")]).await;
    let mut response = world.get("/v1/views/trips_hourly/live?every=100ms", &keys[0]).await;
    assert_eq!(response.status(), 200);
    KeyStore::revoke(&World::key_file(&world.folder), "follower", Utc::now()).expect("the file is ours");
    // Something changes all the time.
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut fares = 0;
    loop {
        assert!(Instant::now() < deadline, "it was never let go");
        fares += 1;
        world.live.open(
            &offsets(&[(0, 4), (1, 0)]),
            &[(0, vec![trip(NEW_YEAR, "Oslo", 1, fares, "eve")]), (1, Vec::new())],
        );
        world.live.reach(offsets(&[(0, 4 + fares), (1, 0)]));
        match tokio::time::timeout(Duration::from_millis(100), response.chunk()).await {
            Ok(Ok(None)) => break,
            Ok(Ok(Some(_))) | Err(_) => {}
            Ok(Err(error)) => panic!("cut, not ended: {error}"),
        }
    }
}

#[tokio::test]
async fn a_view_that_cannot_tell_a_filter_is_refused_with_the_reason() {
    let (world, keys) = World::with_keys(vec![seeing("line", "line = 1")]).await;
    let key = &keys[0];
    // trips_daily has no line.
    let (status, problem) = world.refused(key, &json!({ "view": "trips_daily" })).await;
    let detail = problem["detail"].as_str().expect("text");
    assert_eq!(status, 403);
    assert!(
        detail.contains("line = 1") && detail.contains("unknown column \"line\" of view trips_daily"),
        "{detail}"
    );
    for path in ["/v1/views/trips_daily", "/v1/views/trips_daily/query", "/v1/views/trips_daily/live"] {
        assert_eq!(world.get(path, key).await.status(), 403, "{path}");
    }
    let views = world.json("/v1/views", key).await;
    assert_eq!(views["views"].as_array().map(Vec::len), Some(1));
    assert_eq!(views["views"][0]["name"], "trips_hourly");
    assert_eq!(views["views"][0]["rows"], Json::Null, "how many rows there are is told of others' rows");
}

#[tokio::test]
async fn what_is_made_of_all_rows_is_not_told_to_those_who_see_some() {
    let (world, keys) = World::with_keys(vec![seeing("oslo", "city = 'Oslo'"), everything("whole")]).await;
    let (oslo, whole) = (&keys[0], &keys[1]);
    for path in ["/v1/views/trips_hourly/accuracy", "/v1/streams/trips/versions/1/diff/1"] {
        assert_eq!(world.get(path, whole).await.status(), 200, "{path}");
        assert_eq!(world.get(path, oslo).await.status(), 403, "{path}");
    }
    let status = world.json("/v1/status", oslo).await;
    assert_eq!(status["streams"][0]["views"], json!([]), "{status}");
    let status = world.json("/v1/status", whole).await;
    assert_eq!(status["streams"][0]["views"].as_array().map(Vec::len), Some(2));
    let versions = world.json("/v1/streams/trips/versions", oslo).await;
    assert_eq!(versions["versions"][0]["views"], json!({}));
}

#[tokio::test]
async fn an_event_that_a_filter_excludes_is_rejected_and_not_written() {
    let (world, keys) =
        World::with_keys(vec![seeing("oslo", "city = 'Oslo'"), seeing("measure", "trips > 1")]).await;
    let event = |city: &str| json!({ "at": "2013-01-01T00:00:00Z", "line": 1, "city": city }).to_string();
    let nowhere = json!({ "at": "2013-01-01T00:00:00Z", "line": 1 }).to_string();
    let body = [event("Oslo"), event("Lima"), "{}".to_string(), nowhere, event("Oslo")].join("\n");
    let path = "/v1/streams/trips/events";
    let response = world.post(&format!("{path}?key=city"), &keys[0], body.clone()).await;
    assert_eq!(response.status(), 202);
    let receipt: Json = response.json().await.expect("JSON");
    assert_eq!((&receipt["accepted"], &receipt["rejected_count"]), (&json!(2), &json!(3)), "{receipt}");
    let kinds: Vec<(&Json, &Json)> = receipt["rejected"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|rejected| (&rejected["line"], &rejected["kind"]))
        .collect();
    assert_eq!(kinds[0], (&json!(2), &json!("forbidden")));
    assert_eq!(kinds[2], (&json!(4), &json!("forbidden")));
    assert_eq!(world.sink.events(), [event("Oslo"), event("Oslo")]);
    // A filter that names what the stream has not.
    let (status, problem) = problem(world.post(path, &keys[1], event("Oslo")).await).await;
    assert_eq!(status, 403, "{problem}");
    assert_eq!(world.sink.events().len(), 2);
}

#[tokio::test]
async fn an_idempotency_key_is_its_callers_own() {
    let (world, keys) = World::with_keys(vec![everything("whole"), seeing("oslo", "city = 'Oslo'")]).await;
    let body = json!({ "at": "2013-01-01T00:00:00Z", "line": 1, "city": "Lima" }).to_string();
    for (key, accepted) in [(&keys[0], 1), (&keys[1], 0), (&keys[0], 1)] {
        let request = world.client.post(world.url("/v1/streams/trips/events")).bearer_auth(key);
        let receipt: Json =
            sent(request.header("Idempotency-Key", "k").body(body.clone())).await.json().await.expect("JSON");
        assert_eq!(receipt["accepted"], accepted, "{receipt}");
    }
    assert_eq!(world.sink.events().len(), 1);
}

#[test]
fn events_pass_alike_as_columns_of_polars_and_of_arrow() {
    use arrow::array::{ArrayRef, Int32Array, StringArray};
    let project = project();
    let stream = project.stream("trips").expect("it is there");
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let trips = trips(&mut random, 500);
    let frame = crate::support::serving::frame(&trips);
    let cities: ArrayRef = Arc::new(trips.iter().map(|trip| trip.city.as_deref()).collect::<StringArray>());
    let lines: ArrayRef = Arc::new(trips.iter().map(|trip| Some(trip.line)).collect::<Int32Array>());
    let batch = arrow::record_batch::RecordBatch::try_from_iter([("city", cities), ("line", lines)]);
    let batch = batch.expect("columns are of equal length");
    for (text, _) in filters() {
        let predicate = watershed_schemas::predicate::Predicate::over_stream(stream, text).expect(text);
        let passes = predicate.events(&frame).expect("it is evaluated");
        assert_eq!(predicate.rows(stream, &batch).expect("it is evaluated"), passes, "{text}");
    }
    // What is missing is NULL, and NULL does not pass.
    let riders =
        watershed_schemas::predicate::Predicate::over_stream(stream, "rider <> 'ada'").expect("a filter");
    assert!(riders.rows(stream, &batch).expect("it is evaluated").iter().all(|passes| !passes));
}

#[test]
fn a_filter_that_is_none_is_told_with_its_place() {
    let project = project();
    let view = project.view("trips_hourly").expect("it is there");
    for (text, told) in [
        (
            "citty = 'Oslo'",
            "where:1:1: unknown column \"citty\" of view trips_hourly, did you mean \"city\"?",
        ),
        ("city = ", "where:1"),
        ("city", "where:1:1"),
        ("1 = 1", "a constant"),
        ("city = 'Oslo'; DROP TABLE trips", "end of the condition"),
        ("city IN (SELECT city FROM trips)", "subqueries are not supported"),
        ("trips > 1", "unknown column \"trips\""),
        ("count(*) > 1", "where:1"),
        ("city = 'Oslo", "where:1"),
    ] {
        let error = watershed_schemas::predicate::Predicate::over_view(view, text);
        let error = error.expect_err(text).to_string();
        assert!(error.contains(told), "{text}: {error}");
    }
}
