//! The same against a real protocol: the embedded broker, and the Kafka at `WATERSHED_TEST_KAFKA` when that is set.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ::support::kafka::{
    EmbeddedBroker, PATIENCE, Sent, Target, block_on, eventually, now_ms, numbered, unique,
};
use ::support::live;
use rdkafka::TopicPartitionList;
use rdkafka::admin::{AdminOptions, NewPartitions, NewTopic, TopicReplication};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use watershed_batch::{BatchError, Job, Options, Outcome, Quiet};
use watershed_kafka::{KafkaLog, KafkaSettings};
use watershed_schemas::identity::{Fingerprint, OtherLog};
use watershed_schemas::live::{LiveSource, LiveStatus};
use watershed_schemas::log::{Log, LogError};
use watershed_schemas::offsets::{Offset, Partition};
use watershed_schemas::project::{Project, SourceFile};
use watershed_speed::{SpeedNode, SpeedSettings};
use watershed_store::Store;

/// Runs a check against every Kafka there is.
fn everywhere(check: impl Fn(&Target)) {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let embedded = Target::embedded(EmbeddedBroker::in_dir(dir.path()));
    for target in [Some(embedded), Target::external()].into_iter().flatten() {
        println!("against {}", target.name);
        check(&target);
    }
}

/// New partitions and topics are heard of soon.
fn settings(target: &Target) -> KafkaSettings {
    let client = [("topic.metadata.refresh.interval.ms".to_string(), "300".to_string())];
    KafkaSettings {
        client: client.into_iter().collect::<BTreeMap<_, _>>(),
        ..KafkaSettings::new(target.address())
    }
}

fn log(target: &Target) -> KafkaLog {
    KafkaLog::connect(settings(target)).expect("the settings are sound")
}

fn delete(target: &Target, topic: &str) {
    let done = block_on(target.admin().delete_topics(&[topic], &AdminOptions::new()));
    assert_eq!(done.expect("the broker answers"), [Ok(topic.to_string())]);
}

/// Another topic of the same name. A broker may take a moment to let go of the one before.
fn create(target: &Target, topic: &str, partitions: i32) {
    eventually("the topic is created", || {
        let new = NewTopic::new(topic, partitions, TopicReplication::Fixed(1));
        let made = block_on(target.admin().create_topics(&[new], &AdminOptions::new()));
        made.expect("the broker answers").into_iter().all(|made| made.is_ok()).then_some(())
    });
    eventually("the topic can be used", || {
        let log = log(target);
        log.bounds(topic).ok().filter(|bounds| bounds.len() == partitions as usize)
    });
}

#[test]
fn a_topics_id_stays_with_it_and_another_topic_of_its_name_has_another() {
    everywhere(|target| {
        let topic = target.new_topic(3);
        let log = log(target);
        let first = log.topic_id(&topic).unwrap().expect("these brokers tell ids");
        assert_eq!(first.0.len(), 22, "sixteen bytes in base64: {first}");
        if let Some(broker) = target.restartable() {
            broker.stop();
            broker.start_again();
        }
        assert_eq!(eventually("it answers", || log.topic_id(&topic).ok()), Some(first.clone()));
        assert_eq!(
            KafkaLog::connect(settings(target)).unwrap().topic_id(&topic).unwrap(),
            Some(first.clone())
        );
        let missing = unique("missing");
        assert!(matches!(log.topic_id(&missing), Err(LogError::UnknownTopic { topic }) if topic == missing));

        log.bounds(&topic).unwrap();
        delete(target, &topic);
        create(target, &topic, 1);
        let second = eventually("another id", || log.topic_id(&topic).ok()?.filter(|id| *id != first));
        assert_ne!(first, second);
        let fewer = log.bounds(&topic).expect_err("it had three partitions");
        assert!(fewer.to_string().contains("shows 1 partitions, had 3"), "{fewer}");
    });
}

