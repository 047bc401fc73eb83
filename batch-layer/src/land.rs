//! Landing: records of the log to immutable files of the master dataset.
//!
//! A partition is read in chunks of bounded size, two partitions at once; what is encoded is stored while others are read.
//! It is covered when the reader's *position* has reached the target: offsets have holes, so records are never
//! counted against offsets. Records that do not begin where the ones before ended stop the run (invariant `COVER`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, TryStreamExt};
use polars::prelude::*;
use tokio::sync::Semaphore;
use watershed_schemas::decode::Decoder;
use watershed_schemas::identity::Fingerprint;
use watershed_schemas::layout::Object;
use watershed_schemas::log::{Log, LogError, Reader, Records};
use watershed_schemas::manifest::{DeadLetterFile, EventFile};
use watershed_schemas::offsets::{OffsetRange, Partition};
use watershed_schemas::stream::Stream;
use watershed_store::Store;

use crate::BatchError;
use crate::encode::{self, DeadLetters, Encoded};
use crate::engine::Engine;
use crate::event_files::Provenance;
use crate::files::Files;
use crate::plan::ViewPlan;
use crate::progress::{Progress, Stage};
use crate::touched;

/// How much is asked of a reader at once, and how long it may take before it says that nothing came.
const RECORDS_PER_READ: usize = 16 * 1024;
const READ_TIMEOUT: Duration = Duration::from_millis(500);
/// How many chunks are read and encoded at once: each is held in memory.
const CHUNKS_AT_ONCE: usize = 2;
/// How many partitions are on their way at once: those beyond the chunks that are read are being stored.
const PARTITIONS_AT_ONCE: usize = 2 * CHUNKS_AT_ONCE;
/// How many files of a chunk are stored at once.
const FILES_AT_ONCE: usize = 8;

/// What a run has landed.
#[derive(Debug, Default)]
pub(crate) struct Landed {
    pub events: Vec<EventFile>,
    pub dead_letters: Vec<DeadLetterFile>,
    pub rows: u64,
    /// The last record of each partition, whatever became of it.
    pub last_records: BTreeMap<Partition, Fingerprint>,
    /// By view: the starts of the windows that these events touch.
    pub touched: BTreeMap<String, BTreeSet<i64>>,
}

impl Landed {
    fn add(&mut self, other: Landed) {
        self.events.extend(other.events);
        self.dead_letters.extend(other.dead_letters);
        self.rows += other.rows;
        self.last_records.extend(other.last_records);
        for (view, starts) in other.touched {
            self.touched.entry(view).or_default().extend(starts);
        }
    }
}

/// What landing needs to know.
pub(crate) struct Landing<'a> {
    pub stream: &'a Arc<Stream>,
    pub views: Arc<Vec<ViewPlan>>,
    pub store: &'a Store,
    pub files: &'a Files,
    pub log: &'a Arc<dyn Log>,
    pub engine: &'a Arc<dyn Engine>,
    pub run_id: &'a str,
    pub limits: Limits,
    pub progress: &'a dyn Progress,
}

/// When a chunk is full, and when a partition counts as standing still.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub chunk_rows: usize,
    pub chunk_bytes: usize,
    pub stall_timeout: Duration,
}

