//! `/metrics`: read by its specification, compared with the status, bounded whatever is asked.

use std::collections::BTreeSet;

use watershed_schemas::live::{LiveStatus, TroubleSource};
use watershed_schemas::log::Log;
use watershed_schemas::manifest::{Accuracy, DeadLetterFile, Intent, StoredFile};
use watershed_schemas::offsets::{Gap, OffsetRange};

use super::*;
use crate::support::exposition::Exposition;
use crate::support::log::MemoryLog;
use crate::support::python::python;

const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

async fn text(url: String, accept: &str) -> (String, String) {
    let response = client().get(url).header("accept", accept).send().await.expect("an answer");
    assert_eq!(response.status(), 200);
    let media_type = response.headers()["content-type"].to_str().expect("ASCII").to_string();
    (media_type, response.text().await.expect("text"))
}

async fn page(world: &World) -> Exposition {
    let (media_type, text) = text(world.url("/metrics"), "*/*").await;
    assert_eq!(media_type, PROMETHEUS);
    Exposition::read(&text)
}

fn node() -> LiveStatus {
    LiveStatus {
        node: "a \"node\"\\of\nits own".to_string(),
        records: 12,
        dead_letters: 3,
        dead_letter_reasons: [("malformed".to_string(), 1), ("tombstone".to_string(), 2)].into(),
        groups: 7,
        checkpoint_age_ms: Some(1_500),
        trouble: Some("checkpoint: disk full".to_string()),
        trouble_sources: [TroubleSource::Checkpoint].into(),
        ..LiveStatus::default()
    }
}

