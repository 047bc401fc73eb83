//! Messages by the batch, straight from librdkafka.
//!
//! rdkafka's own `poll` makes an event of every message and does not say at which offset a partition
//! ended.
#![allow(unsafe_code)]

use std::any::Any;
use std::ffi::{CStr, CString, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings::{
    rd_kafka_consume_callback_queue, rd_kafka_consume_start_queue, rd_kafka_consume_stop,
    rd_kafka_last_error, rd_kafka_message_errstr, rd_kafka_message_t, rd_kafka_message_timestamp,
    rd_kafka_queue_destroy, rd_kafka_queue_forward, rd_kafka_queue_get_partition, rd_kafka_queue_new,
    rd_kafka_queue_t, rd_kafka_t, rd_kafka_topic_destroy, rd_kafka_topic_new, rd_kafka_topic_t,
    rd_kafka_yield,
};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

/// No more is taken once payloads have come to so many bytes: a delivery is no larger than this and one message more.
const ENOUGH_BYTES: usize = 8 << 20;
/// Part of librdkafka's words for `LogTruncation`, under whatever code it reports it.
const TRUNCATED: &str = "log truncation detected";

/// What a queue holds.
pub(crate) enum Message<'a> {
    Record {
        partition: i32,
        offset: i64,
        timestamp: i64,
        payload: Option<&'a [u8]>,
    },
    /// Everything below this offset was examined, and there is no more for now.
    End {
        partition: i32,
        offset: i64,
    },
    Fault {
        partition: i32,
        code: RDKafkaErrorCode,
        reason: String,
    },
}

