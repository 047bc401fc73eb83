//! Follows a stream's log: one thread that hears what happens, has it decided, and does as decided.
//!
//! [`Following`] decides; here is only what touches the log, the folds and the clock. Looks and last
//! checkpoints run beside this thread, so that it never waits for the store.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::task::spawn_blocking;
use watershed_schemas::decode::Decoder;
use watershed_schemas::log::{Delivery, Log, LogError, Subscription};
use watershed_schemas::offsets::{Offset, Offsets, Partition};

use crate::folding::{Folder, Threads};
use crate::following::{Command, Event, FIRST_PAUSE, Following};
use crate::held::{Broken, Held};
use crate::opening::{self, Found};
use crate::partition::PartitionEpochs;
use crate::shared::{Shared, Slot};
use crate::wanted::Wanted;
use crate::{loading, recognising, saving};

/// How long one poll waits while partitions are being opened: what opens them arrives by another way.
const OPENING_POLL: Duration = Duration::from_millis(5);

pub(crate) struct Follower {
    shared: Arc<Shared>,
    log: Arc<dyn Log>,
    runtime: Handle,
    folder: Folder,
    following: Following,
    /// Once the group was joined.
    subscription: Option<Box<dyn Subscription>>,
    /// When the log was asked for the ends that were last heard of.
    ends_at: Duration,
    /// What looks brought.
    found: Receiver<Event>,
    looked: Sender<Event>,
    /// Tells the replaying thread that there may be something for it.
    replays: Sender<()>,
}

impl Follower {
    /// Begins with nothing assigned, whatever a follower before it had.
    pub fn new(
        shared: Arc<Shared>,
        log: Arc<dyn Log>,
        runtime: Handle,
        threads: Arc<Threads>,
        replays: Sender<()>,
    ) -> Self {
        for partition in shared.partitions().into_keys() {
            shared.remove_partition(partition);
        }
        let folder = Folder::new(threads, fields_read(&shared));
        let following = Following::new(shared.views.clone(), shared.settings.retry_interval);
        let (looked, found) = channel();
        Follower {
            shared,
            log,
            runtime,
            folder,
            following,
            subscription: None,
            ends_at: Duration::ZERO,
            found,
            looked,
            replays,
        }
    }

    /// Runs until the node stops.
    pub fn follow(&mut self) {
        while !self.shared.is_stopping() {
            self.attend();
            let event = self.hear();
            if self.shared.is_stopping() {
                break;
            }
            let may_be_current = matches!(event, Event::Delivered(_) | Event::Idle { .. });
            self.happen(event);
            if may_be_current {
                self.note_current();
            }
        }
        if self.shared.is_leaving() {
            // Before the group is left, which dropping the subscription does: whoever is assigned these partitions
            // next shall find all that was folded.
            let (open, limit) = (self.shared.open_partitions(), self.shared.settings.shutdown_limit);
            self.runtime.block_on(saving::save_all(&self.shared, open, limit));
        }
    }

    /// Whatever came by other ways than the log.
    fn attend(&mut self) {
        while let Ok(looked) = self.found.try_recv() {
            self.happen(looked);
        }
        if let Some(wanted) = self.shared.wanted()
            && self.following.wanted().is_none_or(|heeded| !Arc::ptr_eq(heeded, &wanted))
        {
            self.happen(Event::Wanted(wanted));
        }
        for (partition, held) in self.shared.open_partitions() {
            if held.is_broken() {
                self.happen(Event::Broken { partition, reason: Broken.to_string() });
            }
        }
        for (partition, reason) in self.shared.take_suspicions() {
            self.happen(Event::Broken { partition, reason });
        }
        if let Some(ends) = self.news_of_ends() {
            self.happen(Event::Ends(ends));
        }
        self.happen(Event::Tick);
    }

    /// Where the log ends, if it was asked since this was last called.
    fn news_of_ends(&mut self) -> Option<Offsets> {
        let progress = self.shared.progress();
        let asked_at = std::mem::replace(&mut self.ends_at, progress.answered_at);
        (asked_at < progress.answered_at).then(|| progress.end.clone())
    }

