//! Answers that say how they came about, and rows that say what is not known.

use super::*;

#[tokio::test]
async fn an_explanation_counts_what_was_read_and_merged() {
    let world = World::with_both_sides().await;
    let explained = async |accuracy: &str| {
        let question = json!({ "view": "trips_hourly", "measures": ["trips", "riders"], "group_by": ["city"],
                               "grain": "all", "to": "2013-01-02T00:00:00Z", "accuracy": accuracy, "explain": true });
        world.ask(question).await["explain"].clone()
    };
    let live = explained("live").await;
    // Two files, a day each, of which the question is about one; its two cells meet one live cell in Oslo.
    assert_eq!(live["batch"], json!({ "files": 2, "files_read": 1, "rows_read": 2, "rows_taken": 2 }));
    assert_eq!((&live["live"]["rows_read"], &live["live"]["rows_taken"]), (&json!(2), &json!(1)));
    assert_eq!(
        (&live["groups"], &live["merged_cells"], &live["events"]),
        (&json!(2), &json!(2), &Json::Null)
    );
    let says = |explained: &Json, text: &str| explained["why"].to_string().contains(text);
    assert!(says(&live, "riders: merged from sketches") && says(&live, "both halves"), "{live}");
    let exact = explained("exact").await;
    assert_eq!(exact["events"]["measures"], json!(["riders"]));
    assert_eq!((&exact["events"]["files"], &exact["events"]["files_read"]), (&json!(2), &json!(1)));
    assert_eq!(exact["events"]["rows_read"], 3);
    assert!(says(&exact, "recomputed from the events"), "{exact}");
    let plain = world.ask(json!({ "view": "trips_hourly" })).await;
    assert_eq!(plain.get("explain"), None);
}

/// The rows of Lima by hour, zero where nothing happened.
fn hours(from: &str, to: &str, accuracy: &str) -> Json {
    json!({ "view": "trips_hourly", "measures": ["trips"], "group_by": ["city"], "fill": "zero",
            "where": { "city": "Lima" }, "from": from, "to": to, "accuracy": accuracy })
}

fn trips(answer: &Json) -> Vec<Option<i64>> {
    answer["data"].as_array().expect("a list").iter().map(|row| row["trips"].as_i64()).collect()
}

#[tokio::test]
async fn a_window_that_no_half_has_reached_is_not_known_to_be_zero() {
    let world = World::with_both_sides().await;
    // The version's run began at midnight of the second day.
    let day = |accuracy| hours("2013-01-01T01:00:00Z", "2013-01-02T02:00:00Z", accuracy);
    let batch = world.ask(day("batch")).await;
    let known = [vec![Some(1)], vec![Some(0); 22], vec![None; 2]].concat();
    assert_eq!(trips(&batch), known);
    assert_eq!(batch["meta"][2]["exact"], false);
    assert_eq!(batch["answer"]["unknown"]["rows"], 2);
    assert!(
        batch["answer"]["unknown"]["because"].as_str().is_some_and(|why| why.contains("run began")),
        "{batch}"
    );
    // The live half is at the log's end now: until now nothing happened, and of tomorrow nothing is known.
    let live = world.ask(day("live")).await;
    assert_eq!(trips(&live), [vec![Some(1)], vec![Some(0); 24]].concat());
    assert_eq!((&live["meta"][2]["exact"], live["answer"].get("unknown")), (&json!(true), None));
    let tomorrow =
        (chrono::Utc::now() + chrono::TimeDelta::hours(24)).format("%Y-%m-%dT%H:00:00Z").to_string();
    let after = (chrono::Utc::now() + chrono::TimeDelta::hours(26)).format("%Y-%m-%dT%H:00:00Z").to_string();
    let mut ahead = hours(&tomorrow, &after, "live");
    ahead["group_by"] = json!([]);
    assert_eq!(trips(&world.ask(ahead).await), [None, None]);
    // Without the live half, what is above the watershed may be anything.
    world.live.go_away();
    assert_eq!(trips(&world.ask(day("live")).await), known);
}

#[tokio::test]
async fn where_the_log_had_lost_records_no_window_is_known_to_be_zero() {
    let world = World::with_both_sides().await;
    let first = world.store.manifest("trips", Version(1)).await.expect("memory reads").expect("it is there");
    let gap = watershed_schemas::offsets::Gap { partition: Partition(0), from: Offset(1), until: Offset(2) };
    let second = Manifest { version: Version(2), run_id: "run2".to_string(), gaps: vec![gap], ..first };
    let _ = world.store.publish(&second).await.expect("memory takes it");
    world.server.refresh();
    world.until_version(2).await;
    let answer = world.ask(hours("2013-01-01T00:00:00Z", "2013-01-01T03:00:00Z", "live")).await;
    assert_eq!(trips(&answer), [None, Some(1), None]);
    assert!(
        answer["answer"]["unknown"]["because"].as_str().is_some_and(|why| why.contains("lost")),
        "{answer}"
    );
}
