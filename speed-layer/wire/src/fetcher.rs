//! The fetches of some partitions of one topic, from whichever brokers lead them.
//!
//! Each broker is asked for the next records as soon as its last answer has come, and only then is that answer read:
//! what is done with records goes on beside the broker's own work and the network's. Answers are taken from the
//! network one by one, so that no more than one of each broker lies in memory.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::time::{Duration, Instant};

use kafka_protocol::ResponseError;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{
    OffsetForLeaderPartition, OffsetForLeaderTopic,
};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, FetchResponse, MetadataResponse, OffsetForLeaderEpochRequest,
    OffsetForLeaderEpochResponse, TopicName,
};
use mio::{Events, Poll, Token};
use uuid::Uuid;
use watershed_schemas::log::Records;
use watershed_schemas::offsets::{Offset, Partition};

use crate::FetchSettings;
use crate::guide::{Guide, topic_name};
use crate::link::{Heard, Link};
use crate::records::{Extent, RecordFault, RecordSet};

/// From version 13 on a fetch names the topic by its id, so that one that was created anew is not taken for it.
const FETCH: (i16, i16) = (4, 13);
const FETCH_BY_ID: i16 = 13;
/// Before version 2 brokers do not compare the asker's knowledge of leaders with theirs.
const EPOCHS: (i16, i16) = (2, 4);
const READ_COMMITTED: i8 = 1;
/// What a consumer is to brokers, in place of a replica's number.
const CONSUMER: BrokerId = BrokerId(-1);
/// A fetch that belongs to no session.
const NO_SESSION: i32 = -1;

/// How long to wait for a broker before looking at what else is due.
const LOOK: Duration = Duration::from_millis(50);
/// How long a partition is left alone that its broker refuses.
const REFUSED: Duration = Duration::from_millis(500);
/// No more is taken once payloads have come to so many bytes: a delivery is no larger than this and one record more.
const ENOUGH_BYTES: usize = 8 << 20;

/// What came of a partition.
#[derive(Debug)]
pub enum Fetched {
    /// Consecutive records; none where only the position moves, over offsets that hold no committed record.
    Records(Records),
    Fault(Partition, Fault),
}

/// Why a partition gives no records. It is tried again by itself unless the fault says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum Fault {
    /// The log does not hold the position. Nothing more comes until the partition is started anew.
    #[error("the log does not hold this offset")]
    OutOfRange,
    /// What was read below the position is no longer what the log holds. As above.
    #[error("the log was truncated below what was read")]
    Truncated,
    #[error("no such topic or partition")]
    Unknown,
    /// The topic that was read is gone, and another has its name. Nothing more comes until the partition is started anew.
    #[error("the topic was deleted and created anew")]
    Recreated,
    #[error("refused by the broker: {0}")]
    Refused(ResponseError),
    #[error("{0}")]
    Damaged(#[from] RecordFault),
}

/// A partition that is fetched.
struct Part {
    /// Counts starts and faults: what was asked before one is not taken after it.
    generation: u64,
    /// Behind what was fetched.
    position: i64,
    /// Under whom the last batch below the position was written, once one was seen.
    leader_epoch: Option<i32>,
    topic_id: Option<Uuid>,
    leader: Option<Leader>,
    /// The connection on which the leader confirmed what lies below the position.
    confirmed_on: Option<u64>,
    quiet_until: Option<Instant>,
}

#[derive(Clone, Copy)]
struct Leader {
    broker: i32,
    /// -1 from brokers that do not tell.
    epoch: i32,
}

/// What a broker was asked.
struct Asked {
    version: i16,
    question: Question,
    stakes: BTreeMap<i32, Stake>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    Records,
    /// Where the epochs of the last batches end.
    Epochs,
}

/// A partition as it stood.
#[derive(Clone, Copy)]
struct Stake {
    partition: i32,
    generation: u64,
    position: i64,
}

pub struct Fetcher {
    settings: FetchSettings,
    topic: TopicName,
    poll: Poll,
    events: Events,
    guide: Guide,
    /// By broker.
    links: BTreeMap<i32, Link<Asked>>,
    parts: BTreeMap<i32, Part>,
    /// Fetched and not yet taken.
    sets: VecDeque<(Stake, RecordSet)>,
    faults: Vec<(i32, Fault)>,
    generation: u64,
    /// When a partition was last started.
    started: Instant,
    /// Turns the order of partitions in fetches, as each answer is filled in that order.
    turn: usize,
}

