//! One record batch in Kafka's v2 format: its header, read in place, and the two fields a broker may rewrite.
//!
//! The checksum covers everything from the attributes on, so that a broker can set the base offset and the leader
//! epoch without touching it: what the client sent is what is stored and what consumers verify.

/// Bytes of a header; records follow.
pub const HEADER_BYTES: usize = 61;

/// `base_offset` and `batch_length` come before what `batch_length` counts.
const LENGTH_PREFIX_BYTES: usize = 12;
const CRC_FROM: usize = 21;
const MAGIC_AT: usize = 16;

const TIMESTAMP_TYPE_BIT: i16 = 1 << 3;
const TRANSACTIONAL_BIT: i16 = 1 << 4;
const CONTROL_BIT: i16 = 1 << 5;
const CODEC_MASK: i16 = 7;

/// Why bytes are not one sound batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BatchFault {
    #[error("found {found} bytes of a batch, expected {expected}")]
    Short { found: usize, expected: usize },
    #[error("found message format {found}, expected 2")]
    Format { found: i8 },
    #[error("found a batch length of {found}, expected at least {expected}")]
    Length { found: i32, expected: usize },
    #[error("found checksum {found:#010x}, expected {expected:#010x}")]
    Checksum { found: u32, expected: u32 },
    #[error("found {found} records, expected {expected} by the last offset delta")]
    Count { found: i32, expected: i64 },
    #[error("found compression codec {found}, expected 0 to 4")]
    Codec { found: i16 },
    #[error("found base offset {found}, expected {expected}")]
    Offset { found: i64, expected: i64 },
}

/// How the records of a batch are compressed, all of them together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// The header of a batch.
#[derive(Debug, Clone, Copy)]
pub struct BatchHeader {
    pub base_offset: i64,
    /// Of the whole batch, header included.
    pub bytes: usize,
    pub leader_epoch: i32,
    pub attributes: i16,
    pub last_offset_delta: i32,
    /// What the records' own timestamps count from.
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub producer_id: i64,
    pub producer_epoch: i16,
    pub base_sequence: i32,
    pub records: i32,
    pub checksum: u32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`; what follows it may be missing.
    pub fn read(bytes: &[u8]) -> Result<BatchHeader, BatchFault> {
        // The format byte lies at the same place in all formats, and older ones have shorter headers.
        if bytes.len() > MAGIC_AT && bytes[MAGIC_AT] != 2 {
            return Err(BatchFault::Format { found: bytes[MAGIC_AT] as i8 });
        }
        let header: &[u8; HEADER_BYTES] =
            bytes.first_chunk().ok_or(BatchFault::Short { found: bytes.len(), expected: HEADER_BYTES })?;
        let length = i32::from_be_bytes(field(header, 8));
        let least = HEADER_BYTES - LENGTH_PREFIX_BYTES;
        if length < least as i32 {
            return Err(BatchFault::Length { found: length, expected: least });
        }
        Ok(BatchHeader {
            base_offset: i64::from_be_bytes(field(header, 0)),
            bytes: length as usize + LENGTH_PREFIX_BYTES,
            leader_epoch: i32::from_be_bytes(field(header, 12)),
            checksum: u32::from_be_bytes(field(header, 17)),
            attributes: i16::from_be_bytes(field(header, 21)),
            last_offset_delta: i32::from_be_bytes(field(header, 23)),
            base_timestamp: i64::from_be_bytes(field(header, 27)),
            max_timestamp: i64::from_be_bytes(field(header, 35)),
            producer_id: i64::from_be_bytes(field(header, 43)),
            producer_epoch: i16::from_be_bytes(field(header, 51)),
            base_sequence: i32::from_be_bytes(field(header, 53)),
            records: i32::from_be_bytes(field(header, 57)),
        })
    }

    /// Reads and checks one whole batch at the front of `bytes`.
    pub fn verify(bytes: &[u8]) -> Result<BatchHeader, BatchFault> {
        let header = BatchHeader::read(bytes)?;
        if bytes.len() < header.bytes {
            return Err(BatchFault::Short { found: bytes.len(), expected: header.bytes });
        }
        let computed = crc32c::crc32c(&bytes[CRC_FROM..header.bytes]);
        if computed != header.checksum {
            return Err(BatchFault::Checksum { found: header.checksum, expected: computed });
        }
        Ok(header)
    }

    /// What a client's batch must satisfy beyond being whole: one offset per record, a codec that exists.
    pub fn check_from_client(&self) -> Result<(), BatchFault> {
        let expected = i64::from(self.last_offset_delta) + 1;
        if self.records < 1 || i64::from(self.records) != expected {
            return Err(BatchFault::Count { found: self.records, expected });
        }
        self.codec().map(drop)
    }

    pub fn codec(&self) -> Result<Codec, BatchFault> {
        match self.attributes & CODEC_MASK {
            0 => Ok(Codec::None),
            1 => Ok(Codec::Gzip),
            2 => Ok(Codec::Snappy),
            3 => Ok(Codec::Lz4),
            4 => Ok(Codec::Zstd),
            found => Err(BatchFault::Codec { found }),
        }
    }

    pub fn next_offset(&self) -> i64 {
        self.base_offset + i64::from(self.last_offset_delta) + 1
    }

    /// Sequence of the last record; sequences wrap from `i32::MAX` to 0.
    pub fn last_sequence(&self) -> i32 {
        let last = i64::from(self.base_sequence) + i64::from(self.last_offset_delta);
        (last & i64::from(i32::MAX)) as i32
    }

    pub fn is_idempotent(&self) -> bool {
        self.producer_id >= 0
    }

    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL_BIT != 0
    }

    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL_BIT != 0
    }

    pub fn has_append_time(&self) -> bool {
        self.attributes & TIMESTAMP_TYPE_BIT != 0
    }
}

/// Sets where the batch lies in the log.
pub fn place(batch: &mut [u8], base_offset: i64, leader_epoch: i32) {
    batch[0..8].copy_from_slice(&base_offset.to_be_bytes());
    batch[12..16].copy_from_slice(&leader_epoch.to_be_bytes());
}

fn field<const N: usize>(header: &[u8; HEADER_BYTES], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&header[at..at + N]);
    out
}
