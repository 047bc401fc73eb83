//! Partitions that are added to a topic, and answers about a topic that leave some out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::support::live::{self, HOURLY, Speed};
use ::support::log::MemoryLog;
use ::support::serving::{NEW_YEAR, ScriptedLive, client, offsets, project, publish, trip};
use ::support::watched_log::WatchedLog;
use object_store::memory::InMemory;
use serde_json::{Value as Json, json};
use watershed_schemas::log::Log;
use watershed_schemas::offsets::{Offset, Offsets, Partition};
use watershed_serving::http::{ServeSettings, Server};
use watershed_store::{Publication, Store};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_takes_up_partitions_that_are_added_from_their_beginning() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    for number in 0..60 {
        live::produce(&memory, (number % 2) as i32, number);
    }
    let log: Arc<dyn Log> = Arc::new(memory.clone());
    let speed = Speed::start(&log, &live::memory_store(), &live::project(&[HOURLY]), "node");
    let watershed = live::offsets(&[(0, 20), (1, 20)]);
    let manifest = live::manifest(1, &watershed, &speed.views);
    assert_eq!(speed.store.publish(&manifest).await.expect("memory answers"), Publication::Published);
    speed.until_current("rides_hourly", &watershed).await;

    memory.create(live::TOPIC, 4);
    for number in 60..100 {
        live::produce(&memory, (number % 4) as i32, number);
    }
    let reply = speed.until_current("rides_hourly", &watershed).await;
    assert_eq!(reply.live.get(Partition(3)), Offset(10));
    speed.check("rides_hourly", &reply, &memory);
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_names_the_ends_of_partitions_that_it_does_not_hold() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    live::produce(&memory, 1, 0);
    let log: Arc<dyn Log> = Arc::new(memory.clone());
    // Another member of the group holds one of the partitions, and says nothing.
    let _other = log.subscribe(live::TOPIC, "test-rides").expect("the topic is there");
    let speed = Speed::start(&log, &live::memory_store(), &live::project(&[HOURLY]), "node");
    let status =
        speed.until_status("it holds one", |status| status.live.len() == 1 && status.end.len() == 2).await;
    assert_eq!(status.end, live::offsets(&[(0, 0), (1, 1)]));
    let reply = live::eventually("it replies", || async {
        speed.ask("rides_hourly", &Offsets::new()).await.ok().filter(|reply| reply.live.len() == 1)
    })
    .await;
    assert_eq!(reply.end, live::offsets(&[(0, 0), (1, 1)]), "so the asker knows that one is missing");
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_with_fewer_partitions_is_a_trouble_to_a_node_and_no_news() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    live::produce(&memory, 1, 0);
    let watched = WatchedLog::of(&memory);
    let log: Arc<dyn Log> = Arc::new(watched.clone());
    let speed = Speed::start(&log, &live::memory_store(), &live::project(&[HOURLY]), "node");
    speed.until_current("rides_hourly", &Offsets::new()).await;
    watched.hide(&[Partition(1)]);
    let told = |status: &watershed_schemas::live::LiveStatus| {
        status.trouble.as_ref().is_some_and(|trouble| trouble.contains("shows no partition 1"))
    };
    let status = speed.until_status("it is told", told).await;
    assert_eq!(status.end, live::offsets(&[(0, 0), (1, 1)]));
    watched.hide(&[]);
    speed.until_status("it is over", |status| status.trouble.is_none()).await;
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn offsets_without_records_at_the_end_of_an_idle_topic_are_passed() {
    let memory = MemoryLog::with_topic(live::TOPIC, 1);
    let log: Arc<dyn Log> = Arc::new(memory.clone());
    let speed = Speed::start(&log, &live::memory_store(), &live::project(&[HOURLY]), "node");
    for (round, rides) in [3, 0, 1, 0].into_iter().enumerate() {
        for number in 0..rides {
            live::produce(&memory, 0, number);
        }
        // The control record of a transaction, committed or aborted.
        memory.skip(live::TOPIC, 0, 1);
        let reply = speed.until_current("rides_hourly", &Offsets::new()).await;
        let end = log.bounds(live::TOPIC).expect("memory answers")[0].1.until;
        assert_eq!((reply.live.get(Partition(0)), reply.end.get(Partition(0))), (end, end), "round {round}");
        speed.check("rides_hourly", &reply, &memory);
    }
    speed.node.shutdown().await;
}

