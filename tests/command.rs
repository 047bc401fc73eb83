//! The command, as people and crontabs call it: names, settings, exit codes, one clear line on standard error.

mod batches;
mod definitions;
mod disk;
mod loading;
mod services;
mod settings;
mod traces;
mod tutorial;
