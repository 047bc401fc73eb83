//! Messages by the batch, straight from librdkafka.
//!
//! rdkafka's own `poll` makes an event of every message and does not say at which offset a partition
//! ended.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::ptr::NonNull;
use std::sync::Arc;
use std::time::Duration;

use rdkafka::bindings::{
    rd_kafka_consume_batch_queue, rd_kafka_consume_queue, rd_kafka_consume_start_queue,
    rd_kafka_consume_stop, rd_kafka_last_error, rd_kafka_message_destroy, rd_kafka_message_errstr,
    rd_kafka_message_t, rd_kafka_message_timestamp, rd_kafka_queue_destroy, rd_kafka_queue_forward,
    rd_kafka_queue_get_partition, rd_kafka_queue_new, rd_kafka_queue_t, rd_kafka_topic_destroy,
    rd_kafka_topic_new, rd_kafka_topic_t,
};
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::types::{RDKafkaErrorCode, RDKafkaRespErr};

/// Messages taken from librdkafka in one call at the most.
const BATCH: usize = 4096;
/// No more is taken once payloads have come to so many bytes: a delivery is no larger than this and one message
/// more, or one batch more, which is at most what librdkafka holds ready.
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
    batch: Vec<*mut rd_kafka_message_t>,
    /// The client that the queue belongs to; it outlives the queue.
    consumer: Arc<BaseConsumer<C>>,
}

// SAFETY: librdkafka's handles may be used from any thread. The messages in `batch` are destroyed
// before the call that took them returns, so none moves along.
unsafe impl<C: ConsumerContext> Send for Queue<C> {}

impl<C: ConsumerContext> Queue<C> {
    pub fn new(consumer: Arc<BaseConsumer<C>>) -> Self {
        // SAFETY: the client is alive; librdkafka aborts rather than return null here.
        let queue = unsafe { rd_kafka_queue_new(consumer.client().native_ptr()) };
        let queue = NonNull::new(queue).expect("librdkafka always makes a queue");
        Queue { queue, batch: Vec::with_capacity(BATCH), consumer }
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
    pub fn take(&mut self, limit: usize, timeout: Duration, mut each: impl FnMut(Message<'_>)) {
        let mut timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        let mut bytes = 0;
        for _ in 0..limit {
            // SAFETY: the queue is alive; a message that is not null is ours, alive until it is
            // destroyed, once, here; `each` cannot keep what it borrows from it.
            unsafe {
                let message = rd_kafka_consume_queue(self.queue.as_ptr(), timeout);
                if message.is_null() {
                    return;
                }
                bytes += (*message).len;
                each(read(&*message));
                rd_kafka_message_destroy(message);
            }
            if bytes >= ENOUGH_BYTES {
                return;
            }
            timeout = 0;
        }
    }

    /// As `take`, at less cost for each message, and only for a partition that is never paused:
    /// librdkafka then takes the offset after the *end* for the one to go on from, and so would skip a
    /// record. Every rebalance of a cooperative group pauses.
    fn take_batch(&mut self, limit: usize, timeout: Duration, mut each: impl FnMut(Message<'_>)) {
        let timeout = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
        // librdkafka would wait until the batch is full: so first one message, then the rest without waiting.
        let (mut taken, mut bytes) = self.fill(limit.min(1), timeout, &mut each);
        while taken > 0 && taken < limit && bytes < ENOUGH_BYTES {
            let wanted = (limit - taken).min(BATCH);
            let (got, more) = self.fill(wanted, 0, &mut each);
            taken += got;
            bytes += more;
            if got < wanted {
                return;
            }
        }
    }

    /// Takes one batch; gives the number of its messages and of their bytes.
    fn fill(&mut self, limit: usize, timeout: i32, each: &mut impl FnMut(Message<'_>)) -> (usize, usize) {
        debug_assert!(limit <= BATCH);
        // SAFETY: `batch` has room for `BATCH` pointers, of which librdkafka writes at most `limit`
        // and says how many.
        let taken = unsafe {
            let messages = self.batch.as_mut_ptr();
            let count = rd_kafka_consume_batch_queue(self.queue.as_ptr(), timeout, messages, limit);
            let count = usize::try_from(count).unwrap_or(0);
            self.batch.set_len(count);
            count
        };
        let mut bytes = 0;
        for message in self.batch.drain(..) {
            // SAFETY: each pointer is a message of ours, alive until it is destroyed, once, here;
            // `each` cannot keep what it borrows from it.
            unsafe {
                bytes += (*message).len;
                each(read(&*message));
                rd_kafka_message_destroy(message);
            }
        }
        (taken, bytes)
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
        // Nothing pauses a partition that belongs to no group.
        self.queue.take_batch(limit, timeout, each);
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
