//! Joining a group and learning one's part of it.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::ResponseError;
use tokio::sync::oneshot;
use tokio::time::Instant;
use uuid::Uuid;

use super::member::{Member, MemberRef, Refused};
use super::state::{Group, State};
use crate::config::GroupConfig;

/// A request to join.
#[derive(Debug)]
pub struct JoinAsk {
    /// Empty for a newcomer.
    pub member_id: String,
    pub instance: Option<String>,
    pub client_id: String,
    pub client_host: String,
    pub session: Duration,
    pub rebalance: Duration,
    pub protocol_type: String,
    pub protocols: Vec<(String, Bytes)>,
    /// Newer clients fetch an id first, so that a lost answer leaves no ghost member behind.
    pub id_required: bool,
    pub can_skip_assignment: bool,
}

/// A place in a generation.
#[derive(Debug)]
pub struct Joined {
    pub generation: i32,
    pub protocol_type: String,
    pub protocol: String,
    pub leader: String,
    pub member_id: String,
    /// Tells a returning static leader that the present assignment stands.
    pub skip_assignment: bool,
    /// Everyone, for the leader; empty for others.
    pub members: Vec<JoinedMember>,
}

#[derive(Debug)]
pub struct JoinedMember {
    pub id: String,
    pub instance: Option<String>,
    pub metadata: Bytes,
}

/// A request for one's assignment; the leader's brings everyone's.
#[derive(Debug)]
pub struct SyncAsk {
    pub generation: i32,
    pub protocol_type: Option<String>,
    pub protocol: Option<String>,
    pub assignments: Vec<(String, Bytes)>,
}

#[derive(Debug)]
pub struct Synced {
    pub protocol_type: String,
    pub protocol: String,
    pub assignment: Bytes,
}

pub type JoinAnswer = oneshot::Sender<Result<Joined, Refused>>;
pub type SyncAnswer = oneshot::Sender<Result<Synced, ResponseError>>;

impl Group {
    /// Takes the request in; the answer comes when the generation is complete, or at once when it can.
    pub fn join(&mut self, ask: JoinAsk, answer: JoinAnswer, limits: &GroupConfig, now: Instant) {
        if let Err(refused) = self.check_join(&ask, limits, now) {
            let _ = answer.send(Err(refused));
            return;
        }
        let initial_delay = limits.initial_rebalance_delay;
        if self.members.contains_key(&ask.member_id) {
            self.rejoin(ask, answer, initial_delay, now);
            return;
        }
        let replaced =
            ask.instance.as_deref().and_then(|instance| self.member_of_instance(instance)).map(str::to_owned);
        match replaced {
            Some(old_id) => self.take_over(&old_id, ask, answer, initial_delay, now),
            None => {
                self.admit(ask, answer, now);
                self.rebalance(now, initial_delay);
            }
        }
    }

    fn check_join(&mut self, ask: &JoinAsk, limits: &GroupConfig, now: Instant) -> Result<(), Refused> {
        let refuse = |error| Err(Refused { error, member_id: ask.member_id.clone() });
        if ask.session < limits.min_session || ask.session > limits.max_session {
            return refuse(ResponseError::InvalidSessionTimeout);
        }
        let says_nothing = ask.protocol_type.is_empty() || ask.protocols.is_empty();
        if says_nothing || !self.accepts(&ask.member_id, &ask.protocol_type, &ask.protocols) {
            return refuse(ResponseError::InconsistentGroupProtocol);
        }
        if ask.member_id.is_empty() {
            if self.members.len() + self.pending.len() >= limits.max_members {
                return refuse(ResponseError::GroupMaxSizeReached);
            }
            if ask.id_required && ask.instance.is_none() {
                let member_id = new_member_id(&ask.client_id);
                self.pending.insert(member_id.clone(), now + ask.session);
                return Err(Refused { error: ResponseError::MemberIdRequired, member_id });
            }
            return Ok(());
        }
        let named = MemberRef { id: &ask.member_id, instance: ask.instance.as_deref() };
        if self.pending.remove(&ask.member_id).is_some() {
            return Ok(());
        }
        self.find(named).map(|_| ()).or_else(refuse)
    }

    /// The member a request speaks for, by its id and, for a static one, its name.
    pub fn find(&self, named: MemberRef<'_>) -> Result<&Member, ResponseError> {
        if let Some(instance) = named.instance {
            match self.member_of_instance(instance) {
                None => return Err(ResponseError::UnknownMemberId),
                Some(id) if id != named.id => return Err(ResponseError::FencedInstanceId),
                Some(_) => {}
            }
        }
        self.members.get(named.id).ok_or(ResponseError::UnknownMemberId)
    }

