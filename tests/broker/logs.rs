//! Logs on disk: torn, damaged, rolled, retained.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use rdkafka::TopicPartitionList;
use rdkafka::admin::AdminOptions;
use rdkafka::types::RDKafkaErrorCode;
use watershed_broker::{BrokerConfig, BrokerError, FsyncPolicy};

use super::{bounds, broker, embedded, segments};
use crate::support::batches::{Batch, produce};
use crate::support::kafka::{Sent, block_on, eventually, next_error, now_ms, numbered, take};

fn append(path: &Path, bytes: &[u8]) {
    let mut file = std::fs::OpenOptions::new().append(true).open(path).expect("the file is there");
    file.write_all(bytes).expect("the file can be written");
}

#[test]
fn a_torn_tail_is_cut_off_and_the_log_goes_on_behind_the_last_whole_batch() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let target = broker(BrokerConfig::default(), dir.path());
    let topic = target.new_topic(1);
    let mut end = 0;
    let whole = Batch::numbered(5).encode();
    let wrong_offset = whole.clone();
    let mut broken = whole.to_vec();
    *broken.last_mut().expect("the batch has bytes") ^= 1;
    let tails: [&[u8]; 6] =
        [&whole[..40], &whole[..whole.len() - 1], &[0; 500], &[255; 100], &wrong_offset, &broken];
    for tail in tails {
        let offset =
            produce(&mut target.connect(), &topic, &Batch::numbered(10)).expect("the batch is accepted");
        assert_eq!(offset, end);
        end += 10;
        embedded(&target).kill();
        append(segments(dir.path(), &topic).last().expect("there is a segment"), tail);
        embedded(&target).start_again();
        assert_eq!(bounds(&target, &topic), (0, end), "after a tail of {} bytes", tail.len());
    }
    let taken = take(&target.reader(&topic, 0, 0, &[("check.crcs", "true")]), end as usize);
    assert_eq!(taken.last().expect("records came").0, end - 1);
}

#[test]
fn batches_behind_one_whose_bytes_changed_are_cut_off_and_kept_aside() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let target = broker(BrokerConfig::default(), dir.path());
    let topic = target.new_topic(1);
    for _ in 0..4 {
        produce(&mut target.connect(), &topic, &Batch::numbered(10)).expect("the batch is accepted");
    }
    embedded(&target).stop();
    let segment = segments(dir.path(), &topic).remove(0);
    let mut bytes = std::fs::read(&segment).expect("the segment can be read");
    let two_batches = bytes.len() / 2;
    bytes[two_batches + 70] ^= 0x10;
    std::fs::write(&segment, &bytes).expect("the segment can be written");
    embedded(&target).start_again();
    assert_eq!(bounds(&target, &topic), (0, 20));
    let folder = std::fs::read_dir(segment.parent().expect("a segment lies in a folder"));
    let aside = folder.expect("the folder can be read").map(|entry| entry.expect("an entry").path());
    let aside = aside.filter(|path| path.extension().is_some_and(|extension| extension == "torn"));
    let aside: Vec<_> = aside.map(|path| std::fs::read(path).expect("it can be read")).collect();
    assert_eq!(aside, [&bytes[two_batches..]], "what was cut off is kept");
}

#[test]
fn a_full_segment_is_closed_and_everything_stays_readable() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let target = broker(BrokerConfig { segment_bytes: 4096, ..BrokerConfig::default() }, dir.path());
    let topic = target.new_topic(1);
    for _ in 0..40 {
        produce(&mut target.connect(), &topic, &Batch::numbered(20)).expect("the batch is accepted");
    }
    for when in ["at once", "after a restart"] {
        assert!(segments(dir.path(), &topic).len() > 3, "{when}");
        for start in [0, 333, 799] {
            let taken = take(&target.reader(&topic, 0, start, &[]), (800 - start) as usize);
            let offsets: Vec<i64> = taken.iter().map(|(offset, _)| *offset).collect();
            assert_eq!(offsets, (start..800).collect::<Vec<i64>>(), "{when}");
        }
        embedded(&target).stop();
        embedded(&target).start_again();
    }
}

