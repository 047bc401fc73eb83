//! What an answer says about the records it is made of, when something is missing.

use super::*;

#[tokio::test]
async fn a_partition_that_no_node_reports_any_more_is_missing_and_not_forgotten() {
    let world = World::new().await;
    world.live.open(&offsets(&[(0, 0), (1, 0)]), &[(0, above())]);
    world.live.reach(offsets(&[(0, 2), (1, 0)]));
    world.until("/readyz", 200).await;
    let question = json!({ "view": "trips_hourly", "measures": ["trips"], "group_by": [], "grain": "all" });
    assert_eq!(world.ask(question.clone()).await["answer"]["complete"], true);
    // The node that held partition 1 has died, and nobody has taken it over.
    world.live.reach(offsets(&[(0, 2)]));
    let deadline = Instant::now() + Duration::from_secs(20);
    while world.status().await["live"] != json!({ "0": 2 }) {
        assert!(Instant::now() < deadline, "the status never followed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let block = world.ask(question).await["answer"].clone();
    assert_eq!((&block["complete"], &block["end"]), (&json!(false), &json!({ "0": 2, "1": 0 })));
    assert!(block["incomplete_because"].as_str().is_some_and(|why| why.contains("partition 1")), "{block}");
}

#[tokio::test]
async fn freshness_that_is_not_known_is_null_and_meets_no_requirement() {
    let world = World::with_both_sides().await;
    world.ask(json!({ "view": "trips_hourly", "require": ["fresh:1h"] })).await;
    world.live.lose_sight_of_the_end();
    let answer = world.ask(json!({ "view": "trips_hourly" })).await;
    assert_eq!(answer["answer"]["freshness_ms"], Json::Null);
    let (status, body) =
        world.refused(json!({ "view": "trips_hourly", "require": ["fresh:1000000h"] })).await;
    assert_eq!(status, 422, "{body}");
    assert!(body["detail"].as_str().is_some_and(|detail| detail.contains("not known")), "{body}");
}

#[tokio::test]
async fn a_retained_version_that_holds_another_definition_of_the_view_is_no_answer() {
    let world = World::with_both_sides().await;
    let aside = Store::new(Arc::new(InMemory::new()));
    let mut manifest =
        publish(&aside, &world.project, 2, offsets(&[(0, 4), (1, 2)]), &[below(), above()].concat()).await;
    for path in aside.list("views/").await.expect("memory lists") {
        let bytes = aside.get(&path).await.expect("memory reads").expect("it was listed");
        world.store.put(&path, bytes).await.expect("memory takes it");
    }
    manifest.views.get_mut("trips_hourly").expect("it was published").hash = "another".to_string();
    let _ = world.store.publish(&manifest).await.expect("memory takes it");
    let (status, body) = world.refused(json!({ "view": "trips_hourly", "as_of": 2 })).await;
    assert_eq!(status, 404, "{body}");
    assert!(body["detail"].as_str().is_some_and(|detail| detail.contains("as it is defined now")), "{body}");
}

#[tokio::test]
async fn the_header_of_an_answer_is_ascii_whatever_it_tells() {
    let world = World::with_both_sides().await;
    world.live.go_away();
    let csv = world.get("/v1/views/trips_hourly/query?format=csv").await;
    assert_eq!(csv.status(), 200);
    let header = csv.headers()["watershed-answer"].to_str().expect("ASCII").to_string();
    let head: Json = serde_json::from_str(&header).expect("JSON");
    let why = head["answer"]["incomplete_because"].as_str().expect("the speed layer is away");
    assert!(why.contains("away…"), "{why}");
}
