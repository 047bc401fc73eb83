//! What only shows on the wire: error codes for what client libraries would never send, and the timing of fetches.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    ApiVersionsRequest, FetchRequest, ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::RecordBatchDecoder;
use uuid::Uuid;

use super::everywhere;
use crate::support::batches::{Batch, produce, produce_bytes};
use crate::support::kafka::{Connection, Target};

const OFFSET_OUT_OF_RANGE: i16 = 1;
const CORRUPT_MESSAGE: i16 = 2;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_RECORD: i16 = 87;
const UNKNOWN_TOPIC_ID: i16 = 100;

fn topic_name(name: &str) -> TopicName {
    TopicName(StrBytes::from_string(name.to_owned()))
}

/// A fetch of partition 0 by topic name.
fn fetch_ask(topic: &str, offset: i64, wait: Duration, min_bytes: i32) -> FetchRequest {
    let partition = FetchPartition::default()
        .with_fetch_offset(offset)
        .with_partition_max_bytes(1 << 20)
        .with_current_leader_epoch(-1);
    let topic = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![partition]);
    FetchRequest::default()
        .with_max_wait_ms(wait.as_millis() as i32)
        .with_min_bytes(min_bytes)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![topic])
}

#[test]
fn a_newer_client_is_told_which_versions_there_are() {
    everywhere(check_versions);
}

fn check_versions(target: &Target) {
    let mut connection = target.connect();
    // A version that neither broker knows; the answer comes in the oldest form.
    let mut future = BytesMut::new();
    future.put_i16(18);
    future.put_i16(99);
    future.put_i32(7);
    future.put_i16(-1);
    future.put_u8(0);
    future.put_slice(&[5, b't', b'e', b's', b't', 2, b'1', 0]);
    connection.send(&future);
    let answer = connection.read().expect("the connection stays open");
    assert_eq!(i32::from_be_bytes(answer[0..4].try_into().expect("four bytes")), 7);
    assert_eq!(i16::from_be_bytes(answer[4..6].try_into().expect("two bytes")), UNSUPPORTED_VERSION);

    let ask = ApiVersionsRequest::default()
        .with_client_software_name(StrBytes::from_static_str("test"))
        .with_client_software_version(StrBytes::from_static_str("1"));
    let told = connection.ask(3, &ask);
    assert_eq!(told.error_code, 0);
    let most =
        |key: i16| told.api_keys.iter().find(|api| api.api_key == key).map_or(-1, |api| api.max_version);
    assert!(most(0) >= 9, "produce");
    assert!(most(1) >= 12, "fetch");
    assert!(most(3) >= 12, "metadata");
}

#[test]
fn damaged_and_outdated_batches_are_refused_and_leave_the_log_unchanged() {
    everywhere(check_bad_batches);
}

fn check_bad_batches(target: &Target) {
    let topic = target.new_topic(1);
    let mut connection = target.connect();
    assert_eq!(produce(&mut connection, &topic, &Batch::numbered(2)), Ok(0));
    let sound = Batch::numbered(2).encode();
    let spoiled = |at: usize, by: u8| {
        let mut batch = sound.to_vec();
        batch[at] ^= by;
        Bytes::from(batch)
    };
    let last = sound.len() - 1;
    assert_eq!(
        produce_bytes(&mut connection, &topic, spoiled(last, 1)),
        Err(CORRUPT_MESSAGE),
        "a flipped bit"
    );
    let twice = Bytes::from([&sound[..], &sound[..]].concat());
    assert_eq!(produce_bytes(&mut connection, &topic, twice), Err(INVALID_RECORD), "two batches");
    assert_eq!(produce_bytes(&mut connection, &topic, old_message()), Err(INVALID_RECORD), "the old format");
    assert_eq!(produce(&mut connection, &topic, &Batch::numbered(1)), Ok(2), "the log goes on");
}

