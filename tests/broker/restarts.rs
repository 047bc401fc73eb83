//! What else a restart must not lose or mix up: producers, topics, commits, epochs.

use std::io::Write;
use std::time::Duration;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    FetchRequest, GroupId, MetadataRequest, OffsetCommitRequest, OffsetFetchRequest,
    OffsetForLeaderEpochRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use rdkafka::admin::AdminOptions;
use watershed_broker::BrokerConfig;

use super::{bounds, broker, embedded};
use crate::support::batches::{Batch, init_producer, produce};
use crate::support::kafka::{Target, block_on, eventually, numbered};

const OUT_OF_ORDER_SEQUENCE: i16 = 45;
const FENCED_LEADER_EPOCH: i16 = 74;
const UNKNOWN_TOPIC_ID: i16 = 100;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[test]
fn a_retry_behind_a_crash_is_stored_once() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let target = broker(BrokerConfig { segment_bytes: 1024, ..BrokerConfig::default() }, dir.path());
    let topic = target.new_topic(1);
    let producer = init_producer(&mut target.connect());
    let batch = |sequence: i32| Batch::numbered(5).sent_by(producer, 0, sequence);
    for number in 0..20 {
        assert_eq!(produce(&mut target.connect(), &topic, &batch(number * 5)), Ok(i64::from(number) * 5));
    }
    embedded(&target).kill();
    embedded(&target).start_again();
    let mut connection = target.connect();
    assert_eq!(produce(&mut connection, &topic, &batch(95)), Ok(95), "the last batch again");
    assert_eq!(produce(&mut connection, &topic, &batch(85)), Ok(85), "an earlier one again");
    assert_eq!(produce(&mut connection, &topic, &batch(105)), Err(OUT_OF_ORDER_SEQUENCE));
    assert_eq!(produce(&mut connection, &topic, &batch(100)), Ok(100));
    assert_eq!(bounds(&target, &topic), (0, 105));
    assert!(init_producer(&mut connection) > producer, "no id is given twice");
}

#[test]
fn a_producer_is_remembered_by_when_it_wrote_however_old_its_records_are() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = BrokerConfig {
        producer_expiry: Duration::from_secs(5),
        housekeeping: Duration::from_millis(20),
        ..BrokerConfig::default()
    };
    let target = broker(config, dir.path());
    let topic = target.new_topic(1);
    let mut connection = target.connect();
    let producer = init_producer(&mut connection);
    let batch = Batch::numbered(5).sent_by(producer, 0, 0).at(1_357_000_000_000);
    assert_eq!(produce(&mut connection, &topic, &batch), Ok(0));
    // Long enough for the broker to look for producers to forget.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(produce(&mut connection, &topic, &batch), Ok(0), "a retry is known, though it is of 2013");
    let forgotten = || (produce(&mut connection, &topic, &batch) == Ok(5)).then_some(());
    eventually("a silent producer is forgotten", forgotten);
}

/// Id and leader epoch of a topic.
fn identity(target: &Target, topic: &str) -> (uuid::Uuid, i32) {
    let asked = MetadataRequestTopic::default().with_name(Some(TopicName(text(topic))));
    let ask = MetadataRequest::default().with_topics(Some(vec![asked]));
    let told = target.connect().ask(12, &ask).topics.remove(0);
    (told.topic_id, told.partitions[0].leader_epoch)
}

#[test]
fn a_topic_keeps_its_id_over_a_restart_and_gets_another_when_created_anew() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let target = broker(BrokerConfig::default(), dir.path());
    let topic = target.new_topic_with(1, &[("retention.ms", "12345678")]);
    let (id, _) = identity(&target, &topic);
    embedded(&target).kill();
    embedded(&target).start_again();
    assert_eq!(identity(&target, &topic).0, id);
    block_on(target.admin().delete_topics(&[&topic], &AdminOptions::new())).expect("the broker answers");
    let again = rdkafka::admin::NewTopic::new(&topic, 1, rdkafka::admin::TopicReplication::Fixed(1));
    block_on(target.admin().create_topics(&[again], &AdminOptions::new())).expect("the broker answers");
    assert_ne!(identity(&target, &topic).0, id);

    let partition = FetchPartition::default().with_current_leader_epoch(-1).with_partition_max_bytes(1000);
    let asked = FetchTopic::default().with_topic_id(id).with_partitions(vec![partition]);
    let ask = FetchRequest::default().with_max_bytes(1000).with_session_epoch(-1).with_topics(vec![asked]);
    assert_eq!(target.connect().ask(13, &ask).responses[0].partitions[0].error_code, UNKNOWN_TOPIC_ID);
}