    /// What the log has to say next.
    fn hear(&mut self) -> Event {
        let settings = &self.shared.settings;
        let Some(subscription) = &mut self.subscription else {
            let group = format!("{}-{}", settings.group, self.shared.stream.name);
            return match self.log.subscribe(&self.shared.stream.topic, &group) {
                Ok(subscription) => {
                    self.subscription = Some(subscription);
                    Event::Subscribed
                }
                Err(error) => Event::Failed(error),
            };
        };
        let timeout = if self.following.is_opening() { OPENING_POLL } else { settings.poll_timeout };
        match subscription.poll(settings.poll_records, timeout) {
            Ok(Delivery::Records(runs)) => Event::Delivered(runs),
            Ok(Delivery::Assigned(partitions)) => Event::Assigned(partitions),
            Ok(Delivery::Revoked(partitions)) => Event::Revoked(partitions),
            Ok(Delivery::Idle) => Event::Idle { answered_at: self.shared.progress().answered_at },
            Err(LogError::OutOfRange { partition, needed, held }) => {
                Event::OutOfRange { partition, needed, held }
            }
            Err(error @ LogError::Truncated { partition, .. }) => {
                Event::Broken { partition, reason: error.to_string() }
            }
            Err(error) => Event::Failed(error),
        }
    }

    /// Has it decided what an event demands, and does it; what comes of that is decided likewise.
    fn happen(&mut self, event: Event) {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            for command in self.following.on(event, self.shared.now()) {
                events.extend(self.carry_out(command));
            }
        }
    }

    fn carry_out(&mut self, command: Command) -> Vec<Event> {
        match command {
            Command::Await(partition) => {
                tracing::info!(stream = self.shared.stream.name, %partition, "partition assigned");
                self.shared.set_partition(partition, Slot::Opening);
            }
            Command::Look { partition, look } => self.look(partition, look),
            Command::Open(epochs) => return vec![self.open(*epochs)],
            Command::Start { partition, live } => {
                let result = self.start(partition, live);
                return vec![Event::Started { partition, result }];
            }
            Command::Fold(runs) => return self.folder.fold(&self.shared, &runs),
            Command::Heed(wanted) => self.heed(&wanted),
            Command::Stick { partition, reason } => {
                self.shared.set_partition(partition, Slot::Stuck(reason));
            }
            Command::Release(partitions) => self.release(partitions),
            Command::Replay => {
                // Nobody hears it if the node stops.
                let _ = self.replays.send(());
            }
            Command::Tell(source, trouble) => self.shared.set_trouble(source, trouble),
            Command::Pause(pause) => self.pause(pause),
        }
        Vec::new()
    }

    fn look(&self, partition: Partition, look: u64) {
        let (shared, log, looked) = (self.shared.clone(), self.log.clone(), self.looked.clone());
        self.runtime.spawn(async move {
            let found = find(&shared, log, partition).await;
            // Nobody hears it if the node stops.
            let _ = looked.send(Event::Looked { partition, look, found });
        });
    }

    fn open(&mut self, epochs: PartitionEpochs) -> Event {
        let (partition, live) = (epochs.partition(), epochs.live());
        let result = self.start(partition, live);
        if result.is_ok() {
            let (stream, resumed) = (&self.shared.stream.name, epochs.is_resumed());
            tracing::info!(stream, %partition, %live, resumed, missing = ?epochs.missing(), "partition opened");
            let held = Held::new(epochs.within(&self.shared.budgets), &self.shared.moves);
            self.shared.set_partition(partition, Slot::Open(held));
        }
        Event::Started { partition, result }
    }

    fn start(&mut self, partition: Partition, live: Offset) -> Result<(), LogError> {
        let subscription =
            self.subscription.as_mut().expect("only a member of the group is assigned anything");
        subscription.start(&Offsets::from_iter([(partition, live)]))
    }

    fn heed(&mut self, wanted: &Wanted) {
        self.folder.read_too(wanted.fields_read(&self.shared.views));
        for (_, held) in self.shared.open_partitions() {
            if let Ok(mut epochs) = held.write() {
                opening::complete(&mut epochs, wanted, &self.shared.views);
            }
        }
    }

    fn release(&self, partitions: Vec<Partition>) {
        let mut released = Vec::new();
        for partition in partitions {
            tracing::info!(stream = self.shared.stream.name, %partition, "partition revoked");
            released.extend(self.shared.remove_partition(partition).map(|held| (partition, held)));
        }
        let (shared, limit) = (self.shared.clone(), self.shared.settings.shutdown_limit);
        self.runtime.spawn(async move { saving::save_all(&shared, released, limit).await });
    }

    fn pause(&self, pause: Duration) {
        let until = self.shared.now() + pause;
        while !self.shared.is_stopping() && self.shared.now() < until {
            thread::sleep(FIRST_PAUSE);
        }
    }

    /// Notes when this node has folded all that the log held at some moment. Only the log's end says what it
    /// held: silence may also mean that nothing comes through.
    fn note_current(&self) {
        let mut progress = self.shared.progress();
        if self.following.has_reached(&progress.end) {
            progress.current_at_ms = progress.current_at_ms.max(progress.end_at_ms);
        }
    }
}

