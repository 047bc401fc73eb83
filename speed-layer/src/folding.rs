//! Folds what was delivered: several partitions at once, where there are cores for it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::thread::available_parallelism;

use rayon::prelude::{IndexedParallelIterator, IntoParallelRefMutIterator, ParallelIterator};
use rayon::{ThreadPool, ThreadPoolBuilder};
use watershed_schemas::decode::Decoder;
use watershed_schemas::identity::Fingerprint;
use watershed_schemas::log::Records;
use watershed_schemas::offsets::Partition;

use crate::following::Event;
use crate::run::decoder;
use crate::shared::Shared;
use crate::stretch::Stretch;

/// Deliveries of fewer records are folded by the thread that took them: telling others would take longer.
const WORTH_SHARING: usize = 1_024;

/// The threads that fold for all streams of a node; none on a single core.
pub(crate) struct Threads(Option<ThreadPool>);

impl Threads {
    pub fn start() -> io::Result<Threads> {
        let cores = available_parallelism()?.get();
        if cores == 1 {
            return Ok(Threads(None));
        }
        let pool = ThreadPoolBuilder::new().num_threads(cores).thread_name(|index| format!("fold {index}"));
        Ok(Threads(Some(pool.build().map_err(io::Error::other)?)))
    }
}

/// Decodes and folds a stream's records. Every partition has a decoder of its own, which knows how its producers write.
pub(crate) struct Folder {
    threads: Arc<Threads>,
    /// What records are decoded to.
    fields: BTreeSet<String>,
    decoders: BTreeMap<Partition, Decoder>,
}

impl Folder {
    pub fn new(threads: Arc<Threads>, fields: BTreeSet<String>) -> Folder {
        Folder { threads, fields, decoders: BTreeMap::new() }
    }

    /// Has these fields decoded from now on, beside the others.
    pub fn read_too(&mut self, fields: BTreeSet<String>) {
        if !fields.is_subset(&self.fields) {
            self.fields.extend(fields);
            self.decoders.clear();
        }
    }

    /// Folds runs of different partitions; tells of each what became of it.
    pub fn fold(&mut self, shared: &Shared, runs: &[Records]) -> Vec<Event> {
        let Folder { threads, fields, decoders } = self;
        let mut work: Vec<(&Records, Decoder)> = Vec::with_capacity(runs.len());
        for run in runs {
            let known = decoders.remove(&Partition(run.partition));
            work.push((run, known.unwrap_or_else(|| decoder(shared, fields))));
        }
        let fold = |(run, decoder): &mut (&Records, Decoder)| fold(shared, decoder, run);
        let records: usize = runs.iter().map(Records::len).sum();
        let events = match &threads.0 {
            Some(pool) if runs.len() > 1 && records >= WORTH_SHARING => {
                pool.install(|| work.par_iter_mut().with_max_len(1).map(fold).collect())
            }
            _ => work.iter_mut().map(fold).collect(),
        };
        decoders.extend(work.into_iter().map(|(run, decoder)| (Partition(run.partition), decoder)));
        events
    }
}

fn fold(shared: &Shared, decoder: &mut Decoder, records: &Records) -> Event {
    let (partition, range) = (Partition(records.partition), records.range());
    let decoded = decoder.decode(records);
    let stretch = match Stretch::new(partition, range, &decoded.events) {
        Ok(stretch) => stretch,
        Err(refused) => return Event::Refused { partition, refused },
    };
    let held = shared.held(partition);
    let folded = held.and_then(|held| {
        held.write()
            .map(|mut epochs| epochs.fold(&stretch).map(|()| epochs.remember(Fingerprint::of_last(records))))
    });
    match folded {
        Ok(Ok(())) => {
            shared.count(records.len(), &decoded.dead_letters);
            Event::Folded { partition, live: range.until }
        }
        Ok(Err(refused)) => Event::Refused { partition, refused },
        Err(broken) => Event::Broken { partition, reason: broken.to_string() },
    }
}
