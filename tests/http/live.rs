//! Following a view: what a follower makes of its changes is an answer, at every moment.

use std::collections::BTreeMap;

use reqwest::header::CONTENT_TYPE;

use super::*;

/// A follower: its stream of events, and the rows that it holds.
struct Following {
    response: Response,
    buffer: String,
    rows: BTreeMap<String, Json>,
    last_event: String,
}

impl Following {
    async fn start(world: &World, parameters: &str, last_event: Option<&str>) -> Following {
        let mut request = world.client.get(world.url(&format!("/v1/views/trips_hourly/live{parameters}")));
        if let Some(last_event) = last_event {
            request = request.header("Last-Event-ID", last_event);
        }
        let response = request.send().await.expect("the server answers");
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()[CONTENT_TYPE], "text/event-stream");
        Following { response, buffer: String::new(), rows: BTreeMap::new(), last_event: String::new() }
    }

    /// The next event's name and data; `None` when the stream ends.
    async fn event(&mut self) -> Option<(String, Json)> {
        loop {
            if let Some((frame, rest)) = self.buffer.split_once("\n\n") {
                let (frame, rest) = (frame.to_string(), rest.to_string());
                self.buffer = rest;
                let field =
                    |name: &str| frame.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
                let Some(event) = field("event:") else { continue };
                if let Some(id) = field("id:") {
                    self.last_event = id.to_string();
                }
                let data =
                    serde_json::from_str(field("data:").expect("events have data")).expect("data is JSON");
                return Some((event.to_string(), data));
            }
            let chunk = tokio::time::timeout(Duration::from_secs(20), self.response.chunk()).await;
            let chunk = chunk.expect("something comes").expect("the stream is whole")?;
            self.buffer.push_str(std::str::from_utf8(&chunk).expect("events are text"));
        }
    }

    /// Applies the next change, and gives it.
    async fn change(&mut self) -> Json {
        let (event, data) = self.event().await.expect("the stream goes on");
        assert_eq!(event, "rows", "{data}");
        if data["reset"] == true {
            self.rows.clear();
        }
        for row in data["removed"].as_array().expect("a list") {
            self.rows.remove(&key(row)).expect("what goes was there");
        }
        for row in data["rows"].as_array().expect("a list") {
            self.rows.insert(key(row), row.clone());
        }
        data
    }
}

fn key(row: &Json) -> String {
    format!("{} {} {}", row["hour"], row["city"], row["line"])
}

/// The rows of an answer, as a follower holds them.
async fn answered(world: &World) -> BTreeMap<String, Json> {
    let answer = world.ask(json!({ "view": "trips_hourly", "include": ["provenance"] })).await;
    let rows = answer["data"].as_array().expect("a list").iter();
    rows.map(|row| (key(row), row.clone())).collect()
}

const OFTEN: &str = "?include=provenance&every=100ms";

/// `count` more trips in one cell of the first partition.
fn move_on(world: &World, count: i64) {
    let late = (0..count).map(|at| trip(NEW_YEAR + DAY + at, "Pune", 3, 50, "eve"));
    let first: Vec<Trip> = [above()[0].clone()].into_iter().chain(late).collect();
    world.live.open(&offsets(&[(0, 3), (1, 1)]), &[(0, first), (1, vec![above()[1].clone()])]);
    world.live.reach(offsets(&[(0, 4 + count), (1, 2)]));
}

#[tokio::test]
async fn a_follower_gets_all_rows_and_then_those_that_change() {
    let world = World::with_both_sides().await;
    let mut following = Following::start(&world, OFTEN, None).await;
    let first = following.change().await;
    assert_eq!((&first["reset"], &first["meta"][0]["name"]), (&json!(true), &json!("hour")));
    assert_eq!(following.rows, answered(&world).await);
    for count in 1..4 {
        move_on(&world, count);
        let change = following.change().await;
        assert_eq!(
            (&change["reset"], change["rows"].as_array().map(Vec::len)),
            (&json!(false), Some(1)),
            "{change}"
        );
        assert_eq!(change["answer"]["live"]["0"], 4 + count);
        assert_eq!(following.rows, answered(&world).await);
    }
}

#[tokio::test]
async fn a_row_that_is_in_the_answer_no_more_goes() {
    let world = World::with_both_sides().await;
    let mut following = Following::start(&world, "?order_by=-trips&limit=1&every=100ms", None).await;
    following.change().await;
    let before = following.rows.clone();
    // The last cell of the order comes to its front.
    move_on(&world, 3);
    let change = following.change().await;
    assert_eq!(change["removed"].as_array().map(Vec::len), Some(1), "{change}");
    assert!(following.rows.len() == 1 && following.rows.keys().ne(before.keys()), "{:?}", following.rows);
}

#[tokio::test]
async fn a_follower_that_comes_back_hears_what_it_missed_or_everything() {
    let world = World::with_both_sides().await;
    let mut stays = Following::start(&world, OFTEN, None).await;
    let mut away = Following::start(&world, OFTEN, None).await;
    stays.change().await;
    away.change().await;
    let (heard, rows) = (away.last_event.clone(), away.rows.clone());
    drop(away);
    for count in 1..3 {
        move_on(&world, count);
        stays.change().await;
    }
    let mut back = Following::start(&world, OFTEN, Some(&heard)).await;
    back.rows = rows;
    for _ in 0..2 {
        assert_eq!(back.change().await["reset"], false);
    }
    assert_eq!(back.rows, stays.rows);
    for unknown in ["00000000000000000000000000000000.1", "nonsense", ""] {
        let mut other = Following::start(&world, OFTEN, Some(unknown)).await;
        assert_eq!(other.change().await["reset"], true, "{unknown}");
        assert_eq!(other.rows, stays.rows);
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_question_is_said_before_the_stream_begins() {
    let world = World::with_both_sides().await;
    for (path, status, meant) in [
        ("/v1/views/trips_hurly/live", 404, Some("trips_hourly")),
        ("/v1/views/trips_hourly/live?measures=tripz", 404, Some("trips")),
        ("/v1/views/trips_hourly/live?every=1ms", 400, None),
        ("/v1/views/trips_hourly/live?every=soon", 400, None),
        ("/v1/views/trips_hourly/live?cursor=00", 400, None),
        ("/v1/views/trips_hourly/live?as_of=1", 400, None),
    ] {
        let (found, problem) = problem(world.get(path).await).await;
        assert_eq!((found, problem["did_you_mean"].as_str()), (status, meant), "{path}: {problem}");
    }
}

#[tokio::test]
async fn followers_are_let_go_when_the_server_stops() {
    let world = World::with_both_sides().await;
    let mut following = Following::start(&world, OFTEN, None).await;
    following.change().await;
    let stopped = Instant::now();
    let (end, ()) = tokio::join!(following.event(), world.server.stop());
    assert!(end.is_none() && stopped.elapsed() < Duration::from_secs(5), "{end:?}");
}