/// One message in the format before batches (magic 1), whole and with a sound checksum.
fn old_message() -> Bytes {
    let mut content = BytesMut::new();
    content.put_u8(1);
    content.put_u8(0);
    content.put_i64(1_700_000_000_000);
    content.put_i32(-1);
    content.put_i32(5);
    content.put_slice(b"value");
    let mut message = BytesMut::new();
    message.put_i64(0);
    message.put_i32(content.len() as i32 + 4);
    message.put_u32(crc32(&content));
    message.put_slice(&content);
    message.freeze()
}

/// CRC-32 as in zlib, bit by bit.
fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc: u32, &byte| (0..8).fold(crc ^ u32::from(byte), step))
}

#[test]
fn unknown_topics_and_partitions_are_named_as_such() {
    everywhere(check_unknown);
}

fn check_unknown(target: &Target) {
    let topic = target.new_topic(1);
    let mut connection = target.connect();
    assert_eq!(
        produce(&mut connection, "no-such-topic", &Batch::numbered(1)),
        Err(UNKNOWN_TOPIC_OR_PARTITION)
    );
    let mut ask = fetch_ask("no-such-topic", 0, Duration::ZERO, 1);
    assert_eq!(fetch_code(&mut connection, 12, &ask), UNKNOWN_TOPIC_OR_PARTITION);
    ask = fetch_ask(&topic, 0, Duration::ZERO, 1);
    ask.topics[0].partitions[0].partition = 7;
    assert_eq!(fetch_code(&mut connection, 12, &ask), UNKNOWN_TOPIC_OR_PARTITION);
    ask.topics[0].topic = TopicName::default();
    ask.topics[0].topic_id = Uuid::from_u128(0xabcd);
    assert_eq!(fetch_code(&mut connection, 13, &ask), UNKNOWN_TOPIC_ID);
}

fn fetch_code(connection: &mut Connection, version: i16, ask: &FetchRequest) -> i16 {
    connection.ask(version, ask).responses[0].partitions[0].error_code
}

#[test]
fn a_fetch_is_answered_by_topic_id_with_whole_batches() {
    everywhere(check_fetch);
}

fn check_fetch(target: &Target) {
    let topic = target.new_topic(1);
    let mut connection = target.connect();
    for _ in 0..3 {
        produce(&mut connection, &topic, &Batch::numbered(4)).expect("the batch is accepted");
    }
    let ask = MetadataRequest::default()
        .with_topics(Some(vec![MetadataRequestTopic::default().with_name(Some(topic_name(&topic)))]));
    let id = connection.ask(12, &ask).topics[0].topic_id;
    assert!(!id.is_nil());
    let mut ask = fetch_ask("", 6, Duration::from_secs(1), 1);
    ask.topics[0].topic_id = id;
    let answer = connection.ask(13, &ask);
    let partition = &answer.responses[0].partitions[0];
    assert_eq!((partition.error_code, partition.high_watermark, partition.last_stable_offset), (0, 12, 12));
    let records = RecordBatchDecoder::decode_all(&mut partition.records.clone().expect("there are records"));
    let offsets: Vec<i64> = records
        .expect("whole batches")
        .iter()
        .flat_map(|set| &set.records)
        .map(|record| record.offset)
        .collect();
    assert_eq!(offsets, (4..12).collect::<Vec<i64>>(), "offset 6 lies in the second batch");
    assert_eq!(
        fetch_code(&mut connection, 12, &fetch_ask(&topic, 13, Duration::ZERO, 1)),
        OFFSET_OUT_OF_RANGE
    );
    assert_eq!(fetch_code(&mut connection, 12, &fetch_ask(&topic, 12, Duration::ZERO, 1)), 0);
}

#[test]
fn a_fetch_waits_for_enough_bytes_and_no_longer_than_it_said() {
    everywhere(check_fetch_wait);
}

