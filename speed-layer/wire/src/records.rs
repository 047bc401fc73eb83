//! Record sets: what a fetch brings of one partition, batch behind batch.

use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;

use bytes::Bytes;
use kafka_protocol::compression::{Decompressor, Gzip, Lz4, Snappy, Zstd};
use watershed_schemas::log::Records;
use watershed_schemas::offsets::Offset;

use crate::batch::{BatchFault, BatchHeader, Codec, HEADER_BYTES};

/// Type of a control record that ends a transaction whose records are to be left out.
const ABORT: i16 = 0;

/// A record without key, value and headers.
const LEAST_RECORD_BYTES: usize = 7;

/// Why a record set cannot be read on.
#[derive(Debug, thiserror::Error)]
pub enum RecordFault {
    #[error("batch at offset {at}: {fault}")]
    Batch { at: i64, fault: BatchFault },
    #[error("batch at offset {at}: {reason}")]
    Compression { at: i64, reason: String },
    #[error("batch at offset {at}: record {index} of {of} is cut off or malformed")]
    Record { at: i64, index: i32, of: i32 },
}

/// What the headers of a record set say of it before any record is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Extent {
    /// Behind the last whole batch.
    pub next_offset: i64,
    /// The leader under whom that was written.
    pub leader_epoch: i32,
}

impl Extent {
    /// Of a set that was asked for from `at` on, and that holds something: a whole batch at least.
    pub fn of(set: &[u8], at: i64) -> Result<Extent, RecordFault> {
        let mut rest = set;
        let mut extent = None;
        loop {
            let header = match BatchHeader::read(rest) {
                Ok(header) if header.bytes <= rest.len() => header,
                // Brokers cut a set off anywhere; what is wrong further on is found when it is read.
                Ok(_) | Err(_) if extent.is_some() => break,
                Ok(header) => return Err(cut_off(at, rest.len(), header.bytes)),
                Err(fault) => return Err(RecordFault::Batch { at, fault }),
            };
            extent = Some(Extent { next_offset: header.next_offset(), leader_epoch: header.leader_epoch });
            rest = &rest[header.bytes..];
        }
        extent.ok_or_else(|| cut_off(at, rest.len(), HEADER_BYTES))
    }
}

fn cut_off(at: i64, found: usize, expected: usize) -> RecordFault {
    RecordFault::Batch { at, fault: BatchFault::Short { found, expected } }
}

/// The batches of one partition from a fetch with `read_committed`, and how far they are read.
pub struct RecordSet {
    /// Batches that were not opened yet; the last may be cut off.
    rest: Bytes,
    open: Option<OpenBatch>,
    /// The next offset to be examined: records below it were read, or asked not to be.
    position: i64,
    transactions: Transactions,
}

impl RecordSet {
    /// `aborted` are the transactions that the broker names with the set, each by its producer and first offset.
    pub fn new(set: Bytes, position: i64, aborted: Vec<(i64, i64)>) -> RecordSet {
        RecordSet { rest: set, open: None, position, transactions: Transactions::new(aborted) }
    }

    pub fn position(&self) -> i64 {
        self.position
    }

    /// Reads on until `records` has so many records or so many bytes of payloads, or nothing is left. True if more is.
    ///
    /// What was read before a fault is in `records`, and is not read again.
    pub fn read(
        &mut self,
        most_records: usize,
        most_bytes: usize,
        records: &mut Records,
    ) -> Result<bool, RecordFault> {
        loop {
            let Some(open) = &mut self.open else {
                let is_open = self.open_next()?;
                // Batches that hold nothing for the caller were passed.
                records.position = records.position.max(self.position);
                if !is_open {
                    return Ok(false);
                }
                continue;
            };
            // A header may claim more records than its batch has room for.
            let left = (open.body.len() / LEAST_RECORD_BYTES).min(open.left.max(0) as usize);
            records.reserve(left.min(most_records));
            let source = records.share(open.body.clone());
            while open.left > 0 {
                if records.len() >= most_records || records.payload_bytes() >= most_bytes {
                    return Ok(true);
                }
                let record = open.next()?;
                if record.offset >= self.position {
                    records.push_shared(Offset(record.offset), record.timestamp, source, record.payload);
                    self.position = record.offset + 1;
                }
            }
            self.position = self.position.max(open.next_offset);
            records.position = records.position.max(self.position);
            self.open = None;
        }
    }

    /// Opens the next batch that holds records for the caller; those that do not are passed. False if there is none.
    fn open_next(&mut self) -> Result<bool, RecordFault> {
        loop {
            let header = match BatchHeader::read(&self.rest) {
                Ok(header) if header.bytes <= self.rest.len() => header,
                // Brokers cut a set off anywhere.
                Ok(_) | Err(BatchFault::Short { .. }) => return Ok(false),
                Err(fault) => return Err(RecordFault::Batch { at: self.position, fault }),
            };
            let at = header.base_offset;
            let batch = self.rest.split_to(header.bytes);
            if header.next_offset() <= self.position {
                continue;
            }
            BatchHeader::verify(&batch).map_err(|fault| RecordFault::Batch { at, fault })?;
            let body = batch.slice(HEADER_BYTES..);
            if self.transactions.leave_out(&header, &body) {
                self.position = header.next_offset();
                continue;
            }
            self.open = Some(OpenBatch::new(&header, body)?);
            return Ok(true);
        }
    }
}

/// Which transactional batches were taken back.
struct Transactions {
    /// By first offset, ascending: producers whose transaction that begins there was aborted.
    ahead: VecDeque<(i64, i64)>,
    /// Producers whose aborted transaction has begun and not ended yet.
    open: BTreeSet<i64>,
}

