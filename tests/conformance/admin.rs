//! Topics: made, grown, described and deleted by admin calls.

use rdkafka::admin::{
    AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::types::RDKafkaErrorCode;

use super::everywhere;
use crate::support::kafka::{PATIENCE, Target, block_on, eventually, numbered, take, unique};

#[test]
fn topics_are_created_grown_and_deleted() {
    everywhere(check_topics);
}

fn check_topics(target: &Target) {
    let (admin, options) = (target.admin(), AdminOptions::new());
    let consumer: BaseConsumer = target.client(&[]);
    let partitions = |topic: &str| {
        let metadata = consumer.fetch_metadata(Some(topic), PATIENCE).expect("the broker answers");
        metadata.topics()[0].error().is_none().then(|| metadata.topics()[0].partitions().len())
    };
    let topic = target.new_topic(2);
    let create = |name: &str, count: i32, replicas: i32| {
        let topic = NewTopic::new(name, count, TopicReplication::Fixed(replicas));
        let created = block_on(admin.create_topics(&[topic], &options)).expect("the broker answers");
        created.into_iter().next().expect("one topic was named").map_err(|(_, code)| code)
    };
    assert_eq!(create(&topic, 2, 1), Err(RDKafkaErrorCode::TopicAlreadyExists));
    assert_eq!(create("not/legal", 1, 1), Err(RDKafkaErrorCode::InvalidTopic));
    assert_eq!(create(&unique("topic"), 0, 1), Err(RDKafkaErrorCode::InvalidPartitions));
    assert_eq!(create(&unique("topic"), 1, 3), Err(RDKafkaErrorCode::InvalidReplicationFactor));

    target.produce(&topic, 1, &numbered(5), &[]);
    let grow = |count: usize| {
        let grown = block_on(admin.create_partitions(&[NewPartitions::new(&topic, count)], &options));
        let grown = grown.expect("the broker answers");
        grown.into_iter().next().expect("one topic was named").map_err(|(_, code)| code)
    };
    assert_eq!(grow(5), Ok(topic.clone()));
    eventually("the new partitions are there", || (partitions(&topic) == Some(5)).then_some(()));
    assert_eq!(grow(3), Err(RDKafkaErrorCode::InvalidPartitions));
    eventually("the new partition can be written", || {
        let watermarks = consumer.fetch_watermarks(&topic, 4, PATIENCE).ok()?;
        (watermarks == (0, 0)).then_some(())
    });
    target.produce(&topic, 4, &numbered(5), &[]);
    assert_eq!(take(&target.reader(&topic, 1, 0, &[]), 5).len(), 5);
    assert_eq!(take(&target.reader(&topic, 4, 0, &[]), 5).len(), 5);

    let delete = |name: &str| {
        let deleted = block_on(admin.delete_topics(&[name], &options)).expect("the broker answers");
        deleted.into_iter().next().expect("one topic was named").map_err(|(_, code)| code)
    };
    assert_eq!(delete(&topic), Ok(topic.clone()));
    eventually("the topic is gone", || partitions(&topic).is_none().then_some(()));
    assert_eq!(delete(&topic), Err(RDKafkaErrorCode::UnknownTopicOrPartition));

    eventually("the name can be used again", || create(&topic, 1, 1).ok());
    eventually("the new topic is there", || (partitions(&topic) == Some(1)).then_some(()));
    let empty = eventually("the new topic is served", || consumer.fetch_watermarks(&topic, 0, PATIENCE).ok());
    assert_eq!(empty, (0, 0), "nothing of the old topic is in the new one");
}

#[test]
fn settings_of_a_topic_are_told_changed_and_checked() {
    everywhere(check_settings);
}

fn check_settings(target: &Target) {
    let topic = target.new_topic_with(1, &[("retention.ms", "86400000")]);
    let (admin, options) = (target.admin(), AdminOptions::new());
    let told = |name: &str| {
        let described = block_on(admin.describe_configs(&[ResourceSpecifier::Topic(&topic)], &options));
        let described = described.expect("the broker answers").remove(0).expect("the topic is known");
        described.get(name).and_then(|entry| entry.value.clone())
    };
    assert_eq!(told("retention.ms").as_deref(), Some("86400000"));
    assert_eq!(told("cleanup.policy").as_deref(), Some("delete"));
    let alter = |name: &str, value: &str| {
        let changed = AlterConfig::new(ResourceSpecifier::Topic(&topic)).set(name, value);
        block_on(admin.alter_configs(&[changed], &options)).expect("the broker answers");
    };
    alter("retention.bytes", "1000000");
    eventually("the change is told", || {
        (told("retention.bytes").as_deref() == Some("1000000")).then_some(())
    });
    assert_ne!(told("retention.ms").as_deref(), Some("86400000"), "altering replaces all settings");

    for (name, value) in [("retention.ms", "soon"), ("no.such.setting", "1")] {
        // The client does not pass on whether a change was refused; the settings tell.
        alter(name, value);
        let wrong = unique("topic");
        let topic = NewTopic::new(&wrong, 1, TopicReplication::Fixed(1)).set(name, value);
        let created = block_on(admin.create_topics(&[topic], &options)).expect("the broker answers");
        assert_eq!(created, [Err((wrong, RDKafkaErrorCode::InvalidConfig))], "{name}={value}");
    }
    assert_eq!(told("retention.bytes").as_deref(), Some("1000000"), "what was refused changed nothing");
}
