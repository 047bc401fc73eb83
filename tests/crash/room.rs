//! The disk is full: a run fails with the path and the reason, nothing of it is published, the version before serves on,
//! and the next run finishes once there is room.

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::seed;
use crate::support::command::Ended;
use crate::support::deployment::{Deployment, STREAM};
use crate::support::load::{Judge, Questions, everything, send_orders};

/// A small file system of its own, where this test may mount one.
struct Disk {
    at: PathBuf,
}

impl Disk {
    fn mount(at: &Path, size: &str) -> Option<Disk> {
        std::fs::create_dir_all(at).expect("a folder");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"])
            .arg(at)
            .output()
            .is_ok_and(|mounted| mounted.status.success());
        mounted.then(|| Disk { at: at.to_owned() })
    }

    fn resize(&self, size: &str) {
        let options = format!("remount,size={size}");
        let resized = Command::new("mount").args(["-o", &options]).arg(&self.at).status();
        assert!(resized.expect("mount runs").success());
    }

    /// Fills it up, but for a little.
    fn fill(&self) -> PathBuf {
        let path = self.at.join("filler");
        let mut filler = File::create(&path).expect("a file");
        let mut size = 0;
        while let Ok(written) = filler.write(&[b'x'; 4 << 10]) {
            size += written as u64;
        }
        filler.set_len(size.saturating_sub(16 << 10)).expect("a file can be cut");
        path
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: processes that a failed test leaves behind may still have files open there.
        let _ = Command::new("umount").arg("-l").arg(&self.at).status();
    }
}

/// A run that found no room says where and why, and leaves nothing.
fn is_refused(place: &Deployment, ended: &Ended, versions: &[u64], reason: &str) {
    assert_eq!(ended.code, 1, "{ended:?}");
    let errors: Vec<&str> = ended.err.lines().filter(|line| line.starts_with("error: ")).collect();
    let store = place.folder.path("data").display().to_string();
    assert_eq!(errors.len(), 1, "{}", ended.err);
    assert!(errors[0].contains(&store) && errors[0].contains(reason), "no path or no reason: {}", errors[0]);
    assert_eq!(place.versions(), versions, "a version of a run that failed");
    assert!(place.stored(&format!("intents/{STREAM}")).is_empty(), "an intent of a run that failed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_fails_a_run_with_path_and_reason_and_the_version_before_serves_on() {
    let seed = seed();
    let place = Deployment::start(1).await;
    let Some(disk) = Disk::mount(&place.folder.path("data"), "8m") else {
        println!("no file system may be mounted here: nothing shown");
        return;
    };
    let speed = place.speed(0);
    let serve = place.serve();
    send_orders(&place, 0..500, seed);
    serve.line("ready: ");
    place.publish();
    place.until_current(&everything()).await;
    let questions = Questions::keep_coming(&place);
    let before: Vec<String> = place.stored("events");

    send_orders(&place, 500..5_000, seed + 1);
    let filler = disk.fill();
    let refused = place.batch();
    println!("{}", refused.err.trim());
    is_refused(&place, &refused, &[1], "No space left on device");
    assert_eq!(place.stored("events"), before, "files of a run that failed");
    // Neither is the live half any the worse for checkpoints that find no room.
    place.until_current(&everything()).await;

    std::fs::remove_file(filler).expect("the filler is ours");
    disk.resize("64m");
    let published = place.publish();
    assert!(published.contains("version 2 published"), "{published}");
    place.until_current(&everything()).await;
    let asked = questions.end().await;
    let verdict = Judge::of(&place.kafka, &place.topic).judge(&asked);
    println!("{verdict:?}, wrong: 0");
    assert_eq!((verdict.unanswered, verdict.refused), (0, 0));
    assert_eq!(serve.stop().0, 0);
    assert_eq!(speed.stop().0, 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_limit_on_the_size_of_files_fails_a_run_with_path_and_reason() {
    let seed = seed();
    let place = Deployment::start(1).await;
    send_orders(&place, 0..20_000, seed);
    let run = place.command("batch", &["batch", "run"]);
    // Blocks of 512 bytes; without the trap the signal would end the run before it could say anything.
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 16; exec \"$0\" \"$@\""]).arg(run.get_program());
    limited.args(run.get_args());
    limited.envs(run.get_envs().filter_map(|(name, value)| Some((name, value?))));
    let refused = place.finish(limited);
    println!("{}", refused.err.trim());
    is_refused(&place, &refused, &[], "File too large");
    assert_eq!(place.stored("events"), Vec::<String>::new(), "files of a run that failed");
    let published = place.publish();
    assert!(published.contains("version 1 published"), "{published}");
}
