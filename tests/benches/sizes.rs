//! How much things take: memory of a group and of a sketch at several fillings, the time that the command takes to be ready, and
//! its size on the disk.
//!
//! Memory is what the system says to be resident, of a process that holds the states of so many groups and nothing else: this
//! program starts itself for each. Beside it stands what a budget counts for the same states.

use std::process::Command;
use std::sync::Arc;

use support::binary::watershed;
use support::command::Folder;
use watershed_schemas::decode::Decoder;
use watershed_schemas::log::Records;
use watershed_schemas::offsets::{Offset, Partition};
use watershed_schemas::project::{Project, SourceFile};
use watershed_schemas::states::StateTable;
use watershed_schemas::view::View;

use crate::restart::Up;
use crate::table::{Curve, Series, Table};

/// Asks this program for one specimen.
const SPECIMEN: &str = "--specimen";
/// What is held besides a count and a sum, and how it is written.
const SHAPES: [(&str, &str); 5] = [
    ("count, sum", ""),
    ("and distinct", ", count(DISTINCT item) AS items"),
    ("and quantile", ", quantile_cont(value, 0.95) AS p95"),
    ("and top 3", ", approx_top_k(item, 3) AS top"),
    (
        "and all three",
        ", count(DISTINCT item) AS items, quantile_cont(value, 0.95) AS p95, approx_top_k(item, 3) AS top",
    ),
];
/// Values in each group, and groups enough to tell their memory from what a process takes anyway.
const FILLINGS: [(usize, usize); 5] =
    [(1, 1_000_000), (10, 200_000), (100, 30_000), (1_000, 4_000), (10_000, 1_000)];
/// Records of one fold, as a speed node takes them.
const STRETCH: usize = 8_192;
const RECORDED_AT: i64 = 1_772_500_000_000;

const SCHEMA: &str = "CREATE TABLE meters (
    at TIMESTAMP NOT NULL, meter TEXT NOT NULL, item TEXT, value DOUBLE, amount BIGINT
) WITH (topic = 'meters', format = 'json', event_time = 'at');";

pub async fn measure(table: &mut Table, rounds: usize) {
    memory(table);
    start(table, rounds).await;
    binary(table);
}

fn memory(table: &mut Table) {
    let (mut resident, mut counted) = (Series::new(), Series::new());
    for (shape, (name, _)) in SHAPES.iter().enumerate() {
        let (mut of_system, mut of_budget) = (Vec::new(), Vec::new());
        for (values, groups) in FILLINGS {
            let weight = Specimen { shape, groups, values }.weight();
            of_system.push((values as f64, weight.resident));
            of_budget.push((values as f64, weight.counted));
        }
        resident.push((name.to_string(), of_system));
        counted.push((name.to_string(), of_budget));
    }
    let curve = |name: &str, series: Series| Curve {
        name: name.to_string(),
        x: "different values in each group".to_string(),
        y: "bytes per group".to_string(),
        series,
    };
    table.curve(curve("Resident memory per sketch", beyond(&resident[0], &resident[1..4])));
    table.curve(curve("Resident memory per group", resident));
    table.curve(curve("Memory per group as a budget counts it", counted));
}

/// What lines lie above another.
fn beyond((_, base): &(String, Vec<(f64, f64)>), lines: &[(String, Vec<(f64, f64)>)]) -> Series {
    let above = |points: &[(f64, f64)]| {
        points.iter().zip(base).map(|(point, base)| (point.0, (point.1 - base.1).max(0.0))).collect()
    };
    lines.iter().map(|(name, points)| (name.trim_start_matches("and ").to_string(), above(points))).collect()
}

/// Many groups alike.
#[derive(Clone, Copy)]
pub struct Specimen {
    /// Which of the shapes.
    shape: usize,
    groups: usize,
    /// Different values in each group.
    values: usize,
}

/// Bytes per group.
struct Weight {
    resident: f64,
    counted: f64,
}

impl Specimen {
    /// The one that this process was started for.
    pub fn asked_for(arguments: &[String]) -> Option<Specimen> {
        let place = arguments.iter().position(|argument| argument == SPECIMEN)?;
        let number = |nth: usize| arguments.get(place + nth)?.parse().ok();
        Some(Specimen { shape: number(1)?, groups: number(2)?, values: number(3)? })
    }

    /// Has another process hold it and say what it takes.
    fn weight(self) -> Weight {
        let program = std::env::current_exe().expect("this program is somewhere");
        let numbers = [self.shape, self.groups, self.values].map(|number| number.to_string());
        let output = Command::new(program).arg(SPECIMEN).args(numbers).output().expect("it runs");
        let (said, complained) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        let bytes: Vec<f64> = said.split_whitespace().filter_map(|number| number.parse().ok()).collect();
        let [resident, counted] = bytes[..] else { panic!("two numbers were due: {said}{complained}") };
        Weight { resident: resident / self.groups as f64, counted: counted / self.groups as f64 }
    }

