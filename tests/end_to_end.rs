//! Events go in while batch runs publish and questions are asked; every answer is recomputed from the log
//! by plain loops, up to the offsets that the answer itself names (`invariants::COVER`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};
use watershed_batch::Outcome;

use crate::support::platform::{Kafka, PARTITIONS, Platform, flush, send, unique};

const MINUTE: i64 = 60_000;
/// 2026-01-01T00:00:00Z in milliseconds.
const START: i64 = 1_767_225_600_000;

fn schema(topic: &str) -> String {
    format!(
        "CREATE TABLE orders (
           at TIMESTAMP NOT NULL, shop TEXT NOT NULL, customer TEXT, units INTEGER,
           price DECIMAL(12,2), delay DOUBLE
         ) WITH (topic = '{topic}', format = 'json', event_time = 'at', timestamp_format = 'epoch_millis')"
    )
}

const VIEW: &str = "CREATE MATERIALIZED VIEW sales AS
    SELECT shop, tumble(at, INTERVAL '1 minute') AS minute,
           count(*) AS orders, count(*) FILTER (WHERE units > 5) AS large, sum(units) AS units,
           sum(price) AS revenue, min(delay) AS quickest, max(delay) AS slowest, avg(delay) AS mean_delay,
           count(DISTINCT customer) AS customers, quantile_cont(delay, 0.9) AS p90,
           approx_top_k(customer, 3) AS best, last(customer) AS latest
    FROM orders WHERE units >= 0 GROUP BY shop, minute";

/// What the oracle makes of a record; `None` for a dead letter or a filtered event.
#[derive(Clone, Debug)]
struct Order {
    position: (i64, i32, i64),
    shop: String,
    customer: Option<String>,
    units: i64,
    cents: Option<i64>,
    delay: Option<f64>,
}

impl Order {
    fn parse(partition: i32, offset: i64, payload: Option<&[u8]>) -> Option<Order> {
        let event: Json = serde_json::from_slice(payload?).ok()?;
        let units = event["units"].as_i64()?;
        Some(Order {
            position: (event["at"].as_i64()?, partition, offset),
            shop: event["shop"].as_str()?.to_string(),
            customer: event["customer"].as_str().map(str::to_string),
            units,
            cents: event["price"].as_str().map(|price| price.replace('.', "").parse().expect("cents")),
            delay: event["delay"].as_f64(),
        })
        .filter(|order| order.units >= 0)
    }
}

