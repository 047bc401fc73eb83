//! Every request in every version that the broker claims to answer: older clients use the older ones.

use std::ops::RangeInclusive;

use bytes::Bytes;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use watershed_broker::BrokerConfig;

use crate::support::batches::{Batch, produce};
use crate::support::kafka::{Connection, EmbeddedBroker, Target};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn group_id() -> GroupId {
    GroupId(text("group"))
}

/// The versions claimed for a request.
fn claimed(connection: &mut Connection, key: ApiKey) -> RangeInclusive<i16> {
    let told = connection.ask(0, &ApiVersionsRequest::default());
    let api = told.api_keys.iter().find(|api| api.api_key == key as i16).expect("the request is known");
    // The first versions of Produce are claimed for librdkafka's sake only.
    let least = if key == ApiKey::Produce { 3 } else { api.min_version };
    least..=api.max_version
}

/// A broker with a topic of 12 records.
fn world() -> (Target, String, Connection) {
    let target = Target::embedded(EmbeddedBroker::start(BrokerConfig::default()));
    let topic = target.new_topic(1);
    let mut connection = target.connect();
    for _ in 0..3 {
        produce(&mut connection, &topic, &Batch::numbered(4)).expect("the batch is accepted");
    }
    (target, topic, connection)
}

#[test]
fn records_and_offsets_are_served_in_every_version() {
    let (_target, topic, mut connection) = world();
    let connection = &mut connection;
    let asked = MetadataRequestTopic::default().with_name(Some(topic_name(&topic)));
    let metadata =
        MetadataRequest::default().with_topics(Some(vec![asked])).with_allow_auto_topic_creation(true);
    let mut id = uuid::Uuid::nil();
    for version in claimed(connection, ApiKey::Metadata) {
        let told = connection.ask(version, &metadata);
        assert_eq!((told.topics.len(), told.topics[0].error_code), (1, 0), "Metadata {version}");
        let asks_all = MetadataRequest::default().with_topics((version == 0).then(Vec::new));
        assert_eq!(connection.ask(version, &asks_all).topics.len(), 1, "Metadata {version} of all topics");
        id = told.topics[0].topic_id;
    }
    for version in claimed(connection, ApiKey::Fetch) {
        let partition = FetchPartition::default().with_fetch_offset(5).with_partition_max_bytes(1 << 20);
        let partition = partition.with_current_leader_epoch(-1);
        let mut asked = FetchTopic::default().with_partitions(vec![partition]);
        if version >= 13 {
            asked.topic_id = id;
        } else {
            asked.topic = topic_name(&topic);
        }
        let mut ask =
            FetchRequest::default().with_max_bytes(1 << 20).with_min_bytes(1).with_topics(vec![asked]);
        ask.session_epoch = -1;
        let told = connection.ask(version, &ask);
        let partition = &told.responses[0].partitions[0];
        assert_eq!((partition.error_code, partition.high_watermark), (0, 12), "Fetch {version}");
        assert!(partition.records.as_ref().is_some_and(|records| !records.is_empty()), "Fetch {version}");
    }
    for version in claimed(connection, ApiKey::ListOffsets) {
        for (timestamp, expected) in [(-2, 0), (-1, 12)] {
            let partition =
                ListOffsetsPartition::default().with_timestamp(timestamp).with_current_leader_epoch(-1);
            let asked =
                ListOffsetsTopic::default().with_name(topic_name(&topic)).with_partitions(vec![partition]);
            let told = connection.ask(version, &ListOffsetsRequest::default().with_topics(vec![asked]));
            let partition = &told.topics[0].partitions[0];
            assert_eq!((partition.error_code, partition.offset), (0, expected), "ListOffsets {version}");
        }
    }
    for version in claimed(connection, ApiKey::OffsetForLeaderEpoch) {
        let partition = OffsetForLeaderPartition::default().with_current_leader_epoch(-1);
        let asked =
            OffsetForLeaderTopic::default().with_topic(topic_name(&topic)).with_partitions(vec![partition]);
        let told = connection.ask(version, &OffsetForLeaderEpochRequest::default().with_topics(vec![asked]));
        assert_eq!(told.topics[0].partitions[0].end_offset, 12, "OffsetForLeaderEpoch {version}");
    }
    for (version, expected) in claimed(connection, ApiKey::Produce).zip(3..) {
        let records = Batch::numbered(1).encode();
        let partition = PartitionProduceData::default().with_records(Some(records));
        let asked =
            TopicProduceData::default().with_name(topic_name(&topic)).with_partition_data(vec![partition]);
        let ask = ProduceRequest::default().with_acks(1).with_topic_data(vec![asked]);
        let told = connection.ask(version, &ask);
        let partition = &told.responses[0].partition_responses[0];
        assert_eq!((partition.error_code, partition.base_offset), (0, expected + 9), "Produce {version}");
    }
    for version in claimed(connection, ApiKey::DeleteRecords) {
        let partition = DeleteRecordsPartition::default().with_offset(2);
        let asked =
            DeleteRecordsTopic::default().with_name(topic_name(&topic)).with_partitions(vec![partition]);
        let told = connection.ask(version, &DeleteRecordsRequest::default().with_topics(vec![asked]));
        assert_eq!(told.topics[0].partitions[0].low_watermark, 2, "DeleteRecords {version}");
    }
}

