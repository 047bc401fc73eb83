//! Leader epochs: which start of the broker wrote which offsets.
//!
//! A client that remembers the epoch of its last record can ask where that epoch ended. If the log lost its tail in a
//! power failure, the answer lies below the client's position, and the client learns of the loss.

/// Ascending in both fields; rebuilt from the batch headers at start.
#[derive(Debug, Default)]
pub struct Epochs {
    starts: Vec<(i32, i64)>,
}

impl Epochs {
    pub fn record(&mut self, epoch: i32, base_offset: i64) {
        if self.starts.last().is_none_or(|&(last, _)| epoch > last) {
            self.starts.push((epoch, base_offset));
        }
    }

    /// The newest epoch at or below `epoch` and the offset where it ends. An epoch older than all that is known ends
    /// where the known ones begin. `None` when `epoch` lies ahead of `current`.
    pub fn end_of(&self, epoch: i32, current: i32, log_end: i64) -> Option<(i32, i64)> {
        if epoch >= current {
            return (epoch == current).then_some((current, log_end));
        }
        let after = self.starts.partition_point(|&(start_epoch, _)| start_epoch <= epoch);
        let found = after.checked_sub(1).map_or(epoch, |at| self.starts[at].0);
        let end = self.starts.get(after).map_or(log_end, |&(_, start)| start);
        Some((found, end))
    }
}
