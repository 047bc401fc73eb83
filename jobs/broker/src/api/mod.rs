//! The requests this broker answers: one table of what there is, one file per group of them.

mod commits;
mod configs;
mod fetch;
mod groups;
mod membership;
mod metadata;
mod offsets;
mod produce;
mod producers;
mod rehearsal;
mod topics;
mod transactions;
mod versions;

use std::future::Future;
use std::net::SocketAddr;

use bytes::{Buf, Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, RequestHeader, ResponseHeader};
use kafka_protocol::protocol::{Decodable, Encodable, Request, StrBytes};

use crate::shared::Shared;

/// Who asked.
#[derive(Debug)]
pub struct Origin {
    pub peer: SocketAddr,
    /// Where this client is to reach this broker.
    pub host: String,
    pub port: u16,
}

/// What goes back.
pub enum Answer {
    Send(Bytes),
    /// The client asked not to be answered.
    Nothing,
}

/// A request that cannot be answered; its connection is closed, as Kafka does.
#[derive(Debug, thiserror::Error)]
pub enum RequestFault {
    #[error("found unknown request kind {found}")]
    Key { found: i16 },
    #[error("{key:?}: found version {found}, expected {least} to {most}")]
    Version { key: ApiKey, found: i16, least: i16, most: i16 },
    #[error("{key:?} version {version}: found a malformed request: {reason}")]
    Malformed { key: ApiKey, version: i16, reason: String },
    #[error("{key:?} version {version}: cannot encode the answer: {reason}")]
    Encode { key: ApiKey, version: i16, reason: String },
    #[error("a batch sent without wish for an answer was refused: {reason}")]
    Unanswerable { reason: String },
}

/// One request, without its body.
pub struct Call<'a> {
    pub shared: &'a Shared,
    pub origin: &'a Origin,
    pub version: i16,
    pub client_id: String,
    key: ApiKey,
    correlation_id: i32,
}

pub async fn answer(shared: &Shared, origin: &Origin, mut frame: Bytes) -> Result<Answer, RequestFault> {
    let (Ok(key_number), Ok(version)) =
        ((&frame[..]).try_get_i16(), (&frame[2.min(frame.len())..]).try_get_i16())
    else {
        return Err(RequestFault::Key { found: -1 });
    };
    let key = ApiKey::try_from(key_number).map_err(|()| RequestFault::Key { found: key_number })?;
    let Some(range) = versions::supported(key) else { return Err(RequestFault::Key { found: key_number }) };
    let known = (range.least..=range.most).contains(&version);
    // A client that is newer than this broker learns so from an answer of the oldest form, and asks again.
    if !known && key == ApiKey::ApiVersions {
        return versions::unsupported(correlation_id(&frame)).map(Answer::Send);
    }
    if !known {
        return Err(RequestFault::Version { key, found: version, least: range.least, most: range.most });
    }
    let header = RequestHeader::decode(&mut frame, key.request_header_version(version))
        .map_err(|error| RequestFault::Malformed { key, version, reason: error.to_string() })?;
    let client_id = header.client_id.map(|id| id.to_string()).unwrap_or_default();
    let call = Call { shared, origin, version, client_id, key, correlation_id: header.correlation_id };
    dispatch(call, frame).await
}

