//! A speed node over a log in memory: every reply is the fold of exactly the range that it names,
//! whatever happens around it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ::support::live::{self, DAILY, HOURLY, Speed};
use ::support::log::MemoryLog;
use ::support::watched_log::{Call, WatchedLog};
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use object_store::path::Path;
use object_store::{
    CopyOptions, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta, ObjectStore,
    PutMultipartOptions, PutOptions, PutPayload, PutResult,
};
use watershed_schemas::invariants;
use watershed_schemas::live::{LiveError, LiveSource, LiveStatus, PartialsRequest};
use watershed_schemas::log::Log;
use watershed_schemas::offsets::{Gap, Offset, Offsets, Partition};
use watershed_schemas::scope::Scope;
use watershed_speed::SpeedSettings;
use watershed_store::Store;

/// Far beyond any test's end.
const FOREVER_MS: i64 = i64::MAX;

/// A node over both views and a log of two partitions.
fn start(memory: &MemoryLog, store: &Store, name: &str) -> Speed {
    let log: Arc<dyn Log> = Arc::new(memory.clone());
    Speed::start(&log, store, &live::project(&[HOURLY, DAILY]), name)
}

fn rides(memory: &MemoryLog, numbers: std::ops::Range<i64>) {
    for number in numbers {
        live::produce(memory, (number % 2) as i32, number);
    }
}

