//! Batch runs and rollbacks, as they ship, at whatever step they are.

use std::sync::Arc;
use std::time::Duration;

use watershed_batch::{BatchError, Job, Options, Outcome, Quiet, Retention};
use watershed_schemas::invariants;
use watershed_schemas::manifest::Version;

use super::fate::Task;
use super::world::World;

/// What an operator or a schedule starts.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    Batch { full: bool, accept_gap: bool },
    Rollback(Version),
}

pub struct Run {
    pub id: String,
    pub stalled_until: Duration,
    task: Task<Result<Outcome, BatchError>>,
}

impl Run {
    pub fn start(number: u64, kind: Kind, world: &World) -> Run {
        let fate = &world.fate;
        let id = format!("run{number:03}");
        fate.tell(format_args!("{id}: {kind:?} of definition {}", world.definition.number));
        let small = fate.one_in(3);
        let options = Options {
            lease: Duration::from_millis(fate.within(150..700) as u64),
            chunk_rows: if small { 1 + fate.below(12) } else { 1_000 },
            group_bytes: if fate.one_in(3) { 1 } else { 1 << 20 },
            // A seed is to mean the same on every machine.
            at_once: 2,
            retention: Retention {
                versions: world.keep_versions,
                superseded: Duration::from_millis(fate.within(0..300) as u64),
                orphans: Duration::from_millis(fate.within(300..1_500) as u64),
            },
            engine: Arc::new(world.tables.clone()),
            ..Options::new(id.clone(), "simulated")
        };
        let clock = fate.clone();
        let mut job = Job {
            stream: world.definition.project.streams[0].clone(),
            views: world.definition.views.values().cloned().collect(),
            store: world.store.clone(),
            log: Arc::new(world.run_log()),
            options,
            now: Arc::new(move || clock.now_ms()),
            progress: Arc::new(Quiet),
        };
        let task = match kind {
            Kind::Batch { full, accept_gap } => {
                (job.options.full, job.options.accept_gap) = (full, accept_gap);
                Task::new(async move { watershed_batch::run(&job).await })
            }
            Kind::Rollback(to) => Task::new(async move { watershed_batch::rollback(&job, to).await }),
        };
        Run { id, stalled_until: Duration::ZERO, task }
    }

    /// One step further; what came of it at its end.
    pub fn step(&mut self, world: &World) -> Option<Result<Outcome, BatchError>> {
        let outcome = self.task.step()?;
        match &outcome {
            Ok(Outcome::Published(report)) => {
                // Invariant `ONE_PUBLICATION`: whoever hears that it published has published.
                let published = world.objects.published();
                let version = &published[report.manifest.version.0 as usize - 1];
                assert_eq!(version.run_id, self.id, "invariant {}", invariants::ONE_PUBLICATION);
                world
                    .fate
                    .tell(format_args!("{}: published {}: {:?}", self.id, version.version, report.warnings));
            }
            Ok(Outcome::Lost { winner }) => {
                assert_ne!(*winner, self.id, "invariant {}: it lost to itself", invariants::ONE_PUBLICATION);
                world.fate.tell(format_args!("{}: lost to {winner}", self.id));
            }
            Ok(Outcome::Busy { run_id, .. }) => {
                world.fate.tell(format_args!("{}: {run_id} is at it", self.id))
            }
            Ok(Outcome::Unchanged(_)) => world.fate.tell(format_args!("{}: unchanged", self.id)),
            Err(error) => world.fate.tell(format_args!("{}: {error}", self.id)),
        }
        Some(outcome)
    }
}
