//! Creating, growing and deleting topics.

use std::collections::HashSet;

use kafka_protocol::ResponseError;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreateTopicsRequest, CreateTopicsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::configs::source;
use super::{Call, text};
use crate::settings::TopicSettings;
use crate::shared::NODE_ID;
use crate::topics::TopicFault;

/// A refusal: the code, and the reason in words.
type Refusal = (ResponseError, String);

pub fn code(fault: &TopicFault) -> ResponseError {
    match fault {
        TopicFault::Name { .. } => ResponseError::InvalidTopicException,
        TopicFault::Exists { .. } => ResponseError::TopicAlreadyExists,
        TopicFault::Unknown { .. } => ResponseError::UnknownTopicOrPartition,
        TopicFault::Partitions { .. } => ResponseError::InvalidPartitions,
        TopicFault::Storage(_) => ResponseError::KafkaStorageError,
    }
}

fn refused(fault: TopicFault) -> Refusal {
    if let TopicFault::Storage(error) = &fault {
        tracing::error!(%error, "topic not changed");
    }
    (code(&fault), fault.to_string())
}

fn code_and_reason(done: &Result<impl Sized, Refusal>) -> (i16, Option<StrBytes>) {
    match done {
        Ok(_) => (0, None),
        Err((error, reason)) => (error.code(), Some(text(reason))),
    }
}

pub fn create(call: &Call<'_>, ask: CreateTopicsRequest) -> CreateTopicsResponse {
    let mut seen = HashSet::new();
    let twice: HashSet<TopicName> =
        ask.topics.iter().map(|topic| topic.name.clone()).filter(|name| !seen.insert(name.clone())).collect();
    let topics = ask.topics.into_iter().map(|asked| {
        let made = if twice.contains(&asked.name) {
            Err((ResponseError::InvalidRequest, "found the same topic twice in one request".to_owned()))
        } else {
            create_one(call, &asked, ask.validate_only)
        };
        let (error_code, reason) = code_and_reason(&made);
        let answer = CreatableTopicResult::default()
            .with_name(asked.name)
            .with_error_code(error_code)
            .with_error_message(reason)
            .with_num_partitions(-1)
            .with_replication_factor(-1);
        match made {
            Err(_) => answer,
            Ok(made) => answer
                .with_topic_id(made.id)
                .with_num_partitions(made.partitions)
                .with_replication_factor(1)
                .with_configs(Some(made.configs)),
        }
    });
    CreateTopicsResponse::default().with_topics(topics.collect())
}

struct Made {
    id: Uuid,
    partitions: i32,
    configs: Vec<CreatableTopicConfigs>,
}

fn create_one(call: &Call<'_>, asked: &CreatableTopic, validate_only: bool) -> Result<Made, Refusal> {
    let config = &call.shared.config;
    let partitions = partitions_asked(asked, config.default_partitions)?;
    let mut settings = TopicSettings::default();
    for setting in &asked.configs {
        settings
            .set(&setting.name, setting.value.as_deref())
            .map_err(|fault| (ResponseError::InvalidConfig, fault.to_string()))?;
    }
    let configs = settings.describe(config).into_iter().map(|setting| {
        CreatableTopicConfigs::default()
            .with_config_source(source(&setting))
            .with_name(StrBytes::from_static_str(setting.name))
            .with_value(Some(text(setting.value)))
    });
    let configs = configs.collect();
    let topics = &call.shared.topics;
    let id = if validate_only {
        topics.check_new(&asked.name, partitions).map_err(refused)?;
        Uuid::nil()
    } else {
        topics.create(&asked.name, partitions, settings).map_err(refused)?.id
    };
    Ok(Made { id, partitions, configs })
}