/// The fields of the stream that the project's views read.
pub(crate) fn fields_read(shared: &Shared) -> BTreeSet<String> {
    shared.views.values().flat_map(|view| view.fields_read()).map(str::to_string).collect()
}

/// Decodes records of the stream to these fields.
pub(crate) fn decoder(shared: &Shared, fields: &BTreeSet<String>) -> Decoder {
    Decoder::new(&shared.stream, &fields.iter().map(String::as_str).collect::<Vec<_>>())
}

async fn find(shared: &Arc<Shared>, log: Arc<dyn Log>, partition: Partition) -> Result<Found, String> {
    let (held, topic_id) = {
        let (log, topic) = (log.clone(), shared.stream.topic.clone());
        asked(move || Ok((log.bounds(&topic)?, log.topic_id(&topic)?))).await?
    };
    // An answer about the topic may leave a partition out for a moment: an error, never news.
    let held = held.iter().find(|(named, _)| *named == partition).map(|(_, held)| *held);
    let held =
        held.ok_or_else(|| format!("partition {partition} is assigned, but the log does not name it"))?;
    let loaded = loading::load(&shared.store, &shared.stream.name, partition, held, &shared.views).await;
    let checkpoint = loaded.map_err(|error| format!("checkpoints: {error}"))?;
    let wanted = known(shared).await.ok_or("the node stops")?;
    let topic = shared.stream.topic.clone();
    let recognised = spawn_blocking(move || {
        recognising::recognise(&*log, &topic, partition, held, topic_id.as_ref(), &wanted.log)?;
        // One that is of no use need not be recognised.
        let useful = checkpoint.into_iter().filter(|of| opening::is_useful(of, partition, held, &wanted));
        let checkpoint = recognising::recognised(&*log, &topic, partition, held, topic_id.as_ref(), useful);
        let checkpoints = checkpoint.map_err(|error| error.to_string())?.into_iter().collect();
        Ok(Found { partition, held, topic_id, checkpoints })
    });
    recognised.await.map_err(|error| error.to_string())?
}

/// What is wanted, once the store has been read. A log cannot be recognised before.
async fn known(shared: &Shared) -> Option<Arc<Wanted>> {
    while !shared.is_stopping() {
        if let Some(wanted) = shared.wanted() {
            return Some(wanted);
        }
        tokio::time::sleep(OPENING_POLL).await;
    }
    None
}

/// What the log answers, asked beside the runtime's threads.
async fn asked<R: Send + 'static>(
    ask: impl FnOnce() -> Result<R, LogError> + Send + 'static,
) -> Result<R, String> {
    let answer = spawn_blocking(ask).await.map_err(|error| error.to_string())?;
    answer.map_err(|error| error.to_string())
}
