//! Another log under the same name is told from the one that was folded, by every layer that reads it
//! (invariants `COVER` and `NOTHING_VANISHES`): its offsets mean other records.

mod batch;
mod kafka;
mod speed;

use std::time::Duration;

use watershed_schemas::identity::{Fingerprint, LogIdentity, OtherLog, TopicId, compacts};
use watershed_schemas::log::{LogError, Records, refuse_fewer};
use watershed_schemas::offsets::{Offset, OffsetRange, Partition};
use watershed_speed::recognising::{Followed, Suspicions};

const ONE: Partition = Partition(1);

/// The fingerprint of a single record.
fn fingerprint(offset: i64, timestamp: i64, payload: Option<&[u8]>) -> Fingerprint {
    let mut records = Records::new(ONE, Offset(0));
    records.push(Offset(3), 1, Some(b"before"));
    records.push(Offset(offset), timestamp, payload);
    Fingerprint::of_last(&records).expect("there are two records")
}

fn id(text: &str) -> TopicId {
    TopicId(text.to_string())
}

/// A log known by its id and by a record of partition 1.
fn known(topic_id: Option<&str>, last: Option<Fingerprint>) -> LogIdentity {
    LogIdentity {
        topic_id: topic_id.map(id),
        last_records: last.map(|last| (ONE, last)).into_iter().collect(),
    }
}

fn range(from: i64, until: i64) -> OffsetRange {
    OffsetRange::new(Offset(from), Offset(until))
}

#[test]
fn a_record_is_known_by_its_place_its_time_and_what_it_says() {
    let one = fingerprint(9, 5, Some(b"x"));
    assert_eq!(one, fingerprint(9, 5, Some(b"x")));
    for other in [
        fingerprint(8, 5, Some(b"x")),
        fingerprint(9, 6, Some(b"x")),
        fingerprint(9, 5, Some(b"y")),
        fingerprint(9, 5, Some(b"")),
        fingerprint(9, 5, None),
    ] {
        assert_ne!(one, other);
    }
    assert_ne!(fingerprint(9, 5, Some(b"")), fingerprint(9, 5, None), "a tombstone says nothing at all");
    assert_eq!(Fingerprint::of_last(&Records::new(ONE, Offset(4))), None);
}

#[test]
fn a_log_is_another_one_when_its_id_or_its_record_differs_and_not_when_nothing_is_known() {
    let last = fingerprint(9, 5, Some(b"x"));
    let log = known(Some("a"), Some(last.clone()));
    assert_eq!(log.check_topic(Some(&id("a"))), Ok(()));
    assert_eq!(log.check_topic(None), Ok(()), "old brokers do not tell");
    assert_eq!(known(None, None).check_topic(Some(&id("b"))), Ok(()));
    let other = log.check_topic(Some(&id("b"))).expect_err("it is another topic");
    assert_eq!(other, OtherLog::Topic { expected: id("a"), found: id("b") });
    assert!(other.to_string().contains("found topic id b, expected a"), "{other}");

    assert_eq!(log.check_record(ONE, Some(&last)), Ok(()));
    assert_eq!(log.check_record(ONE, None), Ok(()), "retention or compaction took it");
    assert_eq!(log.check_record(Partition(0), Some(&last)), Ok(()), "nothing was folded there");
    let other =
        log.check_record(ONE, Some(&fingerprint(9, 6, Some(b"x")))).expect_err("it is another record");
    assert!(matches!(other, OtherLog::Record { partition: ONE, .. }), "{other}");

    assert_eq!(log.witness(ONE, range(9, 10)), Some(Offset(9)));
    assert_eq!(log.witness(ONE, range(10, 20)), None, "the log begins behind it");
    assert_eq!(log.witness(ONE, range(0, 9)), None, "the log ends before it, which is refused elsewhere");
    assert_eq!(log.witness(Partition(0), range(0, 20)), None);
}

#[test]
fn what_a_version_remembers_is_readable_json_and_may_be_missing() {
    let log = known(Some("ZyX-_w"), Some(fingerprint(9, 5, None)));
    let json = serde_json::to_value(&log).expect("it has a JSON form");
    let expected = serde_json::json!({
        "topic_id": "ZyX-_w",
        "last_records": { "1": { "offset": 9, "timestamp": 5, "payload_sha256": null } }
    });
    assert_eq!(json, expected);
    assert_eq!(serde_json::from_value::<LogIdentity>(json).expect("it was written so"), log);
    assert_eq!(serde_json::from_str::<LogIdentity>("{}").expect("nothing is known"), LogIdentity::default());
    assert_eq!(serde_json::to_string(&LogIdentity::default()).expect("it has a JSON form"), "{}");
}

#[test]
fn a_policy_that_compacts_is_recognised_among_others() {
    assert!(["compact", "compact,delete", "delete, compact"].into_iter().all(compacts));
    assert!(!["delete", "", "none"].into_iter().any(compacts));
}

#[test]
fn an_answer_that_lacks_a_partition_is_an_error_and_one_with_more_is_news() {
    let bounds = [(Partition(0), range(0, 5)), (Partition(2), range(0, 5))];
    let seen = |partitions: &[i32]| partitions.iter().copied().map(Partition).collect::<Vec<_>>();
    assert!(refuse_fewer("rides", seen(&[0]).into_iter(), &bounds).is_ok());
    assert!(refuse_fewer("rides", seen(&[]).into_iter(), &bounds).is_ok());
    let error = refuse_fewer("rides", seen(&[0, 1, 2]).into_iter(), &bounds).expect_err("1 is missing");
    assert!(matches!(error, LogError::PartitionMissing { partition: ONE, .. }), "{error}");
}

fn followed(live: i64, topic_id: Option<&str>) -> Followed {
    Followed { partition: ONE, live: Offset(live), log: known(topic_id, None) }
}

#[test]
fn a_followed_log_that_is_created_anew_is_suspected_at_once() {
    let mut suspicions = Suspicions::new(Duration::from_secs(1));
    let followed = [followed(10, Some("a"))];
    let bounds = [(ONE, range(0, 50))];
    assert_eq!(suspicions.of(&followed, &bounds, Some(&id("a")), Duration::ZERO), []);
    assert_eq!(suspicions.of(&followed, &bounds, None, Duration::ZERO), []);
    let found = suspicions.of(&followed, &[], Some(&id("b")), Duration::ZERO);
    assert_eq!(found.len(), 1);
    assert!(found[0].1.contains("created anew"), "{found:?}");
}

#[test]
fn an_end_that_goes_back_for_a_moment_is_no_truncation_and_one_that_stays_back_is() {
    let mut suspicions = Suspicions::new(Duration::from_secs(1));
    let second = Duration::from_secs;
    let mut look = |end, now| suspicions.of(&[followed(10, None)], &[(ONE, range(0, end))], None, now);
    assert_eq!(look(9, second(0)), []);
    assert_eq!(look(10, second(1)), [], "it is back");
    assert_eq!(look(9, second(2)), []);
    assert_eq!(look(8, Duration::from_millis(2_999)), []);
    let found = look(8, second(3));
    assert_eq!(found.len(), 1);
    assert!(found[0].1.contains("up to 10, but ends at 8"), "{found:?}");
    assert_eq!(look(8, second(3)), [], "it is told once, and then only when it is so again");
}