#[test]
fn every_start_is_an_epoch_that_knows_where_the_one_before_it_ended() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let target = broker(BrokerConfig::default(), dir.path());
    let topic = target.new_topic(1);
    target.produce(&topic, 0, &numbered(10), &[]);
    let (_, first) = identity(&target, &topic);
    embedded(&target).kill();
    embedded(&target).start_again();
    target.produce(&topic, 0, &numbered(5), &[]);
    let (_, second) = identity(&target, &topic);
    assert_eq!(second, first + 1);

    let end_of = |epoch: i32| {
        let asked =
            OffsetForLeaderPartition::default().with_current_leader_epoch(second).with_leader_epoch(epoch);
        let asked =
            OffsetForLeaderTopic::default().with_topic(TopicName(text(&topic))).with_partitions(vec![asked]);
        let ask = OffsetForLeaderEpochRequest::default().with_topics(vec![asked]);
        let answer = target.connect().ask(4, &ask);
        let partition = &answer.topics[0].partitions[0];
        assert_eq!(partition.error_code, 0);
        (partition.leader_epoch, partition.end_offset)
    };
    assert_eq!(end_of(first), (first, 10));
    assert_eq!(end_of(second), (second, 15));
    assert_eq!(end_of(second + 1), (-1, -1));

    let partition = FetchPartition::default().with_current_leader_epoch(first).with_partition_max_bytes(1000);
    let asked = FetchTopic::default().with_topic(TopicName(text(&topic))).with_partitions(vec![partition]);
    let ask = FetchRequest::default().with_max_bytes(1000).with_session_epoch(-1).with_topics(vec![asked]);
    assert_eq!(target.connect().ask(12, &ask).responses[0].partitions[0].error_code, FENCED_LEADER_EPOCH);
}

fn commit(target: &Target, group: &str, topic: &str, offset: i64, metadata: &str) -> i16 {
    let partition = OffsetCommitRequestPartition::default()
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text(metadata)));
    let asked = OffsetCommitRequestTopic::default()
        .with_name(TopicName(text(topic)))
        .with_partitions(vec![partition]);
    let ask = OffsetCommitRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![asked]);
    target.connect().ask(8, &ask).topics[0].partitions[0].error_code
}

fn committed(target: &Target, group: &str, topic: &str) -> i64 {
    let asked =
        OffsetFetchRequestTopic::default().with_name(TopicName(text(topic))).with_partition_indexes(vec![0]);
    let ask =
        OffsetFetchRequest::default().with_group_id(GroupId(text(group))).with_topics(Some(vec![asked]));
    target.connect().ask(7, &ask).topics[0].partitions[0].committed_offset
}

#[test]
fn a_commit_survives_a_crash_that_tore_the_one_behind_it() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let target = broker(BrokerConfig::default(), dir.path());
    let topic = target.new_topic(1);
    for (offset, torn) in [(5, &b"\0\0\0\x20half a"[..]), (6, &[0; 3]), (7, &[9; 100])] {
        assert_eq!(commit(&target, "group", &topic, offset, "mine"), 0);
        embedded(&target).kill();
        let journal = dir.path().join("groups.journal");
        let mut file = std::fs::OpenOptions::new().append(true).open(journal).expect("the journal is there");
        file.write_all(torn).expect("the journal can be written");
        embedded(&target).start_again();
        assert_eq!(committed(&target, "group", &topic), offset);
    }
    assert_eq!(committed(&target, "another group", &topic), -1);
    assert_eq!(commit(&target, "group", "no-such-topic", 1, ""), 3);
    assert_eq!(commit(&target, "group", &topic, 1, &"long".repeat(2000)), 12);
}

#[test]
fn the_journal_of_commits_stays_small_however_often_a_group_commits() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let target = broker(BrokerConfig::default(), dir.path());
    let topic = target.new_topic(1);
    let metadata = "m".repeat(4000);
    for offset in 0..3000 {
        assert_eq!(commit(&target, "group", &topic, offset, &metadata), 0);
    }
    let bytes = std::fs::metadata(dir.path().join("groups.journal")).expect("the journal is there").len();
    assert!(bytes < 5 << 20, "the journal has {bytes} bytes after 12 MB of commits");
    embedded(&target).kill();
    embedded(&target).start_again();
    assert_eq!(committed(&target, "group", &topic), 2999);
}

#[test]
fn commits_go_with_their_topic() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let target = broker(BrokerConfig::default(), dir.path());
    let (topic, other) = (target.new_topic(1), target.new_topic(1));
    assert_eq!(commit(&target, "group", &topic, 3, ""), 0);
    assert_eq!(commit(&target, "group", &other, 4, ""), 0);
    block_on(target.admin().delete_topics(&[&topic], &AdminOptions::new())).expect("the broker answers");
    assert_eq!(committed(&target, "group", &topic), -1);
    assert_eq!(committed(&target, "group", &other), 4);
}

#[test]
fn folders_without_a_topic_are_set_aside_and_not_read() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let target = broker(BrokerConfig::default(), dir.path());
    let topic = target.new_topic(1);
    target.produce(&topic, 0, &numbered(5), &[]);
    embedded(&target).stop();
    std::fs::create_dir(dir.path().join("lost-0")).expect("a folder can be made");
    std::fs::write(dir.path().join("lost-0/00000000000000000000.log"), b"records")
        .expect("a file can be made");
    embedded(&target).start_again();
    assert!(!dir.path().join("lost-0").exists());
    let aside = std::fs::read_dir(dir.path()).expect("the folder can be read").any(|entry| {
        let name = entry.expect("the folder can be read").file_name().into_string().unwrap_or_default();
        name.starts_with("lost-0.") && name.ends_with(".stray")
    });
    assert!(aside, "what was in it is kept");
    assert_eq!(bounds(&target, &topic), (0, 5));
}
