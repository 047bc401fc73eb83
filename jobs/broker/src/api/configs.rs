//! Reading and changing settings, under Kafka's names. Those of topics can be changed, those of the broker only read.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult,
};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse as IncrementallyAltered;
use kafka_protocol::messages::{
    AlterConfigsRequest, AlterConfigsResponse, DescribeConfigsRequest, DescribeConfigsResponse,
    IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{Call, text};
use crate::settings::{Described, TopicSettings};
use crate::shared::NODE_ID;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const OF_TOPIC: i8 = 1;
const OF_BROKER_FILE: i8 = 4;
const DEFAULT: i8 = 5;
const SET: i8 = 0;
const DELETE: i8 = 1;

type Refusal = (ResponseError, String);

/// Kafka's code for where a setting comes from.
pub fn source(setting: &Described) -> i8 {
    if setting.of_topic { OF_TOPIC } else { DEFAULT }
}

pub fn describe(call: &Call<'_>, ask: DescribeConfigsRequest) -> DescribeConfigsResponse {
    let results = ask.resources.into_iter().map(|resource| {
        let answer = DescribeConfigsResult::default().with_resource_type(resource.resource_type);
        let answer = match describe_one(call, &resource) {
            Ok(configs) => answer.with_configs(configs),
            Err((error, reason)) => {
                answer.with_error_code(error.code()).with_error_message(Some(text(reason)))
            }
        };
        answer.with_resource_name(resource.resource_name)
    });
    DescribeConfigsResponse::default().with_results(results.collect())
}

fn describe_one(
    call: &Call<'_>,
    resource: &DescribeConfigsResource,
) -> Result<Vec<DescribeConfigsResourceResult>, Refusal> {
    let config = &call.shared.config;
    let all = match resource.resource_type {
        TOPIC => topic_settings(call, &resource.resource_name)?
            .describe(config)
            .into_iter()
            .map(topic_config)
            .collect(),
        BROKER if *resource.resource_name == *NODE_ID.to_string() || resource.resource_name.is_empty() => {
            broker_configs(call)
        }
        BROKER => {
            let reason = format!("found broker {:?}, expected {NODE_ID}", &*resource.resource_name);
            return Err((ResponseError::InvalidRequest, reason));
        }
        found => {
            let reason =
                format!("found resource type {found}, expected a topic ({TOPIC}) or a broker ({BROKER})");
            return Err((ResponseError::InvalidRequest, reason));
        }
    };
    let Some(keys) = &resource.configuration_keys else { return Ok(all) };
    Ok(all.into_iter().filter(|config| keys.contains(&config.name)).collect())
}

fn topic_config(setting: Described) -> DescribeConfigsResourceResult {
    DescribeConfigsResourceResult::default()
        .with_config_source(source(&setting))
        .with_name(StrBytes::from_static_str(setting.name))
        .with_config_type(setting.kind as i8)
        .with_value(Some(text(setting.value)))
}

fn broker_configs(call: &Call<'_>) -> Vec<DescribeConfigsResourceResult> {
    let config = &call.shared.config;
    let limits = TopicSettings::default().limits(config);
    let or_forever = |number: Option<u128>| number.map_or("-1".to_owned(), |number| number.to_string());
    [
        ("broker.id", NODE_ID.to_string()),
        ("num.partitions", config.default_partitions.to_string()),
        ("default.replication.factor", "1".to_owned()),
        ("auto.create.topics.enable", config.auto_create_topics.to_string()),
        ("message.max.bytes", config.max_message_bytes.to_string()),
        ("socket.request.max.bytes", config.max_request_bytes.to_string()),
        ("fetch.max.bytes", config.max_fetch_bytes.to_string()),
        ("max.connections", config.max_connections.to_string()),
        ("log.segment.bytes", limits.segment_bytes.to_string()),
        ("log.retention.bytes", or_forever(limits.retention_bytes.map(u128::from))),
        ("log.retention.ms", or_forever(limits.retention.map(|age| age.as_millis()))),
        ("group.min.session.timeout.ms", config.group.min_session.as_millis().to_string()),
        ("group.max.session.timeout.ms", config.group.max_session.as_millis().to_string()),
        ("group.initial.rebalance.delay.ms", config.group.initial_rebalance_delay.as_millis().to_string()),
    ]
    .into_iter()
    .map(|(name, value)| {
        DescribeConfigsResourceResult::default()
            .with_name(StrBytes::from_static_str(name))
            .with_value(Some(text(value)))
            .with_read_only(true)
            .with_config_source(OF_BROKER_FILE)
    })
    .collect()
}

fn topic_settings(call: &Call<'_>, name: &str) -> Result<TopicSettings, Refusal> {
    let topic = call.shared.topics.by_name(name);
    let unknown = || (ResponseError::UnknownTopicOrPartition, format!("found no topic {name:?}"));
    topic.map(|topic| topic.settings()).ok_or_else(unknown)
}

/// One change of one setting; without a value it returns to the broker's own.
type SettingChange<'a> = (&'a str, Option<&'a str>);

/// Replaces all settings of a topic.
pub fn alter(call: &Call<'_>, ask: AlterConfigsRequest) -> AlterConfigsResponse {
    let responses = ask.resources.into_iter().map(|resource| {
        let changes: Vec<SettingChange<'_>> =
            resource.configs.iter().map(|config| (&*config.name, config.value.as_deref())).collect();
        let done = check_is_topic(resource.resource_type, &resource.resource_name).and_then(|()| {
            change(call, &resource.resource_name, TopicSettings::default(), &changes, ask.validate_only)
        });
        let (error_code, reason) = told(done);
        AlterConfigsResourceResponse::default()
            .with_error_code(error_code)
            .with_error_message(reason)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
    });
    AlterConfigsResponse::default().with_responses(responses.collect())
}

/// Changes the settings named and leaves the others.
pub fn alter_incrementally(
    call: &Call<'_>,
    ask: IncrementalAlterConfigsRequest,
) -> IncrementalAlterConfigsResponse {
    let responses = ask.resources.into_iter().map(|resource| {
        let changes: Result<Vec<SettingChange<'_>>, Refusal> = resource
            .configs
            .iter()
            .map(|config| match config.config_operation {
                SET => Ok((&*config.name, config.value.as_deref())),
                DELETE => Ok((&*config.name, None)),
                // Lists could be appended to and subtracted from; no list of this broker has a second value.
                _ => Err((
                    ResponseError::InvalidConfig,
                    format!("{}: expected to be set or deleted", &*config.name),
                )),
            })
            .collect();
        let done = check_is_topic(resource.resource_type, &resource.resource_name).and_then(|()| {
            let present = topic_settings(call, &resource.resource_name)?;
            change(call, &resource.resource_name, present, &changes?, ask.validate_only)
        });
        let (error_code, reason) = told(done);
        IncrementallyAltered::default()
            .with_error_code(error_code)
            .with_error_message(reason)
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
    });
    IncrementalAlterConfigsResponse::default().with_responses(responses.collect())
}

fn check_is_topic(resource_type: i8, name: &str) -> Result<(), Refusal> {
    if resource_type == TOPIC {
        return Ok(());
    }
    let reason = format!("found resource {name:?} of type {resource_type}, expected a topic ({TOPIC})");
    Err((ResponseError::InvalidRequest, reason))
}

fn change(
    call: &Call<'_>,
    name: &str,
    mut settings: TopicSettings,
    changes: &[SettingChange<'_>],
    validate_only: bool,
) -> Result<(), Refusal> {
    let topics = &call.shared.topics;
    let unknown = || (ResponseError::UnknownTopicOrPartition, format!("found no topic {name:?}"));
    let topic = topics.by_name(name).ok_or_else(unknown)?;
    for (setting, value) in changes {
        settings.set(setting, *value).map_err(|fault| (ResponseError::InvalidConfig, fault.to_string()))?;
    }
    if validate_only {
        return Ok(());
    }
    topics.change_settings(&topic, settings).map_err(|fault| (super::topics::code(&fault), fault.to_string()))
}

fn told(done: Result<(), Refusal>) -> (i16, Option<StrBytes>) {
    done.map_or_else(|(error, reason)| (error.code(), Some(text(reason))), |()| (0, None))
}
