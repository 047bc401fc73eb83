//! Speed nodes come and go: partitions move one by one, and their states with them.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value as Json;

use super::seed;
use crate::support::deployment::{Deployment, node_name};
use crate::support::load::{Judge, Orders, Questions, everything, send_orders};
use crate::support::platform::PARTITIONS;

/// A partition that a node opened, by its log.
#[derive(Debug)]
struct Opened {
    partition: i32,
    live: i64,
    resumed: bool,
}

fn opened(log: &str) -> Vec<Opened> {
    let field = |line: &str, name: &str| {
        let text = line.split(&format!("{name}=")).nth(1)?;
        text.split([' ', ',']).next().map(str::to_string)
    };
    let line = |line: &str| {
        Some(Opened {
            partition: field(line, "partition")?.parse().ok()?,
            live: field(line, "live")?.parse().ok()?,
            resumed: field(line, "resumed")? == "true",
        })
    };
    log.lines().filter(|line| line.contains("partition opened")).filter_map(line).collect()
}

/// How many partitions each node holds.
async fn held(place: &Deployment) -> BTreeMap<String, usize> {
    let status = place.status().await;
    let nodes = status["nodes"].as_array().cloned().unwrap_or_default();
    let partitions = |node: &Json| node["live"].as_object().map_or(0, serde_json::Map::len);
    nodes
        .iter()
        .map(|node| (node["node"].as_str().unwrap_or_default().to_string(), partitions(node)))
        .collect()
}

/// Waits until so many nodes hold all partitions, none more than its share.
async fn until_shared(place: &Deployment, nodes: usize) {
    let deadline = std::time::Instant::now() + Duration::from_secs(40);
    let share = (PARTITIONS as usize).div_ceil(nodes);
    loop {
        let held = held(place).await;
        let holders = held.values().filter(|partitions| **partitions > 0).count();
        let fair = held.values().all(|partitions| *partitions <= share);
        if holders == nodes && fair && held.values().sum::<usize>() == PARTITIONS as usize {
            return;
        }
        assert!(
            std::time::Instant::now() < deadline,
            "{nodes} nodes never shared the partitions: {held:?}\n{}",
            place.tails(&["speed-0", "speed-1", "speed-2"])
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_join_leave_and_die_and_take_states_over_by_checkpoint() {
    let seed = seed();
    let place = Deployment::start(3).await;
    let first = place.speed(0);
    let serve = place.serve();
    serve.line("ready: ");
    send_orders(&place, 0..3_000, seed);
    place.publish();
    let watershed = place.until_current(&everything()).await["answer"]["watershed"].clone();
    // From here on everything is live: what a node would have to replay without a checkpoint is this, and more.
    send_orders(&place, 3_000..9_000, seed + 1);
    place.until_current(&everything()).await;
    let orders = Orders::keep_coming(&place, 200, seed + 2);
    let questions = Questions::keep_coming(&place);
    tokio::time::sleep(Duration::from_millis(1_500)).await;

    let second = place.speed(1);
    until_shared(&place, 2).await;
    let mut third = place.speed(2);
    until_shared(&place, 3).await;
    // One leaves as it should, one dies.
    let (code, took) = second.stop();
    assert!(code == 0 && took < Duration::from_secs(8), "exit code {code} after {took:?}");
    until_shared(&place, 2).await;
    third.kill();
    until_shared(&place, 1).await;
    let second = place.speed(1);
    until_shared(&place, 2).await;

    orders.end();
    place.until_current(&everything()).await;
    let asked = questions.end().await;
    let mut judge = Judge::of(&place.kafka, &place.topic);
    let verdict = judge.judge(&asked);
    println!("{} orders, {verdict:?}, wrong: 0", judge.orders());
    assert!(verdict.complete > 0 && verdict.straddling > 0, "{verdict:?}");

    let mut taken_over = 0;
    for index in 0..3 {
        // The first node began with an empty topic; whatever else was opened had been folded by another.
        let skipped = if index == 0 { PARTITIONS as usize } else { 0 };
        for opened in opened(&place.logged(&node_name(index))).iter().skip(skipped) {
            let below = watershed[opened.partition.to_string()].as_i64().expect("the watershed names it");
            assert!(opened.resumed, "{} began {opened:?} at the watershed", node_name(index));
            assert!(opened.live > below + 500, "{opened:?} is hardly past the watershed {below}");
            taken_over += 1;
        }
    }
    println!("{taken_over} partitions taken over by checkpoint, none replayed from the watershed");
    assert!(taken_over >= 6, "{taken_over}");
    assert_eq!(serve.stop().0, 0);
    assert_eq!(first.stop().0, 0);
    assert_eq!(second.stop().0, 0);
}
