//! Landed events and dead letters, brought into the order and the files in which they are stored.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;

use bytes::Bytes;
use polars::prelude::*;
use watershed_schemas::decode::DeadLetterKind;
use watershed_schemas::stream::Stream;

use crate::engine::Engine;
use crate::event_files::Provenance;

pub(crate) const DAY_MICROS: i64 = 86_400_000_000;

/// A Parquet file before it is stored.
#[derive(Debug)]
pub(crate) struct Encoded<K> {
    pub key: K,
    pub rows: u64,
    pub bytes: Bytes,
}

/// Runs of rows of one date are on the average as long as this, or rows are brought into order first.
const SHORT_RUN_ROWS: usize = 64;

/// One file per date of event time (days since 1970-01-01), each sorted by event time, then offset. `events` come in the
/// order of their offsets.
pub(crate) fn events_by_date(
    stream: &Stream,
    events: DataFrame,
    from: &Provenance,
    engine: &dyn Engine,
) -> PolarsResult<Vec<Encoded<i32>>> {
    let time = stream.event_time().name.as_str();
    let encode = |(date, events): (i32, DataFrame)| {
        Ok(Encoded { key: date, rows: events.height() as u64, bytes: engine.write_events(&events, from)? })
    };
    by_date(events, time)?.into_iter().map(encode).collect()
}

/// The events of each date by their times; those of one time stay in the order they came in.
///
/// Events come about as they happened, in a few runs of each date: so runs are put together, and what is not in order
/// yet is sorted date by date rather than all at once.
fn by_date(mut events: DataFrame, time: &str) -> PolarsResult<BTreeMap<i32, DataFrame>> {
    let mut runs = runs_of_dates(&times(&events, time)?);
    if runs.len() * SHORT_RUN_ROWS > events.height() {
        events = sorted(events, time)?;
        runs = runs_of_dates(&times(&events, time)?);
    }
    let mut dates = BTreeMap::new();
    for (date, rows) in runs {
        let run = events.slice(rows.start as i64, rows.len());
        match dates.entry(date) {
            Entry::Vacant(entry) => _ = entry.insert(run),
            Entry::Occupied(mut entry) => _ = entry.get_mut().vstack_mut_owned(run)?,
        }
    }
    for events in dates.values_mut() {
        *events = sorted(std::mem::take(events), time)?;
    }
    Ok(dates)
}

/// Rows that follow one another and are of one date, with the date.
fn runs_of_dates(times: &[i64]) -> Vec<(i32, Range<usize>)> {
    let date = |time: &i64| time.div_euclid(DAY_MICROS);
    let mut start = 0;
    let runs = times.chunk_by(|one, next| date(one) == date(next)).map(|run| {
        let rows = start..start + run.len();
        start = rows.end;
        (date(&run[0]) as i32, rows)
    });
    runs.collect()
}

fn sorted(events: DataFrame, time: &str) -> PolarsResult<DataFrame> {
    if times(&events, time)?.is_sorted() {
        return Ok(events);
    }
    events.sort([time], SortMultipleOptions::default().with_maintain_order(true))
}

fn times(events: &DataFrame, time: &str) -> PolarsResult<Vec<i64>> {
    Ok(events.column(time)?.datetime()?.physical().into_no_null_iter().collect())
}

/// Dead letters column by column, with everything that is needed to replay them.
#[derive(Debug, Default)]
pub(crate) struct DeadLetters {
    offsets: Vec<i64>,
    timestamps: Vec<i64>,
    kinds: Vec<DeadLetterKind>,
    reasons: Vec<String>,
    payloads: Vec<Option<Vec<u8>>>,
}

impl DeadLetters {
    /// `timestamp` in milliseconds; a tombstone has no payload.
    pub(crate) fn push(
        &mut self,
        offset: i64,
        timestamp: i64,
        kind: DeadLetterKind,
        reason: String,
        payload: Option<&[u8]>,
    ) {
        self.offsets.push(offset);
        self.timestamps.push(timestamp.saturating_mul(1000));
        self.kinds.push(kind);
        self.reasons.push(reason);
        self.payloads.push(payload.map(<[u8]>::to_vec));
    }

    pub(crate) fn kinds(&self) -> &[DeadLetterKind] {
        &self.kinds
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// Columns `partition`, `offset`, `timestamp`, `kind`, `reason`, `payload` (NULL for a tombstone), by offset.
    pub(crate) fn encode(self, from: &Provenance, engine: &dyn Engine) -> PolarsResult<Bytes> {
        let rows = self.kinds.len();
        let kinds: Vec<&str> = self.kinds.iter().map(|kind| kind.name()).collect();
        let payloads: BinaryChunked = self.payloads.iter().map(Option::as_deref).collect();
        let timestamps = Int64Chunked::from_vec("timestamp".into(), self.timestamps)
            .into_datetime(TimeUnit::Microseconds, None);
        let letters = DataFrame::new(
            rows,
            vec![
                Column::new("partition".into(), vec![from.partition.0; rows]),
                Column::new("offset".into(), self.offsets),
                timestamps.into_column(),
                Column::new("kind".into(), kinds),
                Column::new("reason".into(), self.reasons),
                payloads.with_name("payload".into()).into_column(),
            ],
        )?;
        engine.write_events(&letters, from)
    }
}
