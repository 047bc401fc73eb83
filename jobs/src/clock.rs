//! The one clock of the command. What decides is given the time.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use watershed_batch::Clock;

/// Milliseconds since 1970-01-01.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

pub fn clock() -> Clock {
    Arc::new(now_ms)
}
