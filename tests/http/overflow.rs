//! Answers while live groups go beyond a view's budget, and once a batch run has them.

use watershed_schemas::budget::Limits;

use super::*;

/// Live trips of eight cities in one hour and of one in the next; the speed layer has room for three groups.
fn crowd() -> Vec<Trip> {
    let cities = ["Oslo", "Lima", "Pune", "Rome", "Kyiv", "Baku", "Doha", "Riga"];
    let mut trips: Vec<Trip> =
        (0..8).map(|at| trip(NEW_YEAR + at, cities[at as usize], 1, 10, "ada")).collect();
    trips.push(trip(NEW_YEAR + HOUR, "Oslo", 1, 10, "bob"));
    trips
}

impl World {
    async fn with_a_crowd() -> World {
        let world = World::new().await;
        world.live.limit(Limits { groups: Some(3), bytes: None });
        world.publish(1, &[(0, 4), (1, 0)], &below()).await;
        world.live.open(&offsets(&[(0, 4), (1, 0)]), &[(0, crowd())]);
        world.live.reach(offsets(&[(0, 13), (1, 0)]));
        world.until_version(1).await;
        world.until("/readyz", 200).await;
        world
    }
}

#[tokio::test]
async fn groups_beyond_the_budget_are_a_row_of_their_own_and_the_rows_beside_it_are_not_called_exact() {
    let world = World::with_a_crowd().await;
    let question = json!({ "view": "trips_hourly", "measures": ["trips", "riders"], "group_by": ["city"],
                           "to": "2013-01-02T00:00:00Z" });
    let answer = world.ask(question).await;
    let row = |hour: &str, city: Json, trips: i64, riders: i64| json!({ "hour": hour, "city": city, "trips": trips, "riders": riders });
    let overflow = |hour: &str, trips: i64| json!({ "hour": hour, "city": null, "trips": trips, "riders": 1, "_overflow": true });
    let (first, second) = ("2013-01-01T00:00:00Z", "2013-01-01T01:00:00Z");
    assert_eq!(
        answer["data"],
        json!([
            row(first, json!("Lima"), 1, 1),
            row(first, json!("Oslo"), 3, 2),
            row(first, json!("Pune"), 1, 1),
            overflow(first, 5),
            row(second, json!("Lima"), 1, 1),
            overflow(second, 1),
        ])
    );
    assert_eq!(answer["meta"][2], json!({ "name": "trips", "type": "bigint", "exact": false }));
    assert_eq!(
        answer["meta"][3],
        json!({ "name": "riders", "type": "bigint", "exact": false }),
        "no bound holds"
    );
    let told = &answer["answer"]["overflow"];
    assert_eq!(
        (&told["records"], &told["undecided_records"], &told["windows"]),
        (&json!(6), &json!(0), &json!(2))
    );
    assert!(told["because"].as_str().is_some_and(|because| because.contains("6 records")), "{told}");
    assert_eq!(answer["answer"]["complete"], true, "all records are in some row");
    let (status, body) =
        world.refused(json!({ "view": "trips_hourly", "measures": ["trips"], "require": ["exact"] })).await;
    assert_eq!(status, 422, "{body}");
    assert!(body["detail"].as_str().is_some_and(|detail| detail.contains("no room")), "{body}");
}

#[tokio::test]
async fn totals_are_what_they_would_be_without_a_budget_and_stay_exact() {
    let world = World::with_a_crowd().await;
    for grain in ["1 hour", "1 day", "all"] {
        let question = json!({ "view": "trips_hourly", "measures": ["trips", "fares", "riders"], "group_by": [],
                               "grain": grain });
        let budgeted = world.ask(question.clone()).await;
        assert_eq!(
            budgeted["meta"].as_array().expect("a list").iter().find(|meta| meta["name"] == "trips"),
            Some(&json!({ "name": "trips", "type": "bigint", "exact": true }))
        );
        assert_eq!(budgeted["answer"]["overflow"]["records"], 6);
        world.live.limit(Limits::default());
        world.live.reach(offsets(&[(0, 14), (1, 0)]));
        let unlimited = world.ask(question).await;
        assert_eq!(budgeted["data"], unlimited["data"], "{grain}");
        assert_eq!(unlimited["answer"]["overflow"], Json::Null);
        world.live.limit(Limits { groups: Some(3), bytes: None });
        world.live.reach(offsets(&[(0, 13), (1, 0)]));
    }
}