impl Fetcher {
    pub fn new(settings: FetchSettings, topic: &str) -> io::Result<Fetcher> {
        let guide = Guide::new(settings.bootstrap.clone(), Token(usize::MAX - 1), Instant::now());
        Ok(Fetcher {
            settings,
            topic: topic_name(topic),
            poll: Poll::new()?,
            events: Events::with_capacity(64),
            guide,
            links: BTreeMap::new(),
            parts: BTreeMap::new(),
            sets: VecDeque::new(),
            faults: Vec::new(),
            generation: 0,
            started: Instant::now(),
            turn: 0,
        })
    }

    /// Begins a partition at an offset, or moves one that was begun there.
    pub fn start(&mut self, partition: Partition, offset: Offset) {
        self.stop(partition);
        self.generation += 1;
        let part = Part {
            generation: self.generation,
            position: offset.0,
            leader_epoch: None,
            topic_id: None,
            leader: None,
            confirmed_on: None,
            quiet_until: None,
        };
        self.parts.insert(partition.0, part);
        self.started = Instant::now();
        self.guide.want();
    }

    /// Nothing more of this partition.
    pub fn stop(&mut self, partition: Partition) {
        self.parts.remove(&partition.0);
        self.sets.retain(|(stake, _)| stake.partition != partition.0);
        self.faults.retain(|(faulty, _)| *faulty != partition.0);
    }

    /// Waits for something to be there, then takes about so many records.
    pub fn take(&mut self, most_records: usize, wait: Duration) -> Vec<Fetched> {
        let deadline = Instant::now() + wait;
        loop {
            let taken = self.take_what_is_there(most_records);
            if !taken.is_empty() {
                return taken;
            }
            let heard = self.drive(Instant::now());
            let left = deadline.saturating_duration_since(Instant::now());
            if !self.sets.is_empty() || !self.faults.is_empty() || (heard && !left.is_zero()) {
                continue;
            }
            if left.is_zero() {
                return Vec::new();
            }
            if let Err(error) = self.poll.poll(&mut self.events, Some(left.min(LOOK)))
                && error.kind() != io::ErrorKind::Interrupted
            {
                tracing::warn!(%error, "waiting for brokers failed");
                std::thread::sleep(left.min(LOOK));
            }
        }
    }

    fn take_what_is_there(&mut self, most_records: usize) -> Vec<Fetched> {
        let (mut taken, mut left, mut bytes) = (Vec::new(), most_records, 0);
        while let Some((stake, set)) = self.sets.front_mut()
            && left > 0
            && bytes < ENOUGH_BYTES
        {
            let stake = *stake;
            let mut records = Records::new(Partition(stake.partition), Offset(set.position()));
            let read = set.read(left, ENOUGH_BYTES - bytes, &mut records);
            left -= records.len();
            bytes += records.payload_bytes();
            if !records.range().is_empty() {
                taken.push(Fetched::Records(records));
            }
            match read {
                Ok(true) => {}
                Ok(false) => drop(self.sets.pop_front()),
                Err(fault) => {
                    let position = set.position();
                    self.retry_from(stake.partition, position, Instant::now());
                    self.faults.push((stake.partition, fault.into()));
                }
            }
        }
        let faults =
            self.faults.drain(..).map(|(partition, fault)| Fetched::Fault(Partition(partition), fault));
        taken.extend(faults);
        taken
    }

    /// Forgets what was fetched of a partition beyond a position, and asks for it again after a while.
    fn retry_from(&mut self, partition: i32, position: i64, now: Instant) {
        self.sets.retain(|(stake, _)| stake.partition != partition);
        self.generation += 1;
        if let Some(part) = self.parts.get_mut(&partition) {
            part.generation = self.generation;
            part.position = position;
            part.quiet_until = Some(now + REFUSED);
        }
    }

