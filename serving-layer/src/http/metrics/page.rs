//! A page of metrics as values, and the two text forms it is written in.
//!
//! Families are named in full, as a page shows them (`watershed_lag_records`); their kind and unit follow from how they
//! end, so a name cannot contradict what it names.

use std::fmt::{self, Display};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    CounterValueEncoder, DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, GaugeValueEncoder,
    NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::registry::{Registry, Unit};

/// Words that stand last in a name and are the unit.
const UNITS: [&str; 6] = ["seconds", "bytes", "records", "cells", "windows", "ratio"];

/// Families of samples, each with what it means.
#[derive(Debug, Default)]
pub struct Page(Vec<Family>);

#[derive(Debug)]
struct Family {
    name: &'static str,
    unit: Option<Unit>,
    kind: MetricType,
    help: &'static str,
    samples: Vec<Sample>,
}

#[derive(Debug)]
pub struct Sample {
    labels: Vec<(&'static str, String)>,
    value: Number,
}

/// Offsets stay whole: as a double, a large one would be another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    Count(u64),
    Offset(i64),
    Real(f64),
}

impl Page {
    /// A family is there whether it has samples or not, so that its name can be relied upon.
    pub fn gauge(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = Sample>,
    ) {
        self.family(name, MetricType::Gauge, help, samples);
    }

    /// `name` ends in `_total`.
    pub fn counter(
        &mut self,
        name: &'static str,
        help: &'static str,
        samples: impl IntoIterator<Item = Sample>,
    ) {
        self.family(name.trim_end_matches("_total"), MetricType::Counter, help, samples);
    }

    fn family(
        &mut self,
        name: &'static str,
        kind: MetricType,
        help: &'static str,
        samples: impl IntoIterator<Item = Sample>,
    ) {
        let (name, unit) = match name.rsplit_once('_') {
            Some((name, unit)) if UNITS.contains(&unit) => (name, Some(Unit::Other(unit.to_string()))),
            _ => (name, None),
        };
        self.0.push(Family { name, unit, kind, help, samples: samples.into_iter().collect() });
    }
}

pub fn sample<const N: usize>(labels: [(&'static str, &dyn Display); N], value: impl Into<Number>) -> Sample {
    let labels = labels.into_iter().map(|(name, value)| (name, value.to_string())).collect();
    Sample { labels, value: value.into() }
}

/// Milliseconds as the seconds that Prometheus counts in.
pub fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1_000.0
}

impl Collector for Page {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        for family in &self.0 {
            let (help, unit) = (family.help, family.unit.as_ref());
            let mut metric = encoder.encode_descriptor(family.name, help, unit, family.kind)?;
            for sample in &family.samples {
                let mut metric = metric.encode_family(&sample.labels)?;
                match family.kind {
                    MetricType::Counter => {
                        metric.encode_counter::<NoLabelSet, _, f64>(&sample.value, None)?
                    }
                    _ => metric.encode_gauge(&sample.value)?,
                }
            }
        }
        Ok(())
    }
}

impl EncodeGaugeValue for Number {
    fn encode(&self, encoder: &mut GaugeValueEncoder<'_>) -> fmt::Result {
        match self {
            Number::Count(count) => EncodeGaugeValue::encode(count, encoder),
            Number::Offset(offset) => EncodeGaugeValue::encode(offset, encoder),
            Number::Real(real) => EncodeGaugeValue::encode(real, encoder),
        }
    }
}

impl EncodeCounterValue for Number {
    fn encode(&self, encoder: &mut CounterValueEncoder<'_>) -> fmt::Result {
        match self {
            Number::Count(count) => EncodeCounterValue::encode(count, encoder),
            Number::Offset(offset) => EncodeCounterValue::encode(&(*offset as f64), encoder),
            Number::Real(real) => EncodeCounterValue::encode(real, encoder),
        }
    }
}

impl From<bool> for Number {
    fn from(truth: bool) -> Self {
        Number::Count(u64::from(truth))
    }
}

impl From<u64> for Number {
    fn from(count: u64) -> Self {
        Number::Count(count)
    }
}

impl From<usize> for Number {
    fn from(count: usize) -> Self {
        Number::Count(count as u64)
    }
}

impl From<i64> for Number {
    fn from(offset: i64) -> Self {
        Number::Offset(offset)
    }
}

impl From<f64> for Number {
    fn from(real: f64) -> Self {
        Number::Real(real)
    }
}

/// A text form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// Prometheus' own, version 0.0.4: also what people and `curl` get.
    Prometheus,
    /// OpenMetrics 1.0.
    OpenMetrics,
}

impl Form {
    /// OpenMetrics for whoever names it and likes plain text no better.
    pub fn accepted(accept: &str) -> Form {
        let (mut open_metrics, mut plain) = (0.0_f32, 0.0_f32);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(|part| part.trim().to_ascii_lowercase());
            let media_type = parts.next().unwrap_or_default();
            let quality = parts.find_map(|part| part.strip_prefix("q=").map(str::to_string));
            let quality = quality.map_or(1.0, |quality| quality.parse().unwrap_or(0.0));
            match media_type.as_str() {
                "application/openmetrics-text" => open_metrics = open_metrics.max(quality),
                "text/plain" => plain = plain.max(quality),
                _ => {}
            }
        }
        if open_metrics > 0.0 && open_metrics >= plain { Form::OpenMetrics } else { Form::Prometheus }
    }

    pub fn media_type(self) -> &'static str {
        match self {
            Form::Prometheus => prometheus_text::CONTENT_TYPE,
            Form::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }

    /// The page, and what is counted in `registry`.
    pub fn write(self, page: Page, registry: &Registry) -> Result<String, fmt::Error> {
        let mut at_once = Registry::default();
        at_once.register_collector(Box::new(page));
        let mut written = String::new();
        for registry in [&at_once, registry] {
            match self {
                Form::Prometheus => prometheus_text::encode(&mut written, registry)?,
                Form::OpenMetrics => text::encode_registry(&mut written, registry)?,
            }
        }
        if self == Form::OpenMetrics {
            text::encode_eof(&mut written)?;
        }
        Ok(written)
    }
}
