//! What a checkpoint of a million groups costs, what one costs of which little has changed, and how soon a
//! node that begins with them answers again.

use std::sync::Arc;
use std::time::Instant;

use support::log::MemoryLog;
use support::meters::{self, STREAM, TOPIC};
use tempfile::TempDir;
use watershed_schemas::layout;
use watershed_schemas::log::Log;
use watershed_schemas::offsets::Partition;
use watershed_schemas::project::Project;
use watershed_speed::checkpoint::Snapshot;
use watershed_speed::partition::PartitionEpochs;
use watershed_speed::{SpeedNode, SpeedSettings};
use watershed_store::Store;

use crate::table::{Table, median};

const GROUPS: usize = 1_000_000;
const PARTITIONS: i32 = 4;

pub async fn measure(table: &mut Table, rounds: usize) {
    for sketched in [false, true] {
        let project = meters::project(sketched);
        let what = if sketched { "count, sum and distinct" } else { "count and sum" };
        let folder = tempfile::tempdir().expect("a folder");
        save(table, &project, what, &folder, rounds).await;
        restart(table, &project, what, &folder, rounds).await;
    }
}

/// One that was sealed.
struct Saved {
    /// While nothing could be folded.
    held: f64,
    seconds: f64,
    bytes: usize,
}

impl Saved {
    fn next(epochs: &mut PartitionEpochs) -> (Saved, bytes::Bytes) {
        let begun = Instant::now();
        epochs.cut();
        let snapshot = Snapshot::next(STREAM, epochs);
        let held = begun.elapsed().as_secs_f64();
        let (link, bytes) = snapshot.seal().expect("states encode");
        let seconds = begun.elapsed().as_secs_f64();
        epochs.chain_mut().wrote(link);
        (Saved { held, seconds, bytes: bytes.len() }, bytes)
    }
}

fn shown(saved: &[Saved]) -> String {
    let of = |figure: fn(&Saved) -> f64| median(&saved.iter().map(figure).collect::<Vec<_>>());
    format!(
        "{:.1} ms, {:.1} of them held up, {:.2} MB",
        of(|saved| saved.seconds) * 1e3,
        of(|saved| saved.held) * 1e3,
        of(|saved| saved.bytes as f64) / 1e6
    )
}

/// Everything over the store's own time for its bytes, and shares of it over everything.
async fn save(table: &mut Table, project: &Project, what: &str, folder: &TempDir, rounds: usize) {
    let store = Store::open("bare", folder.path()).expect("a store");
    let (mut whole, mut put) = (Vec::new(), Vec::new());
    let mut epochs = meters::partition(project);
    meters::fold(&mut epochs, project, 0..GROUPS);
    for _ in 0..rounds {
        // A chain that is broken begins anew.
        epochs.chain_mut().break_off();
        let (saved, bytes) = Saved::next(&mut epochs);
        let begun = Instant::now();
        store.put("object", bytes).await.expect("the store takes it");
        put.push(begun.elapsed().as_secs_f64());
        whole.push(saved);
    }
    let ratios = whole.iter().zip(&put).map(|(saved, put)| saved.seconds / put).collect();
    let bare = format!("{:.1} ms", median(&put) * 1e3);
    table.add(
        &format!("checkpoint of a million groups ({what}) over writing its bytes"),
        shown(&whole),
        bare,
        ratios,
    );
    for (name, step) in [("0.1 %", 1_000), ("1 %", 100), ("10 %", 10)] {
        let mut changed = Vec::new();
        for _ in 0..rounds {
            meters::fold(&mut epochs, project, (0..GROUPS).step_by(step));
            changed.push(Saved::next(&mut epochs).0);
        }
        let ratios =
            changed.iter().zip(&whole).map(|(changed, whole)| changed.seconds / whole.seconds).collect();
        table.add(
            &format!("checkpoint after {name} of a million groups changed ({what}) over one of all"),
            shown(&changed),
            shown(&whole),
            ratios,
        );
    }
}

/// From finding its partitions to a first reply with every record, over reading the bytes of the checkpoints.
async fn restart(table: &mut Table, project: &Project, what: &str, folder: &TempDir, rounds: usize) {
    let store = Store::open("store", folder.path()).expect("a store");
    let memory = MemoryLog::with_topic(TOPIC, PARTITIONS);
    let log: Arc<dyn Log> = Arc::new(memory.clone());
    let start = || {
        let settings = SpeedSettings::new("bench", "bench");
        let runtime = tokio::runtime::Handle::current();
        SpeedNode::start(&settings, project, &store, &log, runtime).expect("threads can be had")
    };
    // All groups, and then fewer and fewer again: a chain of as many objects.
    let mut readings = 0;
    for step in [1, 3, 10, 100, 1_000] {
        for meter in (0..GROUPS / step).map(|nth| nth * step) {
            meters::produce(&memory, meter);
            readings += 1;
        }
        let node = start();
        meters::until(&node, project, readings).await;
        node.shutdown().await;
    }
    let (mut ours, mut bare) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let begun = Instant::now();
        let node = start();
        meters::until(&node, project, readings).await;
        ours.push(begun.elapsed().as_secs_f64());
        node.shutdown().await;
        let begun = Instant::now();
        let mut bytes = 0;
        for partition in 0..PARTITIONS {
            let folder = layout::checkpoints(STREAM, Partition(partition));
            for path in store.list(&folder).await.expect("the store lists") {
                bytes += store.get(&path).await.expect("the store answers").map_or(0, |bytes| bytes.len());
            }
        }
        assert!(bytes > 0, "there are checkpoints");
        bare.push(begun.elapsed().as_secs_f64());
    }
    let ratios = ours.iter().zip(&bare).map(|(ours, bare)| ours / bare).collect();
    let shown = |seconds: &[f64]| format!("{:.0} ms", median(seconds) * 1e3);
    table.add(
        &format!("restart with a million groups ({what}) to the first answer over reading its checkpoints"),
        shown(&ours),
        shown(&bare),
        ratios,
    );
}
