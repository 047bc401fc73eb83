//! What has landed, by offsets: the master dataset as a log that never lets go.
//!
//! Guarantee: a [`Piece`] of it names every file that holds events of its range, and a range that nobody
//! landed is in no piece: neither what lies beyond the last landed record, nor a loss that was accepted
//! (invariant `NOTHING_VANISHES`). What landed as a dead letter is no event, so it is in no file here.

use std::collections::BTreeMap;

use watershed_schemas::manifest::{EventFile, Manifest, StoredFile};
use watershed_schemas::offsets::{Gap, Offset, OffsetRange, Offsets, Partition};

/// What a version knows to have landed, at its watershed or above it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Landed {
    origin: Offsets,
    until: Offsets,
    /// Of each partition, in the order of their ranges.
    files: BTreeMap<Partition, Vec<EventFile>>,
    gaps: Vec<Gap>,
}

/// A range that has landed, and the files of its events. They may hold events of other offsets too.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Piece {
    pub range: OffsetRange,
    pub files: Vec<StoredFile>,
}

impl From<&Manifest> for Landed {
    fn from(manifest: &Manifest) -> Self {
        let mut files: BTreeMap<Partition, Vec<EventFile>> = BTreeMap::new();
        for file in manifest.landed_events() {
            files.entry(file.partition).or_default().push(file.clone());
        }
        files.values_mut().for_each(|files| files.sort_by_key(|file| file.range.from));
        let (origin, until, gaps) = (manifest.origin.clone(), manifest.landed(), manifest.gaps.clone());
        Landed { origin, until, files, gaps }
    }
}

impl Landed {
    /// Where what has landed of a partition ends.
    pub fn until(&self, partition: Partition) -> Offset {
        self.until.get(partition)
    }

    /// The longest range from `from` on whose events lie in the same files; `None` if what comes there has not landed.
    pub fn piece(&self, partition: Partition, from: Offset) -> Option<Piece> {
        let landed = OffsetRange::new(self.origin.get(partition), self.until.get(partition));
        let gaps = self.gaps.iter().filter(|gap| gap.partition == partition);
        let gaps = gaps.map(|gap| OffsetRange::new(gap.from, gap.until));
        if !landed.contains(from) || gaps.clone().any(|gap| gap.contains(from)) {
            return None;
        }
        let files = self.files.get(&partition).map_or(&[][..], Vec::as_slice);
        let bounds = files.iter().map(|file| file.range).chain(gaps).flat_map(|of| [of.from, of.until]);
        let next = bounds.filter(|bound| *bound > from).min();
        let until = next.map_or(landed.until, |next| next.min(landed.until));
        let files = files.iter().filter(|file| file.range.contains(from)).map(|file| file.file.clone());
        Some(Piece { range: OffsetRange::new(from, until), files: files.collect() })
    }
}