#[test]
fn groups_work_in_every_version() {
    let (_target, topic, mut connection) = world();
    let connection = &mut connection;
    for version in claimed(connection, ApiKey::FindCoordinator) {
        let mut ask = FindCoordinatorRequest::default();
        if version >= 4 {
            ask.coordinator_keys = vec![text("group")];
        } else {
            ask.key = text("group");
        }
        let told = connection.ask(version, &ask);
        let (code, port) =
            told.coordinators.first().map_or((told.error_code, told.port), |c| (c.error_code, c.port));
        assert!(code == 0 && port > 0, "FindCoordinator {version}");
    }
    for version in claimed(connection, ApiKey::OffsetCommit) {
        let partition = OffsetCommitRequestPartition::default().with_committed_offset(i64::from(version));
        let asked = OffsetCommitRequestTopic::default()
            .with_name(topic_name(&topic))
            .with_partitions(vec![partition]);
        let ask =
            OffsetCommitRequest::default().with_group_id(group_id()).with_generation_id_or_member_epoch(-1);
        let told = connection.ask(version, &ask.with_topics(vec![asked]));
        assert_eq!(told.topics[0].partitions[0].error_code, 0, "OffsetCommit {version}");
    }
    for version in claimed(connection, ApiKey::OffsetFetch) {
        let offset = if version >= 8 {
            let topics = OffsetFetchRequestTopics::default().with_name(topic_name(&topic));
            let group = OffsetFetchRequestGroup::default().with_group_id(group_id());
            let group = group.with_topics(Some(vec![topics.with_partition_indexes(vec![0])]));
            let told = connection.ask(version, &OffsetFetchRequest::default().with_groups(vec![group]));
            told.groups[0].topics[0].partitions[0].committed_offset
        } else {
            let topics = OffsetFetchRequestTopic::default().with_name(topic_name(&topic));
            let topics = Some(vec![topics.with_partition_indexes(vec![0])]);
            let ask = OffsetFetchRequest::default().with_group_id(group_id()).with_topics(topics);
            connection.ask(version, &ask).topics[0].partitions[0].committed_offset
        };
        assert_eq!(offset, 8, "OffsetFetch {version}");
    }
    for version in claimed(connection, ApiKey::ListGroups) {
        assert_eq!(
            connection.ask(version, &ListGroupsRequest::default()).groups.len(),
            1,
            "ListGroups {version}"
        );
    }
    // One membership: joined in the version at hand, kept and left in the newest of each that is no newer.
    for version in claimed(connection, ApiKey::JoinGroup) {
        let protocol =
            JoinGroupRequestProtocol::default().with_name(text("any")).with_metadata(Bytes::from("said"));
        let mut join = JoinGroupRequest::default()
            .with_group_id(group_id())
            .with_session_timeout_ms(10_000)
            .with_protocol_type(text("test"))
            .with_protocols(vec![protocol]);
        if version >= 1 {
            join.rebalance_timeout_ms = 10_000;
        }
        let mut joined = connection.ask(version, &join);
        if joined.error_code == 79 {
            join.member_id = joined.member_id;
            joined = connection.ask(version, &join);
        }
        assert_eq!((joined.error_code, joined.members.len()), (0, 1), "JoinGroup {version}");
        assert_eq!(joined.leader, joined.member_id);
        let (generation, member) = (joined.generation_id, joined.member_id);
        let sync = SyncGroupRequest::default()
            .with_group_id(group_id())
            .with_generation_id(generation)
            .with_member_id(member.clone());
        assert_eq!(connection.ask(version.min(5), &sync).error_code, 0, "SyncGroup with JoinGroup {version}");
        let beat = HeartbeatRequest::default()
            .with_group_id(group_id())
            .with_generation_id(generation)
            .with_member_id(member.clone());
        assert_eq!(connection.ask(version.min(4), &beat).error_code, 0, "Heartbeat with JoinGroup {version}");
        let described = DescribeGroupsRequest::default().with_groups(vec![group_id()]);
        let told = connection.ask(version.min(5), &described);
        assert_eq!((&*told.groups[0].group_state, told.groups[0].members.len()), ("Stable", 1));
        let mut leave = LeaveGroupRequest::default().with_group_id(group_id());
        if version >= 3 {
            leave.members = vec![MemberIdentity::default().with_member_id(member)];
        } else {
            leave.member_id = member;
        }
        let left = connection.ask(version.min(5), &leave);
        let code = left.members.first().map_or(left.error_code, |member| member.error_code);
        assert_eq!(code, 0, "LeaveGroup with JoinGroup {version}");
    }
    for (version, expected) in claimed(connection, ApiKey::DeleteGroups).zip([0, 69, 69]) {
        let told =
            connection.ask(version, &DeleteGroupsRequest::default().with_groups_names(vec![group_id()]));
        assert_eq!(told.results[0].error_code, expected, "DeleteGroups {version}");
    }
}

