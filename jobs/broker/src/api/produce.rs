//! Produce: one batch per partition, checked, placed, acknowledged.

use bytes::Bytes;
use kafka_protocol::ResponseError;
use kafka_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kafka_protocol::messages::{ProduceRequest, ProduceResponse};

use super::{Answer, Call, RequestFault, text};
use crate::config::FsyncPolicy;
use crate::log::producers::SequenceFault;
use crate::log::{AppendError, Appended};
use crate::topics::Topic;
use watershed_wire::batch::{BatchFault, BatchHeader};

/// A refused batch: the code, and the reason in words.
struct Refusal {
    error: ResponseError,
    reason: String,
}

impl Refusal {
    fn new(error: ResponseError, reason: impl ToString) -> Refusal {
        Refusal { error, reason: reason.to_string() }
    }
}

pub fn answer(call: &Call<'_>, body: Bytes) -> Result<Answer, RequestFault> {
    let ask: ProduceRequest = call.decode(body)?;
    let wants_answer = ask.acks != 0;
    let response = produce(call, ask);
    if wants_answer {
        return call.encode(&response).map(Answer::Send);
    }
    // There is no answer to put an error in, so that closing the connection is the only sign there can be.
    let refused =
        response.responses.iter().flat_map(|topic| &topic.partition_responses).find(|p| p.error_code != 0);
    match refused {
        None => Ok(Answer::Nothing),
        Some(partition) => {
            let reason =
                partition.error_message.as_ref().map(|reason| reason.to_string()).unwrap_or_default();
            Err(RequestFault::Unanswerable { reason })
        }
    }
}

fn produce(call: &Call<'_>, ask: ProduceRequest) -> ProduceResponse {
    let acks_fault = (!matches!(ask.acks, -1..=1)).then_some(ResponseError::InvalidRequiredAcks);
    let transaction_fault =
        ask.transactional_id.as_ref().map(|_| ResponseError::TransactionalIdAuthorizationFailed);
    let fault = acks_fault.or(transaction_fault);
    let topics = ask.topic_data.into_iter().map(|data| {
        let topic = call.shared.topics.by_name(&data.name);
        let partitions = data.partition_data.into_iter().map(|partition| {
            let appended = match fault {
                Some(error) => Err(Refusal::new(error, error)),
                None => {
                    append(call, topic.as_deref(), partition.index, partition.records.unwrap_or_default())
                }
            };
            partition_answer(partition.index, appended)
        });
        TopicProduceResponse::default().with_partition_responses(partitions.collect()).with_name(data.name)
    });
    ProduceResponse::default().with_responses(topics.collect())
}

/// A batch in the log, and where the log began then.
struct Accepted {
    appended: Appended,
    start_offset: i64,
}

fn append(call: &Call<'_>, topic: Option<&Topic>, index: i32, records: Bytes) -> Result<Accepted, Refusal> {
    let unknown = || Refusal::new(ResponseError::UnknownTopicOrPartition, "no such topic or partition");
    let topic = topic.ok_or_else(unknown)?;
    let partition = topic.partition(index).filter(|partition| !partition.is_deleted()).ok_or_else(unknown)?;
    let config = &call.shared.config;
    let settings = topic.settings();
    let header = check(&records, settings.max_message_bytes(config))?;
    let limits = settings.limits(config);
    let accepted = partition.with_log(|log| {
        let appended = log.append(&records, &header, &limits)?;
        if config.fsync == FsyncPolicy::Always {
            log.sync()?;
        }
        Ok(Accepted { appended, start_offset: log.start_offset() })
    });
    let accepted = accepted.map_err(|error: AppendError| {
        if let AppendError::Storage(_) | AppendError::Write(_) = error {
            tracing::error!(topic = topic.name, partition = index, %error, "batch not written");
        }
        Refusal::new(code(&error), error)
    })?;
    if !accepted.appended.duplicate {
        partition.ring();
    }
    Ok(accepted)
}

/// What must hold before a batch is let near the log.
fn check(records: &Bytes, max_bytes: usize) -> Result<BatchHeader, Refusal> {
    let header = BatchHeader::read(records).map_err(|fault| Refusal::new(batch_code(&fault), fault))?;
    if header.bytes > max_bytes {
        let reason = format!("found a batch of {} bytes, expected at most {max_bytes}", header.bytes);
        return Err(Refusal::new(ResponseError::MessageTooLarge, reason));
    }
    let header = BatchHeader::verify(records)
        .and_then(|header| header.check_from_client().map(|()| header))
        .map_err(|fault| Refusal::new(batch_code(&fault), fault))?;
    if records.len() != header.bytes {
        let reason = format!(
            "found {} bytes behind the first batch, expected one batch",
            records.len() - header.bytes
        );
        return Err(Refusal::new(ResponseError::InvalidRecord, reason));
    }
    if header.is_control() {
        return Err(Refusal::new(ResponseError::InvalidRecord, "found a control batch, expected records"));
    }
    if header.is_transactional() {
        let reason = "found a transactional batch: this broker has no transactions";
        return Err(Refusal::new(ResponseError::InvalidTxnState, reason));
    }
    if header.is_idempotent() && (header.producer_epoch < 0 || header.base_sequence < 0) {
        let reason = "found a producer id without epoch or sequence";
        return Err(Refusal::new(ResponseError::InvalidRecord, reason));
    }
    Ok(header)
}

fn batch_code(fault: &BatchFault) -> ResponseError {
    match fault {
        BatchFault::Codec { .. } => ResponseError::UnsupportedCompressionType,
        // Also what Apache Kafka says to older formats, which this version of Produce never allowed.
        BatchFault::Format { .. } | BatchFault::Count { .. } | BatchFault::Offset { .. } => {
            ResponseError::InvalidRecord
        }
        BatchFault::Short { .. } | BatchFault::Length { .. } | BatchFault::Checksum { .. } => {
            ResponseError::CorruptMessage
        }
    }
}

fn code(error: &AppendError) -> ResponseError {
    match error {
        AppendError::Batch(fault) => batch_code(fault),
        AppendError::Sequence(SequenceFault::OutOfOrder { .. }) => ResponseError::OutOfOrderSequenceNumber,
        AppendError::Sequence(SequenceFault::OldEpoch { .. }) => ResponseError::InvalidProducerEpoch,
        AppendError::Storage(_) | AppendError::Write(_) => ResponseError::KafkaStorageError,
    }
}

fn partition_answer(index: i32, appended: Result<Accepted, Refusal>) -> PartitionProduceResponse {
    let answer = PartitionProduceResponse::default().with_index(index).with_log_append_time_ms(-1);
    match appended {
        Ok(accepted) => answer
            .with_base_offset(accepted.appended.base_offset)
            .with_log_start_offset(accepted.start_offset),
        Err(refusal) => answer
            .with_base_offset(-1)
            .with_log_start_offset(-1)
            .with_error_code(refusal.error.code())
            .with_error_message(Some(text(refusal.reason))),
    }
}
