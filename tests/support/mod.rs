//! What tests and benchmarks share: worlds in memory, the whole platform in one process, wrappers that
//! fail at a named call.

pub mod ambiguous_store;
pub mod batch_world;
pub mod batches;
pub mod binary;
pub mod command;
pub mod crash_points;
pub mod deployment;
pub mod exposition;
pub mod faulty_store;
pub mod kafka;
pub mod live;
pub mod load;
pub mod log;
pub mod measures;
pub mod meters;
pub mod platform;
pub mod python;
pub mod serving;
pub mod specimens;
pub mod watched_log;
pub mod whole;
