//! What tests share: worlds in memory, and wrappers that fail at a named call.

pub mod log;
pub mod binary;
pub mod platform;
