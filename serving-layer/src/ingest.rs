//! Events from callers into a stream's topic.
//!
//! Guarantee: an event that is accepted lies in the log, durably; one that is not is named with the reason. What was
//! sent twice under one idempotency key is written once, as long as this server remembers the key; of a request that
//! failed half-way, only what is not known to be in the log is sent again.

mod kept;
mod lines;

use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::Semaphore;
use utoipa::ToSchema;
use watershed_schemas::decode::{DeadLetter, Decoder};
use watershed_schemas::log::Records;
use watershed_schemas::offsets::{Offset, Partition};
use watershed_schemas::predicate::Predicate;
use watershed_schemas::sink::{Outgoing, SendError, Sink};
use watershed_schemas::stream::Stream;

use self::kept::{Kept, Progress, Request};
use crate::ask::now_ms;
use crate::refusal::{Reason, Refusal};
use crate::turns::beside;

pub use self::kept::MOST_KEY_BYTES;

/// A request larger than this is refused.
pub const MOST_BYTES: usize = 16 << 20;
/// Bytes of requests that are on their way to the log at once.
const MOST_BYTES_AT_ONCE: usize = 4 * MOST_BYTES;
/// How long a caller waits for the log. What is on its way then may yet arrive.
const PATIENCE: Duration = Duration::from_secs(30);
/// Lines of one request, and those that are named with their reasons; the others are counted.
const MOST_LINES: usize = 100_000;
const MOST_REJECTED: usize = 100;
/// What Kafka takes as one record unless it is told otherwise, less room for the record's head.
const MOST_EVENT_BYTES: usize = 1_000_000 - 1_024;

/// Takes events of all streams.
pub struct Ingest {
    sink: Option<Arc<dyn Sink>>,
    room: Arc<Semaphore>,
    kept: Kept,
}

/// What became of a request's events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Receipt {
    pub accepted: usize,
    /// Of how many lines no event could be made; the first of them follow.
    pub rejected_count: usize,
    pub rejected: Vec<Rejected>,
}

/// A line that is no event of the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Rejected {
    /// Counted from 1.
    pub line: usize,
    /// As dead letters are counted.
    pub kind: &'static str,
    pub reason: String,
}

/// A request's lines: events on their way, and those of which none could be made.
#[derive(Debug, Default)]
struct Checked {
    /// By event: the index of its line among all lines.
    indices: Vec<usize>,
    events: Vec<Outgoing>,
    rejected: Vec<Rejected>,
    rejected_count: usize,
    lines: usize,
}

impl Ingest {
    /// `sink` is missing where this server has no Kafka.
    pub fn new(sink: Option<Arc<dyn Sink>>) -> Self {
        Ingest { sink, room: Arc::new(Semaphore::new(MOST_BYTES_AT_ONCE)), kept: Kept::default() }
    }

    /// Takes a body of events, an object per line or an array of objects. `key` names the field whose value becomes the
    /// records' key. Events that do not pass `rows` are not the caller's to write.
    pub async fn take(
        &self,
        stream: &Arc<Stream>,
        body: Vec<u8>,
        key: Option<&str>,
        idempotency_key: Option<&str>,
        rows: Option<Arc<Predicate>>,
    ) -> Result<Receipt, Refusal> {
        let Some(sink) = self.sink.clone() else {
            return Err(Refusal::not_ready("this server has no Kafka to send events to: set kafka.brokers"));
        };
        if let Some(name) = key
            && stream.field(name).is_none()
        {
            let fields = stream.fields.iter().map(|field| field.name.as_str());
            return Err(Refusal {
                reason: Reason::WrongQuestion,
                ..Refusal::unknown_name("field", name, fields)
            }
            .at("key", name));
        }
        let size = u32::try_from(body.len().max(1)).unwrap_or(u32::MAX);
        let room = self.room.clone().try_acquire_many_owned(size).map_err(|_| busy())?;
        let request = match idempotency_key {
            Some(idempotency_key) => self.kept.find(&stream.name, idempotency_key, key, &body)?,
            None => Arc::new(Request::default()),
        };
        let (stream, key) = (stream.clone(), key.map(str::to_string));
        // A caller that goes away leaves its events on their way: whoever asks with the same key hears of them.
        let sending = tokio::spawn(async move {
            let _room = room;
            let mut progress = request.progress().await;
            if let Progress::Done(receipt) = &*progress {
                return Ok(receipt.clone());
            }
            let topic = stream.topic.clone();
            let mut checked =
                beside(move || check(&stream, &body, key.as_deref(), rows.as_deref())).await??;
            let mut written = match std::mem::take(&mut *progress) {
                Progress::Partly(written) => written,
                Progress::New | Progress::Done(_) => vec![false; checked.lines],
            };
            let sent = send(&*sink, &topic, &mut checked, &mut written).await;
            *progress = match &sent {
                Ok(receipt) => Progress::Done(receipt.clone()),
                Err(_) => Progress::Partly(written),
            };
            sent
        });
        match tokio::time::timeout(PATIENCE, sending).await {
            Ok(Ok(taken)) => taken,
            Ok(Err(error)) => {
                Err(Refusal::new(Reason::Failed, format!("taking events was interrupted: {error}")))
            }
            Err(_) => Err(Refusal::not_ready(format!(
                "the log did not acknowledge the events within {} s; they may yet be written: send them again with the \
                 same Idempotency-Key",
                PATIENCE.as_secs()
            ))),
        }
    }
}