async fn publish(speed: &Speed, version: u64, watershed: &Offsets) {
    let published = speed.store.publish(&live::manifest(version, watershed, &speed.views)).await;
    assert_eq!(published.expect("the store answers"), watershed_store::Publication::Published);
    speed.node.look(live::STREAM);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_event_on_an_idle_topic_is_answered_within_250_milliseconds() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    let speed = start(&memory, &live::memory_store(), "node");
    speed.until_current("rides_daily", &Offsets::new()).await;
    let mut delays = Vec::new();
    for number in 0..21 {
        tokio::time::sleep(Duration::from_millis(30)).await;
        let produced = Instant::now();
        live::produce(&memory, (number % 2) as i32, number);
        let reply = speed.until_current("rides_daily", &Offsets::new()).await;
        delays.push(produced.elapsed());
        speed.check("rides_daily", &reply, &memory);
    }
    // The median, for a busy machine may hold up any single one.
    delays.sort();
    assert!(delays[10] < Duration::from_millis(250), "queryable after {delays:?}");
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn every_reply_is_the_fold_of_the_range_it_names_while_records_come_and_versions_are_published() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    let speed = start(&memory, &live::memory_store(), "node");
    speed.until_current("rides_daily", &Offsets::new()).await;
    let stop = Arc::new(AtomicBool::new(false));
    let producer = {
        let (memory, stop) = (memory.clone(), stop.clone());
        std::thread::spawn(move || {
            for number in 0.. {
                if stop.load(Ordering::SeqCst) {
                    return number;
                }
                live::produce(&memory, (number % 2) as i32, number);
                if number % 50 == 0 {
                    memory.skip(live::TOPIC, 0, 3);
                    memory.append(live::TOPIC, 1, live::RECORDED_AT, Some(b"not json"));
                    std::thread::sleep(Duration::from_millis(1));
                }
            }
            unreachable!("numbers do not end")
        })
    };
    // A version at the log's start would be told ready by the epoch that is there without any.
    live::eventually("both partitions hold records", || async {
        let bounds = memory.bounds(live::TOPIC).expect("it is there");
        bounds.iter().all(|(_, held)| held.until > Offset(0)).then_some(())
    })
    .await;
    let mut watersheds = vec![Offsets::new()];
    let mut checked = 0;
    for version in 1..=6 {
        let target: Offsets = (memory.bounds(live::TOPIC).expect("it is there").into_iter())
            .map(|(partition, held)| (partition, held.until))
            .collect();
        // Every other run is announced; the others are heard of when their version is out.
        if version % 2 == 0 {
            let intent = live::intent(version, &target, FOREVER_MS);
            speed.store.put_intent(&intent).await.expect("the store takes it");
            tokio::time::sleep(Duration::from_millis(40)).await;
        }
        publish(&speed, version, &target).await;
        watersheds.push(target.clone());
        let ready = format!("version {version} is ready");
        speed.until_status(&ready, |status| status.epochs.contains(&target)).await;
        for watershed in watersheds.iter().rev().take(2) {
            for view in ["rides_hourly", "rides_daily"] {
                let reply = speed.ask(view, watershed).await.expect("the newest two versions have epochs");
                assert_eq!(reply.watershed.get(Partition(0)), watershed.get(Partition(0)));
                assert_eq!(reply.live.len(), 2, "both partitions");
                speed.check(view, &reply, &memory);
                checked += 1;
            }
        }
    }
    stop.store(true, Ordering::SeqCst);
    let produced = producer.join().expect("the producer ends");
    for view in ["rides_hourly", "rides_daily"] {
        let newest = watersheds.last().expect("versions were published");
        let reply = speed.until_current(view, newest).await;
        speed.check(view, &reply, &memory);
    }
    assert_eq!(checked, 24);
    let status = speed.status().await;
    assert_eq!(status.records - status.dead_letters, produced as u64, "every ride was folded once");
    assert_eq!(status.trouble, None);
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn partitions_that_are_folded_at_once_hold_what_each_of_them_would_alone() {
    const PARTITIONS: i32 = 5;
    let memory = MemoryLog::with_topic(live::TOPIC, PARTITIONS);
    // More than one thread folds when a delivery is large; partitions of all sizes, one of them empty.
    for number in 0..40_000 {
        let partition = (number * number % 17 % i64::from(PARTITIONS - 1)) as i32;
        live::produce(&memory, partition, number);
        if number % 1_000 == 0 {
            memory.append(live::TOPIC, partition, live::RECORDED_AT, Some(b"not json"));
        }
    }
    let speed = start(&memory, &live::memory_store(), "node");
    for view in ["rides_hourly", "rides_daily"] {
        let reply = speed.until_current(view, &Offsets::new()).await;
        speed.check(view, &reply, &memory);
    }
    let status = speed.until_status("all is counted", |status| status.records == 40_040).await;
    assert_eq!(status.dead_letters, 40);
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announced_epoch_is_ready_before_its_version_is_published_and_goes_with_its_run() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    let speed = start(&memory, &live::memory_store(), "node");
    rides(&memory, 0..200);
    let target = live::offsets(&[(0, 60), (1, 70)]);
    let intent = live::intent(1, &target, FOREVER_MS);
    speed.store.put_intent(&intent).await.expect("the store takes it");
    let reply = speed.until_current("rides_hourly", &target).await;
    assert_eq!(
        (reply.watershed.clone(), reply.live.clone()),
        (target.clone(), live::offsets(&[(0, 100), (1, 100)]))
    );
    speed.check("rides_hourly", &reply, &memory);

    speed.store.remove_intent(&intent).await.expect("the store takes it");
    live::eventually("the epoch is forgotten", || async {
        let asked = speed.ask("rides_hourly", &target).await;
        matches!(asked, Err(LiveError::NotReady { .. })).then_some(())
    })
    .await;
    let reply = speed.until_current("rides_hourly", &Offsets::new()).await;
    speed.check("rides_hourly", &reply, &memory);
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_view_that_no_version_holds_is_live_from_the_logs_start_and_the_reply_says_where_that_is() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    rides(&memory, 0..300);
    memory.trim(live::TOPIC, 0, 10);
    let store = live::memory_store();
    let log: Arc<dyn Log> = Arc::new(memory.clone());
    let first = Speed::start(&log, &store, &live::project(&[HOURLY]), "first");
    let watershed = live::offsets(&[(0, 120), (1, 150)]);
    let mut manifest = live::manifest(1, &watershed, &first.views);
    manifest.origin = live::offsets(&[(0, 10), (1, 0)]);
    let published = store.publish(&manifest).await.expect("the store answers");
    assert_eq!(published, watershed_store::Publication::Published);
    first.until_current("rides_hourly", &watershed).await;
    first.node.shutdown().await;

    // The daily view is new: the checkpoint has nothing of it.
    let speed = start(&memory, &store, "second");
    let reply = speed.until_current("rides_daily", &Offsets::new()).await;
    assert_eq!(reply.watershed, live::offsets(&[(0, 10), (1, 0)]));
    speed.check("rides_daily", &reply, &memory);
    let reply = speed.until_current("rides_hourly", &watershed).await;
    speed.check("rides_hourly", &reply, &memory);
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watershed_at_the_logs_start_has_the_states_of_the_origin_epoch() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    let speed = start(&memory, &live::memory_store(), "node");
    rides(&memory, 0..50);
    speed.until_current("rides_hourly", &Offsets::new()).await;
    let start = live::offsets(&[(0, 0), (1, 0)]);
    assert!(speed.status().await.epochs.contains(&start), "status names the origin epoch so");
    let reply = speed.ask("rides_hourly", &start).await.expect("what status names can be asked for");
    assert_eq!((reply.watershed.clone(), reply.live.len()), (start, 2));
    speed.check("rides_hourly", &reply, &memory);
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_letters_are_counted_by_reason_and_delay_nothing() {
    let memory = MemoryLog::with_topic(live::TOPIC, 1);
    let speed = start(&memory, &live::memory_store(), "node");
    for payload in [None, Some(&b""[..]), Some(b"{"), Some(br#"{"at":"2026-03-01T00:00:00Z"}"#)] {
        memory.append(live::TOPIC, 0, live::RECORDED_AT, payload);
        live::produce(&memory, 0, 1);
    }
    let reply = speed.until_current("rides_hourly", &Offsets::new()).await;
    speed.check("rides_hourly", &reply, &memory);
    let status = speed.until_status("all are counted", |status| status.records == 8).await;
    let reasons: Vec<(&str, u64)> =
        status.dead_letter_reasons.iter().map(|(reason, count)| (reason.as_str(), *count)).collect();
    assert_eq!(reasons, [("empty", 1), ("malformed", 1), ("missing_field", 1), ("tombstone", 1)]);
    assert_eq!(status.dead_letters, 4);
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn two_nodes_share_the_partitions_and_one_takes_over_when_the_other_leaves() {
    let memory = MemoryLog::with_topic(live::TOPIC, 4);
    let store = live::memory_store();
    for number in 0..400 {
        live::produce(&memory, (number % 4) as i32, number);
    }
    let first = start(&memory, &store, "first");
    first.until_current("rides_hourly", &Offsets::new()).await;
    let second = start(&memory, &store, "second");
    let held = |speed: &'static str| format!("{speed} holds two partitions");
    first.until_status(&held("the first"), |status| status.live.len() == 2).await;
    second.until_status(&held("the second"), |status| status.live.len() == 2).await;
    for number in 400..500 {
        live::produce(&memory, (number % 4) as i32, number);
    }
    let mut partitions = Vec::new();
    for speed in [&first, &second] {
        let reply = live::eventually("it has folded its half", || async {
            let reply = speed.ask("rides_hourly", &Offsets::new()).await.ok()?;
            let done = reply.live.iter().all(|(_, live)| live == Offset(125));
            done.then_some(reply)
        })
        .await;
        speed.check("rides_hourly", &reply, &memory);
        partitions.extend(reply.live.partitions());
    }
    partitions.sort();
    assert_eq!(partitions, (0..4).map(Partition).collect::<Vec<_>>());

    first.node.shutdown().await;
    let reply = second.until_current("rides_hourly", &Offsets::new()).await;
    assert_eq!(reply.live.len(), 4);
    second.check("rides_hourly", &reply, &memory);
    second.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watershed_that_the_log_has_left_behind_is_a_trouble_and_never_jumped_over() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    rides(&memory, 0..200);
    let store = live::memory_store();
    let project = live::project(&[HOURLY]);
    let stale = live::offsets(&[(0, 20), (1, 30)]);
    let manifest = live::manifest(1, &stale, &live::views(&project));
    let published = store.publish(&manifest).await.expect("the store answers");
    assert_eq!(published, watershed_store::Publication::Published);
    memory.trim(live::TOPIC, 0, 50);

    let log: Arc<dyn Log> = Arc::new(memory.clone());
    let speed = Speed::start(&log, &store, &project, "node");
    let status = speed.until_status("the gap is told", |status| status.trouble.is_some()).await;
    let trouble = status.trouble.expect("just seen");
    assert!(
        trouble.contains("partition 0") && trouble.contains("20") && trouble.contains("[50, 100)"),
        "{trouble}"
    );
    assert!(status.epochs.is_empty());
    let refused = speed.ask("rides_hourly", &stale).await.expect_err("there is a gap");
    assert!(matches!(refused, LiveError::NotReady { .. }), "{refused}");

    // A batch run that accepts the gap moves the watershed past it.
    let next = live::offsets(&[(0, 80), (1, 80)]);
    let mut accepted = live::manifest(2, &next, &speed.views);
    accepted.gaps = vec![Gap { partition: Partition(0), from: Offset(20), until: Offset(50) }];
    let published = store.publish(&accepted).await.expect("the store answers");
    assert_eq!(published, watershed_store::Publication::Published);
    let reply = speed.until_current("rides_hourly", &next).await;
    speed.check("rides_hourly", &reply, &memory);
    live::eventually("the old epoch says that its gap stays a gap", || async {
        let refused = speed.ask("rides_hourly", &stale).await.expect_err("there is a gap");
        refused.to_string().contains("gap at partition 0").then_some(())
    })
    .await;
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn retention_that_overtakes_a_follower_stops_it_and_the_other_partitions_go_on() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    rides(&memory, 0..100);
    let watched = WatchedLog::of(&memory);
    let log: Arc<dyn Log> = Arc::new(watched.clone());
    let speed = Speed::start(&log, &live::memory_store(), &live::project(&[HOURLY]), "node");
    let watershed = live::offsets(&[(0, 50), (1, 50)]);
    publish(&speed, 1, &watershed).await;
    speed.until_current("rides_hourly", &watershed).await;

    // While the node hears nothing, records are lost that it has not folded.
    watched.fail(&[Call::Poll]);
    speed.until_status("the failing log is told", |status| status.trouble.is_some()).await;
    rides(&memory, 100..200);
    memory.trim(live::TOPIC, 0, 70);
    watched.fail(&[]);
    let status = speed
        .until_status("the gap is told", |status| {
            status.trouble.as_ref().is_some_and(|trouble| trouble.contains("offset 50"))
        })
        .await;
    assert!(status.epochs.is_empty(), "no epoch is whole");
    speed.until_status("partition 1 goes on", |status| status.live.get(Partition(1)) == Offset(100)).await;
    let refused = speed.ask("rides_hourly", &watershed).await.expect_err("there is a gap");
    assert!(matches!(refused, LiveError::NotReady { .. }), "{refused}");

    let next = live::offsets(&[(0, 90), (1, 90)]);
    publish(&speed, 2, &next).await;
    let reply = speed.until_current("rides_hourly", &next).await;
    speed.check("rides_hourly", &reply, &memory);
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_that_fails_is_told_and_tried_again() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    rides(&memory, 0..100);
    let watched = WatchedLog::of(&memory);
    watched.fail(&[Call::Subscribe, Call::Bounds, Call::Reader]);
    let log: Arc<dyn Log> = Arc::new(watched.clone());
    let speed = Speed::start(&log, &live::memory_store(), &live::project(&[HOURLY]), "node");
    speed.until_status("the failing log is told", |status| status.trouble.is_some()).await;
    for calls in [&[Call::Bounds][..], &[Call::Reader], &[Call::Reader, Call::Poll], &[]] {
        watched.fail(calls);
        tokio::time::sleep(Duration::from_millis(60)).await;
    }
    let reply = speed.until_current("rides_hourly", &Offsets::new()).await;
    speed.check("rides_hourly", &reply, &memory);
    let status = speed.until_status("all is well", |status| status.trouble.is_none()).await;
    assert_eq!(status.records, 100);
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_cannot_be_asked_for_again_keeps_its_folds_and_is_tried_again() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    rides(&memory, 0..100);
    let watched = WatchedLog::of(&memory);
    let log: Arc<dyn Log> = Arc::new(watched.clone());
    let speed = Speed::start(&log, &live::memory_store(), &live::project(&[HOURLY]), "node");
    speed.until_current("rides_hourly", &Offsets::new()).await;
    watched.fail(&[Call::Start]);
    watched.claim_gap(Partition(0));
    let told = |trouble: &String| trouble.contains("Start fails");
    speed.until_status("the failure is told", |status| status.trouble.as_ref().is_some_and(told)).await;
    rides(&memory, 100..120);
    let reply = speed.ask("rides_hourly", &Offsets::new()).await.expect("what is folded stays good");
    assert_eq!(reply.live.get(Partition(0)), Offset(50));
    speed.check("rides_hourly", &reply, &memory);
    watched.fail(&[]);
    let reply = speed.until_current("rides_hourly", &Offsets::new()).await;
    speed.check("rides_hourly", &reply, &memory);
    // A status is as old as the last look, and the trouble is over before all is folded.
    let well = |status: &LiveStatus| status.trouble.is_none() && status.records >= 120;
    let status = speed.until_status("all is well", well).await;
    assert_eq!(status.records, 120, "every ride was folded once");
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_delivery_that_is_lost_on_the_way_is_noticed_and_asked_for_again() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    rides(&memory, 0..100);
    let watched = WatchedLog::of(&memory);
    let log: Arc<dyn Log> = Arc::new(watched.clone());
    let settings = SpeedSettings { retry_interval: Duration::from_millis(500), ..Speed::settings("node") };
    let speed = Speed::with(&log, &live::memory_store(), &live::project(&[HOURLY]), settings);
    speed.until_current("rides_hourly", &Offsets::new()).await;
    watched.lose(Partition(0));
    rides(&memory, 100..120);
    live::eventually("records are lost", || async { (!watched.is_losing(Partition(0))).then_some(()) }).await;
    rides(&memory, 120..140);
    let told = |trouble: &String| trouble.contains("found a range") && trouble.contains(invariants::COVER);
    speed.until_status("the loss is told", |status| status.trouble.as_ref().is_some_and(told)).await;
    let reply = speed.ask("rides_hourly", &Offsets::new()).await.expect("what is folded stays good");
    speed.check("rides_hourly", &reply, &memory);
    let reply = speed.until_current("rides_hourly", &Offsets::new()).await;
    speed.check("rides_hourly", &reply, &memory);
    let status = speed.until_status("all is well", |status| status.trouble.is_none()).await;
    assert_eq!(status.records, 140, "every ride was folded once");
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slice_of_a_replay_that_is_lost_on_the_way_is_read_again() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    rides(&memory, 0..400);
    let watched = WatchedLog::of(&memory);
    let log: Arc<dyn Log> = Arc::new(watched.clone());
    let speed = Speed::start(&log, &live::memory_store(), &live::project(&[HOURLY]), "node");
    let newest = live::offsets(&[(0, 200), (1, 200)]);
    publish(&speed, 1, &newest).await;
    speed.until_current("rides_hourly", &newest).await;
    watched.lose(Partition(0));
    let older = live::offsets(&[(0, 0), (1, 150)]);
    publish(&speed, 2, &older).await;
    let reply = speed.until_current("rides_hourly", &older).await;
    assert!(!watched.is_losing(Partition(0)), "a slice was lost");
    speed.check("rides_hourly", &reply, &memory);
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_that_the_log_never_gives_is_told_and_holds_up_no_other() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    rides(&memory, 0..200);
    let watched = WatchedLog::of(&memory);
    let log: Arc<dyn Log> = Arc::new(watched.clone());
    let speed = Speed::start(&log, &live::memory_store(), &live::project(&[HOURLY]), "node");
    let newest = live::offsets(&[(0, 100), (1, 100)]);
    publish(&speed, 1, &newest).await;
    speed.until_current("rides_hourly", &newest).await;

    // An older result is published again; the shorter of the two replays is the one that gets nothing.
    watched.silence(Partition(1));
    let older = live::offsets(&[(0, 40), (1, 90)]);
    publish(&speed, 2, &older).await;
    live::eventually("partition 0 is replayed, and partition 1 says what is wrong", || async {
        let refused = speed.ask("rides_hourly", &older).await.expect_err("partition 1 lacks records");
        refused.to_string().contains("the log gives nothing from offset 90 on").then_some(())
    })
    .await;
    let trouble = speed.status().await.trouble.expect("it is told");
    assert!(trouble.contains("replay of [90, 100)"), "{trouble}");
    speed.node.shutdown().await;
}

/// A store in which something happens just before intents are listed.
struct Meanwhile {
    inner: Arc<dyn ObjectStore>,
    act: Act,
}

/// What is to happen, once.
type Act = Arc<Mutex<Option<BoxFuture<'static, ()>>>>;

impl fmt::Debug for Meanwhile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, out)
    }
}

impl fmt::Display for Meanwhile {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} in which things happen", self.inner)
    }
}

