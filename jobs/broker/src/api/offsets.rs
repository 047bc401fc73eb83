//! Where logs begin and end, where an instant lies in them, and moving their start.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kafka_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kafka_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kafka_protocol::messages::{
    DeleteRecordsRequest, DeleteRecordsResponse, ListOffsetsRequest, ListOffsetsResponse,
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};

use super::Call;
use super::fetch::check_epoch;
use crate::log::Timed;
use crate::partition::Partition;

/// The version of ListOffsets from which the answer has room for an epoch.
const EPOCH_TOLD_FROM: i16 = 4;

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const NONE: i64 = -1;

/// Stands for the end of the log where an offset is asked for.
const HIGH_WATERMARK: i64 = -1;

fn find(call: &Call<'_>, topic: &str, index: i32) -> Result<std::sync::Arc<Partition>, ResponseError> {
    let topic = call.shared.topics.by_name(topic).ok_or(ResponseError::UnknownTopicOrPartition)?;
    topic.partition(index).ok_or(ResponseError::UnknownTopicOrPartition)
}

pub fn list(call: &Call<'_>, ask: ListOffsetsRequest) -> ListOffsetsResponse {
    let topics = ask.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let answer = ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
            let found = find(call, &topic.name, asked.partition_index).and_then(|partition| {
                check_epoch(asked.current_leader_epoch, call.shared.leader_epoch)?;
                offset_at(&partition, asked.timestamp)
            });
            match found {
                Ok(timed) => {
                    let epoch = if call.version >= EPOCH_TOLD_FROM { call.shared.leader_epoch } else { -1 };
                    answer.with_offset(timed.offset).with_timestamp(timed.timestamp).with_leader_epoch(epoch)
                }
                Err(error) => answer.with_error_code(error.code()).with_offset(NONE).with_timestamp(NONE),
            }
        });
        let partitions = partitions.collect();
        ListOffsetsTopicResponse::default().with_name(topic.name).with_partitions(partitions)
    });
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn offset_at(partition: &Partition, timestamp: i64) -> Result<Timed, ResponseError> {
    let lookup = match timestamp {
        LATEST => return Ok(Timed { offset: partition.with_log(|log| log.end_offset()), timestamp: NONE }),
        EARLIEST => {
            return Ok(Timed { offset: partition.with_log(|log| log.start_offset()), timestamp: NONE });
        }
        MAX_TIMESTAMP => partition.with_log(|log| log.lookup_latest()),
        instant if instant >= 0 => Some(partition.with_log(|log| log.lookup_time(instant))),
        _ => return Err(ResponseError::InvalidRequest),
    };
    let found = lookup.map_or(Ok(None), |lookup| lookup.find()).map_err(|error| {
        tracing::error!(partition = partition.index, %error, "cannot look up a time in the log");
        ResponseError::KafkaStorageError
    })?;
    Ok(found.unwrap_or(Timed { offset: NONE, timestamp: NONE }))
}

pub fn delete_records(call: &Call<'_>, ask: DeleteRecordsRequest) -> DeleteRecordsResponse {
    let topics = ask.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let answer = DeleteRecordsPartitionResult::default().with_partition_index(asked.partition_index);
            match delete_before(call, &topic.name, asked.partition_index, asked.offset) {
                Ok(start_offset) => answer.with_low_watermark(start_offset),
                Err(error) => answer.with_error_code(error.code()).with_low_watermark(NONE),
            }
        });
        let partitions = partitions.collect();
        DeleteRecordsTopicResult::default().with_name(topic.name).with_partitions(partitions)
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

fn delete_before(call: &Call<'_>, topic: &str, index: i32, offset: i64) -> Result<i64, ResponseError> {
    let partition = find(call, topic, index)?;
    let written = partition.with_log(|log| {
        let offset = if offset == HIGH_WATERMARK { log.end_offset() } else { offset };
        if offset < 0 || offset > log.end_offset() {
            return Err(ResponseError::OffsetOutOfRange);
        }
        // Written down first: a start that came back after a crash would bring deleted records back.
        let start_offset = offset.max(log.start_offset());
        call.shared.topics.write_start(topic, index, start_offset).map_err(|error| {
            tracing::error!(topic, partition = index, %error, "log start not written");
            ResponseError::KafkaStorageError
        })?;
        log.delete_before(offset).map_err(|_| ResponseError::OffsetOutOfRange)?;
        Ok(start_offset)
    });
    written.inspect(|_| partition.ring())
}

pub fn for_leader_epoch(call: &Call<'_>, ask: OffsetForLeaderEpochRequest) -> OffsetForLeaderEpochResponse {
    let topics = ask.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let answer = EpochEndOffset::default().with_partition(asked.partition);
            let found = find(call, &topic.topic, asked.partition).and_then(|partition| {
                check_epoch(asked.current_leader_epoch, call.shared.leader_epoch)?;
                Ok(partition.with_log(|log| log.epoch_end(asked.leader_epoch)))
            });
            match found {
                Ok(found) => {
                    let (epoch, end_offset) = found.unwrap_or((-1, NONE));
                    answer.with_leader_epoch(epoch).with_end_offset(end_offset)
                }
                Err(error) => {
                    answer.with_error_code(error.code()).with_leader_epoch(-1).with_end_offset(NONE)
                }
            }
        });
        let partitions = partitions.collect();
        OffsetForLeaderTopicResult::default().with_topic(topic.topic).with_partitions(partitions)
    });
    OffsetForLeaderEpochResponse::default().with_topics(topics.collect())
}
