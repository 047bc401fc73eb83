//! Load on a [`Deployment`](crate::deployment::Deployment), and the judge of its answers: orders go in, questions are
//! asked without a pause, and every answer is recomputed from what the topic holds, up to the offsets that the answer
//! itself names (`invariants::COVER`).

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde_json::{Value as Json, json};

use crate::deployment::{Deployment, client};
use crate::platform::{Kafka, PARTITIONS, flush, send};

/// 2026-01-01T00:00:00Z in milliseconds.
const START: i64 = 1_767_225_600_000;
const SLOT: i64 = 600_000;
const DAY: i64 = 86_400_000;
const SHOPS: [&str; 3] = ["north", "south", "east"];
/// A totals snapshot is kept at every so many events of a partition.
const STRIDE: usize = 256;

/// Orders that keep coming until they are told to end.
pub struct Orders {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<i64>>,
}

impl Orders {
    /// About `rate` a second; one in ten is late by up to five days, one in a hundred is no order.
    pub fn keep_coming(deployment: &Deployment, rate: u64, seed: u64) -> Orders {
        let done = Arc::new(AtomicBool::new(false));
        let (producer, topic) = (deployment.kafka.producer(), deployment.topic.clone());
        let thread = {
            let done = done.clone();
            std::thread::spawn(move || {
                let mut random = ChaCha8Rng::seed_from_u64(seed);
                let mut serial = 0;
                while !done.load(Ordering::Acquire) {
                    for _ in 0..rate.div_ceil(50) {
                        let order = payload(&mut random, serial);
                        send(&producer, &topic, random.random_range(0..PARTITIONS), order.as_deref());
                        serial += 1;
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
                flush(&producer);
                serial
            })
        };
        Orders { done, thread: Some(thread) }
    }

    /// Everything that was sent is in the topic when this returns; how many records that is.
    pub fn end(mut self) -> i64 {
        self.done.store(true, Ordering::Release);
        self.thread.take().expect("it ends once").join().expect("the producer ends")
    }
}

impl Drop for Orders {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Release);
    }
}

/// Sends orders at once; all are in the topic when this returns.
pub fn send_orders(deployment: &Deployment, serials: std::ops::Range<i64>, seed: u64) {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let producer = deployment.kafka.producer();
    for serial in serials {
        let order = payload(&mut random, serial);
        send(&producer, &deployment.topic, random.random_range(0..PARTITIONS), order.as_deref());
    }
    flush(&producer);
}

fn payload(random: &mut ChaCha8Rng, serial: i64) -> Option<Vec<u8>> {
    match random.random_range(0..200) {
        0 => return None,
        1 => return Some(b"{ not json".to_vec()),
        _ => {}
    }
    let late = if random.random_bool(0.1) { random.random_range(0..5 * DAY) } else { 0 };
    let shop = SHOPS[random.random_range(0..SHOPS.len())];
    let order = json!({ "at": START + serial * 50 - late, "shop": shop, "serial": serial });
    Some(order.to_string().into_bytes())
}

/// What is asked, from the coarsest to the view's own grain.
pub fn questions() -> Vec<Json> {
    vec![
        json!({ "view": "sales", "group_by": ["shop"], "grain": "all" }),
        json!({ "view": "sales", "group_by": [], "grain": "1 day" }),
        json!({ "view": "sales", "group_by": ["shop"], "grain": "all", "accuracy": "batch" }),
        json!({ "view": "sales", "limit": 10000 }),
    ]
}

/// The question whose answer is waited for.
pub fn everything() -> Json {
    questions().swap_remove(0)
}

