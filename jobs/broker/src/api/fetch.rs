//! Fetch: whole batches from an offset on, now or as soon as there are any.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::{FetchableTopicResponse, PartitionData};
use kafka_protocol::messages::{FetchRequest, FetchResponse, TopicName};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::{Call, text};
use crate::partition::Partition;
use crate::topics::Topic;

/// From this version on topics are named by id, so that a re-created topic is not mistaken for the old one.
const BY_ID_FROM: i16 = 13;
const READ_COMMITTED: i8 = 1;

/// The longest a fetch may wait, whatever it asks for.
const LONGEST_WAIT: Duration = Duration::from_secs(300);

pub async fn fetch(call: &Call<'_>, ask: FetchRequest) -> FetchResponse {
    // Sessions save bytes between many partitions and few changes; this broker answers in full, as clients expect of
    // one that gives them session 0.
    if ask.session_id != 0 {
        return FetchResponse::default().with_error_code(ResponseError::FetchSessionIdNotFound.code());
    }
    let wait = Duration::from_millis(ask.max_wait_ms.max(0) as u64).min(LONGEST_WAIT);
    let deadline = Instant::now() + wait;
    let bell = Arc::new(Notify::new());
    let mut hung = Vec::new();
    loop {
        let found = read_all(call, &ask);
        // Where nothing is asked for there is nothing to wait for.
        let ends = found.has_error || found.partitions.is_empty();
        if ends || found.bytes >= ask.min_bytes.max(0) as usize || Instant::now() >= deadline {
            return FetchResponse::default().with_responses(found.topics);
        }
        if hung.is_empty() {
            hung.extend(found.partitions.iter().map(|partition| partition.hang(&bell)));
            // What arrived between reading and hanging the bell did not ring it.
            continue;
        }
        let _ = timeout_at(deadline, bell.notified()).await;
    }
}

/// One look at everything asked for.
struct Found {
    topics: Vec<FetchableTopicResponse>,
    partitions: Vec<Arc<Partition>>,
    bytes: usize,
    has_error: bool,
}

fn read_all(call: &Call<'_>, ask: &FetchRequest) -> Found {
    let most = (ask.max_bytes.max(0) as usize).min(call.shared.config.max_fetch_bytes);
    let mut found = Found { topics: Vec::new(), partitions: Vec::new(), bytes: 0, has_error: false };
    for asked in &ask.topics {
        let topic = find_topic(call, asked);
        let mut answers = Vec::with_capacity(asked.partitions.len());
        for part in &asked.partitions {
            let partition = topic.as_deref().and_then(|topic| topic.partition(part.partition));
            let read = match partition.filter(|partition| !partition.is_deleted()) {
                None if call.version >= BY_ID_FROM && topic.is_none() => {
                    Err(ResponseError::UnknownTopicId.into())
                }
                None => Err(ResponseError::UnknownTopicOrPartition.into()),
                Some(partition) => {
                    let read =
                        read(call, &partition, part, most.saturating_sub(found.bytes), found.bytes == 0);
                    found.partitions.push(partition);
                    read
                }
            };
            found.has_error |= read.is_err();
            found.bytes += read.as_ref().map_or(0, |read| read.records.len());
            answers.push(partition_answer(part.partition, read, ask.isolation_level));
        }
        let name = topic.map_or_else(|| asked.topic.clone(), |topic| TopicName(text(topic.name.clone())));
        found.topics.push(
            FetchableTopicResponse::default()
                .with_topic(name)
                .with_topic_id(asked.topic_id)
                .with_partitions(answers),
        );
    }
    found
}

fn find_topic(call: &Call<'_>, asked: &FetchTopic) -> Option<Arc<Topic>> {
    if call.version >= BY_ID_FROM {
        call.shared.topics.by_id(asked.topic_id)
    } else {
        call.shared.topics.by_name(&asked.topic)
    }
}

/// What one partition has at the offset asked for.
struct Read {
    records: Bytes,
    start_offset: i64,
    end_offset: i64,
}

/// A partition that cannot be read, with its bounds as far as they are known.
struct ReadFault {
    error: ResponseError,
    start_offset: i64,
    end_offset: i64,
}

impl From<ResponseError> for ReadFault {
    fn from(error: ResponseError) -> ReadFault {
        ReadFault { error, start_offset: -1, end_offset: -1 }
    }
}

fn read(
    call: &Call<'_>,
    partition: &Partition,
    asked: &FetchPartition,
    room: usize,
    is_first: bool,
) -> Result<Read, ReadFault> {
    check_epoch(asked.current_leader_epoch, call.shared.leader_epoch)?;
    let (slice, start_offset, end_offset) =
        partition.with_log(|log| (log.slice_from(asked.fetch_offset), log.start_offset(), log.end_offset()));
    let slice =
        slice.map_err(|_| ReadFault { error: ResponseError::OffsetOutOfRange, start_offset, end_offset })?;
    let max_bytes = room.min(asked.partition_max_bytes.max(0) as usize);
    // The file is read outside the lock: what it holds up to the slice's end never changes.
    let records = match slice {
        Some(slice) if is_first || max_bytes > 0 => {
            slice.read_from(asked.fetch_offset, max_bytes, is_first).map_err(|error| {
                tracing::error!(partition = partition.index, offset = asked.fetch_offset, %error, "cannot read the log");
                ReadFault { error: ResponseError::KafkaStorageError, start_offset, end_offset }
            })?
        }
        _ => Bytes::new(),
    };
    Ok(Read { records, start_offset, end_offset })
}

/// A client that knows of another start of this broker must look at the metadata again; -1 stands for one that does
/// not care.
pub fn check_epoch(asked: i32, present: i32) -> Result<(), ResponseError> {
    match asked {
        asked if asked < 0 || asked == present => Ok(()),
        asked if asked < present => Err(ResponseError::FencedLeaderEpoch),
        _ => Err(ResponseError::UnknownLeaderEpoch),
    }
}

fn partition_answer(index: i32, read: Result<Read, ReadFault>, isolation: i8) -> PartitionData {
    let answer = PartitionData::default()
        .with_partition_index(index)
        .with_aborted_transactions((isolation == READ_COMMITTED).then(Vec::new));
    match read {
        Ok(read) => answer
            .with_high_watermark(read.end_offset)
            .with_last_stable_offset(read.end_offset)
            .with_log_start_offset(read.start_offset)
            .with_records(Some(read.records)),
        Err(fault) => answer
            .with_error_code(fault.error.code())
            .with_high_watermark(fault.end_offset)
            .with_last_stable_offset(fault.end_offset)
            .with_log_start_offset(fault.start_offset)
            .with_records(Some(Bytes::new())),
    }
}
