//! A stream with as many groups as one likes: meters, each of which is a group.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use arrow::array::AsArray;
use arrow::datatypes::Int64Type;
use watershed_schemas::decode::Decoder;
use watershed_schemas::live::{LiveSource, PartialsRequest};
use watershed_schemas::log::Records;
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};
use watershed_schemas::project::{Project, SourceFile};
use watershed_schemas::scope::Scope;
use watershed_speed::SpeedNode;
use watershed_speed::epoch::Epoch;
use watershed_speed::partition::PartitionEpochs;
use watershed_speed::stretch::Stretch;

use crate::log::MemoryLog;

pub const STREAM: &str = "meters";
pub const TOPIC: &str = "meter-events";
pub const VIEW: &str = "by_meter";
/// The Kafka timestamp of test records.
const RECORDED_AT: i64 = 1_772_500_000_000;
/// Records of one stretch.
const STRETCH: usize = 8_192;

const SCHEMA: &str = "CREATE TABLE meters (
    at TIMESTAMP NOT NULL, meter TEXT NOT NULL, device TEXT, amount BIGINT
) WITH (topic = 'meter-events', format = 'json', event_time = 'at');";

/// The stream and one view over it, of a count and a sum, and of a sketch if that is wished.
pub fn project(sketched: bool) -> Project {
    let sketch = if sketched { ", count(DISTINCT device) AS devices" } else { "" };
    let view = format!(
        "CREATE MATERIALIZED VIEW by_meter AS
         SELECT meter, tumble(at, INTERVAL '1 hour') AS hour, count(*) AS readings, sum(amount) AS amount{sketch}
         FROM meters GROUP BY meter, hour;"
    );
    let file = |path: &str, text: &str| SourceFile { path: path.to_string(), text: text.to_string() };
    Project::parse(&[file("schemas/meters.sql", SCHEMA)], &[file("jobs/by_meter.sql", &view)])
        .unwrap_or_else(|problems| panic!("{problems:?}"))
}

/// A reading of a meter.
pub fn reading(meter: usize) -> String {
    format!(
        r#"{{"at":"2026-03-01T00:00:00Z","meter":"meter {meter:07}","device":"device {}","amount":{}}}"#,
        meter % 1_009,
        meter % 97
    )
}

/// Produces a reading of a meter; its partition follows from the meter.
pub fn produce(log: &MemoryLog, meter: usize) {
    let partition = meter as i32 % log.partitions(TOPIC);
    log.append(TOPIC, partition, RECORDED_AT, Some(reading(meter).as_bytes()));
}

/// Asks a node until its states have so many readings.
pub async fn until(node: &SpeedNode, project: &Project, readings: i64) {
    let request = PartialsRequest {
        stream: STREAM.to_string(),
        view: VIEW.to_string(),
        view_hash: project.views[0].hash.clone(),
        watershed: Offsets::new(),
        scope: Scope::default(),
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let replies = node.partials(&request).await.unwrap_or_default();
        let states = replies.iter().flat_map(|reply| &reply.states);
        let counted = states.map(|states| {
            let counts =
                states.to_batch().column_by_name("readings__count").cloned().expect("the count is a state");
            counts.as_primitive::<Int64Type>().values().iter().sum::<i64>()
        });
        let counted: i64 = counted.sum();
        if counted == readings {
            return;
        }
        assert!(Instant::now() < deadline, "{counted} of {readings} readings");
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A partition with the view's origin epoch and nothing in it.
pub fn partition(project: &Project) -> PartitionEpochs {
    let mut epochs = PartitionEpochs::new(Partition(0), Offset(0), Offset(0));
    epochs.open(Epoch::Origin.of(VIEW), &project.views[0]);
    epochs
}

/// Folds one reading of each of these meters.
pub fn fold(epochs: &mut PartitionEpochs, project: &Project, meters: impl IntoIterator<Item = usize>) {
    let view = &project.views[0];
    let fields: BTreeSet<&str> = view.fields_read().into_iter().collect();
    let mut decoder = Decoder::new(&view.stream, &fields.into_iter().collect::<Vec<_>>());
    let mut meters = meters.into_iter().peekable();
    while meters.peek().is_some() {
        let from = epochs.live();
        let mut records = Records::new(epochs.partition(), from);
        for (offset, meter) in (from.0..).zip(meters.by_ref().take(STRETCH)) {
            records.push(Offset(offset), RECORDED_AT, Some(reading(meter).as_bytes()));
        }
        let range = OffsetRange::new(from, Offset(records.position));
        let decoded = decoder.decode(&records);
        let stretch = Stretch::new(epochs.partition(), range, &decoded.events).expect("a sound stretch");
        epochs.fold(&stretch).expect("it comes next");
    }
}
