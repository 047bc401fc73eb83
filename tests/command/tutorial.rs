//! The tutorial, as a newcomer reads it: every command is run, and prints what the page says.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::binary::watershed;
use crate::support::command::{Folder, Service, root};
use crate::support::python::python;

/// A block of commands, and what the page says that they print.
struct Step {
    commands: String,
    prints: Vec<String>,
}

/// What runs by itself until the end.
const SERVICE: &str = "watershed up";

fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut blocks = page.split("```");
    // What lies between two fences is a block; every other part is text.
    while let (Some(_), Some(block)) = (blocks.next(), blocks.next()) {
        let (kind, lines) = block.split_once('\n').expect("a block begins with its kind");
        match kind {
            "sh" => steps.push(Step { commands: lines.to_string(), prints: Vec::new() }),
            "text" => {
                let step = steps.last_mut().expect("what is printed follows its commands");
                step.prints = lines.lines().map(|line| line.trim_end().to_string()).collect();
            }
            kind => panic!("the tutorial has a block of {kind}"),
        }
    }
    steps
}

/// True where a line is what the page says; `…` stands for anything.
fn is_said(line: &str, said: &str) -> bool {
    match said.split_once('…') {
        None => line == said,
        Some((before, after)) => {
            let rest = line.strip_prefix(before);
            rest.is_some_and(|rest| {
                (0..=rest.len()).any(|at| rest.is_char_boundary(at) && is_said(&rest[at..], after))
            })
        }
    }
}

/// The first line that the page has and the output has not, after those before it.
fn missing<'a>(out: &str, prints: &'a [String]) -> Option<&'a String> {
    let mut lines = out.lines().map(str::trim_end);
    prints.iter().find(|said| !lines.any(|line| is_said(line, said)))
}

/// Addresses that are free, where the page has those that are not set.
struct Reader {
    folder: PathBuf,
    tools: PathBuf,
    serve: String,
    broker: String,
}

fn free() -> String {
    let socket = std::net::TcpListener::bind("127.0.0.1:0").expect("there is a free port");
    socket.local_addr().expect("it is bound").to_string()
}

impl Reader {
    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        let path = std::env::var("PATH").unwrap_or_default();
        let binary = watershed().parent().expect("a binary lies in a folder").display();
        command
            .current_dir(&self.folder)
            .env("PATH", format!("{}:{binary}:{path}", self.tools.display()))
            .env("WATERSHED__SERVE__LISTEN", &self.serve)
            .env("WATERSHED__BROKER__LISTEN", &self.broker)
            .env("WATERSHED__SPEED__LISTEN", "127.0.0.1:0")
            .env_remove("RUST_LOG")
            .stdin(Stdio::null());
        command
    }

    /// Runs a block; what it printed.
    fn run(&mut self, commands: &str) -> String {
        let commands = commands.replace("127.0.0.1:8080", &self.serve);
        let script = format!("set -euo pipefail\n{commands}\npwd > '{}/where'\n", self.tools.display());
        let output = self.command("bash").args(["-c", &script]).output().expect("bash runs");
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{commands}\n{out}{err}");
        let place = std::fs::read_to_string(self.tools.join("where")).expect("the block says where it ended");
        self.folder = PathBuf::from(place.trim_end());
        out.to_string()
    }
}

/// A `duckdb` command that is Python's: `-csv -init FILE -c STATEMENT`.
fn duckdb_in(tools: &Path) -> bool {
    if python("duckdb", "", tools).is_none() {
        return false;
    }
    let python = std::env::var("WATERSHED_TEST_PYTHON").unwrap_or_else(|_| "python3".to_string());
    let script = format!(
        "#!{}\nimport csv, duckdb, sys\nassert sys.argv[1] == '-csv' and sys.argv[2] == '-init' and sys.argv[4] == '-c'\n\
         db = duckdb.connect()\ndb.execute(open(sys.argv[3]).read())\nrows = db.execute(sys.argv[5])\n\
         out = csv.writer(sys.stdout, lineterminator='\\n')\nout.writerow([column[0] for column in rows.description])\n\
         out.writerows(rows.fetchall())\n",
        python_path(&python)
    );
    let path = tools.join("duckdb");
    std::fs::write(&path, script).expect("a file");
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).expect("it is ours");
    true
}

fn python_path(python: &str) -> String {
    if python.contains('/') { python.to_string() } else { format!("/usr/bin/env {python}") }
}

#[test]
fn every_command_of_the_tutorial_does_what_it_says() {
    let page = std::fs::read_to_string(root().join("docs/tutorial.md")).expect("there is a tutorial");
    let (place, tools) = (Folder::new(), Folder::new());
    let mut reader =
        Reader { folder: place.path("."), tools: tools.path("."), serve: free(), broker: free() };
    let has_duckdb = duckdb_in(&reader.tools);
    let mut service = None;
    let steps = steps(&page);
    assert!(steps.len() > 10, "the page has {} blocks of commands", steps.len());
    for step in steps {
        if step.commands.trim() == SERVICE {
            let up = Service::start({
                let mut command = reader.command("watershed");
                command.arg("up");
                command
            });
            assert_eq!(up.line("ready:"), format!("http://{}", reader.serve));
            service = Some(up);
            continue;
        }
        if step.commands.contains("duckdb -") && !has_duckdb {
            continue;
        }
        // What was just produced, or published, is in the answers a moment later.
        let asks = step.commands.starts_with("watershed query") || step.commands.starts_with("curl");
        let deadline = Instant::now() + Duration::from_secs(if asks { 20 } else { 0 });
        loop {
            let out = reader.run(&step.commands);
            match missing(&out, &step.prints) {
                None => break,
                Some(_) if Instant::now() < deadline => std::thread::sleep(Duration::from_millis(50)),
                Some(line) => panic!("{}\nprints no line {line:?}:\n{out}", step.commands),
            }
        }
    }
    assert!(service.is_some(), "the tutorial starts {SERVICE}");
}
