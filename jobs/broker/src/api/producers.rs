//! Ids for idempotent producers.

use kafka_protocol::ResponseError;
use kafka_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse};

use super::{Call, transactions};

/// Every call gives a new id: a producer that lost its sequence begins again under another name.
pub fn init(call: &Call<'_>, ask: InitProducerIdRequest) -> InitProducerIdResponse {
    let refused = |error: ResponseError| {
        InitProducerIdResponse::default()
            .with_error_code(error.code())
            .with_producer_id((-1).into())
            .with_producer_epoch(-1)
    };
    if ask.transactional_id.is_some() {
        return refused(transactions::REFUSED);
    }
    match call.shared.producer_ids.next() {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(id.into()).with_producer_epoch(0),
        Err(error) => {
            tracing::error!(%error, "no producer id given");
            refused(ResponseError::CoordinatorNotAvailable)
        }
    }
}
