//! Consumer groups: sharing partitions, remembering positions, surviving members.

use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{ConsumerProtocolSubscription, GroupId, JoinGroupRequest, SyncGroupRequest};
use kafka_protocol::protocol::{Encodable, StrBytes};
use rdkafka::admin::AdminOptions;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::{Offset, TopicPartitionList};

use super::everywhere;
use crate::support::kafka::{
    Connection, PATIENCE, Target, block_on, eventually, held, numbered, poll_until, take, unique,
};

#[test]
fn a_group_goes_on_where_it_committed() {
    everywhere(check_resume);
}

fn check_resume(target: &Target) {
    let (topic, group) = (target.new_topic(1), unique("group"));
    target.produce(&topic, 0, &numbered(20), &[]);
    let first = target.member(&group, &topic, &[]);
    let taken = take(&first, 20);
    assert_eq!(taken[0].0, 0);
    commit(&first, &topic, 12);
    drop(first);
    let second = target.member(&group, &topic, &[]);
    assert_eq!(take(&second, 1)[0].0, 12);
    let mut asked = TopicPartitionList::new();
    asked.add_partition(&topic, 0);
    let committed = second.committed_offsets(asked, PATIENCE).expect("the broker answers");
    assert_eq!(committed.elements()[0].offset(), Offset::Offset(12));
    assert_eq!(committed.elements()[0].metadata(), "noted");
}

fn commit(member: &BaseConsumer, topic: &str, offset: i64) {
    let mut commit = TopicPartitionList::new();
    commit.add_partition_offset(topic, 0, Offset::Offset(offset)).expect("the offset is sound");
    for mut element in commit.elements() {
        element.set_metadata("noted");
    }
    member.commit(&commit, CommitMode::Sync).expect("the commit is taken");
}

#[test]
fn two_members_share_the_partitions_and_the_one_that_stays_takes_all() {
    everywhere(check_eager_rebalance);
}

fn check_eager_rebalance(target: &Target) {
    check_rebalance(target, &[("partition.assignment.strategy", "range")]);
    check_rebalance(target, &[("partition.assignment.strategy", "roundrobin,range")]);
}

#[test]
fn cooperative_members_share_the_partitions_too() {
    everywhere(check_cooperative_rebalance);
}

fn check_cooperative_rebalance(target: &Target) {
    check_rebalance(target, &[("partition.assignment.strategy", "cooperative-sticky")]);
}

fn check_rebalance(target: &Target, settings: &[(&str, &str)]) {
    let (topic, group) = (target.new_topic(4), unique("group"));
    let all = vec![0, 1, 2, 3];
    let first = target.member(&group, &topic, settings);
    poll_until(&[&first], "the first member has all", || held(&first) == all);
    let second = target.member(&group, &topic, settings);
    poll_until(&[&first, &second], "both have half", || {
        let mut together = [held(&first), held(&second)].concat();
        together.sort_unstable();
        together == all && held(&first).len() == 2
    });
    for partition in 0..4 {
        target.produce(&topic, partition, &numbered(1), &[]);
    }
    assert_eq!(take(&first, 2).len() + take(&second, 2).len(), 4);
    drop(first);
    poll_until(&[&second], "the second member has all", || held(&second) == all);
}

#[test]
fn a_member_that_died_silently_loses_its_partitions() {
    everywhere(check_dead_member);
}

fn check_dead_member(target: &Target) {
    let (topic, group) = (target.new_topic(2), unique("group"));
    let mut connection = target.connect();
    join_by_hand(&mut connection, &group, &topic);
    drop(connection);
    let died = Instant::now();
    let survivor = target.member(&group, &topic, &[("partition.assignment.strategy", "range")]);
    poll_until(&[&survivor], "the survivor has all", || held(&survivor) == [0, 1]);
    let waited = died.elapsed();
    assert!(waited > Duration::from_secs(3), "a session of 6 s ended after {waited:?}");
    assert!(waited < Duration::from_secs(25), "a session of 6 s ended only after {waited:?}");
}

/// Joins as the only member and takes an empty assignment: a member that a client library would never let die.
fn join_by_hand(connection: &mut Connection, group: &str, topic: &str) {
    let group_id = GroupId(StrBytes::from_string(group.to_owned()));
    let subscription =
        ConsumerProtocolSubscription::default().with_topics(vec![StrBytes::from_string(topic.to_owned())]);
    let mut metadata = BytesMut::new();
    metadata.put_i16(0);
    subscription.encode(&mut metadata, 0).expect("the subscription encodes");
    let range = JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        .with_metadata(metadata.freeze());
    let mut join = JoinGroupRequest::default()
        .with_group_id(group_id.clone())
        .with_session_timeout_ms(6000)
        .with_rebalance_timeout_ms(60_000)
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![range]);
    let joined = eventually("the group has a coordinator", || {
        let joined = connection.ask(5, &join);
        match joined.error_code {
            0 => Some(joined),
            // The id is required; other codes mean that the coordinator is still loading.
            79 => {
                join.member_id = joined.member_id;
                None
            }
            14..=16 => None,
            code => panic!("joining met error {code}"),
        }
    });
    let part = SyncGroupRequestAssignment::default().with_member_id(joined.member_id.clone());
    let sync = SyncGroupRequest::default()
        .with_group_id(group_id)
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id)
        .with_assignments(vec![part.with_assignment(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0]))]);
    assert_eq!(connection.ask(3, &sync).error_code, 0);
}

