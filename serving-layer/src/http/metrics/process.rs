//! This process: what was built, and what it takes. Where the system has no `/proc`, only the former.

use std::fs;

use super::page::{Page, Sample, sample};

pub fn add(page: &mut Page) {
    page.gauge(
        "watershed_build_info",
        "1, with the version of Watershed as a label.",
        [sample([("version", &env!("CARGO_PKG_VERSION"))], true)],
    );
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    page.gauge(
        "process_resident_memory_bytes",
        "Memory of this process that is in use.",
        resident_bytes(&status).map(alone),
    );
    page.gauge("process_open_fds", "Open files and connections of this process.", open_files().map(alone));
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    page.gauge(
        "process_max_fds",
        "How many of these it may have; absent where there is no limit.",
        most_files(&limits).map(alone),
    );
}

fn alone(value: u64) -> Sample {
    sample([], value)
}

/// `VmRSS:     5120 kB`
fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024)
}

fn open_files() -> Option<u64> {
    let listed = fs::read_dir("/proc/self/fd").ok()?.count() as u64;
    // Listing them takes one itself.
    Some(listed.saturating_sub(1))
}

/// `Max open files            1024                 1048576              files`
fn most_files(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}
