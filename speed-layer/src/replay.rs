//! Reads again what epochs lack, slice by slice, beside the thread that follows the log.
//!
//! One mechanism for a missed intent, a crash, a new view and a rollback: whatever lies between an
//! epoch's watershed and where it joined the live fold. A range that neither the log nor the master
//! dataset holds is left missing: the epoch stays unready and says why (invariant `NOTHING_VANISHES`).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::Duration;

use polars::prelude::DataFrame;
use tokio::runtime::Handle;
use watershed_schemas::decode::Decoder;
use watershed_schemas::log::{Log, Reader};
use watershed_schemas::offsets::{OffsetRange, Partition};

use crate::dataset::{self, Events};
use crate::held::Held;
use crate::landed::{Landed, Piece};
use crate::replaying::{Missing, Place, ReplayError, Replaying};
use crate::run::{decoder, fields_read};
use crate::shared::Shared;
use crate::stretch::Stretch;
use crate::trouble::Source;

/// How long one read waits. What is read again lies in the log already.
const READ_TIMEOUT: Duration = Duration::from_millis(200);
/// How often work is looked for when nobody announced any.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How soon a read of the store is given up when the node stops.
const STOP_INTERVAL: Duration = Duration::from_millis(50);

pub(crate) struct Replayer {
    shared: Arc<Shared>,
    log: Arc<dyn Log>,
    runtime: Handle,
    /// What records and events are read to.
    fields: BTreeSet<String>,
    decoder: Decoder,
    replaying: Replaying,
    /// The reader of the slice before, for the next one usually continues it.
    reader: Option<(Partition, Box<dyn Reader>)>,
    /// The piece of the master dataset of the slice before, likewise.
    events: Option<Events>,
}

impl Replayer {
    pub fn new(shared: Arc<Shared>, log: Arc<dyn Log>, runtime: Handle) -> Self {
        let fields = fields_read(&shared);
        let decoder = decoder(&shared, &fields);
        let replaying = Replaying::new(shared.settings.retry_interval);
        Replayer { shared, log, runtime, fields, decoder, replaying, reader: None, events: None }
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
            (self.reader, self.events) = (None, None);
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
        let wanted = self.shared.wanted();
        if let Some(wanted) = &wanted {
            self.read_more(wanted.fields_read(&self.shared.views));
        }
        let landed = wanted.map(|wanted| wanted.landed.clone()).unwrap_or_default();
        let slice = match self.replaying.place(missing, &landed) {
            Place::Log => self.slice_of_log(missing, &landed)?,
            Place::MasterDataset(piece) => Some(self.slice_of_dataset(missing, &piece)?),
        };
        let Some((range, events)) = slice else { return Ok(()) };
        let stretch = Stretch::new(missing.partition, range, &events)?;
        if let Ok(mut epochs) = held.write() {
            epochs.replay(&stretch)?;
        }
        Ok(())
    }

    /// From here on reads these fields too.
    fn read_more(&mut self, fields: BTreeSet<String>) {
        if !fields.is_subset(&self.fields) {
            self.fields.extend(fields);
            (self.decoder, self.events) = (decoder(&self.shared, &self.fields), None);
        }
    }

    /// The next slice of the log. `None` if nothing came, or the log has let go of it and there is another place for it.
    fn slice_of_log(
        &mut self,
        missing: &Missing,
        landed: &Landed,
    ) -> Result<Option<(OffsetRange, DataFrame)>, ReplayError> {
        let Missing { partition, range } = *missing;
        let reader = match self.reader.take() {
            Some((of, reader)) if of == partition && reader.position() == range.from => Ok(reader),
            _ => self.log.reader(&self.shared.stream.topic, partition, range.from),
        };
        // A range holds at most as many records as offsets.
        let most = usize::try_from(range.until.0 - range.from.0).unwrap_or(usize::MAX);
        let most = most.min(self.shared.settings.replay_records);
        let read = reader.and_then(|mut reader| Ok((reader.next(most, READ_TIMEOUT)?, reader)));
        let (records, reader) = match read {
            Ok(read) => read,
            Err(error) if self.replaying.moves(missing, &error, landed) => {
                tracing::info!(stream = self.shared.stream.name, %partition, %range, %error, "replayed from the master dataset");
                return Ok(None);
            }
            Err(error) => return Err(error.into()),
        };
        let read = self.replaying.read(missing, &records, self.shared.now())?;
        self.reader = Some((partition, reader));
        // Dead letters were counted when they were first met, or will be stored by a batch run.
        Ok(read.map(|range| (range, self.decoder.decode(&records).events)))
    }

    /// The next slice of the master dataset.
    fn slice_of_dataset(
        &mut self,
        missing: &Missing,
        piece: &Piece,
    ) -> Result<(OffsetRange, DataFrame), ReplayError> {
        let (partition, from) = (missing.partition, missing.range.from);
        let events = match self.events.take() {
            Some(events) if events.hold(partition, from) => events,
            _ => self.read(partition, piece)?,
        };
        let slice = events.slice(from, self.shared.settings.replay_records);
        self.events = Some(events);
        Ok(slice)
    }

    fn read(&self, partition: Partition, piece: &Piece) -> Result<Events, ReplayError> {
        let files = self.runtime.block_on(async {
            tokio::select! {
                files = dataset::fetch(&self.shared.store, piece) => files.map_err(ReplayError::from),
                () = stopping(&self.shared) => Err(ReplayError::Stopping),
            }
        })?;
        let range = piece.range;
        let events = Events::decode(&self.shared.stream, &self.fields, partition, range, &files);
        events.map_err(|source| ReplayError::Events { partition, range, source })
    }

    fn failed(&mut self, missing: &Missing, held: &Held, error: &ReplayError) {
        let Missing { partition, range } = *missing;
        (self.reader, self.events) = (None, None);
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

/// Ends when the node stops.
async fn stopping(shared: &Shared) {
    while !shared.is_stopping() {
        tokio::time::sleep(STOP_INTERVAL).await;
    }
}
