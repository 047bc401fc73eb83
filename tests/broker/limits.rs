//! What the broker refuses, and how it says so.

use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, ApiVersionsRequest, EndTxnRequest, FindCoordinatorRequest,
    InitProducerIdRequest, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::producer::{FutureProducer, Producer};
use watershed_broker::{BrokerConfig, BrokerError, Owner, owner};

use super::{broker, embedded};
use crate::support::kafka::{EmbeddedBroker, PATIENCE, Target, eventually, numbered, take};

const TRANSACTIONS_REFUSED: i16 = 53;

fn temporary(config: BrokerConfig) -> Target {
    Target::embedded(EmbeddedBroker::start(config))
}

#[test]
fn transactions_are_refused_at_once_and_by_name() {
    let target = temporary(BrokerConfig::default());
    let mut connection = target.connect();
    let id = || TransactionalId(StrBytes::from_static_str("mine"));
    let find = FindCoordinatorRequest::default()
        .with_key_type(1)
        .with_coordinator_keys(vec![StrBytes::from_static_str("mine")]);
    assert_eq!(connection.ask(4, &find).coordinators[0].error_code, TRANSACTIONS_REFUSED);
    let init = InitProducerIdRequest::default().with_transactional_id(Some(id()));
    assert_eq!(connection.ask(4, &init).error_code, TRANSACTIONS_REFUSED);
    let topic = AddPartitionsToTxnTopic::default()
        .with_name(TopicName(StrBytes::from_static_str("topic")))
        .with_partitions(vec![0]);
    let add = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(id())
        .with_v3_and_below_topics(vec![topic]);
    let added = connection.ask(3, &add);
    let partition = &added.results_by_topic_v3_and_below[0].results_by_partition[0];
    assert_eq!(partition.partition_error_code, TRANSACTIONS_REFUSED);
    assert_eq!(connection.ask(3, &EndTxnRequest::default()).error_code, TRANSACTIONS_REFUSED);

    let begun = Instant::now();
    let producer: FutureProducer = target.client(&[("transactional.id", "mine")]);
    producer.init_transactions(PATIENCE).expect_err("there are no transactions");
    assert!(begun.elapsed() < Duration::from_secs(20), "the client tried for {:?}", begun.elapsed());
}

#[test]
fn a_connection_that_talks_nonsense_is_closed_and_nobody_else_notices() {
    let target = temporary(BrokerConfig { max_request_bytes: 70 << 20, ..BrokerConfig::default() });
    let topic = target.new_topic(1);
    let mut unknown_kind = BytesMut::new();
    unknown_kind.put_i16(999);
    unknown_kind.put_i16(0);
    unknown_kind.put_i32(1);
    unknown_kind.put_i16(-1);
    let mut old_produce = BytesMut::new();
    old_produce.put_i16(0);
    old_produce.put_i16(2);
    old_produce.put_i32(1);
    old_produce.put_i16(-1);
    let mut cut_short = BytesMut::new();
    cut_short.put_i16(3);
    cut_short.put_i16(9);
    cut_short.put_i32(1);
    cut_short.put_i16(-1);
    for request in [&unknown_kind, &old_produce, &cut_short] {
        let mut connection = target.connect();
        connection.send(request);
        assert_eq!(connection.read(), None);
    }
    for length in [-1, 0, i32::MAX, 71 << 20] {
        let mut connection = target.connect();
        connection.send_raw(&i32::to_be_bytes(length));
        assert_eq!(connection.read(), None, "a request of {length} bytes");
    }
    let mut connection = target.connect();
    connection.send_raw(b"GET / HTTP/1.1\r\nHost: broker\r\n\r\n");
    assert_eq!(connection.read(), None);
    target.produce(&topic, 0, &numbered(3), &[]);
    assert_eq!(take(&target.reader(&topic, 0, 0, &[]), 3).len(), 3);
}

/// A request up to an array whose length says that two thousand million elements follow.
fn forged(key: i16, version: i16, flexible: bool, before: &[u8]) -> BytesMut {
    let mut request = BytesMut::new();
    request.put_i16(key);
    request.put_i16(version);
    request.put_i32(1);
    request.put_i16(-1);
    request.put_slice(if flexible { &[0] } else { &[] });
    request.put_slice(before);
    match flexible {
        true => request.put_slice(&[0xff, 0xff, 0xff, 0xff, 0x07]),
        false => request.put_i32(i32::MAX),
    }
    // Enough for some elements, whatever they are.
    request.put_slice(&[1; 300]);
    request
}