fn check_fetch_wait(target: &Target) {
    let topic = target.new_topic(1);
    let mut connection = target.connect();
    let begun = Instant::now();
    let answer = connection.ask(12, &fetch_ask(&topic, 0, Duration::from_millis(300), 1));
    assert_eq!(answer.responses[0].partitions[0].records.as_ref().map_or(0, Bytes::len), 0);
    assert!(
        begun.elapsed() >= Duration::from_millis(290),
        "an empty answer came after {:?}",
        begun.elapsed()
    );

    let mut producing = target.connect();
    let slow = std::thread::scope(|scope| {
        let waiting = scope.spawn(|| {
            let answer = connection.ask(12, &fetch_ask(&topic, 0, Duration::from_secs(30), 150));
            (answer, Instant::now())
        });
        std::thread::sleep(Duration::from_millis(200));
        produce(&mut producing, &topic, &Batch::numbered(1)).expect("the batch is accepted");
        std::thread::sleep(Duration::from_millis(200));
        assert!(!waiting.is_finished(), "one small batch is not enough");
        let sent = Instant::now();
        produce(&mut producing, &topic, &Batch::numbered(10)).expect("the batch is accepted");
        let (answer, answered) = waiting.join().expect("the fetch is answered");
        let bytes = answer.responses[0].partitions[0].records.as_ref().map_or(0, Bytes::len);
        assert!(bytes >= 150, "{bytes} bytes came");
        answered.saturating_duration_since(sent)
    });
    assert!(slow < Duration::from_secs(5), "it took {slow:?} to notice");
}

#[test]
fn a_fetch_of_nothing_is_answered_at_once() {
    everywhere(check_empty_fetch);
}

fn check_empty_fetch(target: &Target) {
    let topic = target.new_topic(1);
    let mut ask = fetch_ask(&topic, 0, Duration::from_secs(30), 1);
    let begun = Instant::now();
    ask.topics[0].partitions.clear();
    target.connect().ask(12, &ask);
    ask.topics.clear();
    assert!(target.connect().ask(12, &ask).responses.is_empty());
    assert!(begun.elapsed() < Duration::from_secs(10), "it took {:?}", begun.elapsed());
}

#[test]
fn the_latest_timestamp_and_the_end_of_an_epoch_can_be_asked_for() {
    everywhere(check_offset_questions);
}

fn check_offset_questions(target: &Target) {
    let topic = target.new_topic(1);
    let mut connection = target.connect();
    for timestamp in [1_000, 5_000, 3_000] {
        produce(&mut connection, &topic, &Batch::numbered(2).at(timestamp)).expect("the batch is accepted");
    }
    let mut list = |timestamp: i64| {
        let partition =
            ListOffsetsPartition::default().with_timestamp(timestamp).with_current_leader_epoch(-1);
        let asked =
            ListOffsetsTopic::default().with_name(topic_name(&topic)).with_partitions(vec![partition]);
        let ask = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![asked]);
        let answer = connection.ask(7, &ask);
        let partition = &answer.topics[0].partitions[0];
        assert_eq!(partition.error_code, 0);
        (partition.offset, partition.timestamp)
    };
    assert_eq!(list(-2), (0, -1), "earliest");
    assert_eq!(list(-1), (6, -1), "latest");
    assert_eq!(list(-3), (2, 5_000), "the first record with the latest timestamp");
    assert_eq!(list(2_000), (2, 5_000), "the first record at or after an instant");
    assert_eq!(list(9_000), (-1, -1), "no record so late");

    let epoch = OffsetForLeaderPartition::default().with_current_leader_epoch(-1).with_leader_epoch(0);
    let asked = OffsetForLeaderTopic::default().with_topic(topic_name(&topic)).with_partitions(vec![epoch]);
    let ask = OffsetForLeaderEpochRequest::default().with_replica_id((-1).into()).with_topics(vec![asked]);
    let answer = connection.ask(4, &ask);
    let partition = &answer.topics[0].partitions[0];
    assert_eq!((partition.error_code, partition.leader_epoch, partition.end_offset), (0, 0, 6));
}