/// How many partitions, from a number or from a list of who holds which.
fn partitions_asked(asked: &CreatableTopic, default_partitions: i32) -> Result<i32, Refusal> {
    if asked.assignments.is_empty() {
        if !matches!(asked.replication_factor, -1 | 1) {
            let reason = format!(
                "found replication factor {}, expected 1, for there is one broker",
                asked.replication_factor
            );
            return Err((ResponseError::InvalidReplicationFactor, reason));
        }
        return Ok(if asked.num_partitions == -1 { default_partitions } else { asked.num_partitions });
    }
    let mut indexes: Vec<i32> = asked.assignments.iter().map(|assigned| assigned.partition_index).collect();
    indexes.sort_unstable();
    let dense = indexes.iter().zip(0..).all(|(&found, expected)| found == expected);
    let ours = asked.assignments.iter().all(|assigned| {
        assigned.broker_ids.iter().all(|id| id.0 == NODE_ID) && assigned.broker_ids.len() == 1
    });
    if !dense || !ours {
        let reason = format!(
            "found replicas elsewhere or gaps, expected partitions from 0 on, each on broker {NODE_ID}"
        );
        return Err((ResponseError::InvalidReplicaAssignment, reason));
    }
    Ok(indexes.len() as i32)
}

pub fn grow(call: &Call<'_>, ask: CreatePartitionsRequest) -> CreatePartitionsResponse {
    let results = ask.topics.into_iter().map(|asked| {
        let (error_code, reason) = code_and_reason(&grow_one(call, &asked, ask.validate_only));
        CreatePartitionsTopicResult::default()
            .with_name(asked.name)
            .with_error_code(error_code)
            .with_error_message(reason)
    });
    CreatePartitionsResponse::default().with_results(results.collect())
}

fn grow_one(call: &Call<'_>, asked: &CreatePartitionsTopic, validate_only: bool) -> Result<(), Refusal> {
    let elsewhere = asked
        .assignments
        .iter()
        .flatten()
        .flat_map(|assigned| &assigned.broker_ids)
        .find(|id| id.0 != NODE_ID);
    if let Some(id) = elsewhere {
        let reason = format!("found broker {}, expected {NODE_ID}", id.0);
        return Err((ResponseError::InvalidReplicaAssignment, reason));
    }
    let topics = &call.shared.topics;
    if validate_only {
        topics.check_growth(&asked.name, asked.count).map(|_| ()).map_err(refused)
    } else {
        topics.grow(&asked.name, asked.count).map_err(refused)
    }
}

pub fn delete(call: &Call<'_>, ask: DeleteTopicsRequest) -> DeleteTopicsResponse {
    let by_name = |name: TopicName| DeleteTopicState::default().with_name(Some(name));
    let asked = ask.topics.into_iter().chain(ask.topic_names.into_iter().map(by_name));
    let responses = asked.map(|asked| {
        let deleted = delete_one(call, &asked);
        let (error_code, reason) = code_and_reason(&deleted);
        let (name, id) =
            deleted.map_or((asked.name, asked.topic_id), |(name, id)| (Some(TopicName(text(name))), id));
        DeletableTopicResult::default()
            .with_name(name)
            .with_topic_id(id)
            .with_error_code(error_code)
            .with_error_message(reason)
    });
    DeleteTopicsResponse::default().with_responses(responses.collect())
}

fn delete_one(call: &Call<'_>, asked: &DeleteTopicState) -> Result<(String, Uuid), Refusal> {
    let topics = &call.shared.topics;
    let topic = match &asked.name {
        Some(name) => {
            topics.by_name(name).ok_or_else(|| refused(TopicFault::Unknown { name: name.to_string() }))?
        }
        None => topics.by_id(asked.topic_id).ok_or_else(|| {
            (ResponseError::UnknownTopicId, format!("found no topic with id {}", asked.topic_id))
        })?,
    };
    topics.delete(&topic).map_err(refused)?;
    call.shared.groups.commits.delete_topic(&topic.name).map_err(|error| refused(error.into()))?;
    Ok((topic.name.clone(), topic.id))
}