async fn dispatch(call: Call<'_>, body: Bytes) -> Result<Answer, RequestFault> {
    let call = &call;
    match call.key {
        ApiKey::Produce => produce::answer(call, body),
        ApiKey::Fetch => call.later(body, |ask| fetch::fetch(call, ask)).await,
        ApiKey::ListOffsets => call.now(body, |ask| offsets::list(call, ask)),
        ApiKey::DeleteRecords => call.now(body, |ask| offsets::delete_records(call, ask)),
        ApiKey::OffsetForLeaderEpoch => call.now(body, |ask| offsets::for_leader_epoch(call, ask)),
        ApiKey::ApiVersions => call.now(body, |_: ApiVersionsRequest| versions::versions()),
        ApiKey::Metadata => call.now(body, |ask| metadata::metadata(call, ask)),
        ApiKey::DescribeCluster => call.now(body, |ask| metadata::describe_cluster(call, ask)),
        ApiKey::FindCoordinator => call.now(body, |ask| metadata::find_coordinator(call, ask)),
        ApiKey::CreateTopics => call.now(body, |ask| topics::create(call, ask)),
        ApiKey::DeleteTopics => call.now(body, |ask| topics::delete(call, ask)),
        ApiKey::CreatePartitions => call.now(body, |ask| topics::grow(call, ask)),
        ApiKey::DescribeConfigs => call.now(body, |ask| configs::describe(call, ask)),
        ApiKey::AlterConfigs => call.now(body, |ask| configs::alter(call, ask)),
        ApiKey::IncrementalAlterConfigs => call.now(body, |ask| configs::alter_incrementally(call, ask)),
        ApiKey::JoinGroup => call.later(body, |ask| membership::join(call, ask)).await,
        ApiKey::SyncGroup => call.later(body, |ask| membership::sync(call, ask)).await,
        ApiKey::Heartbeat => call.now(body, |ask| membership::heartbeat(call, ask)),
        ApiKey::LeaveGroup => call.now(body, |ask| membership::leave(call, ask)),
        ApiKey::OffsetCommit => call.now(body, |ask| commits::commit(call, ask)),
        ApiKey::OffsetFetch => call.now(body, |ask| commits::fetch(call, ask)),
        ApiKey::OffsetDelete => call.now(body, |ask| commits::delete(call, ask)),
        ApiKey::ListGroups => call.now(body, |ask| groups::list(call, ask)),
        ApiKey::DescribeGroups => call.now(body, |ask| groups::describe(call, ask)),
        ApiKey::DeleteGroups => call.now(body, |ask| groups::delete(call, ask)),
        ApiKey::InitProducerId => call.now(body, |ask| producers::init(call, ask)),
        ApiKey::AddPartitionsToTxn => call.now(body, transactions::add_partitions),
        ApiKey::AddOffsetsToTxn => call.now(body, transactions::add_offsets),
        ApiKey::EndTxn => call.now(body, transactions::end),
        ApiKey::TxnOffsetCommit => call.now(body, transactions::commit_offsets),
        key => Err(RequestFault::Key { found: key as i16 }),
    }
}

impl Call<'_> {
    /// Decodes the request, answers it, encodes the answer.
    fn now<Q: Request>(
        &self,
        body: Bytes,
        work: impl FnOnce(Q) -> Q::Response,
    ) -> Result<Answer, RequestFault> {
        let response = work(self.decode(body)?);
        self.encode(&response).map(Answer::Send)
    }

    /// As `now`, for what may wait.
    async fn later<Q: Request, F: Future<Output = Q::Response>>(
        &self,
        body: Bytes,
        work: impl FnOnce(Q) -> F,
    ) -> Result<Answer, RequestFault> {
        let response = work(self.decode(body)?).await;
        self.encode(&response).map(Answer::Send)
    }

    fn decode<T: Decodable>(&self, mut body: Bytes) -> Result<T, RequestFault> {
        let malformed =
            |reason: String| RequestFault::Malformed { key: self.key, version: self.version, reason };
        rehearsal::rehearse::<T>(&body, self.version).map_err(malformed)?;
        T::decode(&mut body, self.version).map_err(|error| malformed(error.to_string()))
    }

    fn encode(&self, response: &impl Encodable) -> Result<Bytes, RequestFault> {
        encode(self.key, self.version, self.correlation_id, response)
    }
}

/// A whole answer: length, header, body.
fn encode(
    key: ApiKey,
    version: i16,
    correlation_id: i32,
    response: &impl Encodable,
) -> Result<Bytes, RequestFault> {
    let fault = |reason: String| RequestFault::Encode { key, version, reason };
    let body_bytes = response.compute_size(version).map_err(|error| fault(error.to_string()))?;
    let mut buffer = BytesMut::with_capacity(LENGTH_BYTES + MOST_HEADER_BYTES + body_bytes);
    buffer.extend_from_slice(&[0; LENGTH_BYTES]);
    let header = ResponseHeader::default().with_correlation_id(correlation_id);
    header
        .encode(&mut buffer, key.response_header_version(version))
        .map_err(|error| fault(error.to_string()))?;
    response.encode(&mut buffer, version).map_err(|error| fault(error.to_string()))?;
    let length = (buffer.len() - LENGTH_BYTES) as i32;
    buffer[..LENGTH_BYTES].copy_from_slice(&length.to_be_bytes());
    Ok(buffer.freeze())
}

const LENGTH_BYTES: usize = 4;
const MOST_HEADER_BYTES: usize = 5;

/// The number by which a client matches answers to requests; it lies at the same place in every form of request.
fn correlation_id(frame: &Bytes) -> i32 {
    frame.get(4..8).and_then(|bytes| bytes.first_chunk()).map_or(0, |bytes| i32::from_be_bytes(*bytes))
}

fn text(text: impl Into<String>) -> StrBytes {
    StrBytes::from_string(text.into())
}