/// A world in which everything that a page can tell of has happened: dead letters, a gap, a ledger, a running batch, a
/// log that begins at 2, and a speed node in the server's own process.
async fn eventful() -> World {
    let log = MemoryLog::with_topic("trips", 2);
    for (partition, records) in [(0, 4), (1, 2)] {
        for index in 0..records {
            log.append("trips", partition, index, None);
        }
    }
    log.trim("trips", 0, 2);
    let store = Store::new(Arc::new(InMemory::new()));
    let live = ScriptedLive::new();
    live.be_here();
    live.tell(node());
    let settings = ServeSettings { workers: Some(1), ..ServeSettings::new("127.0.0.1:0") };
    let (project, log) = (Arc::new(project()), Arc::new(log) as Arc<dyn Log>);
    let server = Server::start(settings, project.clone(), store.clone(), live.clone(), Some(log), None).await;
    let world = World { project, store, live, server: server.expect("the server starts"), client: client() };
    let watershed = offsets(&[(0, 3), (1, 1)]);
    let _ = world.store.publish(&amended(&world).await).await.expect("memory takes it");
    world.live.open(&watershed, &[(0, vec![above()[0].clone()]), (1, vec![above()[1].clone()])]);
    world.live.reach(offsets(&[(0, 4), (1, 2)]));
    let intent = Intent {
        stream: "trips".to_string(),
        version: Version(2),
        target: watershed,
        run_id: "running".to_string(),
        holder: "somebody:1".to_string(),
        lease_until_ms: i64::MAX / 2,
    };
    world.store.put_intent(&intent).await.expect("memory takes it");
    world.until_version(1).await;
    world.until("/readyz", 200).await;
    let deadline = Instant::now() + Duration::from_secs(20);
    while world.status().await["time_to_loss"]["partitions"] == json!({}) {
        assert!(Instant::now() < deadline, "the log was never heard of");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    world
}

/// The first version, with everything in it that a manifest may tell.
async fn amended(world: &World) -> Manifest {
    let aside = Store::new(Arc::new(InMemory::new()));
    let mut manifest = publish(&aside, &world.project, 1, offsets(&[(0, 3), (1, 1)]), &below()).await;
    for path in aside.list("views/").await.expect("memory lists") {
        let bytes = aside.get(&path).await.expect("memory reads").expect("it was listed");
        world.store.put(&path, bytes).await.expect("memory takes it");
    }
    let file = StoredFile { path: "dead".to_string(), bytes: 1, sha256: String::new(), rows: 5 };
    manifest.dead_letters.push(DeadLetterFile {
        file,
        partition: Partition(0),
        range: OffsetRange::new(Offset(0), Offset(3)),
        reasons: [("malformed".to_string(), 2), ("wrong_type".to_string(), 3)].into(),
    });
    manifest.gaps.push(Gap { partition: Partition(1), from: Offset(0), until: Offset(1) });
    manifest.views.get_mut("trips_hourly").expect("it was published").accuracy.push(Accuracy {
        measure: "middle".to_string(),
        kind: "relative".to_string(),
        bound: 0.01,
        confidence: 1.0,
        cells: 40,
        mean_error: 0.002,
        max_error: 0.012,
        beyond_bound: 1,
    });
    manifest
}

#[tokio::test]
async fn a_page_reads_by_its_specification_and_agrees_with_the_status() {
    let world = eventful().await;
    let (status, page) = (world.status().await, page(&world).await);
    let number = |value: &Json| value.as_f64();
    let stream = ("stream", "trips");
    for partition in ["0", "1"] {
        let labels = [stream, ("partition", partition)];
        let told = [
            ("watershed_watershed_offset", &status["watershed"][partition]),
            ("watershed_live_offset", &status["live"][partition]),
            ("watershed_end_offset", &status["end"][partition]),
            ("watershed_lag_records", &status["lag"][partition]),
            (
                "watershed_loss_margin_records",
                &status["time_to_loss"]["partitions"][partition]["offsets_left"],
            ),
            (
                "watershed_log_start_offset",
                &status["time_to_loss"]["partitions"][partition]["log_start_offset"],
            ),
            ("watershed_time_to_loss_seconds", &status["time_to_loss"]["partitions"][partition]["seconds"]),
        ];
        for (name, expected) in told {
            assert_eq!(page.value(name, &labels), number(expected), "{name} of partition {partition}");
        }
    }
    assert_eq!(page.value("watershed_loss_margin_records", &[stream, ("partition", "0")]), Some(1.0));
    let told = [
        ("watershed_version", number(&status["version"])),
        ("watershed_newest_version", number(&status["newest_version"])),
        ("watershed_batch_running", Some(1.0)),
        ("watershed_batch_run_seconds", Some(0.5)),
        ("watershed_batch_run_landed_records", Some(4.0)),
        ("watershed_batch_run_recomputed_windows", Some(1.0)),
        ("watershed_version_events_records", Some(4.0)),
        ("watershed_gaps", Some(1.0)),
        ("watershed_gap_records", Some(1.0)),
    ];
    for (name, expected) in told {
        assert!(expected.is_some(), "{name} is not in {status}");
        assert_eq!(page.value(name, &[stream]), expected, "{name}");
    }
    for (reason, count) in [("malformed", 2.0), ("wrong_type", 3.0)] {
        let labels = [stream, ("reason", reason)];
        assert_eq!(page.value("watershed_dead_letter_records", &labels), Some(count));
        assert_eq!(number(&status["dead_letters"]["batch"]["reasons"][reason]), Some(count));
    }
    for view in status["views"].as_array().expect("a list") {
        let labels = [stream, ("view", view["view"].as_str().expect("a name"))];
        assert_eq!(page.value("watershed_view_cells", &labels), number(&view["cells"]));
        assert_eq!(page.value("watershed_view_memory_bytes", &labels), number(&view["bytes"]));
    }
    let ledger = world.json("/v1/views/trips_hourly/accuracy").await["accuracy"][0].clone();
    let labels = [stream, ("view", "trips_hourly"), ("measure", "middle"), ("kind", "relative")];
    for (name, key) in [
        ("watershed_accuracy_bound_ratio", "bound"),
        ("watershed_accuracy_mean_error_ratio", "mean_error"),
        ("watershed_accuracy_max_error_ratio", "max_error"),
        ("watershed_accuracy_compared_cells", "cells"),
        ("watershed_accuracy_beyond_bound_cells", "beyond_bound"),
    ] {
        assert_eq!(page.value(name, &labels), number(&ledger[key]), "{name}");
    }
    // Ages move on between two looks.
    let age = |name: &str| page.value(name, &[stream]).unwrap_or_else(|| panic!("{name} is not told"));
    assert!(age("watershed_freshness_seconds") < 10.0 && age("watershed_log_answer_age_seconds") < 20.0);
    assert!(age("watershed_version_age_seconds") > 3e8, "the version was made in 2013");
}

#[tokio::test]
async fn states_and_troubles_are_zero_or_one_for_each_there_may_be() {
    let world = eventful().await;
    let now = page(&world).await;
    let state = |page: &Exposition, state| {
        page.value("watershed_stream_state", &[("stream", "trips"), ("state", state)])
    };
    assert_eq!(
        ["unknown", "opening", "live", "batch_only"].map(|name| state(&now, name)),
        [Some(0.0), Some(0.0), Some(1.0), Some(0.0)]
    );
    let trouble = |page: &Exposition, source| {
        page.value("watershed_trouble", &[("stream", "trips"), ("source", source)])
    };
    // The node says that it cannot write checkpoints.
    assert_eq!(
        ["versions", "speed_layer", "retention", "intents"].map(|source| trouble(&now, source)),
        [Some(0.0), Some(1.0), Some(0.0), Some(0.0)]
    );
    world.live.go_away();
    let deadline = Instant::now() + Duration::from_secs(20);
    while world.status().await["state"] != "batch_only" {
        assert!(Instant::now() < deadline, "nobody missed the speed layer");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let away = page(&world).await;
    assert_eq!((state(&away, "live"), state(&away, "batch_only")), (Some(0.0), Some(1.0)));
    assert_eq!(trouble(&away, "speed_layer"), Some(1.0));
    assert_eq!(away.value("watershed_freshness_seconds", &[("stream", "trips")]), None);
    // Answers reach as far as the version does.
    let lag =
        |partition| away.value("watershed_lag_records", &[("stream", "trips"), ("partition", partition)]);
    assert_eq!((lag("0"), world.status().await["lag"]["0"].as_f64()), (Some(1.0), Some(1.0)));
}

#[tokio::test]
async fn a_speed_node_is_told_of_by_its_own_process_only() {
    let apart = World::with_both_sides().await;
    let told = page(&apart).await;
    let of_nodes = told.families.iter().filter(|(name, _)| name.starts_with("watershed_speed_"));
    assert_eq!(of_nodes.map(|(_, family)| family.samples.len()).sum::<usize>(), 0);
    assert!(told.value("watershed_live_offset", &[("stream", "trips"), ("partition", "0")]).is_some());

    apart.live.be_here();
    apart.live.tell(node());
    let server = PartialsServer::start("127.0.0.1:0", apart.live.clone()).await.expect("the endpoint starts");
    let (media_type, text) = text(format!("http://{}/metrics", server.address), "*/*").await;
    assert_eq!(media_type, PROMETHEUS);
    let told = Exposition::read(&text);
    let node = [("stream", "trips"), ("node", "a \"node\"\\of\nits own")];
    let value = |name: &str, more: &[(&str, &str)]| told.value(name, &[&node[..], more].concat());
    assert_eq!(value("watershed_speed_folded_records_total", &[]), Some(12.0));
    assert_eq!(value("watershed_speed_dead_letter_records_total", &[("reason", "tombstone")]), Some(2.0));
    assert_eq!(value("watershed_speed_groups", &[]), Some(7.0));
    assert_eq!(value("watershed_speed_epochs_ready", &[]), Some(1.0));
    assert_eq!(value("watershed_speed_checkpoint_age_seconds", &[]), Some(1.5));
    assert_eq!(value("watershed_speed_live_offset", &[("partition", "0")]), Some(4.0));
    assert_eq!(value("watershed_speed_lag_records", &[("partition", "1")]), Some(0.0));
    assert!(value("watershed_speed_freshness_seconds", &[]).is_some_and(|age| age < 10.0));
    for source in TroubleSource::ALL.map(TroubleSource::name) {
        let expected = if source == "checkpoint" { 1.0 } else { 0.0 };
        assert_eq!(value("watershed_speed_trouble", &[("source", source)]), Some(expected), "{source}");
    }
    assert_eq!(told.value("watershed_http_requests_in_flight", &[]), Some(1.0));
    let server_only = told.names().into_iter().find(|name| name.starts_with("watershed_version"));
    assert_eq!(server_only, None, "a speed node has no versions");
}

#[tokio::test]
async fn requests_are_counted_by_route_and_never_by_path() {
    let world = World::with_both_sides().await;
    let count = |page: &Exposition, route: &str, status: &str| {
        let labels = [("route", route), ("status", status)];
        page.value("watershed_http_request_duration_seconds_count", &labels).unwrap_or_default()
    };
    let before = page(&world).await;
    for index in 0..40 {
        for path in [
            format!("/v1/views/v{index}/query"),
            format!("/v1/views/v{index}"),
            format!("/nowhere/{index}"),
            format!("/v1/streams/s{index}/versions/{index}/diff/1"),
        ] {
            assert_eq!(world.get(&path).await.status(), 404);
        }
    }
    for _ in 0..3 {
        world.ask(json!({ "view": "trips_hourly" })).await;
    }
    world.refused(json!({ "view": "trips_hourly", "limit": "many" })).await;
    assert_eq!(world.get("/v1/views/trips_hourly/query").await.status(), 200);
    assert_eq!(world.get("/v1/query").await.status(), 405);
    let after = page(&world).await;
    let counted = |route, status| count(&after, route, status) - count(&before, route, status);
    for route in [
        "/v1/views/{view}/query",
        "/v1/views/{view}",
        "unknown",
        "/v1/streams/{stream}/versions/{a}/diff/{b}",
    ] {
        assert_eq!(counted(route, "4xx"), 40.0, "{route}");
    }
    assert_eq!((counted("/v1/query", "2xx"), counted("/v1/query", "4xx")), (3.0, 2.0));
    assert_eq!(counted("/v1/views/{view}/query", "2xx"), 1.0);
    assert_eq!(count(&after, "/metrics", "2xx"), count(&before, "/metrics", "2xx") + 1.0);
    let routes: BTreeSet<&String> = after.families["watershed_http_request_duration_seconds"]
        .samples
        .keys()
        .map(|(_, labels)| &labels["route"])
        .collect();
    assert!(routes.len() <= 14, "{routes:?}");
    assert_eq!(after.value("watershed_http_requests_in_flight", &[]), Some(1.0), "the page itself");
}

#[tokio::test]
async fn answers_are_counted_by_whether_they_were_complete() {
    let world = World::with_both_sides().await;
    for _ in 0..2 {
        world.ask(json!({ "view": "trips_hourly" })).await;
    }
    assert_eq!(world.get("/v1/views/trips_daily/query").await.status(), 200);
    world.live.go_away();
    world.ask(json!({ "view": "trips_hourly" })).await;
    // A refusal is no answer.
    world.refused(json!({ "view": "trips_hourly", "require": ["complete"] })).await;
    let told = page(&world).await;
    let answers =
        |complete| told.value("watershed_answers_total", &[("stream", "trips"), ("complete", complete)]);
    assert_eq!((answers("true"), answers("false")), (Some(3.0), Some(1.0)));
}

#[tokio::test]
async fn the_form_is_what_the_asker_likes_best() {
    let world = World::with_both_sides().await;
    let prometheus =
        "application/openmetrics-text;version=1.0.0;q=0.6,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
    for (accept, expected) in [
        ("", PROMETHEUS),
        ("text/html, */*", PROMETHEUS),
        (prometheus, OPEN_METRICS),
        ("application/openmetrics-text", OPEN_METRICS),
        ("application/openmetrics-text;q=0.2, text/plain", PROMETHEUS),
        ("application/openmetrics-text;q=0", PROMETHEUS),
    ] {
        assert_eq!(text(world.url("/metrics"), accept).await.0, expected, "{accept}");
    }
    let response = world.client.delete(world.url("/metrics")).send().await.expect("an answer");
    assert_eq!(problem(response).await.0, 405);
}

/// The official client for Python reads both forms to the same samples as we do.
#[tokio::test]
async fn others_read_both_forms_alike() {
    let world = eventful().await;
    world.ask(json!({ "view": "trips_hourly" })).await;
    let folder = tempfile::tempdir().expect("a temporary folder");
    let mut read = BTreeSet::new();
    for (name, accept) in [("prometheus", "text/plain"), ("openmetrics", "application/openmetrics-text")] {
        let (_, text) = text(world.url("/metrics"), accept).await;
        if name == "prometheus" {
            read = Exposition::read(&text).names().into_iter().map(str::to_string).collect();
        } else {
            assert!(text.ends_with("# EOF\n") && text.contains("# UNIT watershed_lag_records records\n"));
        }
        std::fs::write(folder.path().join(name), text).expect("written");
    }
    let script = include_str!("read_metrics.py");
    let Some(said) = python("prometheus_client", script, folder.path()) else { return };
    let said: Json = serde_json::from_str(&said).expect("JSON");
    for form in ["prometheus", "openmetrics"] {
        let names = said[form]["names"].as_array().expect("a list").iter();
        let names: BTreeSet<String> = names.map(|name| name.as_str().expect("text").to_string()).collect();
        assert_eq!(names, read, "{form}");
        assert_eq!(said[form]["node"], "a \"node\"\\of\nits own", "{form}");
    }
    assert_eq!(said["prometheus"]["series"], said["openmetrics"]["series"]);
}

#[tokio::test]
async fn readiness_says_why_for_each_stream() {
    let store = Store::new(Arc::new(InMemory::new()));
    publish(&store, &project(), 1, offsets(&[(0, 3), (1, 1)]), &below()).await;
    let live = ScriptedLive::new();
    live.reach(offsets(&[(0, 4), (1, 2)]));
    live.tell(LiveStatus { trouble: Some("the log is away".to_string()), ..LiveStatus::default() });
    let world = World::over(store, live).await;
    world.until_version(1).await;
    let (status, body) = problem(world.get("/readyz").await).await;
    assert_eq!((status, &body["detail"]), (503, &json!("stream trips is opening: the log is away")));
    let reasons = json!({ "trips": { "ready": false, "state": "opening", "reasons": ["the log is away"] } });
    assert_eq!(body["streams"], reasons);
    world.live.tell(LiveStatus::default());
    world.live.open(&offsets(&[(0, 3), (1, 1)]), &[]);
    world.until("/readyz", 200).await;
    let ready = json!({ "trips": { "ready": true, "state": "live", "reasons": [] } });
    assert_eq!(world.json("/readyz").await, json!({ "status": "ready", "trouble": [], "streams": ready }));
}

/// Everything that the pages of all processes together hold.
async fn names() -> BTreeSet<String> {
    let world = eventful().await;
    let names = page(&world).await;
    names.names().into_iter().map(str::to_string).collect()
}

/// Words of a text that look like metrics, without what a histogram adds to its name.
fn named(text: &str) -> BTreeSet<String> {
    let is_part = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '_';
    let words = text.split(|letter: char| !is_part(letter));
    let metrics = words.filter(|word| ["watershed_", "process_"].iter().any(|start| word.starts_with(start)));
    let plain = |word: &str| {
        let family = ["_bucket", "_count", "_sum"].iter().find_map(|suffix| word.strip_suffix(suffix));
        family.unwrap_or(word).to_string()
    };
    metrics.map(plain).collect()
}

fn document(name: &str) -> String {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs").join(name);
    std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

#[tokio::test]
async fn every_metric_is_explained_and_alarms_rest_on_metrics_that_exist() {
    let names = names().await;
    let rows = document("operations.md");
    let explained = rows.lines().filter(|line| line.starts_with("| `")).map(|line| {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        assert!(cells.len() >= 5 && cells[3].len() > 10, "it explains nothing: {line}");
        cells[1].trim_matches('`').to_string()
    });
    assert_eq!(explained.collect::<BTreeSet<_>>(), names);
    let shown = named(&document("grafana.json"));
    let unknown: Vec<_> = shown.difference(&names).collect();
    assert!(
        unknown.is_empty() && shown.len() >= 15,
        "docs/grafana.json shows {shown:?}, of which there are not {unknown:?}"
    );
    let alerts = document("alerts.yml");
    let alarmed = named(&alerts);
    let unknown: Vec<_> = alarmed.difference(&names).collect();
    assert!(unknown.is_empty(), "docs/alerts.yml names {unknown:?}");
    assert!(alarmed.len() >= 8, "{alarmed:?}");
    for alert in alerts.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        assert!(
            rows.contains(&format!("`{alert}`")),
            "docs/operations.md does not say what to do about {alert}"
        );
    }
}