impl Landing<'_> {
    /// Lands all `ranges`.
    pub(crate) async fn land(&self, ranges: &[(Partition, OffsetRange)]) -> Result<Landed, BatchError> {
        let total: u64 = ranges.iter().map(|(_, range)| offsets_in(*range)).sum();
        self.progress.report(Stage::Land, 0, total);
        let passed = AtomicU64::new(0);
        let turns = Semaphore::new(CHUNKS_AT_ONCE);
        let done = |range: OffsetRange| {
            let passed = passed.fetch_add(offsets_in(range), Ordering::Relaxed) + offsets_in(range);
            self.progress.report(Stage::Land, passed, total);
        };
        // Boxed, so that the compiler sees that a run may move between threads.
        let landing: Vec<BoxFuture<'_, _>> = (ranges.iter())
            .map(|(partition, range)| self.land_partition(*partition, *range, &turns, &done).boxed())
            .collect();
        let mut landing = futures::stream::iter(landing).buffered(PARTITIONS_AT_ONCE);
        let mut landed = Landed::default();
        while let Some(partition) = landing.try_next().await? {
            landed.add(partition);
        }
        Ok(landed)
    }

    async fn land_partition(
        &self,
        partition: Partition,
        range: OffsetRange,
        turns: &Semaphore,
        done: &(dyn Fn(OffsetRange) + Sync),
    ) -> Result<Landed, BatchError> {
        let mut landed = Landed::default();
        let mut source = Some(self.open(partition, range).await?);
        while let Some(open) = source.take() {
            let turn = turns.acquire().await.expect("nobody closes it");
            let (chunk, rest) = self.store.beside(move || open.next_chunk()).await??;
            drop(turn);
            let range = chunk.range;
            self.store_chunk(partition, chunk, &mut landed).await?;
            done(range);
            source = rest;
        }
        Ok(landed)
    }

    async fn open(&self, partition: Partition, range: OffsetRange) -> Result<Source, BatchError> {
        let (stream, views, log) = (self.stream.clone(), self.views.clone(), self.log.clone());
        let (engine, run_id, limits) = (self.engine.clone(), self.run_id.to_string(), self.limits);
        let opened = self.store.beside(move || {
            let reader = log.reader(&stream.topic, partition, range.from);
            let reader = reader.map_err(|error| explained(&stream, error))?;
            let fields: Vec<&str> = stream.fields.iter().map(|field| field.name.as_str()).collect();
            let decoder = Decoder::new(&stream, &fields);
            Ok(Source { partition, range, reader, decoder, stream, views, engine, run_id, limits })
        });
        opened.await?
    }

    async fn store_chunk(
        &self,
        partition: Partition,
        chunk: Chunk,
        landed: &mut Landed,
    ) -> Result<(), BatchError> {
        let (stream, run) = (self.stream.name.clone(), self.run_id.to_string());
        let range = chunk.range;
        landed.last_records.extend(chunk.last_record.map(|last| (partition, last)));
        let storing: Vec<BoxFuture<'_, _>> = (chunk.events.into_iter())
            .map(|Encoded { key: date, rows, bytes }| {
                let (stream, run) = (stream.clone(), run.clone());
                let object = Object::Events { stream, date, partition, range, run };
                let stored = self.files.write(object.path(), bytes, rows);
                stored.map(move |file| file.map(|file| EventFile { file, date, partition, range })).boxed()
            })
            .collect();
        let mut storing = futures::stream::iter(storing).buffered(FILES_AT_ONCE);
        while let Some(event_file) = storing.try_next().await? {
            landed.rows += event_file.file.rows;
            landed.events.push(event_file);
        }
        drop(storing);
        if let Some(Encoded { key: reasons, rows, bytes }) = chunk.dead_letters {
            let object = Object::DeadLetters { stream, partition, range, run };
            let file = self.files.write(object.path(), bytes, rows).await?;
            landed.dead_letters.push(DeadLetterFile { file, partition, range, reasons });
        }
        for (view, starts) in chunk.touched {
            landed.touched.entry(view).or_default().extend(starts);
        }
        Ok(())
    }
}

fn offsets_in(range: OffsetRange) -> u64 {
    (range.until.0 - range.from.0) as u64
}

/// One partition being read.
struct Source {
    partition: Partition,
    /// What is left of it.
    range: OffsetRange,
    reader: Box<dyn Reader>,
    decoder: Decoder,
    stream: Arc<Stream>,
    views: Arc<Vec<ViewPlan>>,
    engine: Arc<dyn Engine>,
    run_id: String,
    limits: Limits,
}

/// What lay in one range of offsets, ready to be stored.
struct Chunk {
    range: OffsetRange,
    last_record: Option<Fingerprint>,
    events: Vec<Encoded<i32>>,
    /// By kind, how many there are.
    dead_letters: Option<Encoded<BTreeMap<String, u64>>>,
    touched: BTreeMap<String, BTreeSet<i64>>,
}

