//! Worker processes: as many statements run at once as there are workers, each in one of its own.
//!
//! Guarantee: whoever does not come to an end in time, or is not waited for any more, is killed, and with it goes all that it
//! held. A worker serves the next statement only after it ended one cleanly.

use std::ffi::OsString;
use std::ops::{Deref, DerefMut};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::runtime::Handle;
use watershed_schemas::sql_worker::{Ask, FrameError, HEAD_BYTES, Head, Reply};

use super::handed::Held;
use crate::refusal::{Reason, Refusal};
use crate::turns::{Turn, Turns};

/// How long a process may take until it is ready.
const READY: Duration = Duration::from_secs(10);
/// A worker says no more than this at once.
const MOST_REPLY_BYTES: usize = 128 << 20;

/// Settings of SQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlSettings {
    /// The command that is a worker, and its arguments.
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    /// `sql.workers`: statements at once.
    pub workers: usize,
    /// `sql.memory`: of a worker.
    pub memory: u64,
    /// `sql.timeout`: of a statement.
    pub timeout: Duration,
    /// `sql.max_rows`: the largest `limit`.
    pub max_rows: u64,
}

pub struct Workers {
    pub settings: SqlSettings,
    idle: Mutex<Vec<Worker>>,
    turns: Turns,
    /// Where their streams are followed.
    runtime: Handle,
}

/// A process that is ready for a statement, or in the middle of one.
pub struct Worker {
    child: Child,
    input: ChildStdin,
    output: ChildStdout,
    /// The tables that it has.
    pub held: Vec<Held>,
}

/// A worker for one statement. Unless it is given back it is killed, and another one takes its place.
pub struct Lent {
    worker: Option<Worker>,
    workers: Arc<Workers>,
}

/// Why a worker says no more.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    #[error("the SQL worker cannot be started: {0}")]
    Start(std::io::Error),
    #[error("the SQL worker ended: {0}")]
    Ended(String),
    #[error("the SQL worker says what is not understood: {0}")]
    Frame(#[from] FrameError),
    #[error("the SQL worker says something else than it was asked")]
    OutOfTurn,
}

impl Workers {
    /// Of the runtime that this is called on.
    pub fn new(settings: SqlSettings) -> Arc<Workers> {
        let turns = Turns::new(settings.workers);
        Arc::new(Workers { settings, idle: Mutex::default(), turns, runtime: Handle::current() })
    }

    /// Starts processes ahead of the statements that they will run.
    pub async fn warm(&self) {
        for _ in 0..self.settings.workers {
            match Worker::start(&self.settings).await {
                Ok((worker, landlock)) => {
                    tracing::info!(landlock, "a SQL worker is ready");
                    self.put(worker);
                }
                Err(error) => tracing::warn!(%error, "no SQL worker"),
            }
        }
    }

    pub async fn turn(&self) -> Result<Turn, Refusal> {
        self.turns.wait().await
    }

    /// A worker that is ready: of those that suit best by what they hold, the one that was given back last.
    pub async fn lend<S: Ord>(self: &Arc<Self>, suits: impl Fn(&[Held]) -> S) -> Result<Lent, Refusal> {
        let lent = |worker| Lent { worker: Some(worker), workers: self.clone() };
        while let Some(mut worker) = self.best(&suits) {
            if worker.is_alive() {
                return Ok(lent(worker));
            }
        }
        let started = Worker::start(&self.settings).await.map_err(|error| {
            tracing::error!(%error, "no SQL worker");
            Refusal::not_ready(error.to_string())
        });
        started.map(|(worker, _)| lent(worker))
    }

    fn best<S: Ord>(&self, suits: impl Fn(&[Held]) -> S) -> Option<Worker> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let best = (0..idle.len()).max_by_key(|index| suits(&idle[*index].held))?;
        Some(idle.remove(best))
    }

    fn put(&self, worker: Worker) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < self.settings.workers {
            idle.push(worker);
        }
    }
}

