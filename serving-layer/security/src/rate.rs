//! How often a caller may ask: a bucket of tokens that fills at an even pace.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

/// So many requests in such a time, and so many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    pub requests: u32,
    pub per: Duration,
}

/// What came of asking for a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    pub limit: u32,
    /// Requests that would pass now.
    pub remaining: u32,
    /// Until the bucket is full.
    pub reset: Duration,
    /// Until the next token, where there was none.
    pub wait: Option<Duration>,
}

/// Times are since some moment that stays the same.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    tokens: f64,
    at: Duration,
}

impl Rate {
    fn per_second(self) -> f64 {
        f64::from(self.requests) / self.per.as_secs_f64()
    }

    fn full(self, now: Duration) -> Bucket {
        Bucket { tokens: f64::from(self.requests), at: now }
    }
}

impl Bucket {
    fn take(&mut self, rate: Rate, now: Duration) -> Taken {
        let (limit, pace) = (f64::from(rate.requests), rate.per_second());
        let passed = now.saturating_sub(self.at);
        self.tokens = (self.tokens + passed.as_secs_f64() * pace).min(limit);
        self.at = self.at.max(now);
        let missing = 1.0 - self.tokens;
        let wait = (missing > 0.0).then(|| Duration::from_secs_f64(missing / pace));
        if wait.is_none() {
            self.tokens -= 1.0;
        }
        Taken {
            limit: rate.requests,
            remaining: self.tokens as u32,
            reset: Duration::from_secs_f64((limit - self.tokens) / pace),
            wait,
        }
    }

    fn is_full(&self, rate: Rate, now: Duration) -> bool {
        self.tokens + now.saturating_sub(self.at).as_secs_f64() * rate.per_second()
            >= f64::from(rate.requests)
    }
}

/// The buckets of all callers.
#[derive(Debug, Default)]
pub struct Limiter(Mutex<HashMap<String, (Rate, Bucket)>>);

/// Beyond so many, buckets that are full again are forgotten: they say nothing.
const MOST_BUCKETS: usize = 10_000;

impl Limiter {
    pub fn take(&self, caller: &str, rate: Rate, now: Duration) -> Taken {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST_BUCKETS && !buckets.contains_key(caller) {
            buckets.retain(|_, (rate, bucket)| !bucket.is_full(*rate, now));
        }
        let (held, bucket) = buckets.entry(caller.to_string()).or_insert_with(|| (rate, rate.full(now)));
        if *held != rate {
            (*held, *bucket) = (rate, rate.full(now));
        }
        bucket.take(rate, now)
    }
}

const UNITS: [(&str, u64); 4] = [("s", 1), ("m", 60), ("h", 3_600), ("d", 86_400)];

impl FromStr for Rate {
    type Err = String;

    /// `100/s`, `600/m`, `10000/h`, `100000/d`.
    fn from_str(text: &str) -> Result<Rate, String> {
        let rate = text.split_once('/').and_then(|(requests, unit)| {
            let requests = requests.trim().parse().ok().filter(|requests| *requests > 0)?;
            let (_, seconds) = UNITS.into_iter().find(|(name, _)| *name == unit.trim())?;
            Some(Rate { requests, per: Duration::from_secs(seconds) })
        });
        rate.ok_or_else(|| {
            format!("\"{text}\" is not a rate, expected such as 100/s, 600/m, 10000/h or 100000/d")
        })
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = UNITS.into_iter().find(|(_, seconds)| *seconds == self.per.as_secs());
        write!(out, "{}/{}", self.requests, unit.map_or("?", |(name, _)| name))
    }
}

impl Serialize for Rate {
    fn serialize<S: Serializer>(&self, into: S) -> Result<S::Ok, S::Error> {
        into.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        String::deserialize(from)?.parse().map_err(de::Error::custom)
    }
}
