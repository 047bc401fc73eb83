//! The proof, one file per subject. `support/` is what they share.

use ::support;

mod batch;
mod broker;
mod checkpoints;
mod command;
mod conformance;
mod end_to_end;
mod epochs;
mod layout;
mod publish;
mod schedule;
mod speed;
mod split;
mod store;
mod tidy;
mod verify;