#[tokio::test]
async fn a_condition_on_a_dimension_leaves_records_undecided_and_the_answer_says_how_many() {
    let world = World::with_a_crowd().await;
    for condition in
        [json!({ "city": ["Riga"] }), json!({ "city": { "not": ["Oslo"] } }), json!({ "line": [1] })]
    {
        let question = json!({ "view": "trips_hourly", "measures": ["trips"], "group_by": [], "where": condition,
                               "to": "2013-01-01T01:00:00Z" });
        let answer = world.ask(question.clone()).await;
        let block = &answer["answer"];
        assert_eq!(block["overflow"]["records"], 5, "{condition}");
        assert_eq!(block["overflow"]["undecided_records"], 5, "{condition}");
        assert_eq!(block["complete"], false);
        assert!(
            block["incomplete_because"]
                .as_str()
                .is_some_and(|because| because.contains("whether 5 records belong")),
            "{block}"
        );
        assert_eq!(answer["meta"][1]["exact"], false);
        let mut strict = question;
        strict["require"] = json!(["complete"]);
        let (status, body) = world.refused(strict).await;
        assert_eq!(status, 422, "{body}");
    }
    // Below the watershed nothing overflows, and a window that nothing overflowed into is whole.
    for question in [
        json!({ "view": "trips_hourly", "measures": ["trips"], "where": { "city": ["Oslo"] }, "accuracy": "batch" }),
        json!({ "view": "trips_hourly", "measures": ["trips"], "where": { "city": ["Oslo"] }, "from": "2013-01-02T00:00:00Z" }),
    ] {
        let answer = world.ask(question).await;
        assert_eq!(answer["answer"]["overflow"], Json::Null);
        assert_eq!(
            (&answer["answer"]["complete"], &answer["meta"][3]["exact"]),
            (&json!(true), &json!(true))
        );
    }
}

#[tokio::test]
async fn pages_hold_the_row_of_nobody_and_the_row_of_no_value_each_once() {
    let world = World::with_a_crowd().await;
    let mut trips = crowd();
    trips.insert(0, Trip { city: None, ..trip(NEW_YEAR, "", 1, 10, "eve") });
    world.live.open(&offsets(&[(0, 4), (1, 0)]), &[(0, trips)]);
    world.live.reach(offsets(&[(0, 14), (1, 0)]));
    for order in ["city", "-city", "trips"] {
        let question = |limit: Json, cursor: Json| {
            json!({ "view": "trips_hourly", "measures": ["trips"], "group_by": ["city"], "order_by": [order],
                    "limit": limit, "cursor": cursor })
        };
        let whole = world.ask(question(Json::Null, Json::Null)).await;
        let mut paged = Vec::new();
        let mut cursor = Json::Null;
        loop {
            let page = world.ask(question(json!(1), cursor)).await;
            paged.extend(page["data"].as_array().expect("a list").clone());
            cursor = page["next_cursor"].clone();
            if cursor.is_null() {
                break;
            }
        }
        assert_eq!(json!(paged), whole["data"], "{order}");
        assert_eq!(paged.iter().filter(|row| row["city"].is_null()).count(), 3, "{order}: {paged:?}");
    }
}

#[tokio::test]
async fn filling_makes_no_rows_of_what_is_not_known() {
    let world = World::with_a_crowd().await;
    let question = json!({ "view": "trips_hourly", "measures": ["trips"], "group_by": ["city"], "fill": "zero",
                           "from": "2013-01-01T00:00:00Z", "to": "2013-01-01T04:00:00Z" });
    let answer = world.ask(question).await;
    let rows = answer["data"].as_array().expect("a list");
    let overflow: Vec<&Json> =
        rows.iter().filter(|row| row["_overflow"] == true).map(|row| &row["trips"]).collect();
    assert_eq!(overflow, [5, 1]);
    assert_eq!(rows.len(), 3 * 4 + 2);
}

#[tokio::test]
async fn tables_have_a_column_for_it_only_where_there_is_such_a_row() {
    let world = World::with_a_crowd().await;
    let csv = async |parameters: &str| {
        let path = format!("/v1/views/trips_hourly/query?measures=trips&format=csv&{parameters}");
        world.get(&path).await.text().await.expect("text")
    };
    let rows = csv("group_by=city&to=2013-01-01T01:00:00Z").await;
    assert!(rows.starts_with("hour,city,trips,_overflow"), "{rows}");
    assert!(rows.contains("2013-01-01T00:00:00Z,,5,true"), "{rows}");
    assert!(csv("group_by=").await.starts_with("hour,trips\n"));
}

#[tokio::test]
async fn the_next_version_tells_all_groups_apart_again() {
    let world = World::with_a_crowd().await;
    let question =
        json!({ "view": "trips_hourly", "measures": ["trips", "riders"], "where": { "city": ["Riga"] } });
    assert_eq!(world.ask(question.clone()).await["answer"]["complete"], false);
    world.live.open(&offsets(&[(0, 13), (1, 0)]), &[]);
    world.publish(2, &[(0, 13), (1, 0)], &[below(), crowd()].concat()).await;
    world.until_version(2).await;
    let answer = world.ask(question).await;
    assert_eq!(answer["answer"]["overflow"], Json::Null);
    assert_eq!((&answer["answer"]["complete"], &answer["meta"][3]["exact"]), (&json!(true), &json!(true)));
    assert_eq!(answer["data"][0]["trips"], 1);
}
