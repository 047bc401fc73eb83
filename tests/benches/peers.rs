//! CPU per event from JSON bytes to states, over that of systems that others use for the same job.
//!
//! Every side aggregates the same bytes by site and hour, from nothing, once over a few events and once over ten times as
//! many. What the second takes more than the first is the cost of those events, without what starting, ending and
//! compiling take; user and system time of all threads and processes, however many a side uses. Before the first round every
//! side has run once. Its answers are compared with the truth each time.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeValLike;
use serde_json::Value as Json;
use watershed_schemas::decode::Decoder;
use watershed_schemas::identity::Fingerprint;
use watershed_schemas::log::Records;
use watershed_schemas::measure::error_bound;
use watershed_schemas::offsets::{Offset, Partition};
use watershed_schemas::project::{Project, SourceFile};
use watershed_schemas::value::Value;
use watershed_schemas::view::View;
use watershed_speed::SpeedSettings;
use watershed_speed::epoch::Epoch;
use watershed_speed::partition::PartitionEpochs;
use watershed_speed::stretch::Stretch;

use crate::table::{Table, median};
use crate::world::{FIRST_MS, VIEW, payload, schema};

/// What starting and ending is told by.
const FEW: i64 = 400_000;
/// The events beyond those, whose cost is told.
const EVENTS: i64 = 3_600_000;
/// Event time between two of them, as in the benchmark `speed`.
const STEP: Duration = Duration::from_millis(10);
/// When Kafka is said to have got them: later than they happened.
const RECORDED_AT: i64 = FIRST_MS + 24 * 3_600_000;
/// Names the Python that has the peers.
const PYTHON: &str = "WATERSHED_BENCH_PEERS_PYTHON";
/// The peers' scripts and their arguments.
const SCRIPTS: [&[&str]; 3] = [&["flink.py", "--without-percentile"], &["flink.py"], &["clickhouse.py"]];
/// How far a quantile may be off: one percent of a value, and the value of the next rank instead.
const QUANTILE_ERROR: f64 = 0.011;

