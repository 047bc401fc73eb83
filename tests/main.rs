//! The proof, one file per subject. `support/` is what they share.

use ::support;

mod batch;
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
mod http;
mod ingest;
mod kafka_log;
mod laws;
mod layout;
mod merge;
mod publish;
mod query;
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
