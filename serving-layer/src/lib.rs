//! Batch + speed → answers.
//!
//! An answer is the fold of a published version below its watershed and of the live states at or
//! above it (invariant `COVER`). Deciding ([`query`], [`plan`], [`merge`]) is plain code over values;
//! [`versions`], [`live`] and [`http`] touch the world.

pub mod answer;
pub mod ask;
mod calendar;
pub mod cells;
pub mod diff;
pub mod explain;
pub mod follow;
mod format;
pub mod grain;
pub mod http;
mod ids;
pub mod ingest;
pub mod live;
pub mod merge;
pub mod overflow;
pub mod plan;
pub mod query;
mod recompute;
pub mod refusal;
pub mod sql;
pub mod time_to_loss;
pub mod trace;
mod turns;
pub mod versions;
pub mod wire;
