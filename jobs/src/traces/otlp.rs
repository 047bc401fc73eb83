//! OTLP/HTTP, JSON encoding: <https://opentelemetry.io/docs/specs/otlp/#otlphttp>.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use reqwest::{Client, Url};
use serde_json::{Value, json};

use super::Span;

/// A collector that does not take spans within this time is away.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where spans go.
pub struct Collector {
    client: Client,
    url: Url,
    service: String,
}

impl Collector {
    pub fn new(endpoint: &str, service: &str) -> anyhow::Result<Collector> {
        let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
        let url = Url::parse(&url).with_context(|| {
            format!("setting traces.endpoint: found \"{endpoint}\", expected such as http://collector:4318")
        })?;
        let client = Client::builder().timeout(PATIENCE).build().context("traces.endpoint")?;
        Ok(Collector { client, url, service: service.to_string() })
    }

    pub async fn send(&self, spans: &[Span]) -> anyhow::Result<()> {
        let request = json!({ "resourceSpans": [{
            "resource": { "attributes": [text("service.name", &self.service)] },
            "scopeSpans": [{
                "scope": { "name": "watershed", "version": env!("CARGO_PKG_VERSION") },
                "spans": spans.iter().map(span).collect::<Vec<_>>(),
            }],
        }] });
        let response = self.client.post(self.url.clone()).json(&request).send().await?;
        if !response.status().is_success() {
            bail!("{} answered {}", self.url, response.status());
        }
        Ok(())
    }
}

fn span(span: &Span) -> Value {
    let kind = match span.kind.as_deref() {
        Some("server") => 2,
        Some("client") => 3,
        _ => 1,
    };
    json!({
        "traceId": span.trace,
        "spanId": span.id,
        "parentSpanId": span.parent.as_deref().unwrap_or_default(),
        "name": span.name,
        "kind": kind,
        "startTimeUnixNano": nanos(span.began),
        "endTimeUnixNano": nanos(span.ended),
        "attributes": span.attributes.iter().map(|(name, value)| text(name, value)).collect::<Vec<_>>(),
        "status": { "code": if span.failed { 2 } else { 0 } },
    })
}

fn text(name: &str, value: &str) -> Value {
    json!({ "key": name, "value": { "stringValue": value } })
}

/// 64-bit numbers are texts in JSON.
fn nanos(time: SystemTime) -> String {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos().to_string()
}