    /// Looks at every broker once. True if one of them had something to say.
    fn drive(&mut self, now: Instant) -> bool {
        let mut has_heard = false;
        if let Some(told) = self.guide.drive(&self.settings, self.poll.registry(), &self.topic, now) {
            self.learn(&told, now);
            has_heard = true;
        }
        let brokers: Vec<i32> = self.links.keys().copied().collect();
        for broker in brokers {
            let Some(link) = self.links.get_mut(&broker) else { continue };
            let heard = link.drive(&self.settings, self.poll.registry(), now);
            has_heard |= heard.is_some();
            self.hear(broker, heard, now);
            if let Some(lost) = self.ask(broker, now) {
                self.hear(broker, Some(lost), now);
            }
        }
        has_heard
    }

    fn hear(&mut self, broker: i32, heard: Option<Heard<Asked>>, now: Instant) {
        match heard {
            None => {}
            // The broker may be gone for good, and others lead what it led, now or in a while: it is asked again with
            // every attempt that fails.
            Some(Heard::Lost) => self.guide.want(),
            Some(Heard::Answer(asked, answer)) => {
                let Some(link) = self.links.get_mut(&broker) else { return };
                match asked.question {
                    Question::Records => {
                        if let Some(told) = link.decode(&self.settings, answer, asked.version, now) {
                            self.hear_records(&asked.stakes, told, now);
                        }
                    }
                    Question::Epochs => {
                        let serial = link.serial;
                        if let Some(told) = link.decode(&self.settings, answer, asked.version, now) {
                            self.hear_epochs(&asked.stakes, &told, serial, now);
                        }
                    }
                }
            }
        }
    }

    /// Asks an idle broker for what its partitions need next.
    fn ask(&mut self, broker: i32, now: Instant) -> Option<Heard<Asked>> {
        let link = self.links.get_mut(&broker).filter(|link| link.is_idle())?;
        let due = |part: &Part| {
            part.leader.is_some_and(|leader| leader.broker == broker)
                && part.quiet_until.is_none_or(|until| until <= now)
        };
        let mut parts: Vec<(i32, &mut Part)> =
            self.parts.iter_mut().filter(|(_, part)| due(part)).map(|(index, part)| (*index, part)).collect();
        if parts.is_empty() {
            return None;
        }
        let stake = |(partition, part): &(i32, &mut Part)| {
            let (partition, generation, position) = (*partition, part.generation, part.position);
            (partition, Stake { partition, generation, position })
        };
        let epochs_version = link.version::<OffsetForLeaderEpochRequest>(EPOCHS.0, EPOCHS.1);
        let serial = link.serial;
        let doubtful = |part: &Part| part.leader_epoch.is_some() && part.confirmed_on != Some(serial);
        if let Some(version) = epochs_version
            && parts.iter().any(|(_, part)| doubtful(part))
        {
            parts.retain(|(_, part)| doubtful(part));
            let asked =
                Asked { version, question: Question::Epochs, stakes: parts.iter().map(stake).collect() };
            let question = epochs_question(&self.topic, &parts);
            return link.ask(&self.settings, version, &question, asked, now);
        }
        // What begins anew has nothing below it to be confirmed.
        parts.iter_mut().for_each(|(_, part)| part.confirmed_on = Some(serial));
        let by_id = parts.iter().all(|(_, part)| part.topic_id.is_some());
        let most = if by_id { FETCH.1 } else { FETCH_BY_ID - 1 };
        let Some(version) = link.version::<FetchRequest>(FETCH.0, most) else {
            for (partition, part) in parts {
                part.quiet_until = Some(now + REFUSED);
                self.faults.push((partition, Fault::Refused(ResponseError::UnsupportedVersion)));
            }
            return None;
        };
        self.turn = self.turn.wrapping_add(1);
        let middle = self.turn % parts.len();
        parts.rotate_left(middle);
        let stakes = parts.iter().map(stake).collect();
        // A partition that is started while a broker waits for records of others is not asked for until it has answered.
        // Where one came, others come: so nobody is waited for longer than none has.
        let max_wait = self.settings.max_wait.min(now.duration_since(self.started));
        let question = fetch_question(&self.settings, max_wait, &self.topic, &parts);
        link.ask(
            &self.settings,
            version,
            &question,
            Asked { version, question: Question::Records, stakes },
            now,
        )
    }

