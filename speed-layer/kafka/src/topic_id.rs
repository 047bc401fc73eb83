//! A topic's id, which rdkafka's safe interface does not show.
#![expect(unsafe_code, reason = "librdkafka's DescribeTopics has no safe wrapper")]

use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::time::Duration;

use rdkafka::bindings::{
    rd_kafka_AdminOptions_destroy, rd_kafka_AdminOptions_new, rd_kafka_AdminOptions_set_request_timeout,
    rd_kafka_AdminOptions_t, rd_kafka_DescribeTopics, rd_kafka_DescribeTopics_result_topics,
    rd_kafka_TopicCollection_destroy, rd_kafka_TopicCollection_of_topic_names, rd_kafka_TopicCollection_t,
    rd_kafka_TopicDescription_error, rd_kafka_TopicDescription_topic_id, rd_kafka_Uuid_base64str,
    rd_kafka_Uuid_least_significant_bits, rd_kafka_Uuid_most_significant_bits, rd_kafka_error_code,
    rd_kafka_event_DescribeTopics_result, rd_kafka_event_destroy, rd_kafka_event_error, rd_kafka_event_t,
    rd_kafka_queue_destroy, rd_kafka_queue_new, rd_kafka_queue_poll, rd_kafka_queue_t,
};
use rdkafka::client::{Client, ClientContext};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

/// Owns one of librdkafka's objects and destroys it, once, at its end.
struct Owned<T> {
    object: NonNull<T>,
    destroy: unsafe extern "C" fn(*mut T),
}

impl<T> Owned<T> {
    /// # Safety
    /// `object` is null, or nobody else destroys it; `destroy` is what librdkafka names for it.
    unsafe fn new(object: *mut T, destroy: unsafe extern "C" fn(*mut T)) -> Result<Self, RDKafkaErrorCode> {
        let object = NonNull::new(object).ok_or(RDKafkaErrorCode::Fail)?;
        Ok(Owned { object, destroy })
    }

    fn as_ptr(&self) -> *mut T {
        self.object.as_ptr()
    }
}

impl<T> Drop for Owned<T> {
    fn drop(&mut self) {
        // SAFETY: as `new` was promised.
        unsafe { (self.destroy)(self.object.as_ptr()) }
    }
}

/// Asks the brokers for a topic's id, in base64 as Kafka's own tools show it; `None` from brokers that are too
/// old to have one.
pub(crate) fn topic_id<C: ClientContext>(
    client: &Client<C>,
    topic: &str,
    timeout: Duration,
) -> Result<Option<String>, RDKafkaErrorCode> {
    let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
    let milliseconds = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    let answer = ask(client, &name, milliseconds)?;
    // SAFETY: the event is alive until the end of this function, and with it all that it holds: the result, its
    // descriptions and their ids. `count` says how many descriptions `topics` points to.
    unsafe {
        check(rd_kafka_event_error(answer.as_ptr()))?;
        let result = rd_kafka_event_DescribeTopics_result(answer.as_ptr());
        if result.is_null() {
            return Err(RDKafkaErrorCode::BadMessage);
        }
        let mut count = 0;
        let topics = rd_kafka_DescribeTopics_result_topics(result, &mut count);
        if topics.is_null() || count != 1 {
            return Err(RDKafkaErrorCode::BadMessage);
        }
        let error = rd_kafka_TopicDescription_error(*topics);
        if !error.is_null() {
            check(rd_kafka_error_code(error))?;
        }
        let id = rd_kafka_TopicDescription_topic_id(*topics);
        if id.is_null()
            || (rd_kafka_Uuid_most_significant_bits(id), rd_kafka_Uuid_least_significant_bits(id)) == (0, 0)
        {
            return Ok(None);
        }
        let text = rd_kafka_Uuid_base64str(id);
        // Kafka's own tools show the alphabet that is safe in addresses, librdkafka the other.
        Ok((!text.is_null())
            .then(|| CStr::from_ptr(text).to_string_lossy().replace('+', "-").replace('/', "_")))
    }
}

/// Sends the question and waits for the one event that answers it: librdkafka gives it after the timeout at the latest.
fn ask<C: ClientContext>(
    client: &Client<C>,
    topic: &CStr,
    milliseconds: i32,
) -> Result<Owned<rd_kafka_event_t>, RDKafkaErrorCode> {
    use rdkafka::bindings::rd_kafka_admin_op_t::RD_KAFKA_ADMIN_OP_DESCRIBETOPICS;
    let client = client.native_ptr();
    let mut names = [topic.as_ptr()];
    // SAFETY: the client is alive throughout. Options, names and queue live until this function returns; librdkafka
    // copies options and names before `DescribeTopics` returns, and its answer keeps what it needs of the queue.
    unsafe {
        let queue: Owned<rd_kafka_queue_t> = Owned::new(rd_kafka_queue_new(client), rd_kafka_queue_destroy)?;
        let options: Owned<rd_kafka_AdminOptions_t> = Owned::new(
            rd_kafka_AdminOptions_new(client, RD_KAFKA_ADMIN_OP_DESCRIBETOPICS),
            rd_kafka_AdminOptions_destroy,
        )?;
        let mut reason = [0; 256];
        check(rd_kafka_AdminOptions_set_request_timeout(
            options.as_ptr(),
            milliseconds,
            reason.as_mut_ptr(),
            reason.len(),
        ))?;
        let topics: Owned<rd_kafka_TopicCollection_t> = Owned::new(
            rd_kafka_TopicCollection_of_topic_names(names.as_mut_ptr(), names.len()),
            rd_kafka_TopicCollection_destroy,
        )?;
        rd_kafka_DescribeTopics(client, topics.as_ptr(), options.as_ptr(), queue.as_ptr());
        // A little longer than the request may take, so that its own timeout is what is heard of.
        let event = rd_kafka_queue_poll(queue.as_ptr(), milliseconds.saturating_add(1_000));
        Owned::new(event, rd_kafka_event_destroy).map_err(|_| RDKafkaErrorCode::OperationTimedOut)
    }
}

fn check(code: RDKafkaRespErr) -> Result<(), RDKafkaErrorCode> {
    match code {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => Ok(()),
        code => Err(code.into()),
    }
}
