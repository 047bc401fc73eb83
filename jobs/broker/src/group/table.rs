//! All groups of the broker.

use std::collections::HashMap;
use std::sync::Mutex;

use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::commits::{Commit, Commits, Place};
use super::join::{JoinAsk, Joined, SyncAsk, Synced};
use super::member::{MemberRef, Refused};
use super::state::{Group, State};
use crate::config::GroupConfig;
use crate::locks::lock;

#[derive(Debug)]
pub struct Groups {
    limits: GroupConfig,
    pub commits: Commits,
    by_id: Mutex<HashMap<String, Group>>,
}

impl Groups {
    pub fn new(limits: GroupConfig, commits: Commits) -> Groups {
        Groups { limits, commits, by_id: Mutex::default() }
    }

    pub async fn join(&self, group: &str, ask: JoinAsk) -> Result<Joined, Refused> {
        let (answer, waiting) = oneshot::channel();
        let member_id = ask.member_id.clone();
        lock(&self.by_id).entry(group.to_owned()).or_insert_with(Group::new).join(
            ask,
            answer,
            &self.limits,
            Instant::now(),
        );
        // A dropped answer means that the same member asked again on another connection, which is answered instead.
        waiting.await.unwrap_or(Err(Refused { error: ResponseError::UnknownMemberId, member_id }))
    }

    pub async fn sync(
        &self,
        group: &str,
        member: MemberRef<'_>,
        ask: SyncAsk,
    ) -> Result<Synced, ResponseError> {
        let (answer, waiting) = oneshot::channel();
        self.with(group, |group| group.sync(member, ask, answer, Instant::now()))?;
        waiting.await.unwrap_or(Err(ResponseError::UnknownMemberId))
    }

    pub fn heartbeat(
        &self,
        group: &str,
        member: MemberRef<'_>,
        generation: i32,
    ) -> Result<(), ResponseError> {
        self.with(group, |group| group.heartbeat(member, generation, Instant::now()))?
    }

    /// A static member may be named by its instance alone, as administrators do.
    pub fn leave(&self, group: &str, member: MemberRef<'_>) -> Result<(), ResponseError> {
        self.with(group, |group| {
            let now = Instant::now();
            if group.pending.remove(member.id).is_some() {
                group.complete_when_all_joined(now);
                return Ok(());
            }
            let id = match member.instance {
                Some(instance) if member.id.is_empty() => {
                    group.member_of_instance(instance).ok_or(ResponseError::UnknownMemberId)?.to_owned()
                }
                _ => group.find(member)?.id.clone(),
            };
            group.remove(&id, now);
            Ok(())
        })?
    }

    /// Commits for a member of the present generation, or, with a negative generation, for nobody: then the group must
    /// have no members.
    pub fn commit(
        &self,
        group: &str,
        member: MemberRef<'_>,
        generation: i32,
        commits: &[(Place, Commit)],
    ) -> Result<(), ResponseError> {
        // The lock is held while writing, so that no commit of an old generation follows one of a new.
        let mut by_id = lock(&self.by_id);
        match by_id.get_mut(group) {
            None if generation < 0 => {}
            None => return Err(ResponseError::IllegalGeneration),
            Some(known) if generation < 0 && member.id.is_empty() => {
                if !known.members.is_empty() {
                    return Err(ResponseError::UnknownMemberId);
                }
            }
            Some(known) => {
                known.find(member)?;
                if generation != known.generation {
                    return Err(ResponseError::IllegalGeneration);
                }
                if known.state == State::Completing {
                    return Err(ResponseError::RebalanceInProgress);
                }
                if let Some(member) = known.members.get_mut(member.id) {
                    member.alive(Instant::now());
                }
            }
        }
        self.commits.put(group, commits).map_err(|error| {
            tracing::error!(group, %error, "commit not written");
            ResponseError::CoordinatorNotAvailable
        })
    }

    /// Looks at a group that has members.
    pub fn with<T>(&self, group: &str, look: impl FnOnce(&mut Group) -> T) -> Result<T, ResponseError> {
        lock(&self.by_id).get_mut(group).map(look).ok_or(ResponseError::UnknownMemberId)
    }

    /// Every group that has members or commits, with its protocol type and state.
    pub fn list(&self) -> Vec<(String, String, State)> {
        let by_id = lock(&self.by_id);
        let told = |(id, group): (&String, &Group)| (id.clone(), group.protocol_type.clone(), group.state);
        let mut all: Vec<_> = by_id.iter().map(told).collect();
        let silent = self.commits.groups().into_iter().filter(|id| !by_id.contains_key(id));
        all.extend(silent.map(|id| (id, String::new(), State::Empty)));
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Deletes a group without members, with its commits.
    pub fn delete(&self, group: &str) -> Result<(), ResponseError> {
        let mut by_id = lock(&self.by_id);
        match by_id.get(group) {
            Some(known) if !known.members.is_empty() => return Err(ResponseError::NonEmptyGroup),
            None if !self.commits.has(group) => return Err(ResponseError::GroupIdNotFound),
            _ => {}
        }
        by_id.remove(group);
        self.commits.delete_group(group).map_err(|error| {
            tracing::error!(group, %error, "group not deleted");
            ResponseError::CoordinatorNotAvailable
        })
    }

    /// Lets time pass for every group, and forgets those that nobody is in.
    pub fn tick(&self) {
        let now = Instant::now();
        let mut by_id = lock(&self.by_id);
        by_id.values_mut().for_each(|group| group.tick(now));
        by_id.retain(|_, group| !group.is_unused());
    }
}