/// A queue of messages of the partitions that were directed to it.
pub(crate) struct Queue<C: ConsumerContext> {
    queue: NonNull<rd_kafka_queue_t>,
    /// The client that the queue belongs to; it outlives the queue.
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's handles may be used from any thread.
unsafe impl<C: ConsumerContext> Send for Queue<C> {}

impl<C: ConsumerContext> Queue<C> {
    pub fn new(consumer: Arc<BaseConsumer<C>>) -> Self {
        // SAFETY: the client is alive; librdkafka aborts rather than return null here.
        let queue = unsafe { rd_kafka_queue_new(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).expect("librdkafka always makes a queue");
        Queue { queue, consumer }
    }

    /// Directs a partition's messages here, whoever assigns it. False if the topic's name cannot be one.
    pub fn direct(&self, topic: &str, partition: i32) -> bool {
        let Ok(topic) = CString::new(topic) else { return false };
        // SAFETY: the client and both queues are alive; the handle from `get_partition` is ours to destroy.
        unsafe {
            let source =
                rd_kafka_queue_get_partition(self.consumer.client().native_ptr(), topic.as_ptr(), partition);
            if source.is_null() {
                return false;
            }
            rd_kafka_queue_forward(source, self.queue.as_ptr());
            rd_kafka_queue_destroy(source);
        }
        true
    }

    /// Waits for a message until the timeout, then takes what is there, at most `limit` messages and
    /// about `ENOUGH_BYTES`.
    ///
    /// librdkafka serves what it holds in one go: a lock, a look at the clock and a wait for all of them, where taking
    /// them one by one has those for each. It also has a call that fills an array, which goes wrong where a partition is
    /// paused, as every rebalance of a cooperative group does: that one takes the offset behind the *end* of a
    /// partition for the one to go on from, and so would skip a record.
    pub fn take<F: FnMut(Message<'_>)>(&mut self, limit: usize, timeout: Duration, each: F) {
        let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let client = self.consumer.client().native_ptr();
        let mut taking = Taking { client, each, left: limit, bytes: 0, panic: None };
        // SAFETY: the queue is alive; librdkafka calls `one` on this thread and not after this call has returned, with
        // the pointer that it is given here.
        unsafe {
            let taking = (&raw mut taking).cast::<c_void>();
            rd_kafka_consume_callback_queue(self.queue.as_ptr(), timeout, Some(one::<F>), taking);
        }
        if let Some(panic) = taking.panic {
            resume_unwind(panic);
        }
    }
}

/// What is known while a queue is served.
struct Taking<F> {
    client: *mut rd_kafka_t,
    each: F,
    /// Messages that may still be taken.
    left: usize,
    /// Of the payloads that were taken.
    bytes: usize,
    panic: Option<Box<dyn Any + Send>>,
}

/// Hands one message on, and has librdkafka keep the rest once it is enough.
///
/// # Safety
/// `message` is one of librdkafka's, alive until this returns; `taking` is what `take` gave it.
unsafe extern "C" fn one<F: FnMut(Message<'_>)>(message: *mut rd_kafka_message_t, taking: *mut c_void) {
    // SAFETY: as this function was promised; `each` cannot keep what it borrows from the message.
    let (taking, message) = unsafe { (&mut *taking.cast::<Taking<F>>(), &*message) };
    taking.left = taking.left.saturating_sub(1);
    taking.bytes += message.len;
    // No panic may pass through librdkafka.
    // SAFETY: the message is alive.
    let handed = catch_unwind(AssertUnwindSafe(|| (taking.each)(unsafe { read(message) })));
    taking.panic = handed.err();
    if taking.left == 0 || taking.bytes >= ENOUGH_BYTES || taking.panic.is_some() {
        // SAFETY: the client is alive; this only notes that its call on this thread is to end.
        unsafe { rd_kafka_yield(taking.client) };
    }
}

impl<C: ConsumerContext> Drop for Queue<C> {
    fn drop(&mut self) {
        // SAFETY: the handle is ours and not used again; the client is still alive.
        unsafe { rd_kafka_queue_destroy(self.queue.as_ptr()) }
    }
}

/// # Safety
/// The message is one that librdkafka gave and that is not destroyed while the result lives.
unsafe fn read(message: &rd_kafka_message_t) -> Message<'_> {
    let partition = message.partition;
    match message.err {
        RDKafkaRespErr::RD_KAFKA_RESP_ERR_NO_ERROR => {
            // SAFETY: a payload that is not null has `len` bytes that live as long as the message.
            let payload = (!message.payload.is_null())
                .then(|| unsafe { std::slice::from_raw_parts(message.payload.cast::<u8>(), message.len) });
            // SAFETY: the message is alive; the type of its timestamp is not asked for.
            let timestamp = unsafe { rd_kafka_message_timestamp(message, std::ptr::null_mut()) };
            Message::Record { partition, offset: message.offset, timestamp, payload }
        }
        RDKafkaRespErr::RD_KAFKA_RESP_ERR__PARTITION_EOF => {
            Message::End { partition, offset: message.offset }
        }
        error => {
            // SAFETY: librdkafka gives a text that lives as long as the message, or null.
            let reason = unsafe {
                let text = rd_kafka_message_errstr(message);
                if text.is_null() {
                    String::new()
                } else {
                    CStr::from_ptr(text).to_string_lossy().into_owned()
                }
            };
            // An unclean election took the end of the partition: librdkafka says that in words only.
            let code = match reason.contains(TRUNCATED) {
                true => RDKafkaErrorCode::LogTruncation,
                false => error.into(),
            };
            Message::Fault { partition, code, reason }
        }
    }
}

/// One partition that is read without any group, into a queue of its own.
pub(crate) struct Reading<C: ConsumerContext> {
    topic: NonNull<rd_kafka_topic_t>,
    partition: i32,
    /// Destroyed after the reading has stopped.
    queue: Queue<C>,
}

// SAFETY: as for `Queue`.
unsafe impl<C: ConsumerContext> Send for Reading<C> {}

impl<C: ConsumerContext> Reading<C> {
    /// Begins to read at an offset, which must not be one of librdkafka's negative ones.
    pub fn start(
        consumer: Arc<BaseConsumer<C>>,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<Self, RDKafkaErrorCode> {
        debug_assert!(offset >= 0);
        let name = CString::new(topic).map_err(|_| RDKafkaErrorCode::InvalidTopic)?;
        let queue = Queue::new(consumer);
        // SAFETY: the client and the queue are alive; without a configuration of its own the topic
        // takes the client's.
        unsafe {
            let client = queue.consumer.client().native_ptr();
            let topic = NonNull::new(rd_kafka_topic_new(client, name.as_ptr(), std::ptr::null_mut()))
                .ok_or_else(|| RDKafkaErrorCode::from(rd_kafka_last_error()))?;
            if rd_kafka_consume_start_queue(topic.as_ptr(), partition, offset, queue.queue.as_ptr()) != 0 {
                let error = rd_kafka_last_error();
                rd_kafka_topic_destroy(topic.as_ptr());
                return Err(error.into());
            }
            Ok(Reading { topic, partition, queue })
        }
    }

    /// As [`Queue::take`].
    pub fn take(&mut self, limit: usize, timeout: Duration, each: impl FnMut(Message<'_>)) {
        self.queue.take(limit, timeout, each);
    }
}

impl<C: ConsumerContext> Drop for Reading<C> {
    fn drop(&mut self) {
        // SAFETY: reading was started on this topic and partition; the topic's handle is ours.
        unsafe {
            rd_kafka_consume_stop(self.topic.as_ptr(), self.partition);
            rd_kafka_topic_destroy(self.topic.as_ptr());
        }
    }
}
