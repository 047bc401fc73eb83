//! Partitions that one speed node hands over to another: answers wait for them a little, then say what is missing.

use super::*;

fn question() -> Json {
    json!({ "view": "trips_hourly", "measures": ["trips"], "group_by": [], "grain": "all" })
}

fn complete() -> Json {
    json!({ "view": "trips_hourly", "measures": ["trips"], "group_by": [], "grain": "all", "require": ["complete"] })
}

/// Two partitions, both held, one trip live in each.
async fn held() -> World {
    let world = World::with_both_sides().await;
    assert_eq!(world.ask(complete()).await["answer"]["complete"], true);
    world
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_is_taken_over_in_a_moment_is_waited_for() {
    let world = held().await;
    world.live.reach(offsets(&[(0, 4)]));
    let live = world.live.clone();
    let taken_over = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        live.reach(offsets(&[(0, 4), (1, 2)]));
    });
    let began = Instant::now();
    let answer = world.ask(complete()).await;
    assert!(began.elapsed() >= Duration::from_millis(250), "{:?}", began.elapsed());
    assert_eq!((&answer["answer"]["complete"], &answer["data"]), (&json!(true), &json!([{ "trips": 6 }])));
    taken_over.await.expect("it was taken over");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_epoch_that_is_being_opened_by_another_node_is_waited_for() {
    let world = held().await;
    let watershed = offsets(&[(0, 3), (1, 1)]);
    world.live.close(&watershed);
    let live = world.live.clone();
    let opened = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(300)).await;
        live.open(
            &offsets(&[(0, 3), (1, 1)]),
            &[(0, vec![above()[0].clone()]), (1, vec![above()[1].clone()])],
        );
    });
    let answer = world.ask(question()).await;
    assert_eq!((&answer["answer"]["complete"], &answer["data"]), (&json!(true), &json!([{ "trips": 6 }])));
    opened.await.expect("it was opened");
    world.live.close(&watershed);
    let (status, body) = world.refused(complete()).await;
    assert_eq!(status, 503, "{body}");
    assert!(body["detail"].as_str().is_some_and(|detail| detail.contains("not ready")), "{body}");
}

#[tokio::test]
async fn partitions_that_nobody_takes_over_are_all_named_after_a_bounded_wait() {
    let world = held().await;
    // The topic has grown, too.
    world.live.end_at(offsets(&[(2, 7)]));
    world.live.reach(offsets(&[(0, 4)]));
    let began = Instant::now();
    let answer = world.ask(question()).await;
    let waited = began.elapsed();
    assert!(waited >= Duration::from_millis(900) && waited < Duration::from_secs(5), "{waited:?}");
    let block = &answer["answer"];
    assert_eq!(block["complete"], false);
    assert_eq!(block["incomplete_because"], "no speed node holds partitions 1, 2 (1 of 3 are held)");
    assert_eq!(block["end"], json!({ "0": 4, "1": 2, "2": 7 }), "as far as anybody has said");

    let response = world.post(complete().to_string()).await;
    assert_eq!(response.headers()["retry-after"], "1");
    let (status, body) = problem(response).await;
    assert_eq!(status, 503);
    assert_eq!(body["detail"], "complete: no speed node holds partitions 1, 2 (1 of 3 are held)");
    // Other requirements are no matter of waiting.
    let (status, body) = world.refused(json!({ "view": "trips_hourly", "require": ["exact"] })).await;
    assert_eq!(status, 422, "{body}");
}

#[tokio::test]
async fn without_a_speed_layer_nobody_waits_and_a_requirement_is_unmet_for_good() {
    let world = held().await;
    world.live.go_away();
    let began = Instant::now();
    assert_eq!(world.ask(question()).await["answer"]["complete"], false);
    let (status, body) = world.refused(complete()).await;
    assert_eq!(status, 422, "{body}");
    assert!(began.elapsed() < Duration::from_millis(800), "{:?}", began.elapsed());
}

#[tokio::test]
async fn partitions_that_nobody_ever_held_are_not_waited_for() {
    let world = World::new().await;
    world.publish(1, &[(0, 3), (1, 1)], &below()).await;
    world.live.open(&offsets(&[(0, 3), (1, 1)]), &[]);
    world.live.end_at(offsets(&[(1, 1)]));
    world.live.reach(offsets(&[(0, 4)]));
    world.until_version(1).await;
    let began = Instant::now();
    let block = world.ask(question()).await["answer"].clone();
    assert_eq!(block["incomplete_because"], "no speed node holds partition 1 (1 of 2 are held)");
    assert!(began.elapsed() < Duration::from_millis(800), "{:?}", began.elapsed());
}

#[tokio::test]
async fn a_gap_is_no_matter_of_waiting() {
    let world = World::new().await;
    let aside = Store::new(Arc::new(InMemory::new()));
    let mut manifest = publish(&aside, &world.project, 1, offsets(&[(0, 3), (1, 1)]), &below()).await;
    for path in aside.list("views/").await.expect("memory lists") {
        let bytes = aside.get(&path).await.expect("memory reads").expect("it was listed");
        world.store.put(&path, bytes).await.expect("memory takes it");
    }
    let gap = watershed_schemas::offsets::Gap { partition: Partition(0), from: Offset(1), until: Offset(2) };
    manifest.gaps.push(gap);
    let _ = world.store.publish(&manifest).await.expect("memory takes it");
    world.live.open(&offsets(&[(0, 3), (1, 1)]), &[]);
    world.live.reach(offsets(&[(0, 3), (1, 1)]));
    world.until_version(1).await;
    world.until("/readyz", 200).await;
    let block = world.ask(question()).await["answer"].clone();
    assert_eq!(block["gaps"], json!([{ "partition": 0, "from": 1, "until": 2 }]));
    assert_eq!(block["incomplete_because"], "the log had lost partition 0 [1, 2) before it could be read");
    let (status, body) = world.refused(complete()).await;
    assert_eq!(status, 422, "{body}");
}