#[test]
fn topics_are_administered_in_every_version() {
    let (_target, _topic, mut connection) = world();
    let connection = &mut connection;
    for version in claimed(connection, ApiKey::CreateTopics) {
        let name = topic_name(&format!("made-{version}"));
        let topic =
            CreatableTopic::default().with_name(name).with_num_partitions(1).with_replication_factor(1);
        let told = connection.ask(version, &CreateTopicsRequest::default().with_topics(vec![topic]));
        assert_eq!(told.topics[0].error_code, 0, "CreateTopics {version}");
    }
    for version in claimed(connection, ApiKey::CreatePartitions) {
        let topic = CreatePartitionsTopic::default().with_name(topic_name("made-2")).with_assignments(None);
        let topic = topic.with_count(i32::from(version) + 2);
        let told = connection.ask(version, &CreatePartitionsRequest::default().with_topics(vec![topic]));
        assert_eq!(told.results[0].error_code, 0, "CreatePartitions {version}");
    }
    for version in claimed(connection, ApiKey::DescribeConfigs) {
        for (kind, name) in [(2, "made-2"), (4, "1")] {
            let resource =
                DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(text(name));
            let resource = resource.with_configuration_keys(None);
            let told =
                connection.ask(version, &DescribeConfigsRequest::default().with_resources(vec![resource]));
            assert_eq!(told.results[0].error_code, 0, "DescribeConfigs {version}");
            assert!(!told.results[0].configs.is_empty(), "DescribeConfigs {version}");
        }
    }
    for version in claimed(connection, ApiKey::DescribeCluster) {
        let told = connection.ask(version, &DescribeClusterRequest::default());
        assert_eq!(told.brokers.len(), 1, "DescribeCluster {version}");
    }
    for version in claimed(connection, ApiKey::InitProducerId) {
        let told = connection.ask(version, &InitProducerIdRequest::default().with_transactional_id(None));
        assert_eq!(told.error_code, 0, "InitProducerId {version}");
    }
    for version in claimed(connection, ApiKey::DeleteTopics) {
        let name = topic_name(&format!("made-{}", version + 1));
        let mut ask = DeleteTopicsRequest::default();
        if version >= 6 {
            ask.topics = vec![DeleteTopicState::default().with_name(Some(name))];
        } else {
            ask.topic_names = vec![name];
        }
        assert_eq!(connection.ask(version, &ask).responses[0].error_code, 0, "DeleteTopics {version}");
    }
}
