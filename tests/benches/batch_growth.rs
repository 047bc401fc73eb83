//! Seconds of a batch run against history, and against the share of the windows that its new records touch. The new
//! records are always as many; after each series DuckDB checks every cell.

use crate::batch::{DAYS, NEW_RECORDS, RECORDS, VIEW, WINDOWS_A_DAY, check, files, step, timed};
use crate::table::{Curve, Table, median};
use crate::world::World;

/// What a history is divided by, and how many windows are touched of all.
const HISTORIES: [i64; 3] = [100, 10, 1];
const TOUCHED: [i64; 4] = [1, 7, 72, DAYS * WINDOWS_A_DAY];
const FIRST_TOUCHED_DAY: i64 = 60;

pub async fn measure(table: &mut Table, rounds: usize) {
    let (mut by_history, mut full, mut by_share) = (Vec::new(), Vec::new(), Vec::new());
    for divisor in HISTORIES {
        let history = RECORDS / divisor;
        let world = World::of(VIEW, history, step(history)).await;
        let (_, report) = timed(world.platform.batch()).await;
        world.until_version(report.manifest.version.0, history).await;
        let mut records = history;
        by_history.push((history as f64, run(&world, rounds, WINDOWS_A_DAY, &mut records).await));
        if divisor == 1 {
            for windows in TOUCHED {
                let share = windows as f64 / (DAYS * WINDOWS_A_DAY) as f64;
                by_share.push((share, run(&world, rounds, windows, &mut records).await));
            }
        }
        let mut taken = Vec::new();
        for _ in 0..rounds {
            let (seconds, report) = timed(world.platform.batch_full()).await;
            world.until_version(report.manifest.version.0, records).await;
            taken.push(seconds);
        }
        full.push((history as f64, median(&taken)));
        world.stop().await;
    }
    table.curve(Curve {
        name: "Seconds of a batch run by history".to_string(),
        x: "events landed before".to_string(),
        y: "seconds".to_string(),
        series: vec![
            ("10,000 new events".to_string(), by_history),
            ("everything made anew".to_string(), full),
        ],
    });
    table.curve(Curve {
        name: "Seconds of a batch run by what it touches".to_string(),
        x: "share of 724 windows, over 3 million events".to_string(),
        y: "seconds".to_string(),
        series: vec![("10,000 new events".to_string(), by_share)],
    });
}

/// The median of several runs, each after as many new records that touch so many windows.
async fn run(world: &World, rounds: usize, windows: i64, records: &mut i64) -> f64 {
    let first = if windows == DAYS * WINDOWS_A_DAY { 0 } else { FIRST_TOUCHED_DAY };
    let mut taken = Vec::new();
    let mut newest = None;
    for _ in 0..rounds {
        world.fill_windows(*records, NEW_RECORDS, (first, windows));
        *records += NEW_RECORDS;
        world.until_readings(*records).await;
        let (seconds, report) = timed(world.platform.batch()).await;
        assert_eq!(report.manifest.windows_recomputed, windows as u64);
        world.until_version(report.manifest.version.0, *records).await;
        taken.push(seconds);
        newest = Some(files(world, &report));
    }
    check(world, newest.expect("there is at least one round"), *records).await;
    median(&taken)
}