pub async fn measure(table: &mut Table, rounds: usize) {
    let Some(python) = std::env::var_os(PYTHON) else {
        println!("peers: skipped, for {PYTHON} is not set: tests/peers.sh installs them and sets it");
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let jobs = [FEW, FEW + EVENTS].map(|events| Job::write(folder.path(), events));
    let view = view();
    let mut peers = SCRIPTS.map(|script| Peer::start(Path::new(&python), script));
    let (mut ours, mut theirs) = (Vec::new(), SCRIPTS.map(|_| Vec::new()));
    for round in 0..=rounds {
        let cost = cost(&jobs, |job| aggregate(&view, job));
        if round > 0 {
            ours.push(cost);
        }
        for (peer, costs) in peers.iter_mut().zip(&mut theirs) {
            let cost = self::cost(&jobs, |job| peer.aggregate(job));
            if round > 0 {
                costs.push(cost);
            }
        }
    }
    for (peer, costs) in peers.iter().zip(&theirs) {
        let ratios = costs.iter().zip(&ours).map(|(theirs, ours)| theirs / ours).collect();
        let shown = |costs: &[f64]| format!("{:.0} ns", median(costs) * 1e9);
        let name = format!("CPU per event of {} over ours{}", peer.name, peer.leaves_out);
        table.add(&name, shown(&ours), shown(costs), ratios);
    }
}

/// Seconds of CPU per event.
fn cost(jobs: &[Job; 2], mut run: impl FnMut(&Job) -> Run) -> f64 {
    let [few, all] = jobs.each_ref().map(|job| {
        let run = run(job);
        job.truth.check(&run);
        run.cpu_seconds
    });
    (all - few) / EVENTS as f64
}

/// Events in a file and in memory, and what is true of them.
struct Job {
    path: std::path::PathBuf,
    text: Bytes,
    truth: Truth,
}

impl Job {
    fn write(folder: &Path, events: i64) -> Job {
        let mut bytes = Vec::new();
        for sequence in 0..events {
            bytes.extend(payload(sequence, FIRST_MS + sequence * STEP.as_millis() as i64));
            bytes.push(b'\n');
        }
        let path = folder.join(format!("{events}.ndjson"));
        std::fs::write(&path, &bytes).expect("a file");
        let text = String::from_utf8(bytes).expect("events are text");
        Job { path, truth: Truth::of(&text), text: text.into() }
    }
}

/// What one run over a job took and gave.
struct Run {
    cpu_seconds: f64,
    groups: BTreeMap<Key, Group>,
}

/// Site, and the hour in milliseconds since 1970-01-01.
type Key = (String, i64);

/// What a side says of a group; `None` is what it leaves out.
struct Group {
    readings: i64,
    mean: f64,
    devices: f64,
    p95: Option<f64>,
    parts: Option<Vec<(String, u64)>>,
}

fn view() -> Arc<View> {
    let file = |path: &str, text: &str| SourceFile { path: path.into(), text: text.into() };
    let project =
        Project::parse(&[file("schemas/stream.sql", &schema("readings"))], &[file("jobs/view.sql", VIEW)]);
    project.unwrap_or_else(|problems| panic!("{problems:?}")).views[0].clone()
}

/// As a speed node does it, record batch by record batch: taking the bytes over, decoding, folding.
fn aggregate(view: &Arc<View>, job: &Job) -> Run {
    let before = cpu_seconds();
    let mut epochs = PartitionEpochs::new(Partition(0), Offset(0), Offset(0));
    epochs.open(Epoch::Origin.of(&view.name), view);
    let fields: Vec<&str> = view.fields_read().into_iter().collect();
    let mut decoder = Decoder::new(&view.stream, &fields);
    let at_once = SpeedSettings::new("bench", "bench").poll_records;
    let mut lines = lines(&job.text).peekable();
    while lines.peek().is_some() {
        let mut records = Records::new(epochs.partition(), epochs.live());
        let source = records.share(job.text.clone());
        for line in lines.by_ref().take(at_once) {
            records.push_shared(Offset(records.position), RECORDED_AT, source, Some(line));
        }
        let decoded = decoder.decode(&records);
        let stretch =
            Stretch::new(epochs.partition(), records.range(), &decoded.events).expect("a sound stretch");
        epochs.fold(&stretch).expect("it comes next");
        epochs.remember(Fingerprint::of_last(&records));
    }
    let cpu_seconds = cpu_seconds() - before;
    Run { cpu_seconds, groups: groups(&epochs) }
}

/// Where each line lies.
fn lines(text: &[u8]) -> impl Iterator<Item = Range<usize>> {
    let mut start = 0;
    memchr::memchr_iter(b'\n', text).map(move |end| std::mem::replace(&mut start, end + 1)..end)
}

/// User and system time of this process.
fn cpu_seconds() -> f64 {
    let usage = getrusage(UsageWho::RUSAGE_SELF).expect("the system counts");
    (usage.user_time().num_microseconds() + usage.system_time().num_microseconds()) as f64 / 1e6
}

fn groups(epochs: &PartitionEpochs) -> BTreeMap<Key, Group> {
    let table = epochs.folds().values().next().expect("the fold that was opened").table();
    let group = |row: u32| {
        let Value::Text(site) = table.keys.value(row, 0) else { panic!("sites are text") };
        let number = |measure: usize| match table.measures[measure].finish(row) {
            Value::Integer(number) => number as f64,
            Value::Double(number) => number,
            other => panic!("{other:?} is no number"),
        };
        let Value::TopK(parts) = table.measures[4].finish(row) else { panic!("parts are the most frequent") };
        let part = |(part, count): &(Value, u64)| match part {
            Value::Text(part) => (part.to_string(), *count),
            other => panic!("{other:?} is no part"),
        };
        let group = Group {
            readings: number(0) as i64,
            mean: number(1),
            p95: Some(number(2)),
            devices: number(3),
            parts: Some(parts.iter().map(part).collect()),
        };
        ((site.to_string(), table.keys.windows()[row as usize] / 1_000), group)
    };
    table.keys.sorted_rows().into_iter().map(group).collect()
}

/// A process that does the same job.
struct Peer {
    child: Child,
    questions: ChildStdin,
    answers: BufReader<ChildStdout>,
    name: String,
    leaves_out: String,
}

impl Peer {
    fn start(python: &Path, script: &[&str]) -> Peer {
        let mut command = Command::new(python);
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/peers");
        command.args(script).current_dir(folder).env("PYTHONDONTWRITEBYTECODE", "1");
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("{}: {error}", python.display()));
        let questions = child.stdin.take().expect("its input is ours");
        let answers = BufReader::new(child.stdout.take().expect("its output is ours"));
        let mut peer = Peer { child, questions, answers, name: String::new(), leaves_out: String::new() };
        let hello = peer.answer();
        let text = |value: &Json| value.as_str().unwrap_or_default().to_string();
        let left_out: Vec<_> = hello["leaves_out"].as_array().into_iter().flatten().map(text).collect();
        peer.name = text(&hello["name"]);
        if !left_out.is_empty() {
            peer.leaves_out = format!(" (which leaves out: {})", left_out.join(", "));
        }
        peer
    }

    fn answer(&mut self) -> Json {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("it can be heard");
        serde_json::from_str(&line).unwrap_or_else(|error| panic!("{} said {line:?}: {error}", self.name))
    }

    fn aggregate(&mut self, job: &Job) -> Run {
        writeln!(self.questions, "{}", job.path.display()).expect("it listens");
        let answer = self.answer();
        let part = |part: &Json| {
            let (Some(name), Some(count)) = (part[0].as_str(), part[1].as_u64()) else {
                panic!("{part} is no part")
            };
            (name.to_string(), count)
        };
        let group = |row: &Json| {
            let key = (row["site"].as_str()?.to_string(), row["hour_ms"].as_i64()?);
            let group = Group {
                readings: row["readings"].as_i64()?,
                mean: row["mean"].as_f64()?,
                devices: row["devices"].as_f64()?,
                p95: row["p95"].as_f64(),
                parts: row["parts"].as_array().map(|parts| parts.iter().map(part).collect()),
            };
            Some((key, group))
        };
        let rows = answer["rows"].as_array().into_iter().flatten();
        let groups = rows.map(|row| group(row).unwrap_or_else(|| panic!("{}: {row} is no group", self.name)));
        Run { cpu_seconds: answer["cpu_seconds"].as_f64().expect("a time"), groups: groups.collect() }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, which is well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What every side has to find, read by a parser that is none of theirs.
struct Truth {
    groups: BTreeMap<Key, True>,
    /// How far a distinct count may be off.
    distinct_error: f64,
}

#[derive(Default)]
struct True {
    values: Vec<f64>,
    devices: HashSet<String>,
    parts: BTreeMap<String, u64>,
}

impl Truth {
    fn of(text: &str) -> Truth {
        const HOUR_MS: i64 = 3_600_000;
        let mut groups: BTreeMap<Key, True> = BTreeMap::new();
        for line in text.lines() {
            let event: Json = serde_json::from_str(line).expect("events are JSON");
            let field = |name: &str| event[name].as_str().expect("a text").to_string();
            let at = event["at"].as_i64().expect("a time");
            let group = groups.entry((field("site"), at - at.rem_euclid(HOUR_MS))).or_default();
            group.values.push(event["value"].as_f64().expect("a number"));
            group.devices.insert(field("device"));
            *group.parts.entry(field("part")).or_default() += 1;
        }
        groups.values_mut().for_each(|group| group.values.sort_by(f64::total_cmp));
        let stated = error_bound(&view().measures[3]).expect("distinct counts are sketched");
        // Stated are three standard errors, which one group in 400 exceeds; four, one in 16,000.
        Truth { groups, distinct_error: stated.bound * 4.0 / 3.0 }
    }

    fn check(&self, run: &Run) {
        assert!(run.groups.keys().eq(self.groups.keys()), "every group is there, and no other");
        for ((key, found), truth) in run.groups.iter().zip(self.groups.values()) {
            let near = |found: f64, truth: f64, share: f64| (found - truth).abs() <= share * truth;
            let values = &truth.values;
            let mean = values.iter().sum::<f64>() / values.len() as f64;
            let p95 = values[((values.len() - 1) as f64 * 0.95).round() as usize];
            assert_eq!(found.readings, values.len() as i64, "{key:?}");
            assert!(near(found.mean, mean, 1e-9), "{key:?}: mean {}, {mean} is right", found.mean);
            assert!(
                near(found.devices, truth.devices.len() as f64, self.distinct_error),
                "{key:?}: {} devices, {} are right",
                found.devices,
                truth.devices.len()
            );
            assert!(
                found.p95.is_none_or(|found| near(found, p95, QUANTILE_ERROR)),
                "{key:?}: quantile {:?}, {p95} is right",
                found.p95
            );
            assert!(
                found.parts.as_ref().is_none_or(|parts| *parts == truth.top(parts.len())),
                "{key:?}: parts"
            );
        }
    }
}

impl True {
    /// The most frequent parts, ties in the order of their names.
    fn top(&self, count: usize) -> Vec<(String, u64)> {
        let mut parts: Vec<_> = self.parts.iter().map(|(part, count)| (part.clone(), *count)).collect();
        parts.sort_by(|left, right| right.1.cmp(&left.1).then_with(|| left.0.cmp(&right.0)));
        parts.truncate(count);
        parts
    }
}
