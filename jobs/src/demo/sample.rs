//! The sample: its definitions, its flights, and a few records that are no flights.

use std::sync::Arc;

use anyhow::Context;
use bytes::Bytes;
use serde::Deserialize;
use watershed_schemas::project::{Project, SourceFile};
use watershed_schemas::stream::Stream;

use crate::produce::parquet::Parquet;
use crate::produce::rows::{Rows, Wanted};
use crate::project;

const FLIGHTS: &[u8] = include_bytes!("../../sample/flights-2013-01.parquet");

/// What a producer may send by mistake: one of each kind becomes a dead letter, and nothing else changes.
const MISTAKES: [Option<&str>; 6] = [
    Some(r#"{"time_hour": "2013-01-05T12:00:00Z", "carrier": "UA", "origin": "#),
    Some(r#"{"time_hour": "2013-01-09T12:00:00Z", "carrier": "UA", "dest": "SFO"}"#),
    Some(
        r#"{"time_hour": "2013-01-14T12:00:00Z", "carrier": "B6", "origin": "JFK", "dest": "BOS", "dep_delay": "late"}"#,
    ),
    Some(r#"{"time_hour": "2031-01-18T12:00:00Z", "carrier": "AA", "origin": "LGA", "dest": "ORD"}"#),
    Some(""),
    None,
];

/// The sample project, as the repository's root holds it.
pub fn project() -> anyhow::Result<Project> {
    let file = |path: &str, text: &str| SourceFile { path: path.to_string(), text: text.to_string() };
    let schemas = [file("schemas/flights.sql", include_str!("../../../schemas/flights.sql"))];
    let jobs = [
        file("jobs/aircraft_daily.sql", include_str!("../../aircraft_daily.sql")),
        file("jobs/flight_delays.sql", include_str!("../../flight_delays.sql")),
        file("jobs/routes_daily.sql", include_str!("../../routes_daily.sql")),
    ];
    project::parse(&schemas, &jobs)
}

/// A record as it is replayed.
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub payload: Option<Vec<u8>>,
    /// When the flight became known, in milliseconds since 1970-01-01.
    pub known_at: i64,
    /// `None` for a mistake.
    pub flight: Option<Flight>,
}

/// What answers are recomputed from.
#[derive(Clone, Debug, Deserialize)]
pub struct Flight {
    #[serde(deserialize_with = "hour")]
    pub time_hour: i64,
    pub carrier: String,
    pub origin: String,
    pub dest: String,
    pub tailnum: Option<String>,
    pub dep_delay: Option<f64>,
}

/// Microseconds since 1970-01-01.
fn hour<'de, D: serde::Deserializer<'de>>(from: D) -> Result<i64, D::Error> {
    let time = chrono::DateTime::<chrono::Utc>::deserialize(from)?;
    Ok(time.timestamp_micros())
}

/// All records in the order in which they became known, mistakes among them.
pub fn records(stream: &Arc<Stream>) -> anyhow::Result<Vec<Record>> {
    let wanted = Wanted { key: Some("tailnum".to_string()), timestamp: Some("known_at".to_string()) };
    let mut rows = Parquet::open(Bytes::from_static(FLIGHTS), stream, &wanted).context("the sample")?;
    let mut records = Vec::with_capacity(usize::try_from(rows.total())?);
    while let Some(row) = rows.next()? {
        let content =
            row.content.map_err(|reason| anyhow::anyhow!("the sample, row {}: {reason}", row.line))?;
        let flight = serde_json::from_slice(&content.payload).context("the sample")?;
        records.push(Record {
            key: content.key,
            payload: Some(content.payload),
            known_at: content.timestamp.context("every flight of the sample became known at some time")?,
            flight: Some(flight),
        });
    }
    let step = records.len() / (MISTAKES.len() + 1);
    for (index, mistake) in MISTAKES.iter().enumerate().rev() {
        let at = (index + 1) * step;
        let known_at = records[at].known_at;
        let payload = mistake.map(|text| text.as_bytes().to_vec());
        records.insert(at, Record { key: None, payload, known_at, flight: None });
    }
    Ok(records)
}

/// How many of the records are mistakes.
pub fn mistakes() -> usize {
    MISTAKES.len()
}
