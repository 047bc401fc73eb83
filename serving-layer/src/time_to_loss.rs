//! How near the log's retention is to records that no version holds yet.
//!
//! The next batch run reads on from where records have landed: from the newest version's watershed, or above it after a
//! rollback. Should the log's start pass it first, records are lost; so how far the start is from it, and how fast it
//! comes nearer, is told beforehand.

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use serde::Serialize;
use utoipa::ToSchema;
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};

/// Moves of the log's start count for this long: brokers remove whole segments, so it moves in large and rare steps.
const HORIZON: Duration = Duration::from_secs(24 * 60 * 60);
/// More positions than this are thinned out.
const MOST: usize = 64;

/// What a topic's log was seen to hold.
#[derive(Clone, Debug, Default)]
pub struct LogSeen {
    seen_at: Option<Instant>,
    partitions: BTreeMap<Partition, PartitionSeen>,
}

#[derive(Clone, Debug)]
struct PartitionSeen {
    held: OffsetRange,
    starts: Starts,
}

/// Where one partition's log began, each time since when.
#[derive(Clone, Debug, Default)]
pub struct Starts(VecDeque<(Instant, Offset)>);

/// How long a stream's records are safe.
#[derive(Clone, Debug, Default, PartialEq, Serialize, ToSchema)]
pub struct TimeToLoss {
    /// The least of the partitions'; null where no partition has one.
    #[schema(required)]
    pub seconds: Option<f64>,
    /// How long ago the log was asked where it begins; null before it has answered.
    #[schema(required)]
    pub asked_ms_ago: Option<u64>,
    /// Empty before the first version: it begins wherever the log does.
    #[schema(value_type = BTreeMap<String, PartitionToLoss>)]
    pub partitions: BTreeMap<Partition, PartitionToLoss>,
}

#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub struct PartitionToLoss {
    /// The oldest offset that is still needed: where what has landed with the newest version ends.
    #[schema(value_type = i64)]
    pub needed_offset: Offset,
    #[schema(value_type = i64)]
    pub log_start_offset: Offset,
    /// Offsets from the log's start to the one that is needed. Below zero, records have been lost.
    pub offsets_left: i64,
    /// How fast the start has moved; null where it has not.
    #[schema(required)]
    pub start_offsets_per_second: Option<f64>,
    /// When the start will have passed the needed offset, should it go on as it did. Null where it does not move, or where
    /// there is nothing from the needed offset on; 0 where it has passed.
    #[schema(required)]
    pub seconds: Option<f64>,
}

impl LogSeen {
    /// All that were seen: they never become fewer.
    pub fn partitions(&self) -> impl Iterator<Item = Partition> {
        self.partitions.keys().copied()
    }

    pub fn observe(&mut self, at: Instant, bounds: &[(Partition, OffsetRange)]) {
        self.seen_at = Some(at);
        for (partition, held) in bounds {
            let new = || PartitionSeen { held: *held, starts: Starts::default() };
            let seen = self.partitions.entry(*partition).or_insert_with(new);
            seen.held = *held;
            seen.starts.observe(at, held.from);
        }
    }

    /// `needed` is where what has landed with the newest version ends, if there is a version.
    pub fn time_to_loss(&self, needed: Option<&Offsets>, now: Instant) -> TimeToLoss {
        let partitions: BTreeMap<Partition, PartitionToLoss> = (needed.into_iter())
            .flat_map(|needed| {
                let to_loss = |(partition, seen): (&Partition, &PartitionSeen)| {
                    (*partition, seen.to_loss(needed.get(*partition), now))
                };
                self.partitions.iter().map(to_loss)
            })
            .collect();
        let seconds = partitions.values().filter_map(|partition| partition.seconds).reduce(f64::min);
        let age = |at| now.saturating_duration_since(at).as_millis();
        let asked_ms_ago = self.seen_at.map(|at| u64::try_from(age(at)).unwrap_or(u64::MAX));
        TimeToLoss { seconds, asked_ms_ago, partitions }
    }
}

impl PartitionSeen {
    fn to_loss(&self, needed: Offset, now: Instant) -> PartitionToLoss {
        let start = self.held.from;
        let offsets_left = needed.0.saturating_sub(start.0);
        let rate = self.starts.offsets_per_second(now);
        let seconds = match rate {
            _ if offsets_left < 0 => Some(0.0),
            _ if needed >= self.held.until => None,
            rate => rate.map(|rate| offsets_left as f64 / rate),
        };
        PartitionToLoss {
            needed_offset: needed,
            log_start_offset: start,
            offsets_left,
            start_offsets_per_second: rate,
            seconds,
        }
    }
}

impl Starts {
    /// `at` never lies before what was observed already.
    pub fn observe(&mut self, at: Instant, start: Offset) {
        match self.0.back() {
            Some((_, last)) if *last == start => {}
            last => {
                // A start that went back is that of another log.
                if last.is_some_and(|(_, last)| start < *last) {
                    self.0.clear();
                }
                self.0.push_back((at, start));
            }
        }
        // The first that stays is where the start was when the horizon began.
        while self.0.get(1).is_some_and(|(since, _)| at.saturating_duration_since(*since) > HORIZON) {
            self.0.pop_front();
        }
        if self.0.len() > MOST {
            let newest = self.0.pop_back();
            let mut index = 0;
            self.0.retain(|_| {
                index += 1;
                index % 2 == 1
            });
            self.0.extend(newest);
        }
    }

    /// The mean since the first position that is remembered, over the last day at most. The longer it has been watched, the
    /// better it is: the first step that is seen makes it too fast.
    pub fn offsets_per_second(&self, now: Instant) -> Option<f64> {
        let (first, last) = (self.0.front()?, self.0.back()?);
        let seconds = now.saturating_duration_since(first.0).min(HORIZON).as_secs_f64();
        (last.1 > first.1 && seconds > 0.0).then(|| (last.1.0 - first.1.0) as f64 / seconds)
    }
}