#[test]
fn a_static_member_that_comes_back_keeps_its_partitions() {
    everywhere(check_static_member);
}

fn check_static_member(target: &Target) {
    let (topic, group) = (target.new_topic(2), unique("group"));
    let settings = |instance| [("group.instance.id", instance), ("session.timeout.ms", "30000")];
    let first = target.member(&group, &topic, &settings("first"));
    let second = target.member(&group, &topic, &settings("second"));
    poll_until(&[&first, &second], "both have one", || held(&first).len() == 1 && held(&second).len() == 1);
    let (of_first, of_second) = (held(&first), held(&second));
    drop(first);
    let came_back = Instant::now();
    let first = target.member(&group, &topic, &settings("first"));
    poll_until(&[&first, &second], "the first is back", || held(&first) == of_first);
    assert!(came_back.elapsed() < Duration::from_secs(20), "it waited for its own session to end");
    assert_eq!(held(&second), of_second);
}

#[test]
fn groups_are_listed_described_and_deleted() {
    everywhere(check_group_admin);
}

fn check_group_admin(target: &Target) {
    let (topic, group) = (target.new_topic(1), unique("group"));
    target.produce(&topic, 0, &numbered(1), &[]);
    let member = target.member(&group, &topic, &[("client.id", "visible")]);
    take(&member, 1);
    commit(&member, &topic, 1);
    let listed = |name: &str| {
        let groups = member.fetch_group_list(Some(name), PATIENCE).expect("the broker answers");
        let found = groups.groups().iter().find(|group| group.name() == name)?;
        let clients: Vec<String> =
            found.members().iter().map(|member| member.client_id().to_owned()).collect();
        Some((found.state().to_owned(), found.protocol_type().to_owned(), clients))
    };
    let (state, protocol_type, clients) = listed(&group).expect("the group is there");
    assert_eq!((state.as_str(), protocol_type.as_str()), ("Stable", "consumer"));
    assert_eq!(clients, ["visible"]);

    let admin = target.admin();
    let delete = || {
        let deleted =
            block_on(admin.delete_groups(&[&group], &AdminOptions::new())).expect("the broker answers");
        deleted.into_iter().next().expect("one group was named")
    };
    assert!(delete().is_err(), "a group with a member is not deleted");
    member.unsubscribe();
    drop(member);
    eventually("the group without members is deleted", || delete().ok());
    let again = target.member(&group, &topic, &[]);
    assert_eq!(take(&again, 1)[0].0, 0, "its commits are gone with it");
}

#[test]
fn records_and_commits_survive_a_restart() {
    everywhere(check_restart);
}

/// Only where the broker may be stopped.
fn check_restart(target: &Target) {
    let Some(broker) = target.restartable() else {
        println!("{} is not ours to restart", target.name);
        return;
    };
    let (topic, group) = (target.new_topic(3), unique("group"));
    for (round, how) in [(0, "a clean stop"), (1, "a crash")] {
        target.produce(&topic, 0, &numbered(100), &[("compression.type", "zstd")]);
        let member = target.member(&group, &topic, &[]);
        take(&member, if round == 0 { 100 } else { 110 });
        commit(&member, &topic, round * 100 + 90);
        drop(member);
        if round == 0 {
            broker.stop()
        } else {
            broker.kill()
        }
        broker.start_again();
        let consumer: BaseConsumer = target.client(&[]);
        let watermarks = consumer.fetch_watermarks(&topic, 0, PATIENCE).expect("the broker answers");
        assert_eq!(watermarks, (0, (round + 1) * 100), "after {how}");
        let metadata = consumer.fetch_metadata(Some(&topic), PATIENCE).expect("the broker answers");
        assert_eq!(metadata.topics()[0].partitions().len(), 3, "after {how}");
        let member = target.member(&group, &topic, &[]);
        assert_eq!(take(&member, 1)[0].0, round * 100 + 90, "after {how}");
        drop(member);
        assert_eq!(take(&target.reader(&topic, 0, 0, &[]), 100)[99].0, 99, "after {how}");
    }
}

#[test]
fn a_consumer_reads_on_over_a_restart() {
    everywhere(check_reads_over_restart);
}

/// Only where the broker may be stopped.
fn check_reads_over_restart(target: &Target) {
    let Some(broker) = target.restartable() else {
        println!("{} is not ours to restart", target.name);
        return;
    };
    let (topic, group) = (target.new_topic(1), unique("group"));
    let member = target.member(&group, &topic, &[("reconnect.backoff.max.ms", "200")]);
    target.produce(&topic, 0, &numbered(5), &[]);
    take(&member, 5);
    commit(&member, &topic, 5);
    broker.kill();
    broker.start_again();
    target.produce(&topic, 0, &numbered(5), &[]);
    let offsets = eventually("the records behind the restart arrive", || {
        match member.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => Some(rdkafka::Message::offset(&message)),
            // Losing the connection is reported, and is no reason to stop.
            Some(Err(_)) | None => None,
        }
    });
    assert_eq!(offsets, 5);
}
