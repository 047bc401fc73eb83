//! The state of one group and its passage from one generation to the next.
//!
//! ```text
//! Empty ──join──▶ Preparing ──all joined, or time is up──▶ Completing ──leader syncs──▶ Stable
//!   ▲                 ▲                                         │                         │
//!   └── last leaves ──┴──────── a member comes, goes or changes ┴─────────────────────────┘
//! ```

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use kafka_protocol::ResponseError;
use tokio::time::Instant;

use super::join::{Joined, JoinedMember, Synced};
use super::member::{Member, Refused};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    Empty,
    Preparing,
    Completing,
    Stable,
}

impl State {
    /// Kafka's name of it.
    pub fn name(self) -> &'static str {
        match self {
            State::Empty => "Empty",
            State::Preparing => "PreparingRebalance",
            State::Completing => "CompletingRebalance",
            State::Stable => "Stable",
        }
    }
}

#[derive(Debug)]
pub struct Group {
    pub state: State,
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: Option<String>,
    pub leader: Option<String>,
    pub members: BTreeMap<String, Member>,
    /// Ids given out to clients that have not joined with them yet, and when they lapse.
    pub pending: HashMap<String, Instant>,
    /// When the present phase ends without those who are late.
    deadline: Option<Instant>,
    /// The first rebalance of an empty group waits for its deadline even when all present have joined.
    waits_for_more: bool,
}

impl Group {
    pub fn new() -> Group {
        Group {
            state: State::Empty,
            generation: 0,
            protocol_type: String::new(),
            protocol: None,
            leader: None,
            members: BTreeMap::new(),
            pending: HashMap::new(),
            deadline: None,
            waits_for_more: false,
        }
    }

    pub fn is_unused(&self) -> bool {
        self.members.is_empty() && self.pending.is_empty()
    }

    pub fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    pub fn member_of_instance(&self, instance: &str) -> Option<&str> {
        let named = |member: &&Member| member.instance.as_deref() == Some(instance);
        self.members.values().find(named).map(|member| member.id.as_str())
    }

    /// Begins a new generation: everyone is to join again.
    pub fn rebalance(&mut self, now: Instant, initial_delay: Duration) {
        if self.state == State::Completing {
            for member in self.members.values_mut() {
                member.answer_sync(Err(ResponseError::RebalanceInProgress));
            }
        }
        if self.state != State::Preparing {
            let first = self.state == State::Empty;
            self.waits_for_more = first && !initial_delay.is_zero();
            let patience = if first { initial_delay } else { self.longest_rebalance() };
            self.deadline = Some(now + patience);
            self.state = State::Preparing;
        }
        self.complete_when_all_joined(now);
    }

    fn longest_rebalance(&self) -> Duration {
        self.members.values().map(|member| member.rebalance).max().unwrap_or_default()
    }

    pub fn complete_when_all_joined(&mut self, now: Instant) {
        let all_joined = self.members.values().all(|member| member.joining.is_some());
        if self.state == State::Preparing && all_joined && !self.waits_for_more && self.pending.is_empty() {
            self.complete_join(now);
        }
    }

