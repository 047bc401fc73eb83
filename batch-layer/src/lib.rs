//! The batch layer: events below the watershed to published versions.
//!
//! Guarantees: a run publishes everything it landed and recomputed with one put-if-absent of one
//! manifest, or nothing (invariant `ONE_PUBLICATION`); every record below the new watershed is in the
//! master dataset or among the dead letters (invariant `NOTHING_VANISHES`); what nothing touched is
//! carried over by reference, so the cost of a run follows what changed.
//!
//! Data moves through the files in this order: `identity` recognises the log that was folded, [`mod@plan`]
//! decides from values alone what a run has to do, `lease` announces it, `land` brings events into the master
//! dataset, `recompute` makes the touched windows anew, `publish` makes all of it visible, `catalog` and `retain`
//! tidy up behind it.

mod accuracy;
mod catalog;
mod cells;
mod check;
mod encode;
pub mod engine;
mod error;
mod event_files;
mod files;
mod forms;
mod groups;
mod identity;
mod land;
mod lease;
pub mod plan;
mod progress;
mod publish;
mod recompute;
mod retain;
mod rollback;
mod run;
mod touched;
mod view_files;

pub use crate::accuracy::Ledger;
pub use crate::error::BatchError;
pub use crate::event_files::Provenance;
pub use crate::groups::Select;
pub use crate::progress::{Progress, Quiet, Stage};
pub use crate::retain::Retention;
pub use crate::rollback::rollback;
pub use crate::run::{Clock, Job, Options, Outcome, Report, run};
