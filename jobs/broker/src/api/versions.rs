//! Which requests are answered, in which versions.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};

use super::{RequestFault, encode};

/// Inclusive at both ends, as on the wire.
#[derive(Debug, Clone, Copy)]
pub struct Versions {
    pub least: i16,
    pub most: i16,
}

/// Fetch ends below the versions that only replicas need; Produce ends where transactions changed it.
const SUPPORTED: [(ApiKey, i16, i16); 30] = [
    (ApiKey::Produce, 3, 9),
    (ApiKey::Fetch, 4, 16),
    (ApiKey::ListOffsets, 1, 7),
    (ApiKey::Metadata, 0, 12),
    (ApiKey::OffsetCommit, 2, 8),
    (ApiKey::OffsetFetch, 1, 8),
    (ApiKey::FindCoordinator, 0, 4),
    (ApiKey::JoinGroup, 0, 9),
    (ApiKey::Heartbeat, 0, 4),
    (ApiKey::LeaveGroup, 0, 5),
    (ApiKey::SyncGroup, 0, 5),
    (ApiKey::DescribeGroups, 0, 5),
    (ApiKey::ListGroups, 0, 5),
    (ApiKey::ApiVersions, 0, 4),
    (ApiKey::CreateTopics, 2, 7),
    (ApiKey::DeleteTopics, 1, 6),
    (ApiKey::DeleteRecords, 0, 2),
    (ApiKey::InitProducerId, 0, 4),
    (ApiKey::OffsetForLeaderEpoch, 2, 4),
    (ApiKey::AddPartitionsToTxn, 0, 3),
    (ApiKey::AddOffsetsToTxn, 0, 3),
    (ApiKey::EndTxn, 0, 3),
    (ApiKey::TxnOffsetCommit, 0, 3),
    (ApiKey::DescribeConfigs, 1, 4),
    (ApiKey::AlterConfigs, 0, 2),
    (ApiKey::CreatePartitions, 0, 3),
    (ApiKey::DeleteGroups, 0, 2),
    (ApiKey::IncrementalAlterConfigs, 0, 1),
    (ApiKey::OffsetDelete, 0, 0),
    (ApiKey::DescribeCluster, 0, 1),
];

/// librdkafka compresses only for brokers that claim the first versions of Produce, though it then uses a later one.
/// Apache Kafka 4 claims them for the same reason, and refuses them all the same.
const CLAIMED_LEAST_PRODUCE: i16 = 0;

pub fn supported(key: ApiKey) -> Option<Versions> {
    SUPPORTED.iter().find(|(known, ..)| *known == key).map(|&(_, least, most)| Versions { least, most })
}

pub fn versions() -> ApiVersionsResponse {
    let claimed = SUPPORTED.iter().map(|&(key, least, most)| {
        let least = if key == ApiKey::Produce { CLAIMED_LEAST_PRODUCE } else { least };
        ApiVersion::default().with_api_key(key as i16).with_min_version(least).with_max_version(most)
    });
    ApiVersionsResponse::default().with_api_keys(claimed.collect())
}

/// The answer to a version of ApiVersions that is not known here, in the form that every client can read.
pub fn unsupported(correlation_id: i32) -> Result<Bytes, RequestFault> {
    let response = versions().with_error_code(ResponseError::UnsupportedVersion.code());
    encode(ApiKey::ApiVersions, 0, correlation_id, &response)
}
