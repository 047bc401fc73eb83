//! Processor time of a process, as the kernel counts it: in hundredths of a second.

const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds that all threads of a process have taken so far, in its own code and in the kernel.
pub fn seconds(pid: u32) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process is there");
    // The name, in parentheses, may hold anything; user and system time are the 12th and 13th field behind it.
    let (_, behind) = stat.rsplit_once(')').expect("the kernel's form");
    let ticks = behind.split_whitespace().skip(11).take(2).map(|ticks| ticks.parse::<f64>().expect("ticks"));
    ticks.sum::<f64>() / TICKS_PER_SECOND
}

pub fn own_seconds() -> f64 {
    seconds(std::process::id())
}
