//! Retention overtakes all three layers at once: every one of them says so, an operator accepts it, and all go on
//! (invariant `NOTHING_VANISHES`).

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::support::batch_world::{TOPIC, VIEWS, World, published, reading};
use ::support::serving::client;
use ::support::watched_log::{Call, WatchedLog};
use object_store::memory::InMemory;
use serde_json::{Value as Json, json};
use tokio::runtime::Handle;
use watershed_batch::BatchError;
use watershed_schemas::log::Log;
use watershed_serving::http::{ServeSettings, Server};
use watershed_speed::{SpeedNode, SpeedSettings};
use watershed_store::Store;

/// The three layers over one log in memory.
struct Layers {
    world: World,
    log: WatchedLog,
    server: Server,
    node: Arc<SpeedNode>,
}

impl Layers {
    async fn start() -> Layers {
        let world = World::with(&VIEWS[..1], Store::new(Arc::new(InMemory::new())));
        let log = WatchedLog::of(&world.log);
        let settings = SpeedSettings {
            refresh_interval: Duration::from_millis(20),
            end_interval: Duration::from_millis(20),
            retry_interval: Duration::from_millis(50),
            ..SpeedSettings::new("gap", "node")
        };
        let seen: Arc<dyn Log> = Arc::new(log.clone());
        let node = SpeedNode::start(&settings, &world.project, &world.store, &seen, Handle::current());
        let node = Arc::new(node.expect("threads can be had"));
        let settings = ServeSettings { workers: Some(1), ..ServeSettings::new("127.0.0.1:0") };
        let project = Arc::new(world.project.clone());
        let server =
            Server::start(settings, project, world.store.clone(), node.clone(), Some(seen), None).await;
        Layers { world, log, server: server.expect("the server starts"), node }
    }

    fn produce(&self, seconds: std::ops::Range<i64>) {
        for second in seconds {
            self.world.produce(0, &reading(second, "a", "d", 1.0, 1));
        }
    }

    async fn ask(&self) -> Json {
        let question = json!({ "view": "hourly", "measures": ["readings"], "group_by": [], "grain": "all" });
        let url = format!("http://{}/v1/query", self.server.address);
        let answer = client().post(url).body(question.to_string()).send().await.expect("the server answers");
        answer.json().await.expect("the body is JSON")
    }

    async fn until(&self, what: &str, holds: impl Fn(&Json) -> bool) -> Json {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = self.ask().await;
            if holds(&answer) {
                return answer;
            }
            assert!(Instant::now() < deadline, "it never happened that {what}: {answer}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn status(&self) -> Json {
        let url = format!("http://{}/v1/status", self.server.address);
        let answer = client().get(url).send().await.expect("the server answers");
        let status: Json = answer.json().await.expect("the body is JSON");
        status["streams"][0].clone()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gap_is_told_by_every_layer_until_it_is_accepted_and_then_by_every_answer() {
    let layers = Layers::start().await;
    layers.produce(0..120);
    published(layers.world.run().await);
    let complete = |answer: &Json| answer["answer"]["complete"] == true && answer["answer"]["version"] == 1;
    layers.until("version 1 answers", complete).await;

    // While the speed layer hears nothing, records come and go.
    layers.log.fail(&[Call::Poll]);
    tokio::time::sleep(Duration::from_millis(100)).await;
    layers.produce(120..400);
    layers.world.log.trim(TOPIC, 0, 340);
    layers.log.fail(&[]);
    let told = |answer: &Json| {
        let why = answer["answer"]["incomplete_because"].as_str().unwrap_or_default();
        ["gap at partition 0", "offset 120", "[340, 400)"].iter().all(|part| why.contains(part))
    };
    let answer = layers.until("the gap is told", told).await;
    assert_eq!(
        (&answer["data"], &answer["answer"]["complete"]),
        (&json!([{ "readings": 120 }]), &json!(false))
    );
    assert_eq!(answer["answer"]["live"], answer["answer"]["watershed"], "nothing is jumped over");
    let status = layers.status().await;
    assert!(status["trouble"].to_string().contains("gap at partition 0"), "{}", status["trouble"]);

    let error = layers.world.run().await.expect_err("records are gone");
    assert!(
        matches!(&error, BatchError::Gap { .. })
            && error.to_string().starts_with("gap at partition 0: needed offset 120, log starts at 340"),
        "{error}"
    );
    let mut job = layers.world.job();
    job.options.accept_gap = true;
    published(watershed_batch::run(&job).await);

    // All goes on by itself, and no answer forgets what is missing.
    layers.produce(400..410);
    let whole = |answer: &Json| answer["answer"]["version"] == 2 && answer["answer"]["live"]["0"] == 410;
    let answer = layers.until("the live half is back", whole).await;
    assert_eq!(answer["data"], json!([{ "readings": 190 }]));
    let block = &answer["answer"];
    assert_eq!(block["gaps"], json!([{ "partition": 0, "from": 120, "until": 340 }]));
    assert_eq!(block["complete"], false);
    assert!(block["incomplete_because"].as_str().is_some_and(|why| why.contains("[120, 340)")), "{block}");
    let status = layers.status().await;
    assert_eq!(status["gaps"], block["gaps"]);
    layers.server.stop().await;
    layers.node.shutdown().await;
}