impl Transactions {
    fn new(aborted: Vec<(i64, i64)>) -> Transactions {
        let mut ahead: Vec<(i64, i64)> =
            aborted.into_iter().map(|(producer, first)| (first, producer)).collect();
        ahead.sort_unstable();
        Transactions { ahead: ahead.into(), open: BTreeSet::new() }
    }

    /// True for a batch that holds nothing committed: a marker, or what an aborted transaction wrote.
    fn leave_out(&mut self, header: &BatchHeader, body: &[u8]) -> bool {
        while self.ahead.front().is_some_and(|(first, _)| *first < header.next_offset()) {
            self.open.extend(self.ahead.pop_front().map(|(_, producer)| producer));
        }
        if header.is_control() {
            if control_type(body) == Some(ABORT) {
                self.open.remove(&header.producer_id);
            }
            return true;
        }
        header.is_transactional() && self.open.contains(&header.producer_id)
    }
}

/// What a control batch says, from the key of its one record.
fn control_type(body: &[u8]) -> Option<i16> {
    let mut fields = Fields(body);
    fields.varint()?;
    fields.take(1)?;
    fields.varint()?;
    fields.varint()?;
    let key_bytes = fields.varint()?;
    let key = fields.take(usize::try_from(key_bytes).ok()?)?;
    key.get(2..4)?.first_chunk().map(|bytes| i16::from_be_bytes(*bytes))
}

/// A batch whose records are being read.
struct OpenBatch {
    base_offset: i64,
    base_timestamp: i64,
    /// The broker's own clock where the topic asks for it; it stands for all records.
    append_time: Option<i64>,
    next_offset: i64,
    records: i32,
    left: i32,
    body: Bytes,
    /// Where the next record begins in `body`.
    at: usize,
}

struct Record {
    offset: i64,
    timestamp: i64,
    /// Where it lies in the batch's body.
    payload: Option<Range<usize>>,
}

impl OpenBatch {
    fn new(header: &BatchHeader, body: Bytes) -> Result<OpenBatch, RecordFault> {
        let at = header.base_offset;
        let codec = header.codec().map_err(|fault| RecordFault::Batch { at, fault })?;
        let body = decompress(codec, body).map_err(|reason| RecordFault::Compression { at, reason })?;
        Ok(OpenBatch {
            base_offset: at,
            base_timestamp: header.base_timestamp,
            append_time: header.has_append_time().then_some(header.max_timestamp),
            next_offset: header.next_offset(),
            records: header.records,
            left: header.records,
            body,
            at: 0,
        })
    }

    /// The next record, of which there is one.
    #[inline]
    fn next(&mut self) -> Result<Record, RecordFault> {
        let index = self.records - self.left;
        let fault = RecordFault::Record { at: self.base_offset, index, of: self.records };
        let mut fields = Fields(&self.body[self.at..]);
        let Some((timestamp_delta, offset_delta, payload, behind)) = fields.record() else {
            return Err(fault);
        };
        self.at = self.body.len() - fields.0.len();
        self.left -= 1;
        let end = self.at - behind;
        Ok(Record {
            offset: self.base_offset + offset_delta,
            timestamp: self.append_time.unwrap_or(self.base_timestamp.wrapping_add(timestamp_delta)),
            payload: payload.map(|bytes| end - bytes..end),
        })
    }
}

fn decompress(codec: Codec, mut body: Bytes) -> Result<Bytes, String> {
    let plain = match codec {
        Codec::None => return Ok(body),
        Codec::Gzip => Gzip::decompress(&mut body, |plain| Ok(plain.clone())),
        Codec::Snappy => Snappy::decompress(&mut body, |plain| Ok(plain.clone())),
        Codec::Lz4 => Lz4::decompress(&mut body, |plain| Ok(plain.clone())),
        Codec::Zstd => Zstd::decompress(&mut body, |plain| Ok(plain.clone())),
    };
    plain.map_err(|error: anyhow::Error| format!("{error:#}"))
}

/// The fields of records, front to back. `None` where the bytes end too soon.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// A whole record: its timestamp and offset, both counted from the batch's, how many bytes its value has, and how many
    /// follow that.
    #[inline]
    fn record(&mut self) -> Option<(i64, i64, Option<usize>, usize)> {
        let bytes = usize::try_from(self.varint()?).ok()?;
        let mut record = Fields(self.take(bytes)?);
        // Attributes: none are defined.
        record.take(1)?;
        let timestamp_delta = record.varint()?;
        let offset_delta = record.varint()?;
        record.nullable()?;
        let value = record.nullable()?;
        // Headers follow, of which nothing is asked.
        Some((timestamp_delta, offset_delta, value.map(<[u8]>::len), record.0.len()))
    }

    /// Bytes behind their length, which is negative for none at all.
    #[inline]
    fn nullable(&mut self) -> Option<Option<&'a [u8]>> {
        match usize::try_from(self.varint()?) {
            Ok(bytes) => self.take(bytes).map(Some),
            Err(_) => Some(None),
        }
    }

    #[inline]
    fn take(&mut self, bytes: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(bytes)?;
        self.0 = rest;
        Some(taken)
    }

    /// A signed number of seven bits to a byte, the least first; odd ones stand for the negative.
    #[inline]
    fn varint(&mut self) -> Option<i64> {
        // Nearly all are of one byte or two.
        match *self.0 {
            [one @ ..0x80, ref rest @ ..] => {
                self.0 = rest;
                Some(signed(u64::from(one)))
            }
            [one, two @ ..0x80, ref rest @ ..] => {
                self.0 = rest;
                Some(signed(u64::from(one & 0x7f) | u64::from(two) << 7))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Option<i64> {
        let mut number = 0u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first()?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(signed(number));
            }
        }
        None
    }
}

fn signed(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}
