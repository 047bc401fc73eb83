//! Who is there: the one broker, its topics, and itself as every group's coordinator.

use std::sync::Arc;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{
    DescribeClusterRequest, DescribeClusterResponse, FindCoordinatorRequest, FindCoordinatorResponse,
    MetadataRequest, MetadataResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;

use super::{Call, text};
use crate::settings::TopicSettings;
use crate::shared::NODE_ID;
use crate::topics::{Topic, TopicFault};

/// What may be done, when nobody asked.
const OPERATIONS_NOT_ASKED: i32 = i32::MIN;

pub fn metadata(call: &Call<'_>, ask: MetadataRequest) -> MetadataResponse {
    // The first version said "all topics" with an empty list, later ones with none at all.
    let asks_all = call.version == 0 && ask.topics.as_ref().is_some_and(Vec::is_empty);
    let topics = match ask.topics.filter(|_| !asks_all) {
        None => call.shared.topics.all().iter().map(|topic| described(call, topic)).collect(),
        Some(asked) => asked
            .into_iter()
            .map(|topic| match topic.name {
                Some(name) => by_name(call, name, ask.allow_auto_topic_creation || call.version < 4),
                None => match call.shared.topics.by_id(topic.topic_id) {
                    Some(found) => described(call, &found),
                    None => MetadataResponseTopic::default()
                        .with_topic_id(topic.topic_id)
                        .with_error_code(ResponseError::UnknownTopicId.code()),
                },
            })
            .collect(),
    };
    let broker = MetadataResponseBroker::default()
        .with_node_id(NODE_ID.into())
        .with_host(text(&call.origin.host))
        .with_port(i32::from(call.origin.port));
    MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text(&call.shared.cluster_id)))
        .with_controller_id(NODE_ID.into())
        .with_topics(topics)
        .with_cluster_authorized_operations(OPERATIONS_NOT_ASKED)
}

fn by_name(call: &Call<'_>, name: TopicName, may_create: bool) -> MetadataResponseTopic {
    let topics = &call.shared.topics;
    let config = &call.shared.config;
    let found = topics.by_name(&name).ok_or(ResponseError::UnknownTopicOrPartition).or_else(|unknown| {
        if !may_create || !config.auto_create_topics {
            return Err(unknown);
        }
        match topics.create(&name, config.default_partitions, TopicSettings::default()) {
            Ok(topic) => Ok(topic),
            // Another client was faster.
            Err(TopicFault::Exists { .. }) => topics.by_name(&name).ok_or(unknown),
            Err(fault) => Err(super::topics::code(&fault)),
        }
    });
    match found {
        Ok(topic) => described(call, &topic),
        Err(error) => MetadataResponseTopic::default().with_name(Some(name)).with_error_code(error.code()),
    }
}

fn described(call: &Call<'_>, topic: &Arc<Topic>) -> MetadataResponseTopic {
    let partitions = topic.partitions().into_iter().map(|partition| {
        MetadataResponsePartition::default()
            .with_partition_index(partition.index)
            .with_leader_id(NODE_ID.into())
            .with_leader_epoch(call.shared.leader_epoch)
            .with_replica_nodes(vec![NODE_ID.into()])
            .with_isr_nodes(vec![NODE_ID.into()])
    });
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(&topic.name))))
        .with_topic_id(topic.id)
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(OPERATIONS_NOT_ASKED)
}

pub fn describe_cluster(call: &Call<'_>, ask: DescribeClusterRequest) -> DescribeClusterResponse {
    const BROKERS: i8 = 1;
    let answer = DescribeClusterResponse::default()
        .with_cluster_id(text(&call.shared.cluster_id))
        .with_controller_id(NODE_ID.into())
        .with_cluster_authorized_operations(OPERATIONS_NOT_ASKED);
    if call.version >= 1 && ask.endpoint_type != BROKERS {
        return answer
            .with_error_code(ResponseError::MismatchedEndpointType.code())
            .with_error_message(Some(text("found a question to controllers, expected one to brokers")));
    }
    let broker = DescribeClusterBroker::default()
        .with_broker_id(NODE_ID.into())
        .with_host(text(&call.origin.host))
        .with_port(i32::from(call.origin.port));
    answer.with_brokers(vec![broker])
}

pub fn find_coordinator(call: &Call<'_>, ask: FindCoordinatorRequest) -> FindCoordinatorResponse {
    /// From this version on, several coordinators are asked for at once.
    const MANY_FROM: i16 = 4;
    let found = check_coordinator(ask.key_type);
    let (error_code, reason) = match &found {
        Ok(()) => (0, None),
        Err((error, reason)) => (error.code(), Some(StrBytes::from_static_str(reason))),
    };
    let (node_id, host, port) = match found {
        Ok(()) => (NODE_ID, text(&call.origin.host), i32::from(call.origin.port)),
        Err(_) => (-1, StrBytes::default(), -1),
    };
    if call.version < MANY_FROM {
        return FindCoordinatorResponse::default()
            .with_error_code(error_code)
            .with_error_message(reason)
            .with_node_id(node_id.into())
            .with_host(host)
            .with_port(port);
    }
    let coordinators = ask.coordinator_keys.into_iter().map(|key| {
        Coordinator::default()
            .with_key(key)
            .with_error_code(error_code)
            .with_error_message(reason.clone())
            .with_node_id(node_id.into())
            .with_host(host.clone())
            .with_port(port)
    });
    FindCoordinatorResponse::default().with_coordinators(coordinators.collect())
}

fn check_coordinator(key_type: i8) -> Result<(), (ResponseError, &'static str)> {
    const GROUP: i8 = 0;
    const TRANSACTION: i8 = 1;
    match key_type {
        GROUP => Ok(()),
        TRANSACTION => Err((super::transactions::REFUSED, super::transactions::REASON)),
        _ => Err((
            ResponseError::InvalidRequest,
            "found an unknown kind of coordinator, expected that of a group",
        )),
    }
}