#[test]
fn a_topics_id_is_asked_for_in_vain_within_the_timeout_where_nobody_listens() {
    let settings = KafkaSettings { timeout: Duration::from_millis(300), ..KafkaSettings::new("127.0.0.1:1") };
    let log = KafkaLog::connect(settings).unwrap();
    let began = Instant::now();
    assert!(matches!(log.topic_id("rides"), Err(LogError::Unavailable { .. })));
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
}

#[test]
fn a_topic_tells_whether_it_is_compacted() {
    everywhere(|target| {
        let log = log(target);
        assert_eq!(log.cleanup_policy(&target.new_topic(1)).unwrap().as_deref(), Some("delete"));
        // The embedded broker does not compact, and refuses such topics.
        if target.restartable().is_none() {
            let topic = target.new_topic_with(1, &[("cleanup.policy", "compact")]);
            assert_eq!(log.cleanup_policy(&topic).unwrap().as_deref(), Some("compact"));
            let both = target.new_topic_with(1, &[("cleanup.policy", "compact,delete")]);
            let policy = log.cleanup_policy(&both).unwrap().expect("these brokers tell");
            assert!(watershed_schemas::identity::compacts(&policy), "{policy}");
        }
        assert_eq!(log.cleanup_policy(&unique("missing")).unwrap(), None, "nothing is told, nothing refused");
    });
}

#[test]
fn a_record_is_read_again_at_its_offset_or_is_not_there_any_more() {
    everywhere(|target| {
        let topic = target.new_topic(1);
        let mut records = numbered(200);
        records[7] = Sent { key: Some(b"k".to_vec()), ..Sent::default() }.at(1_700_000_000_007);
        target.produce(&topic, 0, &records, &[]);
        let log = log(target);
        let partition = Partition(0);
        let tombstone = Fingerprint { offset: Offset(7), timestamp: 1_700_000_000_007, payload_sha256: None };
        let began = Instant::now();
        assert_eq!(log.record_at(&topic, partition, Offset(7)).unwrap(), Some(tombstone));
        println!("one record read again in {:?}", began.elapsed());
        let last = log.record_at(&topic, partition, Offset(199)).unwrap().expect("it is held");
        let mut reader = log.reader(&topic, partition, Offset(150)).unwrap();
        let read = eventually("the last record", || {
            let records = reader.next(1000, PATIENCE).unwrap();
            Fingerprint::of_last(&records).filter(|last| last.offset == Offset(199))
        });
        assert_eq!(last, read);
        let mut below = TopicPartitionList::new();
        below.add_partition_offset(&topic, 0, rdkafka::Offset::Offset(100)).unwrap();
        block_on(target.admin().delete_records(&below, &AdminOptions::new())).expect("records are deleted");
        assert_eq!(log.record_at(&topic, partition, Offset(7)).unwrap(), None);
        assert_eq!(log.record_at(&topic, partition, Offset(199)).unwrap(), Some(last));
    });
}

/// One stream over a topic of its own, a store and a log: what a batch run and a speed node need.
struct World {
    topic: String,
    project: Project,
    store: Store,
    log: Arc<dyn Log>,
}

impl World {
    fn new(target: &Target, topic: String) -> World {
        let schema = format!(
            "CREATE TABLE rides (at TIMESTAMP NOT NULL, city TEXT NOT NULL, driver TEXT, seconds BIGINT)
             WITH (topic = '{topic}', format = 'json', event_time = 'at');"
        );
        let file = |path: &str, text: &str| SourceFile { path: path.to_string(), text: text.to_string() };
        let project =
            Project::parse(&[file("schemas/rides.sql", &schema)], &[file("jobs/hourly.sql", live::HOURLY)]);
        let project = project.expect("the definitions are sound");
        World { topic, project, store: live::memory_store(), log: Arc::new(log(target)) }
    }

