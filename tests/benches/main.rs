//! How far from the bare limit: each figure is a ratio of two sides measured in this run, alternating.
//!
//! `cargo bench` prints the table; `-- --json FILE` writes the figures too, `-- --plots FOLDER` draws the curves, `-- --rounds N`
//! measures more or fewer rounds, `-- NAME…` measures only the named ones. Both sides do the same work on the same data over
//! the same path, and what Watershed answered is checked before a figure counts.

mod apart;
mod batch;
mod batch_bare;
mod batch_growth;
mod broker_apart;
mod checkpoint;
mod cpu;
mod growth;
mod hostile;
mod latency;
mod peers;
mod plot;
mod query;
mod restart;
mod sizes;
mod speed;
mod sql;
mod table;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;

use futures::future::LocalBoxFuture;

use table::Table;

type Measure = for<'a> fn(&'a mut Table, usize) -> LocalBoxFuture<'a, ()>;

const BENCHES: &[(&str, Measure)] = &[
    ("speed", |table, rounds| Box::pin(speed::measure(table, rounds))),
    ("batch", |table, rounds| Box::pin(batch::measure(table, rounds))),
    ("query", |table, rounds| Box::pin(query::measure(table, rounds))),
    ("sql", |table, rounds| Box::pin(sql::measure(table, rounds))),
    ("latency", |table, rounds| Box::pin(latency::measure(table, rounds))),
    ("checkpoint", |table, rounds| Box::pin(checkpoint::measure(table, rounds))),
    ("hostile", |table, rounds| Box::pin(hostile::measure(table, rounds))),
    ("peers", |table, rounds| Box::pin(peers::measure(table, rounds))),
    ("restart", |table, rounds| Box::pin(restart::measure(table, rounds))),
    ("sizes", |table, rounds| Box::pin(sizes::measure(table, rounds))),
    ("growth-records", |table, rounds| Box::pin(growth::records(table, rounds))),
    ("growth-answers", |table, _| Box::pin(growth::answers(table))),
    ("growth-batch", |table, rounds| Box::pin(batch_growth::measure(table, rounds))),
];
/// What takes many minutes.
const ONLY_WHEN_NAMED: &str = "growth";
const ROUNDS: usize = 7;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let Some(specimen) = sizes::Specimen::asked_for(&arguments) {
        specimen.weigh();
        return ExitCode::SUCCESS;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    if arguments.iter().any(|argument| argument == broker_apart::BROKER) {
        runtime.block_on(broker_apart::be_a_broker());
        return ExitCode::SUCCESS;
    }
    let wishes = match Wishes::read(arguments.into_iter()) {
        Ok(wishes) => wishes,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let mut table = Table::default();
    runtime.block_on(async {
        for (_, measure) in BENCHES.iter().filter(|(name, _)| wishes.wants(name)) {
            measure(&mut table, wishes.rounds).await;
        }
    });
    table.print();
    if let Some(path) = wishes.json {
        std::fs::write(&path, table.json()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("\nfigures in {}", path.display());
    }
    if let Some(folder) = wishes.plots {
        table.plot(&folder);
        println!("\ncurves in {}", folder.display());
    }
    ExitCode::SUCCESS
}

/// What the command line asks for.
struct Wishes {
    /// Empty for all.
    names: Vec<String>,
    json: Option<PathBuf>,
    plots: Option<PathBuf>,
    rounds: usize,
}

impl Wishes {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Wishes, String> {
        let mut wishes = Wishes { names: Vec::new(), json: None, plots: None, rounds: ROUNDS };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo's own word to a benchmark.
                "--bench" => {}
                "--json" => wishes.json = Some(path(arguments.next().ok_or("--json: expected a file")?)?),
                "--plots" => {
                    wishes.plots = Some(path(arguments.next().ok_or("--plots: expected a folder")?)?)
                }
                "--rounds" => {
                    let rounds = arguments.next().and_then(|rounds| rounds.parse::<usize>().ok());
                    let rounds = rounds.filter(|rounds| *rounds > 0);
                    wishes.rounds = rounds.ok_or("--rounds: expected a number above 0")?;
                }
                name if BENCHES.iter().any(|(known, _)| means(name, known)) => {
                    wishes.names.push(name.to_string())
                }
                other => {
                    let names: Vec<_> = BENCHES.iter().map(|(name, _)| *name).collect();
                    let names = names.join(", ");
                    return Err(format!(
                        "found {other}, expected --json FILE, --plots FOLDER, --rounds N or any of {names}"
                    ));
                }
            }
        }
        Ok(wishes)
    }

    fn wants(&self, name: &str) -> bool {
        match self.names.is_empty() {
            true => !means(ONLY_WHEN_NAMED, name),
            false => self.names.iter().any(|wanted| means(wanted, name)),
        }
    }
}

/// Whether a word is a benchmark's name, or the first part of it.
fn means(word: &str, name: &str) -> bool {
    name.strip_prefix(word).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// Cargo runs benchmarks in the folder of their package.
fn path(given: String) -> Result<PathBuf, String> {
    std::path::absolute(given).map_err(|error| error.to_string())
}
