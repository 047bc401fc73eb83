//! Streams as metrics: what `/v1/status`, `/v1/streams/{stream}/versions` and `/v1/views/{view}/accuracy` say.

use std::fmt::Display;

use chrono::DateTime;
use watershed_schemas::manifest::{Accuracy, Manifest};
use watershed_schemas::offsets::Offsets;

use super::page::{Number, Page, Sample, sample, seconds};
use crate::ask::now_ms;
use crate::http::status::{Source, StreamStatus, ViewStatus};
use crate::time_to_loss::PartitionToLoss;
use crate::versions::Readiness;

pub fn add(page: &mut Page, streams: &[StreamStatus]) {
    readiness(page, streams);
    positions(page, streams);
    retention(page, streams);
    versions(page, streams);
    runs(page, streams);
    losses(page, streams);
    views(page, streams);
    accuracy(page, streams);
}

fn readiness(page: &mut Page, streams: &[StreamStatus]) {
    let states = streams.iter().flat_map(|stream| {
        Readiness::ALL.map(|state| {
            sample([("stream", &stream.stream), ("state", &state.name())], state == stream.state)
        })
    });
    page.gauge(
        "watershed_stream_state",
        "1 for the state that the stream is in: unknown, opening, live or batch_only.",
        states,
    );
    let troubles = streams.iter().flat_map(|stream| {
        Source::ALL.map(|source| {
            let is_so = stream.trouble.iter().any(|(of, _)| *of == source);
            sample([("stream", &stream.stream), ("source", &source.name())], is_so)
        })
    });
    page.gauge(
        "watershed_trouble",
        "1 while something keeps a newer version or the live half from being served.",
        troubles,
    );
}

fn positions(page: &mut Page, streams: &[StreamStatus]) {
    page.gauge(
        "watershed_watershed_offset",
        "Below this offset answers are exact: the version in service has folded everything.",
        offsets(streams, |stream| &stream.watershed),
    );
    page.gauge(
        "watershed_live_offset",
        "Below this offset the speed nodes have folded everything.",
        offsets(streams, |stream| &stream.live),
    );
    page.gauge("watershed_end_offset", "Where the log ends.", offsets(streams, |stream| &stream.end));
    let lags = streams.iter().flat_map(|stream| {
        let partitions = stream.lag.iter();
        partitions
            .map(move |(partition, lag)| sample([("stream", &stream.stream), ("partition", partition)], *lag))
    });
    page.gauge(
        "watershed_lag_records",
        "Offsets from where answers reach to the log's end; offsets may have holes.",
        lags,
    );
    page.gauge(
        "watershed_freshness_seconds",
        "How long ago everything in the log was in the answers; absent where that is not known.",
        of(streams, |stream| stream.freshness_ms.map(seconds)),
    );
}

fn retention(page: &mut Page, streams: &[StreamStatus]) {
    page.gauge(
        "watershed_time_to_loss_seconds",
        "Until the log's retention reaches records that no version holds; absent where it is not on its way there.",
        to_loss(streams, |partition| partition.seconds),
    );
    page.gauge(
        "watershed_loss_margin_records",
        "Offsets from the log's start to the first that no version holds; below zero, records have been lost.",
        to_loss(streams, |partition| Some(partition.offsets_left)),
    );
    page.gauge(
        "watershed_log_start_offset",
        "Where the log begins.",
        to_loss(streams, |partition| Some(partition.log_start_offset.0)),
    );
    page.gauge(
        "watershed_log_answer_age_seconds",
        "How long ago the log last said where it begins; absent before it has.",
        of(streams, |stream| stream.time_to_loss.asked_ms_ago.map(|age| age as f64 / 1_000.0)),
    );
}

fn versions(page: &mut Page, streams: &[StreamStatus]) {
    page.gauge(
        "watershed_version",
        "The version in service; absent before the first.",
        of(streams, |stream| stream.version),
    );
    page.gauge(
        "watershed_newest_version",
        "The newest version that is loaded, in service or not.",
        of(streams, |stream| stream.newest_version),
    );
    let now = now_ms();
    page.gauge(
        "watershed_version_age_seconds",
        "How long ago the run began that made the version in service.",
        of(streams, |stream| {
            let began = DateTime::parse_from_rfc3339(&current(stream)?.created_at).ok()?;
            Some(seconds((now - began.timestamp_millis()).max(0)))
        }),
    );
    page.gauge(
        "watershed_version_events_records",
        "Events of the master dataset as of the version in service.",
        of(streams, |stream| Some(current(stream)?.events.iter().map(|file| file.file.rows).sum::<u64>())),
    );
}

fn runs(page: &mut Page, streams: &[StreamStatus]) {
    page.gauge(
        "watershed_batch_running",
        "1 while a batch run holds the stream's lease.",
        of(streams, |stream| Some(stream.running.is_some())),
    );
    page.gauge(
        "watershed_batch_run_seconds",
        "How long the run took that made the newest version.",
        of(streams, |stream| Some(newest(stream)?.seconds)),
    );
    page.gauge(
        "watershed_batch_run_landed_records",
        "Records that the run landed which made the newest version.",
        of(streams, |stream| Some(newest(stream)?.rows_landed)),
    );
    page.gauge(
        "watershed_batch_run_recomputed_windows",
        "Windows that the run recomputed which made the newest version.",
        of(streams, |stream| Some(newest(stream)?.windows_recomputed)),
    );
}

