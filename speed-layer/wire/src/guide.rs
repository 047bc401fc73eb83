//! Asks whichever broker answers who leads the partitions of a topic.

use std::time::Instant;

use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use mio::{Registry, Token};

use crate::FetchSettings;
use crate::link::{Heard, Link, pause};

/// Leader epochs came with version 7 and topics' ids with 10; what names topics by their names ends with 12.
const METADATA: (i16, i16) = (1, 12);

pub struct Guide {
    token: Token,
    /// `host:port` of all brokers that are known: where to begin, then those that were heard of.
    addresses: Vec<String>,
    /// Asked in turn.
    turn: usize,
    /// Connected only while something is asked.
    link: Option<Link<i16>>,
    wanted: bool,
    not_before: Instant,
    /// Answers in a row that did not tell all, and connections that failed.
    vain: u32,
}

impl Guide {
    pub fn new(bootstrap: Vec<String>, token: Token, now: Instant) -> Guide {
        Guide { token, addresses: bootstrap, turn: 0, link: None, wanted: false, not_before: now, vain: 0 }
    }

    /// What is known of leaders is not, or no longer, all that is needed.
    pub fn want(&mut self) {
        self.wanted = true;
    }

    /// The last answer told all that was needed: the next question need not wait.
    pub fn was_enough(&mut self, now: Instant) {
        (self.vain, self.not_before) = (0, now);
    }

    pub fn learn(&mut self, address: &str) {
        if self.addresses.iter().all(|known| known != address) {
            self.addresses.push(address.to_string());
        }
    }

    pub fn drive(
        &mut self,
        settings: &FetchSettings,
        registry: &Registry,
        topic: &TopicName,
        now: Instant,
    ) -> Option<MetadataResponse> {
        if !self.wanted || now < self.not_before {
            return None;
        }
        let address = &self.addresses[self.turn % self.addresses.len()];
        let link = self.link.get_or_insert_with(|| Link::new(address.clone(), self.token, now));
        let mut heard = link.drive(settings, registry, now);
        if link.is_idle() && heard.is_none() {
            let Some(version) = link.version::<MetadataRequest>(METADATA.0, METADATA.1) else {
                return self.give_up(settings, now);
            };
            let asked = MetadataRequestTopic::default().with_name(Some(topic.clone()));
            let question = MetadataRequest::default()
                .with_topics(Some(vec![asked]))
                .with_allow_auto_topic_creation(false);
            heard = link.ask(settings, version, &question, version, now);
        }
        match heard {
            Some(Heard::Answer(version, answer)) => {
                let told = link.decode(settings, answer, version, now);
                self.link = None;
                self.wanted = told.is_none();
                // Another answer is not had at once if this one turns out not to be enough.
                self.not_before = now + pause(settings, self.vain);
                self.vain += 1;
                told
            }
            Some(Heard::Lost) => self.give_up(settings, now),
            None => None,
        }
    }

    /// Asks the next broker after a while.
    fn give_up(&mut self, settings: &FetchSettings, now: Instant) -> Option<MetadataResponse> {
        self.link = None;
        self.turn = self.turn.wrapping_add(1);
        self.not_before = now + pause(settings, self.vain / self.addresses.len() as u32);
        self.vain += 1;
        None
    }
}

pub fn topic_name(topic: &str) -> TopicName {
    TopicName(StrBytes::from_string(topic.to_string()))
}
