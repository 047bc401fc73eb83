//! Records per second of the speed layer over a bare consumer that drains the same topic and decodes nothing.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rdkafka::consumer::BaseConsumer;
use support::platform::{start_node, unique};
use watershed_schemas::live::{LiveSource, PartialsRequest};
use watershed_schemas::offsets::Offsets;
use watershed_schemas::states::StateTable;
use watershed_schemas::value::Value;
use watershed_speed::SpeedNode;

use crate::table::{Table, median};
use crate::world::World;

const RECORDS: i64 = 400_000;

pub async fn measure(table: &mut Table, rounds: usize) {
    let world = World::start(RECORDS, Duration::from_millis(10)).await;
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        ours.push(fold(&world).await);
        let consumer = world.bare_consumer();
        bare.push(
            tokio::task::spawn_blocking(move || drain(&consumer, RECORDS)).await.expect("the consumer ends"),
        );
    }
    let ratios = ours.iter().zip(&bare).map(|(ours, bare)| ours / bare).collect();
    let shown = |rates: &[f64]| format!("{:.0} records/s", median(rates));
    table.add("speed layer over bare consumer", shown(&ours), shown(&bare), ratios);
    world.stop().await;
}

/// Records per second of a fresh node, from its first record to its last.
async fn fold(world: &World) -> f64 {
    let platform = &world.platform;
    let node = start_node(&platform.project, &platform.store_beside(&unique("store")), &platform.log);
    let folded = async || {
        let status = node.status("readings").await.expect("a status");
        status.iter().map(|status| status.records as i64).sum::<i64>()
    };
    let (begun, first) = loop {
        let records = folded().await;
        if records > 0 {
            break (Instant::now(), records);
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    };
    while folded().await < RECORDS {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let rate = (RECORDS - first) as f64 / begun.elapsed().as_secs_f64();
    assert_eq!(readings(world, &node).await, RECORDS, "every record is in the states once");
    Arc::try_unwrap(node).ok().expect("nobody else holds the node").shutdown().await;
    rate
}

/// What the node's states say to the number of readings.
async fn readings(world: &World, node: &SpeedNode) -> i64 {
    let view = &world.platform.project.views[0];
    let request = PartialsRequest {
        stream: view.stream.name.clone(),
        view: view.name.clone(),
        view_hash: view.hash.clone(),
        watershed: Offsets::new(),
    };
    let mut readings = 0;
    for states in
        node.partials(&request).await.expect("the node answers").iter().flat_map(|reply| &reply.states)
    {
        let table = StateTable::from_record_batch(view.clone(), states).expect("the states are the view's");
        for row in table.keys.sorted_rows() {
            let Value::Integer(count) = table.measures[0].finish(row) else { panic!("a count is a number") };
            readings += count;
        }
    }
    readings
}

/// Records per second of a consumer that decodes nothing, from its first record to its last.
pub fn drain(consumer: &BaseConsumer, records: i64) -> f64 {
    let mut drained = 0;
    let mut begun = Instant::now();
    while drained < records {
        if let Some(message) = consumer.poll(Duration::from_secs(1)) {
            message.expect("a record");
            if drained == 0 {
                begun = Instant::now();
            }
            drained += 1;
        }
    }
    drained as f64 / begun.elapsed().as_secs_f64()
}
