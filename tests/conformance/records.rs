//! Records: what is sent comes back, from any offset, by any codec, at any size, as soon as it is there.

use std::time::{Duration, Instant};

use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};

use super::everywhere;
use crate::support::kafka::{PATIENCE, Sent, Target, block_on, next_error, now_ms, numbered, take};

#[test]
fn records_of_every_codec_come_back_as_they_were_sent() {
    everywhere(check_codecs);
}

fn check_codecs(target: &Target) {
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = target.new_topic(1);
        let mut sent: Vec<Sent> = (0..300)
            .map(|number| Sent {
                key: (number % 3 != 0).then(|| format!("key {number}").into_bytes()),
                payload: Some(format!("{codec} {number} ").repeat(10).into_bytes()),
                timestamp: Some(1_700_000_000_000 + number),
                header: (number % 2 == 0).then(|| ("name".to_owned(), format!("value {number}"))),
            })
            .collect();
        sent[7].payload = None;
        let offsets = target.produce(&topic, 0, &sent, &[("compression.type", codec)]);
        assert_eq!(offsets, (0..300).collect::<Vec<i64>>(), "{codec}");
        let taken = take(&target.reader(&topic, 0, 0, &[("check.crcs", "true")]), 300);
        let expected: Vec<(i64, Sent)> = offsets.into_iter().zip(sent).collect();
        assert_eq!(taken, expected, "{codec}");
    }
}

#[test]
fn a_consumer_that_starts_inside_a_batch_begins_at_its_offset_and_misses_nothing() {
    everywhere(check_start_inside_batch);
}

fn check_start_inside_batch(target: &Target) {
    for codec in ["none", "zstd"] {
        let topic = target.new_topic(1);
        target.produce(&topic, 0, &numbered(100), &[("compression.type", codec)]);
        target.produce(&topic, 0, &numbered(100), &[("compression.type", codec)]);
        for start in [0, 1, 50, 99, 100, 101, 199] {
            let taken = take(&target.reader(&topic, 0, start, &[]), (200 - start) as usize);
            let offsets: Vec<i64> = taken.iter().map(|(offset, _)| *offset).collect();
            assert_eq!(offsets, (start..200).collect::<Vec<i64>>(), "{codec} from {start}");
        }
    }
}

#[test]
fn watermarks_follow_appends_and_deletions() {
    everywhere(check_watermarks);
}

fn check_watermarks(target: &Target) {
    let topic = target.new_topic(2);
    let consumer: BaseConsumer = target.client(&[]);
    let watermarks = || consumer.fetch_watermarks(&topic, 0, PATIENCE).expect("the broker answers");
    assert_eq!(watermarks(), (0, 0));
    target.produce(&topic, 0, &numbered(10), &[]);
    assert_eq!(watermarks(), (0, 10));
    delete_before(target, &topic, 4);
    assert_eq!(watermarks(), (4, 10));
    assert_eq!(consumer.fetch_watermarks(&topic, 1, PATIENCE).expect("the broker answers"), (0, 0));
    let first = take(&target.reader(&topic, 0, 4, &[]), 1);
    assert_eq!(first[0].0, 4);
}

fn delete_before(target: &Target, topic: &str, offset: i64) {
    let mut until = TopicPartitionList::new();
    until.add_partition_offset(topic, 0, Offset::Offset(offset)).expect("the offset is sound");
    let deleted = block_on(target.admin().delete_records(&until, &AdminOptions::new()));
    let deleted = deleted.expect("the broker answers");
    assert_eq!(deleted.elements()[0].error(), Ok(()));
}

#[test]
fn an_offset_outside_the_log_is_an_error_when_the_consumer_asks_for_one() {
    everywhere(check_out_of_range);
}

fn check_out_of_range(target: &Target) {
    let topic = target.new_topic(1);
    target.produce(&topic, 0, &numbered(10), &[]);
    delete_before(target, &topic, 3);
    for outside in [2, 11, 1_000_000] {
        let error = next_error(&target.reader(&topic, 0, outside, &[]));
        assert_eq!(
            error.rdkafka_error_code(),
            Some(RDKafkaErrorCode::AutoOffsetReset),
            "from {outside}: {error}"
        );
    }
    let at_the_end = target.reader(&topic, 0, 10, &[]);
    assert!(at_the_end.poll(Duration::from_millis(500)).is_none(), "the end of the log is inside it");
}

