//! Landed events and dead letters, brought into the order and the files in which they are stored.

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

/// One file per date of event time (days since 1970-01-01), each sorted by event time, then offset. `events` come in the
/// order of their offsets.
pub(crate) fn events_by_date(
    stream: &Stream,
    events: DataFrame,
    from: &Provenance,
    engine: &dyn Engine,
) -> PolarsResult<Vec<Encoded<i32>>> {
    let time = stream.event_time().name.as_str();
    let (sorted, times) = by_time(events, time)?;
    let mut files = Vec::new();
    let mut start = 0;
    while start < times.len() {
        let date = times[start].div_euclid(DAY_MICROS);
        let rows = times[start..].partition_point(|time| time.div_euclid(DAY_MICROS) == date);
        let events = sorted.slice(start as i64, rows);
        let key = date as i32;
        files.push(Encoded { key, rows: rows as u64, bytes: engine.write_events(&events, from)? });
        start += rows;
    }
    Ok(files)
}

/// The events by their times, which come with them; those of one time stay in the order they came in.
fn by_time(events: DataFrame, time: &str) -> PolarsResult<(DataFrame, Vec<i64>)> {
    let times = |events: &DataFrame| -> PolarsResult<Vec<i64>> {
        Ok(events.column(time)?.datetime()?.physical().into_no_null_iter().collect())
    };
    let found = times(&events)?;
    if found.is_sorted() {
        return Ok((events, found));
    }
    let sorted = events.sort([time], SortMultipleOptions::default().with_maintain_order(true))?;
    let times = times(&sorted)?;
    Ok((sorted, times))
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
