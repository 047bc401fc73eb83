//! Spans of requests, sent to a collector by OTLP over HTTP in its JSON form.
//!
//! A span that has the field `trace_id` begins what is exported; every span below it belongs to it. What the collector does not
//! take in time is dropped and counted: tracing never holds up an answer.

mod otlp;

use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime};

use tokio::sync::{mpsc, oneshot};
use tracing::field::{Field, Visit};
use tracing::span::{Attributes, Id, Record};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::layer::{Context, Layer};
use tracing_subscriber::registry::LookupSpan;
use uuid::Uuid;

/// Spans that wait for the collector.
const MOST_WAITING: usize = 65_536;
/// Spans are sent together after so long, so many at once.
const PAUSE: Duration = Duration::from_millis(500);
const MOST_TOGETHER: usize = 2_048;
/// How long a process that ends waits for its last spans to be taken.
const LAST: Duration = Duration::from_secs(2);
/// Fields that say where a span belongs, and are no attributes of it.
const OWN: [&str; 5] = ["trace_id", "span_id", "parent_id", "sampled", "otel.kind"];

/// A span that has ended.
#[derive(Debug)]
struct Span {
    trace: String,
    id: String,
    parent: Option<String>,
    name: &'static str,
    kind: Option<String>,
    began: SystemTime,
    ended: SystemTime,
    attributes: BTreeMap<&'static str, String>,
    failed: bool,
}

/// A span that is open, and its fields so far.
struct Open {
    trace: String,
    id: String,
    above: Option<String>,
    began: SystemTime,
    failed: bool,
    fields: Fields,
}

#[derive(Default)]
struct Fields(BTreeMap<&'static str, String>);

impl Fields {
    fn text(&self, name: &str) -> Option<String> {
        self.0.get(name).cloned()
    }
}

impl Visit for Fields {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name(), value.to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0.insert(field.name(), format!("{value:?}"));
    }
}

/// Gathers spans for the collector.
pub struct Traces {
    ended: mpsc::Sender<Span>,
    /// Of trace ids' upper half: what lies below is kept.
    kept_below: u64,
}

/// What is left to do when the process ends.
pub struct Exporting(mpsc::Sender<oneshot::Sender<()>>);

impl Exporting {
    /// Sends what waits.
    pub async fn finish(self) {
        let (done, taken) = oneshot::channel();
        if self.0.send(done).await.is_ok() {
            // Whoever does not take them now does not get them.
            _ = tokio::time::timeout(LAST, taken).await;
        }
    }
}

/// Exports spans to `endpoint` (`http://collector:4318`), of this share of the traces that begin here.
pub fn start(endpoint: &str, service: &str, share: f64) -> anyhow::Result<(Traces, Exporting)> {
    let (ended, spans) = mpsc::channel(MOST_WAITING);
    let (finish, finished) = mpsc::channel(1);
    let collector = otlp::Collector::new(endpoint, service)?;
    tokio::spawn(export(collector, spans, finished));
    Ok((Traces { ended, kept_below: (share * u64::MAX as f64) as u64 }, Exporting(finish)))
}

async fn export(
    collector: otlp::Collector,
    mut spans: mpsc::Receiver<Span>,
    mut finished: mpsc::Receiver<oneshot::Sender<()>>,
) {
    let mut lost = 0;
    loop {
        let last = tokio::select! {
            () = tokio::time::sleep(PAUSE) => None,
            last = finished.recv() => last,
        };
        while let together = waiting(&mut spans)
            && !together.is_empty()
        {
            match collector.send(&together).await {
                Ok(()) if lost > 0 => {
                    tracing::warn!(lost, "spans are exported again");
                    lost = 0;
                }
                Ok(()) => {}
                Err(error) => {
                    // Told once for as long as it lasts.
                    if lost == 0 {
                        tracing::warn!(%error, "spans not exported");
                    }
                    lost += together.len();
                }
            }
        }
        if let Some(last) = last {
            // Nobody may be waiting any more.
            _ = last.send(());
            return;
        }
    }
}

/// Spans that wait, as many as are sent together.
fn waiting(spans: &mut mpsc::Receiver<Span>) -> Vec<Span> {
    std::iter::from_fn(|| spans.try_recv().ok()).take(MOST_TOGETHER).collect()
}

impl Traces {
    /// Nodes of one trace come to the same decision, for they see the same id.
    fn keeps(&self, trace: &str) -> bool {
        let upper = trace.get(..16).and_then(|upper| u64::from_str_radix(upper, 16).ok());
        upper.is_some_and(|upper| upper <= self.kept_below)
    }

    /// A span that begins a trace's part here, or lies within one.
    fn open(&self, fields: Fields, above: Option<(String, String)>) -> Option<Open> {
        let own = fields.text("trace_id");
        let begins = own.is_some();
        let (trace, above) = match (own, above) {
            (Some(trace), _) => (trace, fields.text("parent_id")),
            (None, Some((trace, above))) => (trace, Some(above)),
            (None, None) => return None,
        };
        let is_dropped =
            begins && (fields.text("sampled").as_deref() == Some("false") || !self.keeps(&trace));
        if is_dropped {
            return None;
        }
        let id = fields.text("span_id");
        let id = id.unwrap_or_else(|| format!("{:016x}", Uuid::new_v4().as_u64_pair().1));
        Some(Open { trace, id, above, began: SystemTime::now(), failed: false, fields })
    }
}

impl<S: Subscriber + for<'a> LookupSpan<'a>> Layer<S> for Traces {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        let above = span.parent().and_then(|above| {
            above.extensions().get::<Open>().map(|open| (open.trace.clone(), open.id.clone()))
        });
        if let Some(open) = self.open(fields, above) {
            span.extensions_mut().insert(open);
        }
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else { return };
        if let Some(open) = span.extensions_mut().get_mut::<Open>() {
            values.record(&mut open.fields);
            open.above = open.fields.text("parent_id").or(open.above.take());
            if let Some(id) = open.fields.text("span_id") {
                open.id = id;
            }
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let Some(span) = context.event_span(event) else { return };
        if *event.metadata().level() == Level::ERROR
            && let Some(open) = span.extensions_mut().get_mut::<Open>()
        {
            open.failed = true;
        }
    }

    fn on_close(&self, id: Id, context: Context<'_, S>) {
        let Some(span) = context.span(&id) else { return };
        let Some(open) = span.extensions_mut().remove::<Open>() else { return };
        let kind = open.fields.text("otel.kind");
        let status = open.fields.text("status").and_then(|status| status.parse::<u16>().ok());
        let attributes = open.fields.0.into_iter().filter(|(name, _)| !OWN.contains(name)).collect();
        // A collector that does not keep up has no say in how long an answer takes.
        _ = self.ended.try_send(Span {
            trace: open.trace,
            id: open.id,
            parent: open.above,
            name: span.name(),
            kind,
            began: open.began,
            ended: SystemTime::now(),
            attributes,
            failed: open.failed || status.is_some_and(|status| status >= 500),
        });
    }
}