impl Lent {
    /// After a clean end.
    pub fn give_back(mut self) {
        if let Some(worker) = self.worker.take() {
            self.workers.put(worker);
        }
    }
}

impl Deref for Lent {
    type Target = Worker;

    fn deref(&self) -> &Worker {
        self.worker.as_ref().expect("it is lent until it is given back")
    }
}

impl DerefMut for Lent {
    fn deref_mut(&mut self) -> &mut Worker {
        self.worker.as_mut().expect("it is lent until it is given back")
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        if self.worker.take().is_none() {
            return;
        }
        let workers = self.workers.clone();
        self.workers.runtime.spawn(async move {
            if let Ok((worker, _)) = Worker::start(&workers.settings).await {
                workers.put(worker);
            }
        });
    }
}

impl Worker {
    /// A process without environment and files; what Landlock does there, in words.
    async fn start(settings: &SqlSettings) -> Result<(Worker, String), WorkerError> {
        let mut command = Command::new(&settings.program);
        command.args(&settings.arguments).env_clear().current_dir("/").kill_on_drop(true);
        // Ctrl-C in a terminal is the server's alone: it drains first.
        command.process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().map_err(WorkerError::Start)?;
        let (input, output) = child.stdin.take().zip(child.stdout.take()).ok_or(WorkerError::OutOfTurn)?;
        let mut worker = Worker { child, input, output, held: Vec::new() };
        match tokio::time::timeout(READY, worker.receive()).await {
            Ok(Ok(Reply::Ready(ready))) => Ok((worker, ready.landlock)),
            Ok(Ok(_)) => Err(WorkerError::OutOfTurn),
            Ok(Err(error)) => Err(error),
            Err(_) => Err(WorkerError::Ended(format!("it was not ready within {READY:?}"))),
        }
    }

    fn is_alive(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// A worker that has refused the statement meanwhile does not read on: what it says is told by [`Worker::receive`].
    pub async fn send(&mut self, ask: &Ask) -> Result<(), WorkerError> {
        let frame = ask.frame()?;
        match self.input.write_all(&frame).await {
            Ok(()) => Ok(()),
            Err(_) => Err(self.end().await),
        }
    }

    pub async fn receive(&mut self) -> Result<Reply, WorkerError> {
        let mut head = [0; HEAD_BYTES];
        if self.output.read_exact(&mut head).await.is_err() {
            return Err(self.end().await);
        }
        let head = Head::read(head)?;
        if head.bytes > MOST_REPLY_BYTES {
            return Err(FrameError::TooLarge(head.bytes).into());
        }
        let mut payload = Vec::new();
        // Grows with what arrives, not with what is claimed.
        let read = (&mut self.output).take(head.bytes as u64).read_to_end(&mut payload).await;
        match read {
            Ok(read) if read == head.bytes => Ok(Reply::read(head, payload)?),
            _ => Err(self.end().await),
        }
    }

    async fn end(&mut self) -> WorkerError {
        // It may be alive with a closed stream.
        _ = self.child.start_kill();
        let status = self.child.wait().await;
        WorkerError::Ended(status.map_or_else(|error| error.to_string(), |status| status.to_string()))
    }
}

impl From<WorkerError> for Refusal {
    fn from(error: WorkerError) -> Refusal {
        match error {
            // Only a statement can bring it to this: its limits end a worker that would take more.
            WorkerError::Ended(how) => Refusal::new(
                Reason::TooLarge,
                format!("the statement took more memory, time or nesting than a worker may have ({how})"),
            ),
            // It writes what it was asked for, so it was asked for what has no form.
            WorkerError::Frame(error) => Refusal::new(
                Reason::WrongQuestion,
                format!("the result cannot be handed back, its types may be nested too deeply: {error}"),
            ),
            error => {
                tracing::error!(%error, "a SQL worker is at fault");
                Refusal::new(Reason::Failed, error.to_string())
            }
        }
    }
}