#[test]
fn an_array_that_claims_more_than_the_request_holds_takes_no_memory_and_nobody_else_notices() {
    let target = temporary(BrokerConfig::default());
    let topic = target.new_topic(1);
    let acks_and_timeout = [0, 1, 0, 0, 0x75, 0x30];
    let old_produce = [&[0xff, 0xff][..], &acks_and_timeout].concat();
    let new_produce = [&[0][..], &acks_and_timeout].concat();
    let forged = [
        ("topics of Metadata", forged(3, 1, false, &[])),
        ("topics of Metadata", forged(3, 9, true, &[])),
        ("topics of Produce", forged(0, 7, false, &old_produce)),
        ("topics of Produce", forged(0, 9, true, &new_produce)),
        // One topic "t".
        (
            "partitions of Produce",
            forged(0, 7, false, &[&old_produce[..], &[0, 0, 0, 1, 0, 1, b't']].concat()),
        ),
        ("partitions of Produce", forged(0, 9, true, &[&new_produce[..], &[2, 2, b't']].concat())),
        ("topics of CreateTopics", forged(19, 2, false, &[])),
        ("topics of CreateTopics", forged(19, 5, true, &[])),
        ("groups of DeleteGroups", forged(42, 0, false, &[])),
        ("groups of DescribeGroups", forged(15, 5, true, &[])),
        ("tagged fields of ApiVersions", forged(18, 3, true, &[2, b'a', 2, b'b'])),
    ];
    for (what, request) in forged {
        let mut connection = target.connect();
        connection.send(&request);
        assert_eq!(connection.read(), None, "{what} were believed");
    }
    target.produce(&topic, 0, &numbered(3), &[]);
    assert_eq!(take(&target.reader(&topic, 0, 0, &[]), 3).len(), 3);
}

#[test]
fn connections_beyond_the_limit_are_closed_until_others_go() {
    let target = temporary(BrokerConfig { max_connections: 2, ..BrokerConfig::default() });
    let ask = ApiVersionsRequest::default();
    let (mut first, mut second) = (target.connect(), target.connect());
    assert_eq!(first.ask(0, &ask).error_code, 0);
    assert_eq!(second.ask(0, &ask).error_code, 0);
    assert_eq!(target.connect().read(), None, "the third is closed");
    drop(first);
    eventually("a place is free again", || {
        let mut body = BytesMut::new();
        body.put_i16(18);
        body.put_i16(0);
        body.put_i32(1);
        body.put_i16(-1);
        let mut connection = target.connect();
        connection.try_send(&body).then(|| connection.read())?
    });
}

#[test]
fn a_silent_connection_is_closed() {
    let config = BrokerConfig {
        connection_idle: Duration::from_millis(200),
        transfer_timeout: Duration::from_millis(200),
        ..BrokerConfig::default()
    };
    let target = temporary(config);
    assert_eq!(target.connect().read(), None, "it said nothing");
    let mut slow = target.connect();
    slow.send_raw(&[0, 0, 0, 100, 0, 3]);
    assert_eq!(slow.read(), None, "it said only half of a request");
}

#[test]
fn unknown_topics_are_created_only_where_that_is_allowed() {
    for auto_create_topics in [true, false] {
        let target =
            temporary(BrokerConfig { auto_create_topics, default_partitions: 3, ..BrokerConfig::default() });
        let look = |may_create: &str| {
            let consumer: BaseConsumer = target.client(&[("allow.auto.create.topics", may_create)]);
            let metadata = consumer.fetch_metadata(Some("wanted"), PATIENCE).expect("the broker answers");
            metadata.topics()[0].error().is_none().then(|| metadata.topics()[0].partitions().len())
        };
        assert_eq!(look("false"), None, "looking does not create");
        if auto_create_topics {
            assert_eq!(eventually("the topic is created", || look("true")), 3);
        } else {
            assert_eq!(look("true"), None);
        }
    }
}

#[test]
fn a_folder_belongs_to_one_broker_and_says_which() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let long_gone = "a-name-longer-than-any-address.example:65535 4194304\n";
    std::fs::write(dir.path().join("lock"), long_gone).expect("a file can be made");
    assert_eq!(owner(dir.path()), Owner::Nobody);
    let target = broker(BrokerConfig::default(), dir.path());
    let ours = Owner::Listening { address: target.address(), process: std::process::id() };
    assert_eq!(owner(dir.path()), ours);
    let second = BrokerConfig { dir: Some(dir.path().to_owned()), ..BrokerConfig::default() };
    assert!(matches!(EmbeddedBroker::try_start(second), Err(BrokerError::InUse { .. })));
    embedded(&target).stop();
    assert_eq!(owner(dir.path()), Owner::Nobody);
    embedded(&target).start_again();
}

#[test]
fn a_temporary_folder_goes_with_its_broker() {
    let target = temporary(BrokerConfig::default());
    let topic = target.new_topic(1);
    target.produce(&topic, 0, &numbered(3), &[]);
    let dir = embedded(&target).dir();
    assert!(dir.exists());
    embedded(&target).stop();
    assert!(!dir.exists());
}

#[test]
fn settings_that_cannot_be_met_are_refused_by_name() {
    let faults = [
        (BrokerConfig { default_partitions: 0, ..BrokerConfig::default() }, "default_partitions"),
        (BrokerConfig { max_request_bytes: 1000, ..BrokerConfig::default() }, "max_request_bytes"),
        (BrokerConfig { advertised: Some("nowhere".to_owned()), ..BrokerConfig::default() }, "advertised"),
    ];
    for (config, expected) in faults {
        match EmbeddedBroker::try_start(config) {
            Err(BrokerError::Setting { name, .. }) => assert_eq!(name, expected),
            Err(error) => panic!("{expected} was refused with {error}"),
            Ok(_) => panic!("{expected} was accepted"),
        }
    }
    let taken = temporary(BrokerConfig::default());
    let config = BrokerConfig { listen: taken.address(), ..BrokerConfig::default() };
    assert!(matches!(EmbeddedBroker::try_start(config), Err(BrokerError::Listen { .. })));
}