    /// Holds it, and prints how many more bytes are resident, and how many a budget counts.
    pub fn weigh(self) {
        let view = self.view();
        // What decoding and folding need for themselves is there before.
        self.fold(&view, STRETCH);
        let before = resident_bytes();
        let table = self.fold(&view, self.groups * self.values);
        let after = resident_bytes();
        assert_eq!(table.keys.len(), self.groups, "every group is told apart");
        println!("{} {}", after.saturating_sub(before), table.holding().bytes);
    }

    fn view(self) -> Arc<View> {
        let view = format!(
            "CREATE MATERIALIZED VIEW by_meter AS
             SELECT meter, tumble(at, INTERVAL '1 hour') AS hour, count(*) AS readings, sum(amount) AS amount{}
             FROM meters GROUP BY meter, hour;",
            SHAPES[self.shape].1
        );
        let file = |path: &str, text: &str| SourceFile { path: path.to_string(), text: text.to_string() };
        let project =
            Project::parse(&[file("schemas/meters.sql", SCHEMA)], &[file("jobs/by_meter.sql", &view)]);
        project.unwrap_or_else(|problems| panic!("{problems:?}")).views[0].clone()
    }

    /// The states of the first records: a value for each group, then the next for each.
    fn fold(self, view: &Arc<View>, records: usize) -> StateTable {
        let fields: Vec<&str> = view.fields_read().into_iter().collect();
        let mut decoder = Decoder::new(&view.stream, &fields);
        let mut table = StateTable::new(view.clone());
        let mut numbers = (0..records).peekable();
        while let Some(first) = numbers.peek().copied() {
            let mut stretch = Records::new(Partition(0), Offset(first as i64));
            for number in numbers.by_ref().take(STRETCH) {
                stretch.push(Offset(number as i64), RECORDED_AT, Some(self.record(number).as_bytes()));
            }
            let decoded = decoder.decode(&stretch);
            assert!(decoded.dead_letters.is_empty());
            table.fold(&decoded.events).expect("events fold");
        }
        table
    }

    fn record(self, number: usize) -> String {
        let (meter, nth) = (number % self.groups, number / self.groups);
        // Values of six decades, in an order that fills all of them alike.
        let magnitude = (nth * 7_919 + meter) % 60_000;
        let value = 10_f64.powf(magnitude as f64 / 10_000.0);
        format!(
            r#"{{"at":"2026-03-01T00:00:00Z","meter":"meter {meter:07}","item":"item {:07}","value":{value:.4},"amount":{}}}"#,
            nth * 1_009 + meter,
            meter % 97
        )
    }
}

fn resident_bytes() -> u64 {
    const PAGE: u64 = 4096;
    let statm = std::fs::read_to_string("/proc/self/statm").expect("this system tells of its memory");
    let pages = statm.split_whitespace().nth(1).and_then(|pages| pages.parse::<u64>().ok());
    pages.expect("a number of pages") * PAGE
}

async fn start(table: &mut Table, rounds: usize) {
    let (mut heard, mut first, mut again) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..rounds {
        let folder = Folder::with_project();
        let up = Up::start(&folder, &[]);
        heard.push(up.until_heard().await * 1e3);
        first.push(up.until_ready().await * 1e3);
        assert_eq!(up.service.stop().0, 0);
        let up = Up::start(&folder, &[]);
        again.push(up.until_ready().await * 1e3);
        assert_eq!(up.service.stop().0, 0);
    }
    table.fact("start of watershed up, to the first byte of /healthz", "ms", heard);
    table.fact("start of watershed up, to ready, in an empty folder", "ms", first);
    table.fact("start of watershed up, to ready, where it ran before", "ms", again);
}

fn binary(table: &mut Table) {
    let size =
        |path: &std::path::Path| std::fs::metadata(path).expect("the command is built").len() as f64 / 1e6;
    table.fact("the command as it is built", "MB", vec![size(watershed())]);
    let folder = tempfile::tempdir().expect("a folder");
    let stripped = folder.path().join("watershed");
    match Command::new("strip").arg("-o").arg(&stripped).arg(watershed()).status() {
        Ok(status) if status.success() => {
            table.fact("the command without its symbols", "MB", vec![size(&stripped)])
        }
        _ => println!("the command without its symbols: not measured, for there is no strip"),
    }
}
