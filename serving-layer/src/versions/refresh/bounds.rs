//! Asking the log where it begins and ends, beside the loop that keeps versions fresh: a broker that does not answer holds up
//! neither a newer version nor another stream.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::join_all;
use tokio_util::sync::CancellationToken;
use watershed_schemas::log::{Log, LogError, refuse_fewer};
use watershed_schemas::offsets::{OffsetRange, Offsets, Partition};

use super::{Epoch, StreamState, Streams};

/// How often the log is asked while no speed layer reports its end.
const ENDS_EVERY: Duration = Duration::from_secs(1);
/// How often it is asked otherwise: only where it begins is news then.
const STARTS_EVERY: Duration = Duration::from_secs(10);

impl Streams {
    /// Asks until `stop`.
    pub(super) async fn watch_log(&self, stop: &CancellationToken) {
        let Some(log) = &self.log else { return };
        tokio::select! {
            () = stop.cancelled() => {}
            _ = join_all(self.streams.values().map(|state| state.watch(log))) => {}
        }
    }
}

impl StreamState {
    async fn watch(&self, log: &Arc<dyn Log>) {
        let mut asked: Option<Instant> = None;
        loop {
            let every = if self.end_is_reported() { STARTS_EVERY } else { ENDS_EVERY };
            if asked.is_none_or(|asked| asked.elapsed() >= every) {
                asked = Some(Instant::now());
                let (log, topic) = (log.clone(), self.stream.topic.clone());
                let bounds = tokio::task::spawn_blocking(move || log.bounds(&topic)).await;
                if let Ok(Ok(bounds)) = bounds
                    && let Err(error) = self.heard(&bounds)
                {
                    tracing::warn!(stream = self.stream.name, %error, "the log's answer is not heeded");
                }
            }
            tokio::time::sleep(ENDS_EVERY).await;
        }
    }

    /// True while speed nodes say where the log ends.
    fn end_is_reported(&self) -> bool {
        self.read(|seen| Epoch::of_nodes(&seen.nodes, None)) == Epoch::Ready
    }

    fn heard(&self, bounds: &[(Partition, OffsetRange)]) -> Result<(), LogError> {
        let mut seen = self.log.write().expect("no thread panics while it holds this lock");
        refuse_fewer(&self.stream.topic, seen.partitions(), bounds)?;
        seen.observe(Instant::now(), bounds);
        drop(seen);
        let is_reported = self.end_is_reported();
        let end: Offsets = bounds.iter().map(|(partition, held)| (*partition, held.until)).collect();
        self.write(|seen| {
            for (partition, until) in end.iter() {
                // A partition that no node has heard of yet is one: without it an answer would look complete.
                if !is_reported || !seen.end.names(partition) {
                    seen.end.set(partition, until);
                }
            }
        });
        Ok(())
    }
}
