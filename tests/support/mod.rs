//! What tests and benchmarks share: worlds in memory, the whole platform in one process, wrappers that
//! fail at a named call.

pub mod binary;
pub mod log;
pub mod platform;
