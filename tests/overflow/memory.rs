//! Ten million different keys in three epochs under a budget of 256 MiB, sent and saved time and again, in a process
//! of their own.

use std::process::Command;
use std::sync::Arc;

use ::support::live::{self, HOURLY};
use watershed_schemas::budget::Limits;
use watershed_schemas::decode::Decoder;
use watershed_schemas::log::Records;
use watershed_schemas::offsets::{Offset, Partition};
use watershed_schemas::scope::Scope;
use watershed_schemas::view::View;
use watershed_speed::budgets::{Budgets, ViewBudget};
use watershed_speed::checkpoint::Snapshot;
use watershed_speed::epoch::Epoch;
use watershed_speed::partition::PartitionEpochs;
use watershed_speed::stretch::Stretch;

const TEST: &str = "overflow::memory::resident_memory_stays_under_the_budget_with_ten_million_keys";
/// Set in the process that is looked at.
const LOOKED_AT: &str = "WATERSHED_TEST_OVERFLOW_MEMORY";

const KEYS: i64 = 10_000_000;
const BATCH: i64 = 8_192;
const BUDGET: u64 = 256 << 20;

#[test]
fn resident_memory_stays_under_the_budget_with_ten_million_keys() {
    if std::env::var_os(LOOKED_AT).is_some() {
        return fold_them();
    }
    let this = std::env::current_exe().expect("a test has a path");
    let ran = Command::new(this).args([TEST, "--exact", "--nocapture"]).env(LOOKED_AT, "yes").output();
    let ran = ran.expect("the test runs again");
    let told = String::from_utf8_lossy(&ran.stdout);
    assert!(ran.status.success(), "{told}\n{}", String::from_utf8_lossy(&ran.stderr));
    println!("{told}");
    let figure = |name: &str| -> u64 {
        let line = told.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|line| line.trim().parse().ok()).unwrap_or_else(|| panic!("no {name} in {told}"))
    };
    let (base, peak) = (figure("base bytes"), figure("peak bytes"));
    assert!(peak - base <= BUDGET, "{} MiB on top of {} MiB", (peak - base) >> 20, base >> 20);
    assert_eq!(figure("groups") + figure("overflow records"), (3 * KEYS - 3 * BATCH) as u64);
    assert!(figure("groups") > 90_000, "room is left unused");
}

/// A partition of as many epochs as there are at once, under the budget or not.
fn partition(view: &Arc<View>, budgets: &Budgets) -> PartitionEpochs {
    let mut epochs = PartitionEpochs::new(Partition(0), Offset(0), Offset(0)).within(budgets);
    let later = [BATCH, 2 * BATCH].map(|from| Epoch::At(live::offsets(&[(0, from)])));
    for epoch in [Epoch::Origin].into_iter().chain(later) {
        epochs.open(epoch.of(&view.name), view);
    }
    epochs
}

fn fold(epochs: &mut PartitionEpochs, view: &View, decoder: &mut Decoder, from: i64, until: i64) {
    let mut records = Records::new(Partition(0), Offset(from));
    for key in from..until {
        let (hour, seconds) = (key % 24, key % 5_000);
        let payload = format!(
            r#"{{"at":"2026-03-01T{hour:02}:00:00Z","city":"city {key}","driver":"driver {}","seconds":{seconds}}}"#,
            key % 1_000_003
        );
        records.push(Offset(key), live::RECORDED_AT, Some(payload.as_bytes()));
    }
    let decoded = decoder.decode(&records);
    assert_eq!(decoded.events.height() as i64, until - from, "all of {} are events", view.stream.name);
    let stretch = Stretch::new(Partition(0), records.range(), &decoded.events).expect("a sound stretch");
    epochs.fold(&stretch).expect("it comes next");
}

/// Sends and saves the states as a node does.
fn send_and_save(epochs: &PartitionEpochs) -> usize {
    let sent: usize =
        epochs.folds().values().map(|fold| fold.states(&Scope::default()).to_live_batch().num_rows()).sum();
    let saved = Snapshot::of(live::STREAM, epochs).encode().expect("states encode");
    sent + saved.len()
}

fn fold_them() {
    let views = live::views(&live::project(&[HOURLY]));
    let view = &views["rides_hourly"];
    let mut decoder = Decoder::new(&view.stream, &view.fields_read());
    // What folding takes whatever the budget: threads, buffers, code.
    for _ in 0..8 {
        let mut few = partition(view, &Budgets::new());
        fold(&mut few, view, &mut decoder, 0, BATCH);
        send_and_save(&few);
    }
    let base = peak_bytes();

    let budget = ViewBudget::new(Limits { groups: None, bytes: Some(BUDGET) });
    let budgets = Budgets::from([(view.name.clone(), budget.clone())]);
    let mut epochs = partition(view, &budgets);
    let mut from = 0;
    while from < KEYS {
        let until = (from + BATCH).min(KEYS);
        fold(&mut epochs, view, &mut decoder, from, until);
        if from / 1_000_000 != until / 1_000_000 {
            send_and_save(&epochs);
        }
        from = until;
    }
    send_and_save(&epochs);
    let held = budget.all().held();
    // The runner prints the test's name without ending its line.
    println!("\nbase bytes {base}");
    println!("peak bytes {}", peak_bytes());
    println!("groups {}", held.groups);
    println!("overflow records {}", held.overflow_records);
    println!("held bytes {}", held.bytes);
}

/// The most memory that was ever resident.
fn peak_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux tells");
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("it names the peak");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("a number of KiB") << 10
}