#[test]
fn offsets_are_found_by_time_also_inside_compressed_batches() {
    everywhere(check_offsets_by_time);
}

fn check_offsets_by_time(target: &Target) {
    for codec in ["none", "lz4"] {
        let topic = target.new_topic(1);
        let start = now_ms() - 1_000_000;
        let sent: Vec<Sent> = (0..100).map(|n| Sent::text(format!("{n}")).at(start + n * 1000)).collect();
        for part in sent.chunks(30) {
            target.produce(&topic, 0, part, &[("compression.type", codec)]);
        }
        let consumer: BaseConsumer = target.client(&[]);
        let offset_at = |timestamp: i64| {
            let mut asked = TopicPartitionList::new();
            asked.add_partition_offset(&topic, 0, Offset::Offset(timestamp)).expect("the time is sound");
            let found = consumer.offsets_for_times(asked, PATIENCE).expect("the broker answers");
            found.elements()[0].offset()
        };
        assert_eq!(offset_at(start - 5), Offset::Offset(0), "{codec}");
        assert_eq!(offset_at(start), Offset::Offset(0), "{codec}");
        assert_eq!(offset_at(start + 42_000), Offset::Offset(42), "{codec}");
        assert_eq!(offset_at(start + 42_001), Offset::Offset(43), "{codec}");
        assert_eq!(offset_at(start + 99_000), Offset::Offset(99), "{codec}");
        assert_eq!(offset_at(start + 99_001), Offset::End, "{codec}");
        delete_before(target, &topic, 50);
        assert_eq!(offset_at(start + 42_000), Offset::Offset(50), "{codec}");
    }
}

#[test]
fn a_message_of_ten_megabytes_goes_through() {
    everywhere(check_big_message);
}

fn check_big_message(target: &Target) {
    let topic = target.new_topic_with(1, &[("max.message.bytes", "20971520")]);
    let payload: Vec<u8> = (0..10_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let big = Sent { payload: Some(payload), ..Sent::default() };
    let before = target.produce(&topic, 0, &numbered(3), &[]);
    target.produce(&topic, 0, std::slice::from_ref(&big), &[("message.max.bytes", "20000000")]);
    target.produce(&topic, 0, &numbered(3), &[]);
    // A consumer whose own limits are smaller must still get past it.
    for limit in ["20000000", "1000"] {
        let settings = [
            ("fetch.message.max.bytes", limit),
            ("fetch.max.bytes", "20000000"),
            ("receive.message.max.bytes", "30000000"),
        ];
        let taken = take(&target.reader(&topic, 0, 0, &settings), 7);
        assert_eq!(taken[before.len()].1.payload, big.payload, "with a limit of {limit} bytes");
        assert_eq!(taken[6].0, 6);
    }
}

#[test]
fn a_message_above_the_topics_limit_is_refused() {
    everywhere(check_too_big_message);
}

fn check_too_big_message(target: &Target) {
    let topic = target.new_topic_with(1, &[("max.message.bytes", "10000")]);
    let producer: rdkafka::producer::FutureProducer = target.client(&[]);
    let payload = vec![7; 20_000];
    let record = rdkafka::producer::FutureRecord::<[u8], [u8]>::to(&topic).partition(0).payload(&payload);
    let sent = producer.send_result(record).map_err(|(error, _)| error).expect("the queue has room");
    let (error, _) = block_on(sent).expect("the producer lives").expect_err("the broker refuses");
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::MessageSizeTooLarge));
}

#[test]
fn a_record_reaches_a_waiting_consumer_at_once() {
    everywhere(check_long_poll);
}

fn check_long_poll(target: &Target) {
    let topic = target.new_topic(1);
    let reader = target.reader(&topic, 0, 0, &[("fetch.wait.max.ms", "5000"), ("fetch.min.bytes", "1")]);
    let mut delays: Vec<Duration> = (0..10)
        .map(|number| {
            assert!(reader.poll(Duration::from_millis(200)).is_none(), "nothing was sent yet");
            target.produce(&topic, 0, &[Sent::text(format!("{number}"))], &[("linger.ms", "0")]);
            let acknowledged = Instant::now();
            take(&reader, 1);
            acknowledged.elapsed()
        })
        .collect();
    delays.sort_unstable();
    println!(
        "{}: after the acknowledgement {:?} (median), {:?} (longest)",
        target.name, delays[5], delays[9]
    );
    assert!(delays[5] < Duration::from_secs(1), "half of the records took longer than {:?}", delays[5]);
}
