//! A log whose partitions are handed out at once, and deliver from one moment on: so that all nodes begin together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use watershed_schemas::identity::{Fingerprint, TopicId};
use watershed_schemas::log::{Delivery, Log, LogError, Reader, Subscription};
use watershed_schemas::offsets::{Offset, OffsetRange, Offsets, Partition};

/// How long one poll waits before the gate: that is how late its opening may be heard of.
const LOOK: Duration = Duration::from_millis(1);

/// Closed until it is opened.
#[derive(Clone, Default)]
pub struct Gate(Arc<AtomicBool>);

impl Gate {
    pub fn before(&self, log: Arc<dyn Log>) -> Arc<dyn Log> {
        Arc::new(Gated { log, gate: self.clone() })
    }

    pub fn open(&self) {
        self.0.store(true, Ordering::Release);
    }

    fn is_open(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

struct Gated {
    log: Arc<dyn Log>,
    gate: Gate,
}

impl Log for Gated {
    fn bounds(&self, topic: &str) -> Result<Vec<(Partition, OffsetRange)>, LogError> {
        self.log.bounds(topic)
    }

    fn reader(&self, topic: &str, partition: Partition, from: Offset) -> Result<Box<dyn Reader>, LogError> {
        self.log.reader(topic, partition, from)
    }

    fn record_at(
        &self,
        topic: &str,
        partition: Partition,
        offset: Offset,
    ) -> Result<Option<Fingerprint>, LogError> {
        self.log.record_at(topic, partition, offset)
    }

    fn topic_id(&self, topic: &str) -> Result<Option<TopicId>, LogError> {
        self.log.topic_id(topic)
    }

    fn subscribe(&self, topic: &str, group: &str) -> Result<Box<dyn Subscription>, LogError> {
        let subscription = self.log.subscribe(topic, group)?;
        Ok(Box::new(Waiting { subscription, gate: self.gate.clone(), held_back: Offsets::new() }))
    }
}

struct Waiting {
    subscription: Box<dyn Subscription>,
    gate: Gate,
    /// What is to be delivered once the gate opens.
    held_back: Offsets,
}

impl Subscription for Waiting {
    fn poll(&mut self, max_records: usize, timeout: Duration) -> Result<Delivery, LogError> {
        if self.gate.is_open() {
            if !self.held_back.is_empty() {
                self.subscription.start(&std::mem::take(&mut self.held_back))?;
            }
            return self.subscription.poll(max_records, timeout);
        }
        let delivery = self.subscription.poll(max_records, timeout.min(LOOK))?;
        if let Delivery::Revoked(partitions) = &delivery {
            partitions.iter().for_each(|partition| self.held_back.remove(*partition));
        }
        Ok(delivery)
    }

    fn start(&mut self, positions: &Offsets) -> Result<(), LogError> {
        if self.gate.is_open() {
            return self.subscription.start(positions);
        }
        positions.iter().for_each(|(partition, offset)| self.held_back.set(partition, offset));
        Ok(())
    }
}
