//! How far from the bare limit: each figure is a ratio of two sides measured in this run, alternating.
//!
//! `cargo bench` prints the table; `-- --json FILE` writes the figures too, `-- --rounds N` measures more or fewer
//! rounds, `-- NAME…` measures only the named ones. Both sides do the same work on the same data over the same path, and
//! what Watershed answered is checked before a figure counts.

mod apart;
mod batch;
mod checkpoint;
mod hostile;
mod latency;
mod query;
mod speed;
mod sql;
mod table;
mod world;

use std::process::ExitCode;

use table::Table;

const NAMES: [&str; 7] = ["speed", "batch", "query", "sql", "latency", "checkpoint", "hostile"];
const ROUNDS: usize = 7;

fn main() -> ExitCode {
    let wishes = match Wishes::read(std::env::args().skip(1)) {
        Ok(wishes) => wishes,
        Err(problem) => {
            eprintln!("{problem}");
            return ExitCode::from(2);
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    let mut table = Table::default();
    runtime.block_on(async {
        for name in NAMES.iter().filter(|name| wishes.wants(name)) {
            match *name {
                "speed" => speed::measure(&mut table, wishes.rounds).await,
                "batch" => batch::measure(&mut table, wishes.rounds).await,
                "query" => query::measure(&mut table, wishes.rounds).await,
                "sql" => sql::measure(&mut table, wishes.rounds).await,
                "hostile" => hostile::measure(&mut table, wishes.rounds).await,
                "checkpoint" => checkpoint::measure(&mut table, wishes.rounds).await,
                _ => latency::measure(&mut table, wishes.rounds).await,
            }
        }
    });
    table.print();
    if let Some(path) = wishes.json {
        std::fs::write(&path, table.json()).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
        println!("\nfigures in {}", path.display());
    }
    ExitCode::SUCCESS
}

/// What the command line asks for.
struct Wishes {
    /// Empty for all.
    names: Vec<String>,
    json: Option<std::path::PathBuf>,
    rounds: usize,
}

impl Wishes {
    fn read(mut arguments: impl Iterator<Item = String>) -> Result<Wishes, String> {
        let mut wishes = Wishes { names: Vec::new(), json: None, rounds: ROUNDS };
        while let Some(argument) = arguments.next() {
            match argument.as_str() {
                // Cargo's own word to a benchmark.
                "--bench" => {}
                "--json" => {
                    let path = arguments.next().ok_or("--json: expected a file")?;
                    // Cargo runs benchmarks in the folder of their package.
                    wishes.json = Some(std::path::absolute(path).map_err(|error| error.to_string())?);
                }
                "--rounds" => {
                    let rounds = arguments.next().and_then(|rounds| rounds.parse::<usize>().ok());
                    let rounds = rounds.filter(|rounds| *rounds > 0);
                    wishes.rounds = rounds.ok_or("--rounds: expected a number above 0")?;
                }
                name if NAMES.contains(&name) => wishes.names.push(name.to_string()),
                other => {
                    let names = NAMES.join(", ");
                    return Err(format!("found {other}, expected --json FILE, --rounds N or any of {names}"));
                }
            }
        }
        Ok(wishes)
    }

    fn wants(&self, name: &str) -> bool {
        self.names.is_empty() || self.names.iter().any(|wanted| wanted == name)
    }
}