/// One random payload: now and then late by hours, with nulls, or not an event at all.
fn payload(random: &mut ChaCha8Rng, sequence: i64) -> Option<Vec<u8>> {
    match random.random_range(0..100) {
        0 => return None,
        1 => return Some(b"{ not json".to_vec()),
        2 => return Some(br#"{"shop": "north", "units": 1}"#.to_vec()),
        3 => return Some(Vec::new()),
        _ => {}
    }
    let lateness = if random.random_bool(0.1) { random.random_range(0..180 * MINUTE) } else { 0 };
    let customer = random.random_bool(0.9).then(|| format!("c{}", random.random_range(0..60)));
    let price = random.random_bool(0.9).then(|| {
        let cents: i64 = random.random_range(0..1_000_000);
        format!("{}.{:02}", cents / 100, cents % 100)
    });
    let delay = random.random_bool(0.9).then(|| random.random_range(-50.0..500.0_f64));
    let event = json!({
        "at": START + sequence * 20 - lateness,
        "shop": (["north", "south", "east"][random.random_range(0..3)]),
        "customer": customer, "units": random.random_range(-1..12), "price": price, "delay": delay,
        "unknown": { "ignored": [1, 2, 3] },
    });
    Some(event.to_string().into_bytes())
}

fn questions() -> Vec<Json> {
    vec![
        json!({ "view": "sales" }),
        json!({ "view": "sales", "group_by": ["shop"], "grain": "all" }),
        json!({ "view": "sales", "group_by": [], "grain": "10 minutes" }),
        json!({ "view": "sales", "group_by": [], "grain": "all", "where": { "shop": ["north", "east"] } }),
        json!({ "view": "sales", "accuracy": "batch" }),
    ]
}

/// The records that an answer says it holds.
fn covered(answer: &Json, question: &Json, log: &BTreeMap<(i32, i64), Option<Vec<u8>>>) -> Vec<Order> {
    let reach = if question["accuracy"] == "batch" { "watershed" } else { "live" };
    let until = |partition: i32| answer["answer"][reach][partition.to_string()].as_i64().unwrap_or(0);
    let held = log.iter().filter(|((partition, offset), _)| *offset < until(*partition));
    let orders = held
        .filter_map(|((partition, offset), payload)| Order::parse(*partition, *offset, payload.as_deref()));
    orders
        .filter(|order| match question["where"]["shop"].as_array() {
            Some(shops) => shops.iter().any(|shop| shop == order.shop.as_str()),
            None => true,
        })
        .collect()
}

type Key = (Option<i64>, Option<String>);

fn key(order: &Order, question: &Json) -> Key {
    let bucket = match question["grain"].as_str() {
        Some("all") => None,
        Some("10 minutes") => Some(order.position.0.div_euclid(10 * MINUTE) * 10 * MINUTE),
        _ => Some(order.position.0.div_euclid(MINUTE) * MINUTE),
    };
    let by_shop = question["group_by"].as_array().is_none_or(|names| !names.is_empty());
    (bucket, by_shop.then(|| order.shop.clone()))
}

fn is_exact(answer: &Json, measure: &str) -> bool {
    let meta = answer["meta"].as_array().expect("meta is a list");
    meta.iter().find(|column| column["name"] == measure).expect("the measure is in meta")["exact"] == true
}

/// Compares every cell of an answer with the oracle's.
fn check(answer: &Json, question: &Json, log: &BTreeMap<(i32, i64), Option<Vec<u8>>>) {
    let mut groups: BTreeMap<Key, Vec<Order>> = BTreeMap::new();
    for order in covered(answer, question, log) {
        groups.entry(key(&order, question)).or_default().push(order);
    }
    let rows = answer["data"].as_array().expect("data is a list");
    let context = format!("question {question}, answer {}", answer["answer"]);
    assert_eq!(rows.len(), groups.len(), "cells of {context}");
    for row in rows {
        let bucket = row["minute"]
            .as_str()
            .map(|text| chrono::DateTime::parse_from_rfc3339(text).expect("a time").timestamp_millis());
        let key = (bucket, row["shop"].as_str().map(str::to_string));
        let orders = groups.get(&key).unwrap_or_else(|| panic!("no such cell {key:?}: {context}"));
        check_cell(answer, row, orders, &format!("cell {key:?} of {context}"));
    }
}

fn check_cell(answer: &Json, row: &Json, orders: &[Order], context: &str) {
    assert_eq!(row["orders"], json!(orders.len()), "orders, {context}");
    assert_eq!(
        row["large"],
        json!(orders.iter().filter(|order| order.units > 5).count()),
        "large, {context}"
    );
    assert_eq!(row["units"], json!(orders.iter().map(|order| order.units).sum::<i64>()), "units, {context}");
    let cents: Vec<i64> = orders.iter().filter_map(|order| order.cents).collect();
    let revenue: i64 = cents.iter().sum();
    let revenue =
        if cents.is_empty() { Json::Null } else { json!(format!("{}.{:02}", revenue / 100, revenue % 100)) };
    assert_eq!(row["revenue"], revenue, "revenue, {context}");

    let mut delays: Vec<f64> = orders.iter().filter_map(|order| order.delay).collect();
    delays.sort_by(f64::total_cmp);
    if let (Some(first), Some(last)) = (delays.first(), delays.last()) {
        assert_eq!(row["quickest"].as_f64(), Some(*first), "quickest, {context}");
        assert_eq!(row["slowest"].as_f64(), Some(*last), "slowest, {context}");
        let mean = delays.iter().sum::<f64>() / delays.len() as f64;
        let found = row["mean_delay"].as_f64().expect("a mean");
        assert!(
            (found - mean).abs() <= 1e-9 * mean.abs().max(1.0),
            "mean {found}, expected {mean}, {context}"
        );
        let rank = 0.9 * (delays.len() - 1) as f64;
        let (low, high) = (delays[rank.floor() as usize], delays[rank.ceil() as usize]);
        let tolerance = if is_exact(answer, "p90") { 1e-9 } else { 0.0101 };
        let found = row["p90"].as_f64().expect("a quantile");
        let within = found >= low - tolerance * low.abs().max(1e-9)
            && found <= high + tolerance * high.abs().max(1e-9);
        assert!(within, "p90 {found}, expected {low}..{high}, {context}");
        if is_exact(answer, "p90") {
            let exact = low + (high - low) * rank.fract();
            assert!(
                (found - exact).abs() <= 1e-9 * exact.abs().max(1.0),
                "p90 {found}, expected {exact}, {context}"
            );
        }
    } else {
        assert!(
            row["quickest"].is_null() && row["mean_delay"].is_null() && row["p90"].is_null(),
            "{context}"
        );
    }

    let mut customers: BTreeMap<&str, u64> = BTreeMap::new();
    for customer in orders.iter().filter_map(|order| order.customer.as_deref()) {
        *customers.entry(customer).or_default() += 1;
    }
    let found = row["customers"].as_f64().expect("a count");
    let allowed = if is_exact(answer, "customers") { 0.0 } else { 0.05 * customers.len() as f64 };
    assert!(
        (found - customers.len() as f64).abs() <= allowed,
        "customers {found} of {}, {context}",
        customers.len()
    );
    // Fewer customers than the sketch has room for: its counts are the true ones, ties by name.
    let mut ranked: Vec<(&str, u64)> = customers.into_iter().collect();
    ranked.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    ranked.truncate(3);
    let best: Vec<Json> =
        ranked.iter().map(|(value, count)| json!({ "value": value, "count": count })).collect();
    let best = if best.is_empty() { Json::Null } else { json!(best) };
    assert_eq!(row["best"], best, "best, {context}");
    let latest = orders.iter().filter(|order| order.customer.is_some()).max_by_key(|order| order.position);
    assert_eq!(row["latest"], json!(latest.and_then(|order| order.customer.clone())), "latest, {context}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_answer_is_the_fold_of_exactly_the_records_it_names() {
    let seed: u64 = std::env::var("WATERSHED_TEST_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(7);
    println!("seed {seed} (WATERSHED_TEST_SEED)");
    let kafka = Kafka::start().await;
    let topic = unique("orders");
    kafka.create_topic(&topic).await;
    let platform = Platform::start(&kafka, &schema(&topic), VIEW).await;

    let done = Arc::new(AtomicBool::new(false));
    let producer = kafka.producer();
    let producing = {
        let (topic, done) = (topic.clone(), done.clone());
        std::thread::spawn(move || {
            let mut random = ChaCha8Rng::seed_from_u64(seed);
            for sequence in 0..24_000 {
                let payload = payload(&mut random, sequence);
                send(&producer, &topic, random.random_range(0..PARTITIONS), payload.as_deref());
                if sequence % 40 == 0 {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
            flush(&producer);
            done.store(true, Ordering::Release);
        })
    };

    let asked = async {
        let mut answers = Vec::new();
        while !done.load(Ordering::Acquire) {
            for question in questions() {
                let (status, answer) = platform.ask(&question).await;
                assert_eq!(status, 200, "{answer}");
                answers.push((question, answer));
            }
            tokio::time::sleep(Duration::from_millis(15)).await;
        }
        answers
    };
    let batched = async {
        let mut published = 0;
        while !done.load(Ordering::Acquire) {
            published += u32::from(matches!(platform.batch().await, Outcome::Published(_)));
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
        published
    };
    let (mut answers, published) = tokio::join!(asked, batched);
    producing.join().expect("the producer ends");
    for question in questions().into_iter().filter(|question| question["accuracy"].is_null()) {
        let answer = platform.until_current(&question).await;
        answers.push((question, answer));
    }

    let log = kafka.read_all(&topic);
    let mut seen = BTreeSet::new();
    let mut straddling = 0;
    for (question, answer) in &answers {
        check(answer, question, &log);
        let watershed = &answer["answer"]["watershed"];
        let live = &answer["answer"]["live"];
        for partition in 0..PARTITIONS {
            let at = |offsets: &Json| offsets[partition.to_string()].as_i64().unwrap_or(0);
            assert!(at(watershed) <= at(live), "partition {partition} of {}", answer["answer"]);
            straddling += u32::from(at(watershed) > 0 && at(watershed) < at(live));
        }
        seen.insert(answer["answer"]["version"].as_u64());
    }
    println!("{} answers over {} versions, {published} published", answers.len(), seen.len());
    assert!(seen.len() >= 3, "questions met the versions {seen:?}");
    assert!(straddling > 0, "no answer had records on both sides of its watershed");

    let (_, status) = platform.get("/v1/status").await;
    assert!(status.to_string().contains("malformed"), "dead letters are counted by reason: {status}");
    platform.stop().await;
    kafka.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_version_alone_answers_exactly_and_says_so() {
    let kafka = Kafka::start().await;
    let topic = unique("orders");
    kafka.create_topic(&topic).await;
    let platform = Platform::start(&kafka, &schema(&topic), VIEW).await;
    let producer = kafka.producer();
    let mut random = ChaCha8Rng::seed_from_u64(11);
    for sequence in 0..3_000 {
        let payload = payload(&mut random, sequence);
        send(&producer, &topic, random.random_range(0..PARTITIONS), payload.as_deref());
    }
    flush(&producer);
    assert!(matches!(platform.batch().await, Outcome::Published(_)));
    let log = kafka.read_all(&topic);
    let question = json!({ "view": "sales" });
    let answer = loop {
        let answer = platform.until_current(&question).await;
        if answer["answer"]["version"] == 1 {
            break answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    };
    check(&answer, &question, &log);
    for column in answer["meta"].as_array().expect("meta is a list") {
        assert_ne!(column["exact"], json!(false), "{column}");
    }
    assert_eq!(answer["answer"]["complete"], json!(true));
    assert!(matches!(platform.batch().await, Outcome::Unchanged(_)), "nothing came since");

    // Coarser grains merge sketches, unless exact numbers are asked for.
    let coarse = json!({ "view": "sales", "group_by": [], "grain": "all", "accuracy": "exact" });
    let (status, answer) = platform.ask(&coarse).await;
    assert_eq!(status, 200, "{answer}");
    for measure in ["customers", "p90", "best"] {
        assert!(is_exact(&answer, measure), "{measure} of {answer}");
    }
    check(&answer, &coarse, &log);
    platform.stop().await;
    kafka.stop().await;
}
