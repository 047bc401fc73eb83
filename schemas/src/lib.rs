//! The nouns of Watershed, and what they mean.
//!
//! Everything here is plain code over values: no Kafka, no HTTP, no disk, no clock. The three
//! layers meet only in this crate, so a view, a window, an offset or a state has one definition.

pub mod budget;
pub mod coding;
pub mod columns;
pub mod decode;
mod dictionary;
mod evaluate;
pub mod events;
pub mod exact;
pub mod expr;
pub mod identity;
pub mod image;
pub mod invariants;
pub mod keys;
pub mod layout;
pub mod live;
pub mod log;
pub mod manifest;
pub mod measure;
pub mod offsets;
pub mod predicate;
pub mod problem;
pub mod project;
pub mod schedule;
pub mod scope;
pub mod sink;
pub mod sql;
pub mod sql_worker;
pub mod states;
pub mod stream;
pub mod superseded;
pub mod types;
pub mod value;
pub mod view;
pub mod window;
