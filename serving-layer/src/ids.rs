//! Names for requests and spans: unlike any others, and no secrets. The kernel is asked for randomness once per thread.

use std::cell::Cell;
use std::time::{SystemTime, UNIX_EPOCH};

use uuid::{Builder, Uuid};

thread_local! {
    static STATE: Cell<u64> = Cell::new(Uuid::new_v4().as_u64_pair().0);
}

/// The next of a thread's numbers (Steele, Lea, Flood, "Fast splittable pseudorandom number generators", 2014: SplitMix64).
pub fn next() -> u64 {
    let state = STATE.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
    STATE.set(state);
    let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// A name that sorts by when it was given.
pub fn name() -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut bytes = [0; 10];
    bytes[..8].copy_from_slice(&next().to_le_bytes());
    bytes[8..].copy_from_slice(&next().to_le_bytes()[..2]);
    let name = Builder::from_unix_timestamp_millis(since.as_millis() as u64, &bytes).into_uuid();
    name.hyphenated().encode_lower(&mut Uuid::encode_buffer()).to_string()
}
