//! Idempotence: what each producer last wrote to one partition.
//!
//! The state is a fold of the log's batch headers, so a restart rebuilds it by reading them and nothing else needs to
//! be stored; when they were written, the time of their file tells. As in Kafka, the last five batches of a producer
//! are remembered, which covers the most that a client may have in flight.

use std::collections::{HashMap, VecDeque};

use watershed_wire::batch::BatchHeader;

const REMEMBERED_BATCHES: usize = 5;

/// Why a batch of an idempotent producer is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SequenceFault {
    #[error("producer {producer}: found sequence {found}, expected {expected}")]
    OutOfOrder { producer: i64, found: i32, expected: i32 },
    #[error("producer {producer}: found epoch {found}, expected at least {expected}")]
    OldEpoch { producer: i64, found: i16, expected: i16 },
}

/// What to do with a batch that breaks no rule.
#[must_use]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Append,
    /// The log has it already, from this offset on.
    Duplicate {
        base_offset: i64,
    },
}

#[derive(Debug, Default)]
pub struct Producers {
    by_id: HashMap<i64, Producer>,
}

#[derive(Debug)]
struct Producer {
    epoch: i16,
    recent: VecDeque<Written>,
    /// When it last wrote, by this machine's clock: the times of its records may lie years back.
    last_seen_ms: i64,
}

#[derive(Debug, Clone, Copy)]
struct Written {
    first_sequence: i32,
    last_sequence: i32,
    base_offset: i64,
}

impl Producers {
    pub fn check(&self, batch: &BatchHeader) -> Result<Verdict, SequenceFault> {
        if !batch.is_idempotent() {
            return Ok(Verdict::Append);
        }
        // An unknown producer may begin anywhere: its earlier records may have been deleted by retention.
        let Some(known) = self.by_id.get(&batch.producer_id) else { return Ok(Verdict::Append) };
        if batch.producer_epoch < known.epoch {
            return Err(SequenceFault::OldEpoch {
                producer: batch.producer_id,
                found: batch.producer_epoch,
                expected: known.epoch,
            });
        }
        let expected = if batch.producer_epoch > known.epoch {
            0
        } else {
            let (first, last) = (batch.base_sequence, batch.last_sequence());
            if let Some(written) =
                known.recent.iter().find(|w| w.first_sequence == first && w.last_sequence == last)
            {
                return Ok(Verdict::Duplicate { base_offset: written.base_offset });
            }
            known.recent.back().map_or(0, |w| w.last_sequence.wrapping_add(1) & i32::MAX)
        };
        if batch.base_sequence != expected {
            return Err(SequenceFault::OutOfOrder {
                producer: batch.producer_id,
                found: batch.base_sequence,
                expected,
            });
        }
        Ok(Verdict::Append)
    }

    /// Takes note of a batch that is in the log at `base_offset`, written at `seen_ms` (Unix time).
    pub fn record(&mut self, batch: &BatchHeader, base_offset: i64, seen_ms: i64) {
        if !batch.is_idempotent() {
            return;
        }
        let known = self.by_id.entry(batch.producer_id).or_insert_with(|| Producer {
            epoch: batch.producer_epoch,
            recent: VecDeque::with_capacity(REMEMBERED_BATCHES),
            last_seen_ms: seen_ms,
        });
        if known.epoch != batch.producer_epoch {
            known.epoch = batch.producer_epoch;
            known.recent.clear();
        }
        if known.recent.len() == REMEMBERED_BATCHES {
            known.recent.pop_front();
        }
        known.recent.push_back(Written {
            first_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            base_offset,
        });
        known.last_seen_ms = known.last_seen_ms.max(seen_ms);
    }

    /// Forgets producers that have written nothing since `before_ms` (Unix time).
    pub fn forget(&mut self, before_ms: i64) {
        self.by_id.retain(|_, known| known.last_seen_ms >= before_ms);
    }
}
