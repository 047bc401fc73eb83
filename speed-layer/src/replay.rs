//! Reads again what epochs lack, slice by slice, beside the thread that follows the log.
//!
//! One mechanism for a missed intent, a crash and a new view: whatever lies between an epoch's
//! watershed and where it joined the live fold. A range that the log no longer holds is left
//! missing: the epoch stays unready and says why (invariant `NOTHING_VANISHES`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use watershed_schemas::decode::Decoder;
use watershed_schemas::log::{Log, Reader};
use watershed_schemas::offsets::Partition;

use crate::replaying::{Missing, ReplayError, Replaying};
use crate::shared::{Held, Shared};
use crate::stretch::Stretch;
use crate::trouble::Source;

/// How long one read waits. What is read again lies in the log already.
const READ_TIMEOUT: Duration = Duration::from_millis(200);
/// How often work is looked for when nobody announced any.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

pub(crate) struct Replayer {
    shared: Arc<Shared>,
    log: Arc<dyn Log>,
    decoder: Decoder,
    replaying: Replaying,
    /// The reader of the slice before, for the next one usually continues it.
    reader: Option<(Partition, Box<dyn Reader>)>,
}

impl Replayer {
    pub fn new(shared: Arc<Shared>, log: Arc<dyn Log>) -> Self {
        let fields: BTreeSet<&str> = shared.views.values().flat_map(|view| view.fields_read()).collect();
        let decoder = Decoder::new(&shared.stream, &fields.into_iter().collect::<Vec<_>>());
        let replaying = Replaying::new(shared.settings.retry_interval);
        Replayer { shared, log, decoder, replaying, reader: None }
    }

    /// Runs until the node stops or nobody can announce work any more.
    pub fn run(&mut self, announced: &Receiver<()>) {
        while !self.shared.is_stopping() {
            if let Some((missing, held)) = self.next() {
                if let Err(error) = self.replay(&missing, &held) {
                    self.failed(&missing, &held, &error);
                }
                continue;
            }
            self.reader = None;
            match announced.recv_timeout(LOOK_INTERVAL) {
                Ok(()) | Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    }

    /// What comes next, and the folds that lack it.
    fn next(&mut self) -> Option<(Missing, Arc<Held>)> {
        let mut open = self.shared.open_partitions();
        let mut lacking = Vec::new();
        for (partition, held) in &open {
            let Ok(missing) = held.read().map(|epochs| epochs.missing()) else { continue };
            if missing.is_empty() {
                self.shared.set_trouble(Source::Replay(*partition), None);
            }
            lacking.extend(missing.into_iter().map(|range| Missing { partition: *partition, range }));
        }
        let missing = self.replaying.next(lacking, self.shared.now())?;
        let of = open.iter().position(|(partition, _)| *partition == missing.partition)?;
        Some((missing, open.swap_remove(of).1))
    }

    /// Reads and folds one slice.
    fn replay(&mut self, missing: &Missing, held: &Held) -> Result<(), ReplayError> {
        let Missing { partition, range } = *missing;
        let mut reader = match self.reader.take() {
            Some((of, reader)) if of == partition && reader.position() == range.from => reader,
            _ => self.log.reader(&self.shared.stream.topic, partition, range.from)?,
        };
        // A range holds at most as many records as offsets.
        let most = usize::try_from(range.until.0 - range.from.0).unwrap_or(usize::MAX);
        let records = reader.next(most.min(self.shared.settings.replay_records), READ_TIMEOUT)?;
        let read = self.replaying.read(missing, &records, self.shared.now())?;
        self.reader = Some((partition, reader));
        let Some(range) = read else { return Ok(()) };
        // Dead letters were counted when they were first met, or will be stored by a batch run.
        let decoded = self.decoder.decode(&records);
        let stretch = Stretch::new(partition, range, &decoded.events)?;
        if let Ok(mut epochs) = held.write() {
            epochs.replay(&stretch)?;
        }
        Ok(())
    }

    fn failed(&mut self, missing: &Missing, held: &Held, error: &ReplayError) {
        let Missing { partition, range } = *missing;
        self.reader = None;
        self.replaying.failed(missing, self.shared.now());
        let reason = error.to_string();
        if let Ok(mut epochs) = held.write() {
            epochs.hinder(range.from, &reason);
        }
        // A partition that has moved away meanwhile takes its troubles along.
        if self.shared.holds(partition, held) {
            let trouble = format!("replay of {range}: {reason}");
            self.shared.set_trouble(Source::Replay(partition), Some(trouble));
        }
    }
}