    fn admit(&mut self, ask: JoinAsk, answer: JoinAnswer, now: Instant) {
        if self.members.is_empty() {
            self.protocol_type.clone_from(&ask.protocol_type);
        }
        let id = if ask.member_id.is_empty() { new_member_id(&ask.client_id) } else { ask.member_id };
        let member = Member {
            id: id.clone(),
            instance: ask.instance,
            client_id: ask.client_id,
            client_host: ask.client_host,
            session: ask.session,
            rebalance: ask.rebalance,
            protocols: ask.protocols,
            assignment: Bytes::new(),
            expires: now + ask.session,
            joining: Some(answer),
            syncing: None,
        };
        self.members.insert(id, member);
    }

    /// A member that is in the group joins again: because it was told to, because it has news, or because an answer
    /// was lost.
    fn rejoin(&mut self, ask: JoinAsk, answer: JoinAnswer, initial_delay: Duration, now: Instant) {
        let is_leader = self.is_leader(&ask.member_id);
        let Some(member) = self.members.get_mut(&ask.member_id) else { return };
        let has_news = member.protocols != ask.protocols;
        member.protocols = ask.protocols;
        member.session = ask.session;
        member.rebalance = ask.rebalance;
        member.alive(now);
        member.joining = Some(answer);
        let stands = match self.state {
            State::Stable => !has_news && !is_leader,
            State::Completing => !has_news,
            State::Preparing | State::Empty => false,
        };
        if stands {
            let joined = self.joined(&ask.member_id);
            if let Some(member) = self.members.get_mut(&ask.member_id) {
                member.answer_join(Ok(joined));
            }
        } else {
            self.rebalance(now, initial_delay);
        }
    }

    /// A static member comes back as a new process: it takes the place of its predecessor, without a rebalance when
    /// the group was at rest.
    fn take_over(
        &mut self,
        old_id: &str,
        ask: JoinAsk,
        answer: JoinAnswer,
        initial_delay: Duration,
        now: Instant,
    ) {
        let Some(mut old) = self.members.remove(old_id) else { return };
        let fenced = ResponseError::FencedInstanceId;
        old.answer_join(Err(Refused { error: fenced, member_id: old_id.to_owned() }));
        old.answer_sync(Err(fenced));
        let was_leader = self.is_leader(old_id);
        let can_skip_assignment = ask.can_skip_assignment;
        let id = new_member_id(&ask.client_id);
        self.admit(JoinAsk { member_id: id.clone(), ..ask }, answer, now);
        if was_leader {
            self.leader = Some(id.clone());
        }
        if self.state != State::Stable || self.choose_protocol() != self.protocol {
            self.rebalance(now, initial_delay);
            return;
        }
        let mut joined = self.joined(&id);
        if was_leader {
            joined.skip_assignment = can_skip_assignment;
            if !can_skip_assignment {
                // An older client that reads its own id as the leader's would assign anew and be ignored: it is told
                // of the leader it replaced, and takes the assignment that stands.
                joined.leader = old_id.to_owned();
                joined.members.clear();
            }
        }
        if let Some(member) = self.members.get_mut(&id) {
            member.assignment = old.assignment;
            member.answer_join(Ok(joined));
        }
    }

    pub fn sync(&mut self, named: MemberRef<'_>, ask: SyncAsk, answer: SyncAnswer, now: Instant) {
        if let Err(error) = self.check_sync(named, &ask) {
            let _ = answer.send(Err(error));
            return;
        }
        let is_leader = self.is_leader(named.id);
        if let Some(member) = self.members.get_mut(named.id) {
            member.alive(now);
            member.syncing = Some(answer);
        }
        if self.state == State::Completing && is_leader {
            for (id, assignment) in ask.assignments {
                if let Some(member) = self.members.get_mut(&id) {
                    member.assignment = assignment;
                }
            }
            self.settle();
        } else if self.state == State::Stable {
            self.settle();
        }
    }

    fn check_sync(&self, named: MemberRef<'_>, ask: &SyncAsk) -> Result<(), ResponseError> {
        self.find(named)?;
        if ask.generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        let differs = |said: &Option<String>, known: &str| said.as_deref().is_some_and(|said| said != known);
        if differs(&ask.protocol_type, &self.protocol_type)
            || differs(&ask.protocol, self.protocol.as_deref().unwrap_or_default())
        {
            return Err(ResponseError::InconsistentGroupProtocol);
        }
        match self.state {
            State::Completing | State::Stable => Ok(()),
            State::Preparing => Err(ResponseError::RebalanceInProgress),
            State::Empty => Err(ResponseError::UnknownMemberId),
        }
    }

    pub fn heartbeat(
        &mut self,
        named: MemberRef<'_>,
        generation: i32,
        now: Instant,
    ) -> Result<(), ResponseError> {
        self.find(named)?;
        if generation != self.generation {
            return Err(ResponseError::IllegalGeneration);
        }
        if let Some(member) = self.members.get_mut(named.id) {
            member.alive(now);
        }
        if self.state == State::Preparing { Err(ResponseError::RebalanceInProgress) } else { Ok(()) }
    }
}

fn new_member_id(client_id: &str) -> String {
    format!("{client_id}-{}", Uuid::new_v4())
}
