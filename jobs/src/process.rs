//! This process among others: its name for their operators, and how it is told to stop.

use tokio::signal::unix::{SignalKind, signal};

/// `host:pid`, as intents and status show it.
pub fn holder() -> String {
    format!("{}:{}", host(), std::process::id())
}

/// The machine's name, without what a path or a consumer group cannot hold.
pub fn host() -> String {
    let name = std::env::var("HOSTNAME").ok().filter(|name| !name.is_empty());
    let name = name.or_else(|| std::fs::read_to_string("/etc/hostname").ok()).unwrap_or_default();
    let kept = name.trim().chars().filter(|letter| letter.is_ascii_alphanumeric() || ".-_".contains(*letter));
    let name: String = kept.collect();
    if name.is_empty() { "localhost".to_string() } else { name }
}

/// Waits for Ctrl-C or SIGTERM. A second one ends the process at once.
pub async fn told_to_stop() -> anyhow::Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        std::process::exit(130);
    });
    Ok(())
}