    /// Ends the joining: the generation is made of those who joined, and of static members, who keep their place.
    fn complete_join(&mut self, now: Instant) {
        self.members.retain(|_, member| member.joining.is_some() || member.instance.is_some());
        let first_joined =
            self.members.values().find(|member| member.joining.is_some()).map(|member| member.id.clone());
        if first_joined.is_none() && !self.members.is_empty() {
            // Only static members are left, none of them here: they have until their sessions end.
            self.deadline = Some(now + self.longest_rebalance());
            return;
        }
        self.generation = self.generation.wrapping_add(1).max(1);
        self.waits_for_more = false;
        if self.members.is_empty() {
            self.become_empty();
            return;
        }
        self.state = State::Completing;
        self.deadline = Some(now + self.longest_rebalance());
        self.protocol = self.choose_protocol();
        let leader = self.leader.as_ref().and_then(|leader| self.members.get(leader));
        if leader.is_none_or(|leader| leader.joining.is_none()) {
            self.leader = first_joined;
        }
        let ids: Vec<String> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = self.joined(&id);
            if let Some(member) = self.members.get_mut(&id) {
                member.alive(now);
                member.assignment.clear();
                member.answer_join(Ok(answer));
            }
        }
    }

    fn become_empty(&mut self) {
        self.state = State::Empty;
        self.protocol = None;
        self.leader = None;
        self.deadline = None;
    }

    /// The answer to a member that is part of this generation: the leader hears of everyone.
    pub fn joined(&self, member_id: &str) -> Joined {
        let protocol = self.protocol.clone().unwrap_or_default();
        let members = if self.is_leader(member_id) { self.all_members(&protocol) } else { Vec::new() };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol,
            leader: self.leader.clone().unwrap_or_default(),
            member_id: member_id.to_owned(),
            skip_assignment: false,
            members,
        }
    }

    pub fn all_members(&self, protocol: &str) -> Vec<JoinedMember> {
        let told = |member: &Member| JoinedMember {
            id: member.id.clone(),
            instance: member.instance.clone(),
            metadata: member.metadata(protocol),
        };
        self.members.values().map(told).collect()
    }

    /// Protocols that every member knows.
    fn common_protocols(&self) -> Vec<&str> {
        let Some(first) = self.members.values().next() else { return Vec::new() };
        let known_by_all = |name: &&str| {
            self.members.values().all(|member| member.protocols.iter().any(|(known, _)| known == name))
        };
        first.protocols.iter().map(|(name, _)| name.as_str()).filter(known_by_all).collect()
    }

    /// The common protocol that most members like best.
    pub fn choose_protocol(&self) -> Option<String> {
        let common = self.common_protocols();
        let favourite = |member: &Member| {
            member
                .protocols
                .iter()
                .find(|(name, _)| common.contains(&name.as_str()))
                .map(|(name, _)| name.clone())
        };
        let mut votes: HashMap<String, usize> = HashMap::new();
        for name in self.members.values().filter_map(favourite) {
            *votes.entry(name).or_default() += 1;
        }
        votes.into_iter().max_by(|a, b| a.1.cmp(&b.1).then_with(|| b.0.cmp(&a.0))).map(|(name, _)| name)
    }

    /// Whether a member with these protocols could be in the group beside the others.
    pub fn accepts(
        &self,
        member_id: &str,
        protocol_type: &str,
        protocols: &[(String, bytes::Bytes)],
    ) -> bool {
        let mut others = self.members.values().filter(|member| member.id != member_id).peekable();
        if others.peek().is_none() {
            return true;
        }
        let others: Vec<&Member> = others.collect();
        self.protocol_type == protocol_type
            && protocols.iter().any(|(name, _)| {
                others.iter().all(|member| member.protocols.iter().any(|(known, _)| known == name))
            })
    }

    /// The leader has decided: hands every member its part.
    pub fn settle(&mut self) {
        self.state = State::Stable;
        self.deadline = None;
        let (protocol_type, protocol) =
            (self.protocol_type.clone(), self.protocol.clone().unwrap_or_default());
        for member in self.members.values_mut() {
            let assignment = member.assignment.clone();
            let (protocol_type, protocol) = (protocol_type.clone(), protocol.clone());
            member.answer_sync(Ok(Synced { protocol_type, protocol, assignment }));
        }
    }

    pub fn remove(&mut self, member_id: &str, now: Instant) {
        let Some(mut member) = self.members.remove(member_id) else { return };
        let error = ResponseError::UnknownMemberId;
        member.answer_join(Err(Refused { error, member_id: member_id.to_owned() }));
        member.answer_sync(Err(error));
        match self.state {
            State::Stable | State::Completing => self.rebalance(now, Duration::ZERO),
            State::Preparing => self.complete_when_all_joined(now),
            State::Empty => {}
        }
    }

    /// Lets time pass: sessions end, late members are left behind.
    pub fn tick(&mut self, now: Instant) {
        let pending = self.pending.len();
        self.pending.retain(|_, lapses| *lapses > now);
        if self.pending.len() < pending {
            self.complete_when_all_joined(now);
        }
        let expired: Vec<String> = self
            .members
            .values()
            .filter(|member| member.is_expired(now))
            .map(|member| member.id.clone())
            .collect();
        for id in expired {
            tracing::info!(member = id, "member's session expired");
            self.remove(&id, now);
        }
        if self.deadline.is_none_or(|deadline| deadline > now) {
            return;
        }
        match self.state {
            State::Preparing => self.complete_join(now),
            State::Completing => self.drop_those_who_did_not_sync(now),
            State::Empty | State::Stable => self.deadline = None,
        }
    }

    fn drop_those_who_did_not_sync(&mut self, now: Instant) {
        self.deadline = None;
        let silent = |member: &&Member| member.syncing.is_none();
        let late: Vec<String> =
            self.members.values().filter(silent).map(|member| member.id.clone()).collect();
        for id in late {
            self.remove(&id, now);
        }
    }
}
