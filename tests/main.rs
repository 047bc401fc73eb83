//! The proof, one file per subject. `support/` is what they share.

use ::support;

mod batch;
mod bit_rot;
mod broker;
mod checkpoints;
mod command;
mod conformance;
mod decode;
mod definitions;
mod diff;
mod end_to_end;
mod epochs;
mod expressions;
mod following;
mod gap;
mod http;
mod identity;
mod kafka_log;
mod laws;
mod layout;
mod merge;
mod partitions;
mod publish;
mod query;
mod racing;
mod schedule;
mod simulation;
mod sketches;
mod speed;
mod split;
mod states;
mod store;
mod tidy;
mod time_to_loss;
mod verify;