fn losses(page: &mut Page, streams: &[StreamStatus]) {
    let reasons = streams.iter().flat_map(|stream| {
        let reasons = stream.dead_letters.batch.reasons.iter();
        reasons.map(move |(reason, count)| sample([("stream", &stream.stream), ("reason", reason)], *count))
    });
    page.gauge(
        "watershed_dead_letter_records",
        "Records below the watershed that could not become events.",
        reasons,
    );
    page.gauge(
        "watershed_gaps",
        "Ranges of the log that were accepted as lost.",
        of(streams, |stream| Some(stream.gaps.len())),
    );
    page.gauge(
        "watershed_gap_records",
        "Offsets in those ranges.",
        of(streams, |stream| {
            Some(stream.gaps.iter().map(|gap| (gap.until.0 - gap.from.0).max(0)).sum::<i64>())
        }),
    );
}

fn views(page: &mut Page, streams: &[StreamStatus]) {
    let views = || streams.iter().flat_map(|stream| stream.views.iter().map(move |view| (stream, view)));
    let cells = views().map(|(StreamStatus { stream, .. }, ViewStatus { view, cells, .. })| {
        sample([("stream", stream), ("view", view)], *cells)
    });
    page.gauge("watershed_view_cells", "Groups of the view in the version in service.", cells);
    let bytes = views().map(|(StreamStatus { stream, .. }, ViewStatus { view, bytes, .. })| {
        sample([("stream", stream), ("view", view)], *bytes)
    });
    page.gauge("watershed_view_memory_bytes", "Memory that these take.", bytes);
}

fn accuracy(page: &mut Page, streams: &[StreamStatus]) {
    page.gauge(
        "watershed_accuracy_bound_ratio",
        "The error that the measure's sketch promises at most.",
        ledger(streams, |line| line.bound.into()),
    );
    page.gauge(
        "watershed_accuracy_mean_error_ratio",
        "The mean error of the sketch against exact values, in the windows that the run recomputed.",
        ledger(streams, |line| line.mean_error.into()),
    );
    page.gauge(
        "watershed_accuracy_max_error_ratio",
        "The largest of these errors.",
        ledger(streams, |line| line.max_error.into()),
    );
    page.gauge(
        "watershed_accuracy_compared_cells",
        "Cells that were compared.",
        ledger(streams, |line| line.cells.into()),
    );
    page.gauge(
        "watershed_accuracy_beyond_bound_cells",
        "Cells whose error lay beyond the bound.",
        ledger(streams, |line| line.beyond_bound.into()),
    );
}

/// A sample per stream that has the value.
fn of<N: Into<Number>>(streams: &[StreamStatus], value: impl Fn(&StreamStatus) -> Option<N>) -> Vec<Sample> {
    let told = streams
        .iter()
        .filter_map(|stream| value(stream).map(|value| sample([("stream", &stream.stream)], value)));
    told.collect()
}

/// A sample per partition.
fn offsets(streams: &[StreamStatus], of: impl Fn(&StreamStatus) -> &Offsets) -> Vec<Sample> {
    let mut told = Vec::new();
    for stream in streams {
        for (partition, offset) in of(stream).iter() {
            told.push(sample([("stream", &stream.stream), ("partition", &partition)], offset.0));
        }
    }
    told
}

/// A sample per line of the ledger of the version in service.
fn ledger(streams: &[StreamStatus], value: impl Fn(&Accuracy) -> Number) -> Vec<Sample> {
    let mut told = Vec::new();
    for stream in streams {
        for (view, stored) in current(stream).into_iter().flat_map(|manifest| &manifest.views) {
            for line in &stored.accuracy {
                let (stream, measure, kind) = (&stream.stream, &line.measure, &line.kind);
                let labels = [("stream", stream), ("view", view), ("measure", measure), ("kind", kind)];
                told.push(sample(labels.map(|(name, text)| (name, text as &dyn Display)), value(line)));
            }
        }
    }
    told
}

/// A sample per partition that has the value.
fn to_loss<N: Into<Number>>(
    streams: &[StreamStatus],
    value: impl Fn(&PartitionToLoss) -> Option<N>,
) -> Vec<Sample> {
    let mut told = Vec::new();
    for stream in streams {
        for (partition, to_loss) in &stream.time_to_loss.partitions {
            let sample = |value| sample([("stream", &stream.stream), ("partition", partition)], value);
            told.extend(value(to_loss).map(sample));
        }
    }
    told
}

fn current(stream: &StreamStatus) -> Option<&Manifest> {
    stream.current.as_ref().map(|current| &current.manifest)
}

fn newest(stream: &StreamStatus) -> Option<&Manifest> {
    stream.newest.as_ref().map(|newest| &newest.manifest)
}
