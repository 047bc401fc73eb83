//! The `watershed` command in a project of its own.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::rc::Rc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::binary::watershed;

pub const SCHEMA: &str = "CREATE TABLE orders (
  at TIMESTAMP NOT NULL, shop TEXT NOT NULL, customer TEXT, units INTEGER, price DECIMAL(12,2)
) WITH (topic = 'orders', format = 'json', event_time = 'at');
";

pub const VIEW: &str = "CREATE MATERIALIZED VIEW sales WITH (schedule = '0 0 1 1 *') AS
SELECT shop, tumble(at, INTERVAL '1 hour') AS hour,
       count(*) AS orders, sum(units) AS units, sum(price) AS revenue, median(units) AS typical,
       count(DISTINCT customer) AS customers, approx_top_k(customer, 2) AS best, last(customer) AS latest
FROM orders GROUP BY shop, hour;
";

/// A project folder that is removed at the end.
pub struct Folder {
    folder: Rc<tempfile::TempDir>,
    project: PathBuf,
}

/// What a finished command left.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Folder {
    /// An empty folder.
    pub fn new() -> Self {
        let folder = Rc::new(tempfile::tempdir().expect("a temporary folder"));
        Folder { project: folder.path().to_owned(), folder }
    }

    /// A project with one stream and one view.
    pub fn with_project() -> Self {
        let folder = Folder::new();
        folder.write("schemas/orders.sql", SCHEMA);
        folder.write("jobs/sales.sql", VIEW);
        folder
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.project.join(name)
    }

    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        std::fs::create_dir_all(path.parent().expect("a file lies in a folder")).expect("a folder");
        std::fs::write(path, text).expect("a file");
    }

    /// `lines` orders as NDJSON, spread over shops, customers and hours.
    pub fn write_orders(&self, name: &str, lines: usize) {
        let order = |index: usize| {
            format!(
                r#"{{"at": "2026-03-{:02}T{:02}:15:00Z", "shop": "s{}", "customer": "c{}", "units": {}, "price": "{}.{:02}"}}"#,
                1 + index % 3,
                index % 24,
                index % 4,
                index % 17,
                index % 9,
                index % 500,
                index % 100
            )
        };
        self.write(name, &(0..lines).map(|index| order(index) + "\n").collect::<String>());
    }

    /// The command with this project; every service listens where there is room.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(watershed());
        command
            .arg("--project")
            .arg(&self.project)
            .args(arguments)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        for setting in ["BROKER__LISTEN", "SERVE__LISTEN", "SPEED__LISTEN"] {
            command.env(format!("WATERSHED__{setting}"), "127.0.0.1:0");
        }
        command.env("WATERSHED__SERVE__DRAIN", "0s");
        command
    }

    /// The project that lies in a folder below this one.
    pub fn project(&self, name: &str) -> Folder {
        Folder { folder: Rc::clone(&self.folder), project: self.path(name) }
    }

    pub fn run(&self, arguments: &[&str]) -> Ended {
        ended(self.command(arguments).output().expect("the command runs"))
    }

    /// Runs a command that has to do what it is asked.
    pub fn done(&self, arguments: &[&str]) -> String {
        let ended = self.run(arguments);
        assert_eq!(ended.code, 0, "{arguments:?}: {ended:?}");
        ended.out
    }

    pub fn service(&self, arguments: &[&str]) -> Service {
        Service::start(self.command(arguments))
    }
}

impl Default for Folder {
    fn default() -> Self {
        Folder::new()
    }
}

pub fn ended(output: Output) -> Ended {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("output is text");
    Ended { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) }
}

/// A command that runs until it is told to stop.
pub struct Service {
    child: Child,
    lines: Receiver<String>,
}

impl Service {
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().expect("the command runs");
        let lines = listen(child.stdout.take().expect("its output is ours"));
        Service { child, lines }
    }

    /// What follows `beginning` in the next line that begins so.
    pub fn line(&self, beginning: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            match self.lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some(rest) = line.strip_prefix(beginning) {
                        return rest.trim().to_string();
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("no line begins with {beginning:?} within a minute"),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!("it ended without a line that begins with {beginning:?}")
                }
            }
        }
    }

    /// The exit code, once it has ended by itself.
    pub fn exit_code(&mut self) -> Option<i32> {
        let status = self.child.try_wait().expect("it is ours to ask");
        status.map(|status| status.code().unwrap_or(-1))
    }

    /// Its process id.
    pub fn process(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM.
    pub fn tell_to_stop(&self) {
        let process = self.process().to_string();
        let told = Command::new("kill").args(["-TERM", &process]).status().expect("kill runs");
        assert!(told.success());
    }

    /// Waits until it has ended; the exit code.
    pub fn wait(mut self) -> i32 {
        self.child.wait().expect("it ends").code().unwrap_or(-1)
    }

    /// Sends SIGTERM and waits; the exit code and how long it took.
    pub fn stop(self) -> (i32, Duration) {
        let told = Instant::now();
        self.tell_to_stop();
        (self.wait(), told.elapsed())
    }

    /// Ends it as a power failure would, unless it has ended.
    pub fn kill(&mut self) {
        self.child.kill().expect("it is killed");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // One that has ended already cannot be killed, which is well.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn listen(out: ChildStdout) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(out).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    lines
}

/// The repository's root: the sample project.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests lie in the workspace")
}