impl Source {
    /// Reads, decodes and encodes until a chunk is full or the range is covered; gives back the source if anything is left.
    fn next_chunk(mut self) -> Result<(Chunk, Option<Source>), BatchError> {
        let from = self.range.from;
        let mut frames: Vec<DataFrame> = Vec::new();
        let mut dead = DeadLetters::default();
        let (mut rows, mut bytes) = (0, 0);
        let mut last_record = None;
        while self.range.from < self.range.until
            && rows < self.limits.chunk_rows
            && bytes < self.limits.chunk_bytes
        {
            let wanted = RECORDS_PER_READ.min(self.limits.chunk_rows - rows);
            let records = self.read(wanted)?;
            rows += records.len();
            bytes += records.payload_bytes();
            last_record = Fingerprint::of_last(&records).or(last_record);
            let decoded = self.decoder.decode(&records);
            for letter in decoded.dead_letters {
                let index = letter.index;
                let payload = (!records.tombstones[index]).then(|| records.payload(index));
                dead.push(
                    records.offsets[index],
                    records.timestamps[index],
                    letter.kind,
                    letter.reason,
                    payload,
                );
            }
            if decoded.events.height() > 0 {
                frames.push(decoded.events);
            }
        }
        let range = OffsetRange::new(from, self.range.from);
        let chunk = self.encode(range, frames, dead).map_err(|source| {
            let partition = self.partition;
            BatchError::Encode { partition, source }
        })?;
        let chunk = Chunk { last_record, ..chunk };
        let rest = (!self.range.is_empty()).then_some(self);
        Ok((chunk, rest))
    }

    /// The next records below the target; waits for them as long as the stall timeout allows.
    fn read(&mut self, max_records: usize) -> Result<Records, BatchError> {
        let mut waited = Duration::ZERO;
        loop {
            let read = self.reader.next(max_records, READ_TIMEOUT);
            let mut records = read.map_err(|error| explained(&self.stream, error))?;
            // What lies above belongs to the next version.
            records.cut(self.range.until);
            let found = records.range_at(self.range.from)?;
            if !found.is_empty() {
                self.range.from = found.until;
                return Ok(records);
            }
            waited += READ_TIMEOUT;
            if waited >= self.limits.stall_timeout {
                let (topic, partition) = (self.stream.topic.clone(), self.partition);
                let (position, target) = (self.range.from, self.range.until);
                return Err(BatchError::Stalled { topic, partition, position, target, waited });
            }
        }
    }

    fn encode(&self, range: OffsetRange, frames: Vec<DataFrame>, dead: DeadLetters) -> PolarsResult<Chunk> {
        let (partition, run_id) = (self.partition, self.run_id.clone());
        let from = Provenance { stream: self.stream.name.clone(), partition, range, run_id };
        let mut touched = BTreeMap::new();
        let mut events = Vec::new();
        let mut frames = frames.into_iter();
        if let Some(mut landed) = frames.next() {
            frames.try_for_each(|frame| landed.vstack_mut_owned(frame).map(drop))?;
            for ViewPlan { view, whole } in self.views.iter() {
                if !whole {
                    let starts = touched.entry(view.name.clone()).or_default();
                    touched::add(starts, view, landed.clone().lazy())?;
                }
            }
            events = encode::events_by_date(&self.stream, landed, &from, &*self.engine)?;
        }
        let dead_letters = if dead.is_empty() {
            None
        } else {
            let mut reasons = BTreeMap::new();
            for kind in dead.kinds() {
                *reasons.entry(kind.name().to_string()).or_default() += 1;
            }
            let rows = dead.kinds().len() as u64;
            Some(Encoded { key: reasons, rows, bytes: dead.encode(&from, &*self.engine)? })
        };
        Ok(Chunk { range, last_record: None, events, dead_letters, touched })
    }
}

/// A log that lost what a run was about to read is a gap like any other.
fn explained(stream: &Stream, error: LogError) -> BatchError {
    match error {
        LogError::OutOfRange { partition, needed, held } if needed < held.from => {
            BatchError::Gap { topic: stream.topic.clone(), partition, needed, start: held.from }
        }
        other => BatchError::Log(other),
    }
}