/// Sends the events that are not known to be in the log, and notes by line which are.
async fn send(
    sink: &dyn Sink,
    topic: &str,
    checked: &mut Checked,
    written: &mut [bool],
) -> Result<Receipt, Refusal> {
    let events = std::mem::take(&mut checked.events).into_iter().zip(std::mem::take(&mut checked.indices));
    let (events, indices): (Vec<Outgoing>, Vec<usize>) = events.filter(|(_, index)| !written[*index]).unzip();
    let mut failed = None;
    for (index, outcome) in indices.iter().zip(sink.send(topic, &events).await) {
        match outcome {
            Ok(_) => written[*index] = true,
            Err(error) => _ = failed.get_or_insert(error),
        }
    }
    let accepted = written.iter().filter(|written| **written).count();
    let Some(error) = failed else { return Ok(checked.receipt(accepted)) };
    let detail = format!(
        "{error}; {accepted} events are in the log, {} are not known to be: sent again under the same Idempotency-Key, \
         none of the former is written twice",
        indices.iter().filter(|index| !written[**index]).count()
    );
    Err(match error {
        SendError::Full => Refusal::too_many(detail),
        SendError::TooLarge { .. } => Refusal::new(Reason::TooLarge, detail),
        SendError::Log(_) => Refusal::not_ready(detail),
    })
}

/// Makes events of lines, as the layers would.
fn check(
    stream: &Stream,
    body: &[u8],
    key: Option<&str>,
    rows: Option<&Predicate>,
) -> Result<Checked, Refusal> {
    let lines = lines::split(body)?;
    if lines.len() > MOST_LINES {
        let detail =
            format!("{} events are more than the {MOST_LINES} that one request may bring", lines.len());
        return Err(Refusal::new(Reason::TooLarge, detail));
    }
    let mut records = Records::new(Partition(0), Offset(0));
    for (index, line) in lines.iter().enumerate() {
        records.push(Offset(index as i64), now_ms(), Some(line.payload));
    }
    let mut fields: Vec<&str> = rows.map(Predicate::names).unwrap_or_default();
    fields.extend(key.filter(|key| !fields.contains(key)));
    let decoded = Decoder::new(stream, &fields).decode(&records);
    let mut checked = Checked { lines: lines.len(), ..Checked::default() };
    let mut dead = vec![false; lines.len()];
    for DeadLetter { index, kind, reason } in decoded.dead_letters {
        dead[index] = true;
        checked.reject(lines[index].number, kind.name(), reason);
    }
    let mut keys = match key {
        Some(name) => lines::keys(&decoded.events, name)?,
        None => Vec::new(),
    }
    .into_iter();
    let mut passes = match rows {
        Some(rows) => rows.events(&decoded.events).map_err(|error| {
            tracing::error!(stream = stream.name, %error, "a row filter was not evaluated");
            Refusal::new(Reason::Failed, "which events this key may write could not be found out")
        })?,
        None => Vec::new(),
    }
    .into_iter();
    for (index, line) in lines.iter().enumerate().filter(|(index, _)| !dead[*index]) {
        let key = keys.next().flatten();
        if let (Some(rows), Some(false)) = (rows, passes.next()) {
            let reason = format!("this key writes events where {} only", rows.text());
            checked.reject(line.number, "forbidden", reason);
            continue;
        }
        match line.payload.len() <= MOST_EVENT_BYTES {
            true => {
                checked.indices.push(index);
                checked.events.push(Outgoing { key, payload: line.payload.to_vec() });
            }
            false => {
                let bytes = line.payload.len();
                let reason = format!("an event of {bytes} bytes, expected at most {MOST_EVENT_BYTES}");
                checked.reject(line.number, "too_large", reason);
            }
        }
    }
    Ok(checked)
}

impl Checked {
    fn reject(&mut self, line: usize, kind: &'static str, reason: String) {
        self.rejected_count += 1;
        self.rejected.push(Rejected { line, kind, reason });
    }

    fn receipt(&mut self, accepted: usize) -> Receipt {
        let mut rejected = std::mem::take(&mut self.rejected);
        rejected.sort_by_key(|rejected| rejected.line);
        rejected.truncate(MOST_REJECTED);
        Receipt { accepted, rejected_count: self.rejected_count, rejected }
    }
}

fn busy() -> Refusal {
    Refusal::too_many("too many events are on their way to the log already: send them again in a moment")
}
