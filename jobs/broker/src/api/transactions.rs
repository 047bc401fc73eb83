//! Transactions, which this broker does not have. It says so with the code that makes clients give up at once, with a
//! clear error, instead of trying again: nobody is authorized for any transactional id.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    EndTxnRequest, EndTxnResponse, TxnOffsetCommitRequest, TxnOffsetCommitResponse,
};

pub const REFUSED: ResponseError = ResponseError::TransactionalIdAuthorizationFailed;
pub const REASON: &str = "this broker has no transactions: use an idempotent producer, or Apache Kafka";

pub fn add_partitions(ask: AddPartitionsToTxnRequest) -> AddPartitionsToTxnResponse {
    let topics = ask.v3_and_below_topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|&index| {
            AddPartitionsToTxnPartitionResult::default()
                .with_partition_index(index)
                .with_partition_error_code(REFUSED.code())
        });
        let partitions = partitions.collect();
        AddPartitionsToTxnTopicResult::default().with_name(topic.name).with_results_by_partition(partitions)
    });
    AddPartitionsToTxnResponse::default().with_results_by_topic_v3_and_below(topics.collect())
}

pub fn add_offsets(_: AddOffsetsToTxnRequest) -> AddOffsetsToTxnResponse {
    AddOffsetsToTxnResponse::default().with_error_code(REFUSED.code())
}

pub fn end(_: EndTxnRequest) -> EndTxnResponse {
    EndTxnResponse::default().with_error_code(REFUSED.code())
}

pub fn commit_offsets(ask: TxnOffsetCommitRequest) -> TxnOffsetCommitResponse {
    let topics = ask.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            TxnOffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(REFUSED.code())
        });
        let partitions = partitions.collect();
        TxnOffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    TxnOffsetCommitResponse::default().with_topics(topics.collect())
}
