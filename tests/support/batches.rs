//! Batches made by hand, for what no client library will send.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

use super::kafka::{Connection, eventually, now_ms};

/// Records of one batch, and who sends them.
#[derive(Debug, Clone)]
pub struct Batch {
    payloads: Vec<Bytes>,
    producer: i64,
    epoch: i16,
    sequence: i32,
    timestamp: i64,
}

impl Batch {
    pub fn numbered(count: usize) -> Batch {
        Batch::of((0..count).map(|number| Bytes::from(format!("record {number}"))).collect())
    }

    pub fn of(payloads: Vec<Bytes>) -> Batch {
        Batch { payloads, producer: -1, epoch: -1, sequence: -1, timestamp: now_ms() }
    }

    pub fn sent_by(self, producer: i64, epoch: i16, sequence: i32) -> Batch {
        Batch { producer, epoch, sequence, ..self }
    }

    /// With every record at this Unix time in milliseconds.
    pub fn at(self, timestamp: i64) -> Batch {
        Batch { timestamp, ..self }
    }

    pub fn encode(&self) -> Bytes {
        let records: Vec<Record> = (0..)
            .zip(&self.payloads)
            .map(|(number, payload)| Record {
                transactional: false,
                control: false,
                delete_horizon: false,
                partition_leader_epoch: -1,
                producer_id: self.producer,
                producer_epoch: self.epoch,
                timestamp_type: TimestampType::Creation,
                offset: i64::from(number),
                // Also without a producer the encoder wants them to ascend; only the first one is stored.
                sequence: self.sequence + number,
                timestamp: self.timestamp,
                key: None,
                value: Some(payload.clone()),
                headers: IndexMap::new(),
            })
            .collect();
        let mut batch = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut batch, &records, &options).expect("the batch encodes");
        batch.freeze()
    }
}

/// An id for an idempotent producer.
pub fn init_producer(connection: &mut Connection) -> i64 {
    let ask =
        InitProducerIdRequest::default().with_transactional_id(None).with_transaction_timeout_ms(60_000);
    eventually("the broker gives out producer ids", || {
        let given = connection.ask(3, &ask);
        (given.error_code == 0).then_some(given.producer_id.0)
    })
}

/// Sends the batch to partition 0 and returns its offset, or the error code.
pub fn produce(connection: &mut Connection, topic: &str, batch: &Batch) -> Result<i64, i16> {
    produce_bytes(connection, topic, batch.encode())
}

pub fn produce_bytes(connection: &mut Connection, topic: &str, records: Bytes) -> Result<i64, i16> {
    let partition = PartitionProduceData::default().with_index(0).with_records(Some(records));
    let topic = TopicProduceData::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partition_data(vec![partition]);
    let ask = ProduceRequest::default().with_acks(-1).with_timeout_ms(10_000).with_topic_data(vec![topic]);
    let answer = connection.ask(9, &ask);
    let partition = &answer.responses[0].partition_responses[0];
    if partition.error_code == 0 { Ok(partition.base_offset) } else { Err(partition.error_code) }
}