    fn hear_records(&mut self, stakes: &BTreeMap<i32, Stake>, told: FetchResponse, now: Instant) {
        let answers = told.responses.into_iter().flat_map(|topic| topic.partitions);
        let error = ResponseError::try_from_code(told.error_code);
        if let Some(error) = error {
            tracing::debug!(%error, "a fetch was refused");
            for stake in stakes.values() {
                self.refuse(stake, error, now);
            }
        }
        for answer in answers {
            let stake = stakes.get(&answer.partition_index);
            let Some(stake) = stake.filter(|stake| self.is_current(stake)) else { continue };
            match ResponseError::try_from_code(answer.error_code) {
                None => self.hold(stake, answer, now),
                Some(ResponseError::OffsetOutOfRange) => self.end(stake, Fault::OutOfRange),
                Some(error) => self.refuse(stake, error, now),
            }
        }
    }

    fn is_current(&self, stake: &Stake) -> bool {
        self.parts.get(&stake.partition).is_some_and(|part| part.generation == stake.generation)
    }

    /// Keeps what came of a partition until it is taken.
    fn hold(&mut self, stake: &Stake, answer: PartitionData, now: Instant) {
        let set = answer.records.unwrap_or_default();
        let Some(part) = self.parts.get_mut(&stake.partition).filter(|_| !set.is_empty()) else { return };
        match Extent::of(&set, stake.position) {
            Ok(extent) => {
                part.position = extent.next_offset.max(part.position);
                part.leader_epoch = (extent.leader_epoch >= 0).then_some(extent.leader_epoch);
            }
            Err(fault) => {
                self.retry_from(stake.partition, stake.position, now);
                return self.faults.push((stake.partition, fault.into()));
            }
        }
        let aborted = answer.aborted_transactions.unwrap_or_default();
        let aborted = aborted.iter().map(|aborted| (aborted.producer_id.0, aborted.first_offset)).collect();
        self.sets.push_back((*stake, RecordSet::new(set, stake.position, aborted)));
    }

    /// Gives a partition up until it is started anew.
    fn end(&mut self, stake: &Stake, fault: Fault) {
        self.parts.remove(&stake.partition);
        self.faults.push((stake.partition, fault));
    }

    fn refuse(&mut self, stake: &Stake, error: ResponseError, now: Instant) {
        let Some(part) =
            self.parts.get_mut(&stake.partition).filter(|part| part.generation == stake.generation)
        else {
            return;
        };
        tracing::debug!(partition = stake.partition, %error, "a partition was refused");
        // Brokers agree on who leads after a while, and a new leader learns how far its followers are.
        if error.is_retriable() {
            part.quiet_until = Some(now + self.settings.reconnect_backoff);
            if error != ResponseError::OffsetNotAvailable {
                part.leader = None;
                part.confirmed_on = None;
                self.guide.want();
            }
        } else {
            part.quiet_until = Some(now + REFUSED);
            self.faults.push((stake.partition, Fault::Refused(error)));
        }
    }

    /// A leader that ended the epoch of what was read below where that was read to does not have it all.
    fn hear_epochs(
        &mut self,
        stakes: &BTreeMap<i32, Stake>,
        told: &OffsetForLeaderEpochResponse,
        serial: u64,
        now: Instant,
    ) {
        for answer in told.topics.iter().flat_map(|topic| &topic.partitions) {
            let stake = stakes.get(&answer.partition);
            let Some(stake) = stake.filter(|stake| self.is_current(stake)) else { continue };
            match ResponseError::try_from_code(answer.error_code) {
                Some(error) => self.refuse(stake, error, now),
                None if answer.end_offset < stake.position => self.end(stake, Fault::Truncated),
                None => {
                    if let Some(part) = self.parts.get_mut(&stake.partition) {
                        part.confirmed_on = Some(serial);
                    }
                }
            }
        }
    }

