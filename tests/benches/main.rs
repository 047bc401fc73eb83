//! How far from the bare limit: each figure is a ratio of two sides measured in this run, alternating.
//!
//! `cargo bench -p watershed-tests` prints the table; `-- --json FILE` writes the figures beside it, `-- NAME…` measures
//! only the named ones. Both sides do the same work on the same data over the same path, and what Watershed
//! answered is checked before a figure counts.

mod batch;
mod latency;
mod query;
mod speed;
mod table;

use table::Table;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let json = arguments.iter().position(|argument| argument == "--json").map(|at| arguments[at + 1].clone());
    let names: Vec<&String> = arguments
        .iter()
        .filter(|argument| !argument.starts_with("--") && Some(*argument) != json.as_ref())
        .collect();
    let wanted = |name: &str| names.is_empty() || names.iter().any(|wanted| *wanted == name);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime starts");
    let mut table = Table::default();
    runtime.block_on(async {
        if wanted("speed") {
            speed::measure(&mut table).await;
        }
        if wanted("batch") {
            batch::measure(&mut table).await;
        }
        if wanted("query") {
            query::measure(&mut table).await;
        }
        if wanted("latency") {
            latency::measure(&mut table).await;
        }
    });
    table.print();
    if let Some(path) = json {
        std::fs::write(&path, table.json()).unwrap_or_else(|error| panic!("{path}: {error}"));
    }
}