    fn produce(&self, target: &Target, partition: i32, numbers: std::ops::Range<i64>) {
        let rides: Vec<Sent> = numbers.map(|number| Sent::text(live::ride(number))).collect();
        target.produce(&self.topic, partition, &rides, &[]);
    }

    async fn run(&self, change: impl FnOnce(&mut Options)) -> Result<Outcome, BatchError> {
        let mut options = Options::new(uuid::Uuid::new_v4().simple().to_string(), "test");
        change(&mut options);
        let job = Job {
            stream: self.project.streams[0].clone(),
            views: self.project.views.clone(),
            store: self.store.clone(),
            log: self.log.clone(),
            options,
            now: Arc::new(now_ms),
            progress: Arc::new(Quiet),
        };
        watershed_batch::run(&job).await
    }

    fn node(&self) -> SpeedNode {
        let settings = SpeedSettings {
            refresh_interval: Duration::from_millis(50),
            end_interval: Duration::from_millis(50),
            retry_interval: Duration::from_millis(200),
            ..SpeedSettings::new(unique("group"), "node")
        };
        let runtime = tokio::runtime::Handle::current();
        SpeedNode::start(&settings, &self.project, &self.store, &self.log, runtime).expect("it starts")
    }

    /// The node's status, once it holds. A busy machine and a rebalance may take their time.
    async fn until(&self, node: &SpeedNode, what: &str, holds: impl Fn(&LiveStatus) -> bool) -> LiveStatus {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let status = node.status("rides").await.expect("status needs nothing").remove(0);
            if holds(&status) {
                return status;
            }
            assert!(Instant::now() < deadline, "it never happened that {what}: {status:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Until the node has folded all that the log holds.
    async fn until_current(&self, node: &SpeedNode) {
        let (log, topic) = (self.log.clone(), self.topic.clone());
        let bounds = tokio::task::spawn_blocking(move || log.bounds(&topic)).await.expect("a thread");
        let bounds = bounds.expect("the log answers");
        self.until(node, "everything is folded", |status| {
            bounds.iter().all(|(partition, held)| {
                status.live.names(*partition) && status.live.get(*partition) >= held.until
            })
        })
        .await;
    }
}

/// Runs an asynchronous check against every Kafka there is.
fn everywhere_async<F: Future<Output = ()>>(check: impl Fn(Arc<Target>) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("the runtime starts");
    let dir = tempfile::tempdir().expect("a temporary folder");
    let embedded = Target::embedded(EmbeddedBroker::in_dir(dir.path()));
    for target in [Some(embedded), Target::external()].into_iter().flatten() {
        println!("against {}", target.name);
        // An embedded broker has a runtime of its own, which must not end inside of this one.
        let target = Arc::new(target);
        runtime.block_on(check(target.clone()));
    }
}

/// Work that blocks, away from the runtime's threads.
async fn aside<R: Send + 'static>(work: impl FnOnce() -> R + Send + 'static) -> R {
    tokio::task::spawn_blocking(work).await.expect("it does not panic")
}

#[test]
fn a_topic_that_is_deleted_and_created_anew_is_refused_by_the_node_that_followed_it_and_by_the_next_run() {
    everywhere_async(|target| async move {
        let topic = target.new_topic(1);
        let world = Arc::new(World::new(&target, topic.clone()));
        let (of, to) = (world.clone(), target.clone());
        aside(move || of.produce(&to, 0, 0..50)).await;
        let Ok(Outcome::Published(report)) = world.run(|_| {}).await else { panic!("it is published") };
        assert_eq!(report.manifest.log.last_records[&Partition(0)].offset, Offset(49));
        let node = world.node();
        world.until_current(&node).await;

        // The new topic holds every offset that the old one did, and more.
        let (of, to) = (world.clone(), target.clone());
        aside(move || {
            delete(&to, &of.topic);
            create(&to, &of.topic, 1);
            of.produce(&to, 0, 1_000..1_200);
        })
        .await;
        let told = |status: &LiveStatus| {
            status.trouble.as_ref().is_some_and(|trouble| trouble.contains("--accept-topic"))
        };
        world.until(&node, "the other topic is told", told).await;
        let error = world.run(|_| {}).await.expect_err("it is another topic");
        assert!(
            matches!(&error, BatchError::OtherLog { found: OtherLog::Topic { .. }, .. }),
            "{}: {error}",
            target.name
        );
        let error =
            world.run(|options| options.accept_topic = true).await.expect_err("it holds other records");
        assert!(
            matches!(&error, BatchError::OtherLog { found: OtherLog::Record { .. }, .. }),
            "{}: {error}",
            target.name
        );
        node.shutdown().await;
    });
}

#[test]
fn partitions_that_are_added_are_folded_and_landed_from_their_beginning() {
    everywhere_async(|target| async move {
        let topic = target.new_topic(1);
        let world = Arc::new(World::new(&target, topic.clone()));
        let (of, to) = (world.clone(), target.clone());
        aside(move || of.produce(&to, 0, 0..50)).await;
        assert!(matches!(world.run(|_| {}).await, Ok(Outcome::Published(_))));
        let node = world.node();
        world.until_current(&node).await;

        let (of, to) = (world.clone(), target.clone());
        aside(move || {
            let more = NewPartitions::new(&of.topic, 3);
            block_on(to.admin().create_partitions(&[more], &AdminOptions::new())).expect("it grows");
            eventually("its records can be sent", || {
                log(&to).bounds(&of.topic).ok().filter(|of| of.len() == 3)
            });
            of.produce(&to, 2, 50..80);
        })
        .await;
        // Nobody may hold them yet, but that they are there is known.
        world.until(&node, "the end names them", |status| status.end.get(Partition(2)) == Offset(30)).await;
        world.until_current(&node).await;
        let Ok(Outcome::Published(report)) = world.run(|_| {}).await else { panic!("it is published") };
        assert_eq!(report.manifest.rows_landed, 30);
        assert_eq!(report.manifest.watershed, live::offsets(&[(0, 50), (1, 0), (2, 30)]));
        node.shutdown().await;
    });
}

/// Only a real Kafka has transactions: the embedded broker refuses them.
#[test]
fn an_idle_transactional_topic_does_not_look_stuck() {
    let Some(target) = Target::external() else { return };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    runtime.expect("the runtime starts").block_on(async move {
        let target = Arc::new(target);
        let topic = target.new_topic(1);
        let world = World::new(&target, topic.clone());
        let node = world.node();
        for (round, commit) in [true, false, false, true].into_iter().enumerate() {
            let (to, topic) = (target.clone(), topic.clone());
            aside(move || {
                let producer: BaseProducer = to.client(&[("transactional.id", &unique("transaction"))]);
                producer.init_transactions(PATIENCE).unwrap();
                producer.begin_transaction().unwrap();
                for number in 0..3 {
                    let payload = live::ride(number);
                    producer.send(BaseRecord::<(), str>::to(&topic).partition(0).payload(&payload)).unwrap();
                }
                producer.flush(PATIENCE).unwrap();
                match commit {
                    true => producer.commit_transaction(PATIENCE),
                    false => producer.abort_transaction(PATIENCE),
                }
                .unwrap();
            })
            .await;
            // Three records and a control record each time.
            let end = Offset(4 * (round as i64 + 1));
            let status = world
                .until(&node, "the control record is passed", |status| status.live.get(Partition(0)) == end)
                .await;
            assert_eq!(status.end.get(Partition(0)), end);
        }
        let Ok(Outcome::Published(report)) = world.run(|_| {}).await else { panic!("it is published") };
        assert_eq!(report.manifest.rows_landed, 6, "what was aborted is none");
        assert_eq!(report.manifest.watershed.get(Partition(0)), Offset(16));
        node.shutdown().await;
    });
}