    /// Takes over who leads what.
    fn learn(&mut self, told: &MetadataResponse, now: Instant) {
        let Some(topic) = told.topics.iter().find(|topic| topic.name.as_ref() == Some(&self.topic)) else {
            self.guide.want();
            return;
        };
        let addresses: BTreeMap<i32, String> = told
            .brokers
            .iter()
            .map(|broker| (broker.node_id.0, format!("{}:{}", broker.host.as_str(), broker.port)))
            .collect();
        addresses.values().for_each(|address| self.guide.learn(address));
        let mut recreated = Vec::new();
        let mut has_all = true;
        for (index, part) in &mut self.parts {
            match leader_of(topic, *index) {
                Err(error) => {
                    part.leader = None;
                    has_all = false;
                    let is_gone = error == ResponseError::UnknownTopicOrPartition;
                    if is_gone || !error.is_retriable() {
                        let fault = if is_gone { Fault::Unknown } else { Fault::Refused(error) };
                        self.faults.push((*index, fault));
                    }
                }
                Ok(leader) => {
                    let id = Some(topic.topic_id).filter(|id| !id.is_nil());
                    if id.is_some() && part.topic_id.is_some() && id != part.topic_id {
                        recreated.push(*index);
                    }
                    part.topic_id = part.topic_id.or(id);
                    part.leader = leader.filter(|leader| addresses.contains_key(&leader.broker));
                    has_all &= part.leader.is_some();
                }
            }
        }
        for index in recreated {
            self.parts.remove(&index);
            self.faults.push((index, Fault::Recreated));
        }
        if has_all {
            self.guide.was_enough(now);
        } else {
            self.guide.want();
        }
        self.connect(&addresses, now);
    }

    /// Has a link to every broker that leads one of the partitions, and to no other.
    fn connect(&mut self, addresses: &BTreeMap<i32, String>, now: Instant) {
        let Fetcher { links, parts, .. } = self;
        let leads = |broker: i32| {
            parts.values().any(|part| part.leader.is_some_and(|leader| leader.broker == broker))
        };
        links.retain(|broker, link| leads(*broker) && addresses.get(broker) == Some(&link.address));
        for (broker, address) in addresses.iter().filter(|(broker, _)| leads(**broker)) {
            links.entry(*broker).or_insert_with(|| Link::new(address.clone(), Token(*broker as usize), now));
        }
    }
}

/// Who leads a partition, if anybody does.
fn leader_of(topic: &MetadataResponseTopic, partition: i32) -> Result<Option<Leader>, ResponseError> {
    if let Some(error) = ResponseError::try_from_code(topic.error_code) {
        return Err(error);
    }
    let found = topic.partitions.iter().find(|found| found.partition_index == partition);
    let found = found.ok_or(ResponseError::UnknownTopicOrPartition)?;
    let leader = Leader { broker: found.leader_id.0, epoch: found.leader_epoch };
    Ok((leader.broker >= 0).then_some(leader))
}

fn fetch_question(
    settings: &FetchSettings,
    max_wait: Duration,
    topic: &TopicName,
    parts: &[(i32, &mut Part)],
) -> FetchRequest {
    let partitions = parts.iter().map(|(partition, part)| {
        FetchPartition::default()
            .with_partition(*partition)
            .with_current_leader_epoch(part.leader.map_or(-1, |leader| leader.epoch))
            .with_fetch_offset(part.position)
            .with_partition_max_bytes(settings.partition_max_bytes)
    });
    let id = parts.iter().find_map(|(_, part)| part.topic_id).unwrap_or_default();
    let topic = FetchTopic::default()
        .with_topic(topic.clone())
        .with_topic_id(id)
        .with_partitions(partitions.collect());
    FetchRequest::default()
        .with_replica_id(CONSUMER)
        .with_max_wait_ms(max_wait.as_millis() as i32)
        .with_min_bytes(settings.min_bytes)
        .with_max_bytes(settings.max_bytes)
        .with_isolation_level(READ_COMMITTED)
        .with_session_epoch(NO_SESSION)
        .with_topics(vec![topic])
}

fn epochs_question(topic: &TopicName, parts: &[(i32, &mut Part)]) -> OffsetForLeaderEpochRequest {
    let partitions = parts.iter().map(|(partition, part)| {
        OffsetForLeaderPartition::default()
            .with_partition(*partition)
            .with_current_leader_epoch(part.leader.map_or(-1, |leader| leader.epoch))
            .with_leader_epoch(part.leader_epoch.unwrap_or(-1))
    });
    let topic =
        OffsetForLeaderTopic::default().with_topic(topic.clone()).with_partitions(partitions.collect());
    OffsetForLeaderEpochRequest::default().with_replica_id(CONSUMER).with_topics(vec![topic])
}
