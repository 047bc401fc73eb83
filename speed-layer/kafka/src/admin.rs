//! Topics: created, described, deleted.

use std::time::{Duration, Instant};

use futures::executor::block_on;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::types::RDKafkaErrorCode;
use watershed_schemas::log::LogError;

use crate::context::Plain;
use crate::log::KafkaLog;

/// Whether a topic had to be created.
#[must_use]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Creation {
    Created,
    /// It was there already, with this many partitions.
    Existed(usize),
}

impl KafkaLog {
    /// Creates a topic unless it exists, with the broker's own replication, and waits until it can be used.
    pub fn create_topic(&self, topic: &str, partitions: usize) -> Result<Creation, LogError> {
        if let Some(count) = self.partition_count(topic)? {
            return Ok(Creation::Existed(count));
        }
        let wanted =
            NewTopic::new(topic, i32::try_from(partitions).unwrap_or(i32::MAX), TopicReplication::Fixed(-1));
        let (admin, options) = self.admin()?;
        let answer = block_on(admin.create_topics([&wanted], &options));
        let created = match self.outcome(answer)? {
            Ok(()) => true,
            Err(RDKafkaErrorCode::TopicAlreadyExists) => false,
            Err(code) => {
                return Err(self.refused(&format!("create topic {topic} with {partitions} partitions"), code));
            }
        };
        let count = self.wait_for(topic)?;
        Ok(if created { Creation::Created } else { Creation::Existed(count) })
    }

    /// Deletes a topic and everything in it. True if there was one.
    pub fn delete_topic(&self, topic: &str) -> Result<bool, LogError> {
        let (admin, options) = self.admin()?;
        let answer = block_on(admin.delete_topics(&[topic], &options));
        self.forget_topic(topic);
        match self.outcome(answer)? {
            Ok(()) => Ok(true),
            Err(RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(false),
            Err(code) => Err(self.refused(&format!("delete topic {topic}"), code)),
        }
    }

    /// A topic's setting in force; `None` where the brokers do not let this client see it.
    pub(crate) fn topic_setting(&self, topic: &str, name: &str) -> Result<Option<String>, LogError> {
        let (admin, options) = self.admin()?;
        let answer = block_on(admin.describe_configs([&ResourceSpecifier::Topic(topic)], &options));
        let found = match answer {
            Err(error) if error.rdkafka_error_code().is_some_and(is_refusal) => Vec::new(),
            answer => answer.map_err(|error| crate::fault::fault(&self.settings().brokers, error))?,
        };
        let settings = found.into_iter().next().and_then(Result::ok);
        let value = settings.as_ref().and_then(|settings| settings.get(name)?.value.clone());
        // rdkafka does not show why an answer is empty: the brokers say that this client may not know.
        if value.is_none() {
            self.settings_are_hidden(topic);
        }
        Ok(value)
    }

    /// One client for all questions: the end of one is waited for up to a tenth of a second.
    fn admin(&self) -> Result<(&AdminClient<Plain>, AdminOptions), LogError> {
        let settings = self.settings();
        let admin = match self.admin_client().get() {
            Some(admin) => admin,
            None => {
                let created = settings.admin()?.create_with_context(Plain);
                let admin = created.map_err(|error| crate::fault::fault(&settings.brokers, error))?;
                self.admin_client().get_or_init(|| admin)
            }
        };
        let timeout = Some(settings.timeout);
        Ok((admin, AdminOptions::new().request_timeout(timeout).operation_timeout(timeout)))
    }

    /// The outcome of the one topic that was asked about.
    fn outcome(
        &self,
        answer: rdkafka::error::KafkaResult<Vec<rdkafka::admin::TopicResult>>,
    ) -> Result<Result<(), RDKafkaErrorCode>, LogError> {
        let settings = self.settings();
        let results = answer.map_err(|error| crate::fault::fault(&settings.brokers, error))?;
        match results.into_iter().next() {
            Some(Ok(_)) => Ok(Ok(())),
            Some(Err((_, code))) => Ok(Err(code)),
            None => {
                Err(crate::fault::unavailable(&settings.brokers, "the broker did not answer for the topic"))
            }
        }
    }

    fn refused(&self, what: &str, code: RDKafkaErrorCode) -> LogError {
        crate::fault::unavailable(
            &self.settings().brokers,
            format!("cannot {what}: {code}; do it on the broker"),
        )
    }

    /// A topic that was just created takes a moment until every partition has a leader.
    fn wait_for(&self, topic: &str) -> Result<usize, LogError> {
        use watershed_schemas::log::Log;
        let deadline = Instant::now() + self.settings().timeout;
        loop {
            match self.bounds(topic) {
                Ok(bounds) => return Ok(bounds.len()),
                Err(error) if Instant::now() >= deadline => return Err(error),
                Err(_) => std::thread::sleep(Duration::from_millis(20)),
            }
        }
    }
}

/// True for brokers that do not answer this client's question, or none of its kind.
fn is_refusal(code: RDKafkaErrorCode) -> bool {
    matches!(
        code,
        RDKafkaErrorCode::TopicAuthorizationFailed
            | RDKafkaErrorCode::ClusterAuthorizationFailed
            | RDKafkaErrorCode::UnsupportedFeature
            | RDKafkaErrorCode::UnsupportedVersion
    )
}