#[async_trait::async_trait]
impl ObjectStore for Meanwhile {
    async fn put_opts(
        &self,
        at: &Path,
        payload: PutPayload,
        options: PutOptions,
    ) -> object_store::Result<PutResult> {
        self.inner.put_opts(at, payload, options).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        options: PutMultipartOptions,
    ) -> object_store::Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, options).await
    }

    async fn get_opts(&self, at: &Path, options: GetOptions) -> object_store::Result<GetResult> {
        self.inner.get_opts(at, options).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, object_store::Result<Path>>,
    ) -> BoxStream<'static, object_store::Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, object_store::Result<ObjectMeta>> {
        let (inner, act, prefix) = (self.inner.clone(), self.act.clone(), prefix.cloned());
        let listed = async move {
            if prefix.as_ref().is_some_and(|prefix| prefix.as_ref().starts_with("intents")) {
                let act = act.lock().expect("no test panics while it holds the act").take();
                act.unwrap_or_else(|| async {}.boxed()).await;
            }
            inner.list(prefix.as_ref())
        };
        futures::stream::once(listed).flatten().boxed()
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> object_store::Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, options: CopyOptions) -> object_store::Result<()> {
        self.inner.copy_opts(from, to, options).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_announced_epoch_outlives_its_intent_when_that_goes_because_the_version_is_out() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    let watched = WatchedLog::of(&memory);
    let log: Arc<dyn Log> = Arc::new(watched.clone());
    let (store, act) = (live::memory_store(), Act::default());
    let wrapped = store.clone().wrapped(|inner| Arc::new(Meanwhile { inner, act: act.clone() }));
    let speed = Speed::start(&log, &wrapped, &live::project(&[HOURLY]), "node");
    rides(&memory, 0..100);
    speed.until_current("rides_hourly", &Offsets::new()).await;
    let target = live::offsets(&[(0, 50), (1, 50)]);
    let intent = live::intent(1, &target, FOREVER_MS);
    store.put_intent(&intent).await.expect("the store takes it");
    speed.until_current("rides_hourly", &target).await;
    rides(&memory, 100..140);
    speed.until_current("rides_hourly", &target).await;

    let manifest = live::manifest(1, &target, &speed.views);
    let publish_and_withdraw = async move {
        let published = store.publish(&manifest).await.expect("the store answers");
        assert_eq!(published, watershed_store::Publication::Published);
        store.remove_intent(&intent).await.expect("the store takes it");
    };
    *act.lock().expect("no test panics while it holds the act") = Some(publish_and_withdraw.boxed());
    let only_target = [target];
    speed.until_status("only the version's epoch is wanted", |status| status.epochs == only_target).await;
    assert_eq!(watched.replayed(), 0, "what was ready is not read again");
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_topic_that_does_not_exist_yet_is_waited_for() {
    let memory = MemoryLog::new();
    let speed = start(&memory, &live::memory_store(), "node");
    let status = speed.until_status("the missing topic is told", |status| status.trouble.is_some()).await;
    assert!(status.trouble.is_some_and(|trouble| trouble.contains(live::TOPIC)));
    memory.create(live::TOPIC, 2);
    rides(&memory, 0..10);
    let reply = speed.until_current("rides_hourly", &Offsets::new()).await;
    speed.check("rides_hourly", &reply, &memory);
    speed.node.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn freshness_is_the_time_at_which_everything_was_folded() {
    let memory = MemoryLog::with_topic(live::TOPIC, 2);
    let watched = WatchedLog::of(&memory);
    let log: Arc<dyn Log> = Arc::new(watched.clone());
    let speed = Speed::start(&log, &live::memory_store(), &live::project(&[HOURLY]), "node");
    let before = now_ms();
    let status = speed.until_status("it is current", |status| status.current_at_ms >= before).await;
    assert!(status.current_at_ms <= now_ms());
    watched.fail(&[Call::Poll]);
    speed.until_status("the failing log is told", |status| status.trouble.is_some()).await;
    rides(&memory, 0..2);
    let produced = now_ms();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(speed.status().await.current_at_ms <= produced, "what is not folded is not claimed");
    watched.fail(&[]);
    speed.until_status("it is current again", |status| status.current_at_ms > produced).await;
    speed.node.shutdown().await;
}

fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.expect("the clock is past 1970").as_millis() as i64
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_definition_of_a_view_or_an_unknown_one_is_refused() {
    let memory = MemoryLog::with_topic(live::TOPIC, 1);
    let speed = start(&memory, &live::memory_store(), "node");
    let request = |stream: &str, view: &str, hash: &str| PartialsRequest {
        stream: stream.to_string(),
        view: view.to_string(),
        view_hash: hash.to_string(),
        watershed: Offsets::new(),
        scope: Scope::default(),
    };
    let hash = speed.views["rides_hourly"].hash.clone();
    for (stream, view, hash) in
        [("rides", "rides_hourly", "0"), ("rides", "rides_weekly", &*hash), ("trips", "rides_hourly", &*hash)]
    {
        let refused =
            speed.node.partials(&request(stream, view, hash)).await.expect_err("nothing is known of it");
        assert_eq!(refused, LiveError::UnknownView { view: view.to_string() });
    }
    speed.node.shutdown().await;
}
