//! What a run has to do, decided from the newest manifest and the log's bounds alone.

use std::sync::Arc;

use watershed_schemas::manifest::{Ahead, Manifest, StoredFile, Version};
use watershed_schemas::offsets::{Gap, Offset, OffsetRange, Offsets, Partition};
use watershed_schemas::stream::Stream;
use watershed_schemas::view::View;

use crate::BatchError;

/// A run's work: land `ranges`, make `views` anew as each says, publish `version` with `target` as its watershed.
#[derive(Clone, Debug)]
pub struct Plan {
    pub version: Version,
    pub target: Offsets,
    pub origin: Offsets,
    /// What is to be landed; partitions without anything new are left out.
    pub ranges: Vec<(Partition, OffsetRange)>,
    /// Losses accepted by this run and by those before it.
    pub gaps: Vec<Gap>,
    pub views: Vec<ViewPlan>,
}

/// How much of a view is made anew.
#[derive(Clone, Debug)]
pub struct ViewPlan {
    pub view: Arc<View>,
    /// All of it, because its definition is new or the run was asked to; otherwise what new events touch.
    pub whole: bool,
}

/// What the operator asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wishes {
    pub full: bool,
    pub accept_gap: bool,
    /// Another topic was accepted in the place of the one that was folded: a version must say so.
    pub other_topic: bool,
}

/// `None` when the newest version already says everything. What has landed above its watershed, since a rollback, is
/// not landed again, so the log need not hold it.
pub fn plan(
    stream: &Stream,
    views: &[Arc<View>],
    base: Option<&Manifest>,
    bounds: &[(Partition, OffsetRange)],
    wishes: Wishes,
) -> Result<Option<Plan>, BatchError> {
    if let Some(base) = base {
        refuse_shrunken_log(stream, base, bounds)?;
    }
    let origin = match base {
        Some(base) => base.origin.clone(),
        None => bounds.iter().map(|(partition, held)| (*partition, held.from)).collect(),
    };
    let landed = base.map_or_else(|| origin.clone(), Manifest::landed);
    let mut gaps = base.map_or(Vec::new(), |base| base.gaps.clone());
    let mut ranges = Vec::new();
    for (partition, held) in bounds {
        let needed = landed.get(*partition);
        if held.from > needed {
            if !wishes.accept_gap {
                let (topic, start) = (stream.topic.clone(), held.from);
                return Err(BatchError::Gap { topic, partition: *partition, needed, start });
            }
            gaps.push(Gap { partition: *partition, from: needed, until: held.from });
        }
        let range = OffsetRange::new(needed.max(held.from), held.until);
        if !range.is_empty() {
            ranges.push((*partition, range));
        }
    }
    let target: Offsets = bounds.iter().map(|(partition, held)| (*partition, held.until)).collect();
    let views: Vec<ViewPlan> = (views.iter())
        .map(|view| {
            let known = base.and_then(|base| base.views.get(&view.name));
            let whole = wishes.full || known.is_none_or(|known| known.hash != view.hash);
            ViewPlan { view: view.clone(), whole }
        })
        .collect();
    let unchanged = base.is_some_and(|base| {
        !wishes.other_topic
            && base.watershed.covers(&target)
            && views.iter().all(|view| !view.whole)
            && base.views.len() == views.len()
    });
    if unchanged {
        return Ok(None);
    }
    let version = base.map_or(Version(1), |base| base.version.next());
    Ok(Some(Plan { version, target, origin, ranges, gaps, views }))
}

/// What the newest version has landed above an older one's watershed, if that version can be published again: then
/// everything above its watershed is live, so the log and what has landed must hold all of it together.
pub fn going_back(
    stream: &Stream,
    old: &Manifest,
    newest: &Manifest,
    bounds: &[(Partition, OffsetRange)],
) -> Result<Ahead, BatchError> {
    refuse_shrunken_log(stream, newest, bounds)?;
    let (version, landed) = (old.version, newest.landed());
    for (partition, held) in bounds {
        let landed = landed.get(*partition);
        if held.from > landed {
            let (topic, start) = (stream.topic.clone(), held.from);
            return Err(BatchError::Forgotten { topic, partition: *partition, version, landed, start });
        }
    }
    let lost = newest.gaps.iter().find(|gap| gap.until > old.watershed.get(gap.partition));
    if let Some(gap) = lost {
        return Err(BatchError::BelowGap { version, gap: *gap });
    }
    let above = |file: &StoredFile, partition: Partition, range: OffsetRange| {
        let watershed = old.watershed.get(partition);
        if range.from < watershed && watershed < range.until {
            let path = file.path.clone();
            return Err(BatchError::Straddles { path, version, partition, range, watershed });
        }
        Ok(range.from >= watershed)
    };
    let mut ahead = Ahead { until: beyond(&landed, &old.watershed), ..Ahead::default() };
    for file in newest.landed_events() {
        if above(&file.file, file.partition, file.range)? {
            ahead.events.push(file.clone());
        }
    }
    for file in newest.landed_dead_letters() {
        if above(&file.file, file.partition, file.range)? {
            ahead.dead_letters.push(file.clone());
        }
    }
    Ok(ahead)
}

/// Those positions that lie beyond a watershed.
fn beyond(positions: &Offsets, watershed: &Offsets) -> Offsets {
    let lies_beyond = |(partition, offset): &(Partition, Offset)| *offset > watershed.get(*partition);
    positions.iter().filter(lies_beyond).collect()
}

/// A log that ends before what has landed, or lacks a partition of it, is not the log that was read.
pub(crate) fn refuse_shrunken_log(
    stream: &Stream,
    base: &Manifest,
    bounds: &[(Partition, OffsetRange)],
) -> Result<(), BatchError> {
    for (partition, landed) in base.landed().iter() {
        let (topic, version) = (stream.topic.clone(), base.version);
        match bounds.iter().find(|(shown, _)| *shown == partition) {
            None => {
                return Err(BatchError::PartitionMissing { topic, partition, version, watershed: landed });
            }
            Some((_, held)) if held.until < landed => {
                let (watershed, end) = (landed, held.until);
                return Err(BatchError::Truncated { topic, partition, version, watershed, end });
            }
            Some(_) => {}
        }
    }
    Ok(())
}
