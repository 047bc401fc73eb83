//! Speed nodes as metrics. A node is told of on the page of its own process only.

use watershed_schemas::live::{LiveStatus, TroubleSource};

use super::page::{Number, Page, Sample, sample, seconds};
use crate::ask::age_ms;

/// `nodes` with the stream that each status is of.
pub fn add(page: &mut Page, nodes: &[(&str, &LiveStatus)]) {
    progress(page, nodes);
    epochs(page, nodes);
    let troubles = nodes.iter().flat_map(|(stream, node)| {
        TroubleSource::ALL.map(|source| {
            let is_so = node.trouble_sources.contains(&source);
            sample([("stream", stream), ("node", &node.node), ("source", &source.name())], is_so)
        })
    });
    page.gauge("watershed_speed_trouble", "1 while a part of the speed node is in trouble.", troubles);
}

fn progress(page: &mut Page, nodes: &[(&str, &LiveStatus)]) {
    page.counter(
        "watershed_speed_folded_records_total",
        "Records folded live since the node started, dead letters among them.",
        of(nodes, |node| Some(node.records)),
    );
    page.counter(
        "watershed_speed_dead_letter_records_total",
        "Records met live that could not become events, since the node started.",
        nodes.iter().flat_map(|(stream, node)| {
            node.dead_letter_reasons.iter().map(move |(reason, count)| {
                sample([("stream", stream), ("node", &node.node), ("reason", reason)], *count)
            })
        }),
    );
    page.gauge(
        "watershed_speed_live_offset",
        "The next offset to be folded.",
        nodes.iter().flat_map(|(stream, node)| {
            node.live.iter().map(move |(partition, live)| {
                sample([("stream", stream), ("node", &node.node), ("partition", &partition)], live.0)
            })
        }),
    );
    page.gauge(
        "watershed_speed_lag_records",
        "Offsets from the live offset to the log's end; offsets may have holes.",
        nodes.iter().flat_map(|(stream, node)| {
            node.end.iter().map(move |(partition, end)| {
                let behind = (end.0 - node.live.get(partition).0).max(0);
                sample([("stream", stream), ("node", &node.node), ("partition", &partition)], behind)
            })
        }),
    );
    page.gauge(
        "watershed_speed_freshness_seconds",
        "How long ago everything in the node's partitions was folded; absent before that was ever so.",
        of(nodes, |node| age_ms(node.current_at_ms).map(seconds)),
    );
}

fn epochs(page: &mut Page, nodes: &[(&str, &LiveStatus)]) {
    page.gauge(
        "watershed_speed_groups",
        "Cells that the node keeps in memory, of all epochs.",
        of(nodes, |node| Some(node.groups)),
    );
    page.gauge(
        "watershed_speed_epochs_ready",
        "Epochs that are complete up to the live offsets.",
        of(nodes, |node| Some(node.epochs.len())),
    );
    page.gauge(
        "watershed_speed_checkpoint_age_seconds",
        "How long ago everything was last safe in the store; absent before the first checkpoint.",
        of(nodes, |node| node.checkpoint_age_ms.map(seconds)),
    );
}

/// A sample per node that has the value.
fn of<N: Into<Number>>(
    nodes: &[(&str, &LiveStatus)],
    value: impl Fn(&LiveStatus) -> Option<N>,
) -> Vec<Sample> {
    let told = nodes.iter().filter_map(|(stream, node)| {
        value(node).map(|value| sample([("stream", stream), ("node", &node.node)], value))
    });
    told.collect()
}
