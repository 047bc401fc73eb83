//! Budgets: live groups beyond them are folded into overflow groups, and nothing is lost.

mod answers;
mod memory;
mod nodes;
mod states;
