//! A request is rehearsed before it is decoded: what it claims is compared with what it holds.
//!
//! kafka-protocol reserves memory for as many elements as an array claims to have, and memory that cannot be had ends
//! the process. A rehearsal reads the same bytes through a [`Buf`] that lets no number be larger than one more than the
//! bytes behind it. For a number that is only a number (a timeout, a generation) this changes nothing in how the
//! request is read on. An array that claims more than there is, however, now lacks its last element: every element
//! takes a byte at least. So whatever passes the rehearsal claims nowhere more elements than it has bytes.

use bytes::{Buf, Bytes, TryGetError};
use kafka_protocol::protocol::Decodable;
use kafka_protocol::protocol::buf::ByteBuf;

/// What is wrong with a request, if it does not hold what it claims. The bytes are shared, not copied.
pub fn rehearse<T: Decodable>(body: &Bytes, version: i16) -> Result<(), String> {
    T::decode(&mut Rehearsal(body.clone()), version).map(drop).map_err(|error| error.to_string())
}

struct Rehearsal(Bytes);

impl Rehearsal {
    /// A number of four bytes may be a length: never more than what can just not be met.
    fn bounded(&self, number: i32) -> i32 {
        let unmet = i32::try_from(self.0.len()).unwrap_or(i32::MAX).saturating_add(1);
        number.min(unmet)
    }

    /// What a number that began with `first` and goes on here comes to. Seven bits a byte, the lowest first.
    fn goes_on(&self, first: u8) -> usize {
        let mut number = usize::from(first & 0x7f);
        for (index, byte) in self.0.iter().take(4).enumerate() {
            number |= usize::from(byte & 0x7f) << (7 * (index + 1));
            if byte & 0x80 == 0 {
                break;
            }
        }
        number
    }
}

impl Buf for Rehearsal {
    fn remaining(&self) -> usize {
        self.0.remaining()
    }

    fn chunk(&self) -> &[u8] {
        self.0.chunk()
    }

    fn advance(&mut self, count: usize) {
        self.0.advance(count);
    }

    fn try_get_i32(&mut self) -> Result<i32, TryGetError> {
        let number = self.0.try_get_i32()?;
        Ok(self.bounded(number))
    }

    /// A byte with its highest bit set begins (or continues) a number of variable length. Such numbers are lengths,
    /// one more than what they count, and the tags and sizes of what follows: none is honestly larger than the rest.
    fn try_get_u8(&mut self) -> Result<u8, TryGetError> {
        let byte = self.0.try_get_u8()?;
        let (claimed, available) = (self.goes_on(byte), self.0.len());
        match byte & 0x80 != 0 && claimed > available {
            true => Err(TryGetError { requested: claimed, available }),
            false => Ok(byte),
        }
    }
}

impl ByteBuf for Rehearsal {
    fn peek_bytes(&mut self, range: std::ops::Range<usize>) -> Bytes {
        self.0.peek_bytes(range)
    }

    fn get_bytes(&mut self, size: usize) -> Bytes {
        self.0.get_bytes(size)
    }
}
