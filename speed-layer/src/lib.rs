//! Kafka → states at or above the watershed.
//!
//! Guarantee (invariant `COVER`): for every epoch and partition that a reply names, the states are the
//! fold of exactly the records in `[watershed, live)`, at every moment: while a batch run hands
//! over, after a crash, while partitions move between nodes.
//!
//! Deciding is plain code over values: [`epoch`] and [`partition`] hold the folds, [`wanted`] says which
//! there must be, [`budgets`] what they may take, [`opening`] where a partition begins, [`following`] what to
//! do at whatever happens to it, [`recognising`] whether the log is the one that was folded, [`replaying`]
//! what to read again and where, [`landed`] what of it the master dataset has, [`checkpoint`] how it is written
//! down. Around them lies the shell: one thread that hears the log, those that fold what it brings, one that replays what
//! epochs lack, and tasks that watch the store and the log and write checkpoints ([`node`]).

pub mod budgets;
mod changes;
pub mod checkpoint;
pub mod dataset;
pub mod epoch;
mod folding;
pub mod following;
pub mod held;
pub mod known;
pub mod landed;
pub mod loading;
pub mod node;
pub mod opening;
pub mod partials;
pub mod partition;
pub mod recognising;
mod replay;
pub mod replaying;
mod run;
pub mod saving;
pub mod settings;
mod shared;
pub mod status;
pub mod stretch;
pub mod trouble;
pub mod wanted;
mod watching;

pub use crate::node::SpeedNode;
pub use crate::settings::SpeedSettings;
