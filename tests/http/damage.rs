//! Files of a version that are damaged: which version is served, and what is said.

use bytes::Bytes;

use super::*;

#[tokio::test]
async fn a_damaged_file_is_named_and_the_version_before_it_stays_in_service() {
    let world = World::with_both_sides().await;
    world.live.open(&offsets(&[(0, 4), (1, 2)]), &[]);
    // The second version's file is damaged before the server comes to read it.
    let aside = Store::new(Arc::new(InMemory::new()));
    let manifest =
        publish(&aside, &world.project, 2, offsets(&[(0, 4), (1, 2)]), &[below(), above()].concat()).await;
    for path in aside.list("views/").await.expect("memory lists") {
        let bytes = aside.get(&path).await.expect("memory reads").expect("it was listed");
        world.store.put(&path, bytes).await.expect("memory takes it");
    }
    let damaged = manifest.views["trips_hourly"].files[0].file.path.clone();
    world.store.put(&damaged, Bytes::from_static(b"not what it was")).await.expect("memory takes it");
    let _ = world.store.publish(&manifest).await.expect("memory takes it");
    world.server.refresh();
    let deadline = Instant::now() + Duration::from_secs(20);
    let trouble = loop {
        let status = world.status().await;
        if status["trouble"].as_array().is_some_and(|trouble| !trouble.is_empty()) {
            break status["trouble"].to_string();
        }
        assert!(Instant::now() < deadline, "the damage was never noticed");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert!(trouble.contains(&damaged) && trouble.contains("damaged"), "{trouble}");
    let answer = world
        .ask(json!({ "view": "trips_hourly", "measures": ["trips"], "group_by": [], "grain": "all" }))
        .await;
    assert_eq!((&answer["answer"]["version"], &answer["data"]), (&json!(1), &json!([{ "trips": 6 }])));
}

#[tokio::test]
async fn a_server_that_is_started_again_serves_the_newest_version_that_is_sound_and_says_why() {
    let whole = json!({ "view": "trips_hourly", "measures": ["trips"], "group_by": [], "grain": "all" });
    let manifest_path = |version: u64| format!("versions/trips/{version:020}.json");
    for damaged in ["manifest", "view"] {
        let first = World::with_both_sides().await;
        let watershed = offsets(&[(0, 4), (1, 2)]);
        let manifest =
            publish(&first.store, &first.project, 2, watershed.clone(), &[below(), above()].concat()).await;
        let path = match damaged {
            "manifest" => manifest_path(2),
            _ => manifest.views["trips_daily"].files[0].file.path.clone(),
        };
        let bytes = first.store.get(&path).await.expect("memory reads").expect("it is there");
        first.store.put(&path, bytes.slice(..bytes.len() - 1)).await.expect("memory takes it");

        let again = World::over(first.store.clone(), first.live.clone()).await;
        again.until_version(1).await;
        again.until("/readyz", 200).await;
        let ready = again.json("/readyz").await["trouble"].to_string();
        assert!(ready.contains("stream trips: version 2 is not served") && ready.contains(&path), "{ready}");
        assert!(again.status().await["trouble"].to_string().contains(&path));
        let answer = again.ask(whole.clone()).await;
        assert_eq!((&answer["answer"]["version"], &answer["data"]), (&json!(1), &json!([{ "trips": 6 }])));
        assert_eq!(answer["answer"]["complete"], true);
        let versions = again.json("/v1/streams/trips/versions").await;
        let listed = versions["versions"].as_array().map_or(0, Vec::len);
        let unread = versions["damaged"].as_array().map_or(0, Vec::len);
        assert_eq!((listed, unread), if damaged == "manifest" { (1, 1) } else { (2, 0) }, "{versions}");

        again.live.open(&watershed, &[]);
        again.live.reach(watershed);
        again.publish(3, &[(0, 4), (1, 2)], &[below(), above()].concat()).await;
        again.until_version(3).await;
        assert_eq!(again.json("/readyz").await["trouble"], json!([]));
        assert_eq!(again.ask(whole.clone()).await["data"], json!([{ "trips": 6 }]));
    }
}
