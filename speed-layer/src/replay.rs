//! Reads again what epochs lack, slice by slice, beside the thread that follows the log.
//!
//! One mechanism for a missed intent, a crash and a new view: whatever lies between an epoch's
//! watershed and where it joined the live fold. A range that the log no longer holds is left
//! missing: the epoch stays unready and says why (invariant `NOTHING_VANISHES`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use watershed_schemas::decode::Decoder;
use watershed_schemas::log::{Log, LogError, Reader};
use watershed_schemas::offsets::{Offset, OffsetRange, Partition};

use crate::shared::{Held, Shared, Source};
use crate::stretch::{Refused, Stretch};

/// How long one read waits. What is read again lies in the log already.
const READ_TIMEOUT: Duration = Duration::from_millis(200);
/// Reads that bring nothing for so many retry intervals are given up. A connection may take its time.
const PATIENCE: u32 = 10;
/// How often work is looked for when nobody announced any.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) struct Replayer {
    shared: Arc<Shared>,
    log: Arc<dyn Log>,
    decoder: Decoder,
    /// The reader of the slice before, for the next one usually continues it.
    reader: Option<(Partition, Box<dyn Reader>)>,
    /// Ranges that could not be read begin here; tried again at that time.
    put_off: BTreeMap<(Partition, Offset), Instant>,
    /// Since when reads bring nothing.
    silent_since: Option<Instant>,
}

/// Why a slice was not replayed.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error(transparent)]
    Log(#[from] LogError),
    #[error(transparent)]
    Refused(#[from] Refused),
    #[error("the log gives nothing from offset {from} on")]
    Silent { from: Offset },
}

impl Replayer {
    pub fn new(shared: Arc<Shared>, log: Arc<dyn Log>) -> Self {
        let fields: BTreeSet<&str> = shared.views.values().flat_map(|view| view.fields_read()).collect();
        let decoder = Decoder::new(&shared.stream, &fields.into_iter().collect::<Vec<_>>());
        Replayer { shared, log, decoder, reader: None, put_off: BTreeMap::new(), silent_since: None }
    }

    /// Runs until the node stops or nobody can announce work any more.
    pub fn run(&mut self, announced: &Receiver<()>) {
        while !self.shared.is_stopping() {
            match self.next() {
                Some((partition, held, missing)) => self.slice(partition, &held, missing),
                None => {
                    self.reader = None;
                    match announced.recv_timeout(LOOK_INTERVAL) {
                        Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                        Err(RecvTimeoutError::Disconnected) => return,
                    }
                }
            }
        }
    }

    /// The shortest missing range of any partition that is not put off.
    fn next(&mut self) -> Option<(Partition, Arc<Held>, OffsetRange)> {
        let now = Instant::now();
        self.put_off.retain(|_, retry_at| *retry_at > now);
        let mut candidates = Vec::new();
        for (partition, held) in self.shared.open_partitions() {
            let Ok(missing) = held.read().map(|epochs| epochs.missing()) else { continue };
            if missing.is_empty() {
                self.shared.set_trouble(Source::Replay(partition), None);
            }
            let due = missing.into_iter().find(|range| !self.put_off.contains_key(&(partition, range.from)));
            candidates.extend(due.map(|missing| (partition, held, missing)));
        }
        candidates.into_iter().min_by_key(|(_, _, missing)| missing.until.0 - missing.from.0)
    }

    fn slice(&mut self, partition: Partition, held: &Held, missing: OffsetRange) {
        if let Err(error) = self.replay(partition, held, missing) {
            (self.reader, self.silent_since) = (None, None);
            let retry_at = Instant::now() + self.shared.settings.retry_interval;
            self.put_off.insert((partition, missing.from), retry_at);
            let reason = error.to_string();
            if let Ok(mut epochs) = held.write() {
                epochs.hinder(missing.from, &reason);
            }
            // A partition that has moved away meanwhile takes its troubles along.
            if self.shared.holds(partition, held) {
                self.shared
                    .set_trouble(Source::Replay(partition), Some(format!("replay of {missing}: {reason}")));
            }
        }
    }

    fn replay(&mut self, partition: Partition, held: &Held, missing: OffsetRange) -> Result<(), ReplayError> {
        let mut reader = match self.reader.take() {
            Some((of, reader)) if of == partition && reader.position() == missing.from => reader,
            _ => {
                self.silent_since = None;
                self.log.reader(&self.shared.stream.topic, partition, missing.from)?
            }
        };
        // A range holds at most as many records as offsets.
        let most = usize::try_from(missing.until.0 - missing.from.0).unwrap_or(usize::MAX);
        let records = reader.next(most.min(self.shared.settings.replay_records), READ_TIMEOUT)?;
        self.reader = Some((partition, reader));
        let range = OffsetRange::new(missing.from, Offset(records.position));
        if range.is_empty() {
            // Others get their turn, and the reason is told: this log may never hold what is waited for.
            let since = *self.silent_since.get_or_insert_with(Instant::now);
            return match since.elapsed() < self.shared.settings.retry_interval * PATIENCE {
                true => Ok(()),
                false => Err(ReplayError::Silent { from: missing.from }),
            };
        }
        self.silent_since = None;
        // Dead letters were counted when they were first met, or will be stored by a batch run.
        let decoded = self.decoder.decode(&records);
        let stretch = Stretch::new(partition, range, &decoded.events)?;
        if let Ok(mut epochs) = held.write() {
            epochs.replay(&stretch)?;
        }
        Ok(())
    }
}
