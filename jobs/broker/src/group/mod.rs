//! Consumer groups by Kafka's classic protocol: the broker names a leader, collects what members say and hands out what
//! the leader decides; it never looks into subscriptions or assignments, so every assignor works, cooperative too.
//!
//! Membership lives in memory: after a restart members are unknown and join again, as clients do on their own. Commits
//! are durable, see `commits`.

pub mod commits;
mod join;
mod member;
mod state;
mod table;

pub use join::{JoinAsk, SyncAsk};
pub use member::MemberRef;
pub use state::State;
pub use table::Groups;