/// Questions that are asked without a pause until they are told to end.
pub struct Questions {
    done: Arc<AtomicBool>,
    asked: Arc<Asked>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

/// What came of the questions.
#[derive(Default)]
pub struct Asked {
    pub answers: Mutex<Vec<(usize, Json)>>,
    /// No server was there, or it died while it answered.
    pub unanswered: AtomicU32,
    /// The server said that it cannot answer yet, and why.
    pub refused: AtomicU32,
    /// What no question may meet.
    pub wrong: Mutex<Vec<String>>,
}

impl Questions {
    pub fn keep_coming(deployment: &Deployment) -> Questions {
        let done = Arc::new(AtomicBool::new(false));
        let asked = Arc::new(Asked::default());
        let tasks = (0..2)
            .map(|asker| {
                let (done, asked, server) = (done.clone(), asked.clone(), deployment.server.clone());
                tokio::spawn(async move {
                    let client = client();
                    let questions = questions();
                    for turn in asker.. {
                        if done.load(Ordering::Acquire) {
                            return;
                        }
                        let index = turn % questions.len();
                        asked.ask(&client, &server, index, &questions[index]).await;
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                })
            })
            .collect();
        Questions { done, asked, tasks }
    }

    /// Answers so far.
    pub fn answered(&self) -> usize {
        self.asked.answers.lock().expect("no asker panics").len()
    }

    pub async fn end(self) -> Arc<Asked> {
        self.done.store(true, Ordering::Release);
        for task in self.tasks {
            task.await.expect("no asker panics");
        }
        self.asked
    }
}

impl Asked {
    async fn ask(&self, client: &reqwest::Client, server: &str, index: usize, question: &Json) {
        let sent = client.post(format!("{server}/v1/query")).json(question).send().await;
        let Ok(response) = sent else {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            return;
        };
        let status = response.status().as_u16();
        let Ok(answer) = response.json::<Json>().await else {
            self.unanswered.fetch_add(1, Ordering::Relaxed);
            return;
        };
        match status {
            200 => self.answers.lock().expect("no asker panics").push((index, answer)),
            503 if answer["detail"].is_string() => {
                self.refused.fetch_add(1, Ordering::Relaxed);
            }
            _ => self.wrong.lock().expect("no asker panics").push(format!("{status}: {answer}")),
        }
    }
}

#[derive(Clone, Copy)]
struct Order {
    at: i64,
    shop: usize,
    serial: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Totals {
    orders: i64,
    serials: i64,
    lowest: i64,
    highest: i64,
}

impl Totals {
    fn add(&mut self, other: Totals) {
        self.orders += other.orders;
        self.serials += other.serials;
        self.lowest = self.lowest.min(other.lowest);
        self.highest = self.highest.max(other.highest);
    }
}

/// A slot's or day's start where the question has one, and a shop where it has one.
type Key = (Option<i64>, Option<&'static str>);
type Cells = BTreeMap<Key, Totals>;

/// What a topic holds, and answers recomputed from it.
pub struct Judge {
    /// Orders of each partition with their offsets.
    partitions: BTreeMap<i32, Vec<(i64, Order)>>,
    /// By question and partition: the cells of the first `n * STRIDE` orders.
    snapshots: BTreeMap<(usize, i32), Vec<Cells>>,
}

/// How many answers were found right, and of which kinds.
#[derive(Debug, Default)]
pub struct Verdict {
    pub answers: usize,
    pub complete: usize,
    /// With records on both sides of the watershed.
    pub straddling: usize,
    pub versions: usize,
    pub refused: u32,
    pub unanswered: u32,
}

impl Judge {
    pub fn of(kafka: &Kafka, topic: &str) -> Judge {
        let mut partitions: BTreeMap<i32, Vec<(i64, Order)>> = BTreeMap::new();
        for ((partition, offset), payload) in kafka.read_all(topic) {
            let Some(Ok(order)) = payload.map(|payload| serde_json::from_slice::<Json>(&payload)) else {
                continue;
            };
            let shop = SHOPS.iter().position(|shop| order["shop"] == *shop).expect("a shop of ours");
            let number = |name: &str| order[name].as_i64().expect("a number");
            let order = Order { at: number("at"), shop, serial: number("serial") };
            partitions.entry(partition).or_default().push((offset, order));
        }
        Judge { partitions, snapshots: BTreeMap::new() }
    }

    pub fn orders(&self) -> usize {
        self.partitions.values().map(Vec::len).sum()
    }

    /// Recomputes every answer. Panics at the first that is wrong.
    pub fn judge(&mut self, asked: &Asked) -> Verdict {
        let wrong = asked.wrong.lock().expect("no asker panics");
        assert!(wrong.is_empty(), "{} replies that nobody may get, the first: {}", wrong.len(), wrong[0]);
        let answers = asked.answers.lock().expect("no asker panics");
        let mut watersheds: BTreeMap<Option<u64>, Json> = BTreeMap::new();
        let mut verdict = Verdict {
            answers: answers.len(),
            refused: asked.refused.load(Ordering::Relaxed),
            unanswered: asked.unanswered.load(Ordering::Relaxed),
            ..Verdict::default()
        };
        for (index, answer) in answers.iter() {
            if let Err(wrong) = self.check(*index, answer) {
                panic!("a wrong answer: {wrong}");
            }
            let block = &answer["answer"];
            let version = block["version"].as_u64();
            let watershed = watersheds.entry(version).or_insert_with(|| block["watershed"].clone());
            assert!(
                version.is_none() || *watershed == block["watershed"],
                "version {version:?} has two watersheds"
            );
            verdict.complete += usize::from(block["complete"] == true);
            let straddles = |partition: i32| {
                let from = reach(answer, "watershed", partition);
                0 < from && from < reach(answer, "live", partition)
            };
            verdict.straddling += usize::from((0..PARTITIONS).any(straddles));
        }
        verdict.versions = watersheds.keys().flatten().count();
        verdict
    }

    /// Recomputes one answer, and compares every cell; what is wrong with it otherwise.
    fn check(&mut self, index: usize, answer: &Json) -> Result<(), String> {
        let question = &questions()[index];
        let of = if question["accuracy"] == "batch" { "watershed" } else { "live" };
        let mut expected = Cells::new();
        for partition in 0..PARTITIONS {
            assert!(
                reach(answer, "watershed", partition) <= reach(answer, "live", partition),
                "partition {partition} of {}",
                answer["answer"]
            );
            self.fold(index, question, partition, reach(answer, of, partition), &mut expected);
        }
        let rows = answer["data"].as_array().expect("data is a list");
        let found: Cells = rows.iter().map(|row| (row_key(row), totals(row))).collect();
        assert_eq!(found.len(), rows.len(), "a cell occurs once: {question}");
        let differing = || {
            let keys = expected.keys().chain(found.keys());
            let differing = keys.filter(|key| expected.get(key) != found.get(key));
            differing.take(5).map(|key| (key, expected.get(key), found.get(key))).collect::<Vec<_>>()
        };
        if expected != found || answer["answer"]["gaps"] != json!([]) {
            let (block, differing) = (&answer["answer"], differing());
            return Err(format!(
                "question {question}, answer {block}: (cell, expected, found) {differing:?}"
            ));
        }
        Ok(())
    }

    /// True if this judge would have seen that an answer to [`everything`] holds one order more than it says.
    pub fn would_notice(&mut self, answer: &Json) -> bool {
        let mut claims = |partition: i32, off: i64| {
            let mut claiming = answer.clone();
            let until = reach(answer, "live", partition) + off;
            claiming["answer"]["live"][partition.to_string()] = json!(until);
            let watershed = reach(answer, "watershed", partition).min(until);
            claiming["answer"]["watershed"][partition.to_string()] = json!(watershed);
            self.check(0, &claiming).is_err()
        };
        // A record or two may be no order.
        (0..PARTITIONS).all(|partition| (1..5).any(|less| claims(partition, -less)))
    }

    /// Adds a partition's orders below `until`.
    fn fold(&mut self, index: usize, question: &Json, partition: i32, until: i64, into: &mut Cells) {
        let Some(orders) = self.partitions.get(&partition) else { return };
        let count = orders.partition_point(|(offset, _)| *offset < until);
        let snapshots = self.snapshots.entry((index, partition)).or_insert_with(|| vec![Cells::new()]);
        while snapshots.len() <= count / STRIDE {
            let from = (snapshots.len() - 1) * STRIDE;
            let mut next = snapshots[snapshots.len() - 1].clone();
            add(&orders[from..from + STRIDE], question, &mut next);
            snapshots.push(next);
        }
        for (key, totals) in &snapshots[count / STRIDE] {
            into.entry(*key).and_modify(|known| known.add(*totals)).or_insert(*totals);
        }
        add(&orders[count / STRIDE * STRIDE..count], question, into);
    }
}

fn add(orders: &[(i64, Order)], question: &Json, into: &mut Cells) {
    let width = match question["grain"].as_str() {
        Some("all") => None,
        Some("1 day") => Some(DAY),
        _ => Some(SLOT),
    };
    let by_shop = question["group_by"].as_array().is_none_or(|names| !names.is_empty());
    for (_, Order { at, shop, serial }) in orders {
        let key = (width.map(|width| at.div_euclid(width) * width), by_shop.then(|| SHOPS[*shop]));
        let totals = Totals { orders: 1, serials: *serial, lowest: *serial, highest: *serial };
        into.entry(key).and_modify(|known| known.add(totals)).or_insert(totals);
    }
}

fn reach(answer: &Json, of: &str, partition: i32) -> i64 {
    answer["answer"][of][partition.to_string()].as_i64().unwrap_or(0)
}

fn row_key(row: &Json) -> Key {
    let start = row["slot"].as_str();
    let start =
        start.map(|text| chrono::DateTime::parse_from_rfc3339(text).expect("a time").timestamp_millis());
    let shop =
        row["shop"].as_str().map(|shop| *SHOPS.iter().find(|known| **known == shop).expect("a shop of ours"));
    (start, shop)
}

fn totals(row: &Json) -> Totals {
    let number = |name: &str| row[name].as_i64().unwrap_or_else(|| panic!("{name} of {row}"));
    Totals {
        orders: number("orders"),
        serials: number("serials"),
        lowest: number("lowest"),
        highest: number("highest"),
    }
}
