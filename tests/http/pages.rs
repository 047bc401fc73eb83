//! Pages of one answer are a fold of the same records (invariant `COVER`), whatever happens between them.

use watershed_schemas::layout::Object;
use watershed_schemas::manifest::Version;

use super::*;

fn question(accuracy: &str, cursor: &Json) -> Json {
    json!({ "view": "trips_hourly", "measures": ["trips"], "order_by": ["-trips"], "limit": 1,
            "accuracy": accuracy, "cursor": cursor })
}

/// The rest of the pages.
async fn follow(world: &World, accuracy: &str, first: Json) -> Vec<Json> {
    let mut pages = vec![first];
    while !pages[pages.len() - 1]["next_cursor"].is_null() {
        let next = question(accuracy, &pages[pages.len() - 1]["next_cursor"]);
        pages.push(world.ask(next).await);
    }
    pages
}

fn rows(pages: &[Json]) -> Vec<Json> {
    pages.iter().flat_map(|page| page["data"].as_array().expect("a list").clone()).collect()
}

/// Three more trips in the last cell of the order, which they bring to its front.
fn move_on(world: &World) {
    let late = [1, 2, 3].map(|at| trip(NEW_YEAR + DAY + at, "Pune", 3, 50, "eve"));
    let first = [vec![above()[0].clone()], late.to_vec()].concat();
    world.live.open(&offsets(&[(0, 3), (1, 1)]), &[(0, first), (1, vec![above()[1].clone()])]);
    world.live.reach(offsets(&[(0, 7), (1, 2)]));
}

#[tokio::test]
async fn pages_are_made_of_the_same_records_while_the_live_half_moves_on() {
    let world = World::with_both_sides().await;
    let whole =
        world.ask(json!({ "view": "trips_hourly", "measures": ["trips"], "order_by": ["-trips"] })).await;
    let first = world.ask(question("live", &Json::Null)).await;
    move_on(&world);
    let pages = follow(&world, "live", first).await;
    assert_eq!(json!(rows(&pages)), whole["data"]);
    for page in &pages {
        assert_eq!(page["answer"]["live"], json!({ "0": 4, "1": 2 }));
    }
    let anew = world.ask(question("live", &Json::Null)).await;
    assert_eq!((&anew["answer"]["live"]["0"], &anew["data"][0]["trips"]), (&json!(7), &json!(4)));
}

#[tokio::test]
async fn pages_below_the_watershed_stay_in_their_version_on_any_server() {
    let world = World::with_both_sides().await;
    let first = world.ask(question("batch", &Json::Null)).await;
    world.live.open(&offsets(&[(0, 4), (1, 2)]), &[]);
    world.publish(2, &[(0, 4), (1, 2)], &[below(), above()].concat()).await;
    world.until_version(2).await;
    let other = World::over(world.store.clone(), world.live.clone()).await;
    other.until_version(2).await;
    for server in [&world, &other] {
        let pages = follow(server, "batch", first.clone()).await;
        assert_eq!(pages.len(), 3);
        assert!(pages.iter().all(|page| page["answer"]["version"] == 1), "{pages:?}");
    }
    // Once retention has taken the version, its pages are gone too.
    let manifest = Object::Manifest { stream: "trips".to_string(), version: Version(1) };
    world.store.delete(&manifest.path()).await.expect("memory forgets");
    let third = World::over(world.store.clone(), world.live.clone()).await;
    third.until_version(2).await;
    let (status, body) = third.refused(question("batch", &first["next_cursor"])).await;
    assert_eq!(status, 409, "{body}");
}

#[tokio::test]
async fn a_page_of_records_that_a_server_does_not_hold_is_refused_and_not_made_up() {
    let world = World::with_both_sides().await;
    let first = world.ask(question("live", &Json::Null)).await;
    let other = World::over(world.store.clone(), world.live.clone()).await;
    other.until_version(1).await;
    other.until("/readyz", 200).await;
    // While both see the same records, either gives the next page.
    other.ask(question("live", &first["next_cursor"])).await;
    move_on(&world);
    let third = World::over(world.store.clone(), world.live.clone()).await;
    third.until_version(1).await;
    third.until("/readyz", 200).await;
    let (status, body) = third.refused(question("live", &first["next_cursor"])).await;
    assert_eq!((status, &body["type"]), (409, &json!("urn:watershed:problem:gone")));
    assert!(body["detail"].as_str().is_some_and(|detail| detail.contains("ask again")), "{body}");
    // A cursor belongs to its question, accuracy included.
    assert_eq!(world.refused(question("batch", &first["next_cursor"])).await.0, 400);
}
