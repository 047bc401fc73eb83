//! Questions made to hurt: each is answered, or refused in a moment and in few words.

use super::*;

#[tokio::test]
async fn a_text_without_end_is_refused_at_once_and_not_quoted_whole() {
    let world = World::with_both_sides().await;
    let endless = "x".repeat(1_000_000);
    let began = Instant::now();
    for body in [
        json!({ "view": "trips_hourly", "time_zone": endless }),
        json!({ "view": "trips_hourly", "measures": [endless] }),
        json!({ "view": endless }),
        json!({ "view": "trips_hourly", (endless.as_str()): 1 }),
    ] {
        let (status, problem) = problem(world.post(body.to_string()).await).await;
        assert!([400, 404].contains(&status), "{status}");
        assert!(problem.to_string().len() < 10_000, "it says {} bytes", problem.to_string().len());
    }
    assert!(began.elapsed() < Duration::from_secs(5), "comparing took {:?}", began.elapsed());
}

#[tokio::test]
async fn an_order_that_names_a_column_again_and_again_is_refused() {
    let world = World::with_both_sides().await;
    let endless = json!({ "view": "trips_hourly", "order_by": vec!["trips"; 100_000] });
    let (status, body) = world.refused(endless).await;
    assert_eq!(status, 400, "{body}");
    assert!(body["detail"].as_str().is_some_and(|detail| detail.contains("occurs twice")), "{body}");
}

#[tokio::test]
async fn a_list_of_values_may_be_long_and_hold_null() {
    let world = World::with_both_sides().await;
    let mut cities = vec![json!("Rome"); 50_000];
    cities.extend([json!("Oslo"), Json::Null]);
    for accuracy in ["batch", "exact"] {
        let question = |cities: Json| {
            json!({ "view": "trips_hourly", "measures": ["trips", "riders"], "group_by": [], "grain": "all",
                    "accuracy": accuracy, "where": { "city": cities } })
        };
        let found = world.ask(question(json!(cities))).await;
        assert_eq!(found["data"], json!([{ "trips": 3, "riders": 3 }]), "{accuracy}");
        let others = world.ask(question(json!({ "not": cities }))).await;
        assert_eq!(others["data"], json!([{ "trips": 1, "riders": 1 }]), "{accuracy}");
        assert_eq!(world.ask(question(json!([]))).await["rows"], 0, "{accuracy}");
        assert_eq!(found["meta"][1]["exact"], accuracy == "exact");
    }
}

#[tokio::test]
async fn a_speed_node_refuses_other_methods_as_a_problem() {
    let node = PartialsServer::start("127.0.0.1:0", ScriptedLive::new()).await.expect("the endpoint starts");
    for path in ["/v1/partials", "/v1/partials/status/trips", "/healthz"] {
        let asked = client().delete(format!("http://{}{path}", node.address)).send().await;
        assert_eq!(problem(asked.expect("the node answers")).await.0, 405, "{path}");
    }
}