#[test]
fn damage_in_a_closed_segment_keeps_the_broker_from_starting_and_is_named() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let target = broker(BrokerConfig { segment_bytes: 2048, ..BrokerConfig::default() }, dir.path());
    let topic = target.new_topic(1);
    for _ in 0..20 {
        produce(&mut target.connect(), &topic, &Batch::numbered(20)).expect("the batch is accepted");
    }
    embedded(&target).stop();
    let closed = segments(dir.path(), &topic).remove(0);
    let bytes = std::fs::read(&closed).expect("the segment can be read");
    std::fs::write(&closed, &bytes[..bytes.len() - 10]).expect("the segment can be written");
    match embedded(&target).try_start_again() {
        Err(BrokerError::Damaged { path, .. }) => assert_eq!(path, closed),
        other => panic!("started with {other:?}"),
    }
    std::fs::write(&closed, bytes).expect("the segment can be written");
    embedded(&target).start_again();
    assert_eq!(bounds(&target, &topic), (0, 400));
}

#[test]
fn retention_by_size_deletes_the_oldest_segments() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = BrokerConfig {
        segment_bytes: 4096,
        retention_bytes: Some(20_000),
        housekeeping: Duration::from_millis(20),
        ..BrokerConfig::default()
    };
    let target = broker(config, dir.path());
    let topic = target.new_topic(1);
    for _ in 0..100 {
        produce(&mut target.connect(), &topic, &Batch::numbered(20)).expect("the batch is accepted");
    }
    let size = || -> u64 {
        let length = |path: &std::path::PathBuf| std::fs::metadata(path).map_or(0, |metadata| metadata.len());
        segments(dir.path(), &topic).iter().map(length).sum()
    };
    eventually("the log is small enough", || (size() < 20_000 + 4096).then_some(()));
    let (start, end) = bounds(&target, &topic);
    assert!(start > 0 && size() > 15_000, "the log begins at {start} and has {} bytes", size());
    assert_eq!(end, 2000);
    let error = next_error(&target.reader(&topic, 0, 0, &[]));
    assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::AutoOffsetReset));
    assert_eq!(take(&target.reader(&topic, 0, start, &[]), (end - start) as usize)[0].0, start);
    embedded(&target).kill();
    embedded(&target).start_again();
    assert_eq!(bounds(&target, &topic), (start, end));
}

#[test]
fn retention_by_time_deletes_old_segments_even_the_newest_and_offsets_go_on() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let config = BrokerConfig { housekeeping: Duration::from_millis(20), ..BrokerConfig::default() };
    let target = broker(config, dir.path());
    let topic = target.new_topic_with(1, &[("retention.ms", "600000")]);
    let hour_ago = now_ms() - 3_600_000;
    let old: Vec<Sent> = numbered(10).into_iter().map(|sent| sent.at(hour_ago)).collect();
    target.produce(&topic, 0, &old, &[]);
    eventually("the old records are gone", || (bounds(&target, &topic) == (10, 10)).then_some(()));
    embedded(&target).kill();
    embedded(&target).start_again();
    assert_eq!(bounds(&target, &topic), (10, 10));
    assert_eq!(target.produce(&topic, 0, &numbered(3), &[]), [10, 11, 12]);
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(bounds(&target, &topic), (10, 13), "what is new stays");
}

#[test]
fn deleted_records_stay_deleted_over_a_crash() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let target = broker(BrokerConfig { segment_bytes: 1024, ..BrokerConfig::default() }, dir.path());
    let topic = target.new_topic(1);
    for _ in 0..20 {
        produce(&mut target.connect(), &topic, &Batch::numbered(5)).expect("the batch is accepted");
    }
    let before = segments(dir.path(), &topic).len();
    let mut until = TopicPartitionList::new();
    until.add_partition_offset(&topic, 0, rdkafka::Offset::Offset(52)).expect("the offset is sound");
    block_on(target.admin().delete_records(&until, &AdminOptions::new())).expect("the broker answers");
    assert_eq!(bounds(&target, &topic), (52, 100));
    assert!(segments(dir.path(), &topic).len() < before, "segments before the start are gone");
    embedded(&target).kill();
    embedded(&target).start_again();
    assert_eq!(bounds(&target, &topic), (52, 100));
    assert_eq!(take(&target.reader(&topic, 0, 52, &[]), 48)[0].0, 52);
}

#[test]
fn every_fsync_policy_keeps_what_was_acknowledged() {
    for fsync in [FsyncPolicy::Never, FsyncPolicy::Interval(Duration::from_millis(5)), FsyncPolicy::Always] {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let target = broker(BrokerConfig { fsync, ..BrokerConfig::default() }, dir.path());
        let topic = target.new_topic(1);
        for _ in 0..10 {
            produce(&mut target.connect(), &topic, &Batch::numbered(5)).expect("the batch is accepted");
        }
        embedded(&target).kill();
        embedded(&target).start_again();
        assert_eq!(bounds(&target, &topic), (0, 50), "{fsync:?}");
    }
}