/// A server that watches a log of its own, beside a speed layer that says what it is told to.
struct Watched {
    live: Arc<ScriptedLive>,
    log: WatchedLog,
    server: Server,
}

impl Watched {
    /// Version 1 at {0: 3, 1: 1}, and a speed layer that holds both partitions, unless it is away.
    async fn new(is_away: bool) -> Watched {
        let memory = MemoryLog::with_topic("trips", 2);
        for (partition, count) in [(0, 4), (1, 2)] {
            for index in 0..count {
                memory.append("trips", partition, index, None);
            }
        }
        let (project, store) = (Arc::new(project()), Store::new(Arc::new(InMemory::new())));
        let (live, log) = (ScriptedLive::new(), WatchedLog::of(&memory));
        let watershed = offsets(&[(0, 3), (1, 1)]);
        publish(&store, &project, 1, watershed.clone(), &[trip(NEW_YEAR, "Oslo", 1, 1, "ada")]).await;
        live.open(&watershed, &[]);
        live.reach(offsets(&[(0, 4), (1, 2)]));
        if is_away {
            live.go_away();
        }
        let settings = ServeSettings {
            workers: Some(1),
            wait_for_partitions: Duration::ZERO,
            ..ServeSettings::new("127.0.0.1:0")
        };
        let seen: Arc<dyn Log> = Arc::new(log.clone());
        let server = Server::start(settings, project, store, live.clone(), Some(seen), None).await;
        Watched { live, log, server: server.expect("the server starts") }
    }

    async fn block(&self) -> Json {
        let question =
            json!({ "view": "trips_hourly", "measures": ["trips"], "group_by": [], "grain": "all" });
        let url = format!("http://{}/v1/query", self.server.address);
        let answer = client().post(url).body(question.to_string()).send().await.expect("the server answers");
        let answer: Json = answer.json().await.expect("the body is JSON");
        answer["answer"].clone()
    }

    async fn until(&self, what: &str, holds: impl Fn(&Json) -> bool) -> Json {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let block = self.block().await;
            if holds(&block) {
                return block;
            }
            assert!(Instant::now() < deadline, "it never happened that {what}: {block}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

#[tokio::test]
async fn an_answer_is_not_complete_without_a_partition_that_only_the_log_knows() {
    let watched = Watched::new(false).await;
    watched.until("both halves answer", |block| block["complete"] == true).await;
    // The speed nodes have not heard of it, and the server asks the log itself.
    watched.log.log.create("trips", 3);
    let block = watched.until("it is missed", |block| block["complete"] == false).await;
    assert_eq!(block["end"], json!({ "0": 4, "1": 2, "2": 0 }));
    assert_eq!(block["incomplete_because"], "no speed node holds partition 2 (2 of 3 are held)");
    watched.live.reach(offsets(&[(0, 4), (1, 2), (2, 0)]));
    watched.until("it is held", |block| block["complete"] == true).await;
}

#[tokio::test]
async fn a_log_that_leaves_a_partition_out_does_not_make_an_answer_complete() {
    let watched = Watched::new(true).await;
    watched.log.log.create("trips", 3);
    watched.log.log.append("trips", 2, 0, None);
    watched.until("the end names it", |block| block["end"] == json!({ "0": 4, "1": 2, "2": 1 })).await;
    watched.log.hide(&[Partition(2)]);
    tokio::time::sleep(Duration::from_millis(2_500)).await;
    assert_eq!(watched.block().await["end"], json!({ "0": 4, "1": 2, "2": 1 }));
}
