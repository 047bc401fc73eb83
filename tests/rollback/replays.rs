//! Where a node reads again what the log has let go of.

use std::collections::BTreeMap;
use std::time::Duration;

use support::live::{self, HOURLY};
use watershed_schemas::log::LogError;
use watershed_schemas::manifest::{EventFile, StoredFile};
use watershed_schemas::offsets::{Gap, Offset, OffsetRange, Partition};
use watershed_speed::landed::Landed;
use watershed_speed::opening::{self, Found};
use watershed_speed::replaying::{Missing, Place, Replaying};
use watershed_speed::wanted::{Known, Published, wanted};

fn range(from: i64, until: i64) -> OffsetRange {
    OffsetRange::new(Offset(from), Offset(until))
}

/// A file of nothing, as an index of ranges sees it.
fn file(name: &str, from: i64, until: i64) -> EventFile {
    let file = StoredFile { path: name.to_string(), bytes: 0, sha256: String::new(), rows: 0 };
    let range = OffsetRange::new(Offset(from), Offset(until));
    EventFile { file, date: 0, partition: Partition(0), range }
}

#[test]
fn pieces_follow_upon_one_another_over_all_that_has_landed_and_over_nothing_else() {
    let at = |offset| live::offsets(&[(0, offset)]);
    let mut manifest = live::manifest(1, &at(20), &BTreeMap::new());
    (manifest.origin, manifest.watershed, manifest.ahead.until) = (at(2), at(20), at(40));
    manifest.events = vec![file("late", 10, 20), file("a", 2, 5), file("b", 2, 5)];
    manifest.ahead.events = vec![file("beyond", 25, 30)];
    manifest.gaps = vec![Gap { partition: Partition(0), from: Offset(30), until: Offset(33) }];
    let landed = Landed::from(&manifest);
    assert_eq!(landed.until(Partition(0)), Offset(40));
    let piece = |from: i64| {
        let piece = landed.piece(Partition(0), Offset(from))?;
        assert_eq!(piece.range.from, Offset(from));
        let names: Vec<String> = piece.files.into_iter().map(|file| file.path).collect();
        Some((piece.range.until.0, names.join(" ")))
    };
    let of = |until: i64, names: &str| Some((until, names.to_string()));
    assert_eq!((piece(1), piece(40), piece(41)), (None, None, None), "nothing landed there");
    assert_eq!((piece(2), piece(4)), (of(5, "a b"), of(5, "a b")));
    assert_eq!(piece(5), of(10, ""), "dead letters and holes");
    assert_eq!((piece(10), piece(20)), (of(20, "late"), of(25, "")));
    assert_eq!(piece(27), of(30, "beyond"));
    assert_eq!((piece(30), piece(32)), (None, None), "an accepted loss is not nothing");
    assert_eq!(piece(33), of(40, ""));
    assert_eq!(landed.piece(Partition(1), Offset(0)), None, "a partition that nobody has read");
}

#[test]
fn after_a_rollback_a_partition_begins_where_the_log_and_what_has_landed_meet() {
    let views = live::views(&live::project(&[HOURLY]));
    let mut manifest = live::manifest(3, &live::offsets(&[(0, 10)]), &views);
    manifest.ahead.until = live::offsets(&[(0, 15)]);
    let known = Known { newest: Some(Published::from(&manifest)), ..Known::default() };
    let hashes = views.iter().map(|(name, view)| (name.clone(), view.hash.clone())).collect();
    let at_open = |held: OffsetRange| {
        let found = Found { partition: Partition(0), held, topic_id: None, checkpoints: Vec::new() };
        let opened = opening::open(found, &wanted(&hashes, &known, 0), &views);
        opened.map(|epochs| (epochs.live().0, epochs.missing())).map_err(|unopened| unopened.to_string())
    };
    assert_eq!(at_open(range(3, 20)), Ok((10, vec![])), "the log holds all of it");
    assert_eq!(at_open(range(12, 20)), Ok((15, vec![range(10, 15)])));
    assert_eq!(at_open(range(15, 15)), Ok((15, vec![range(10, 15)])), "nothing came since");
    let lost = at_open(range(16, 20)).expect_err("what lies between is nowhere");
    assert!(lost.starts_with("gap at partition 0"), "{lost}");
    let recreated = at_open(range(0, 14)).expect_err("the log ends below what has landed");
    assert!(recreated.contains("created anew") && recreated.contains("offset 15"), "{recreated}");
}

#[test]
fn what_the_log_has_let_go_of_is_read_where_it_has_landed_and_the_rest_in_the_log() {
    let views = live::views(&live::project(&[HOURLY]));
    let landed = Landed::from(&live::manifest(1, &live::offsets(&[(0, 20)]), &views));
    let missing = |from: i64| Missing { partition: Partition(0), range: range(from, 40) };
    let out_of_range = |from: i64, held: OffsetRange| LogError::OutOfRange {
        partition: Partition(0),
        needed: Offset(from),
        held,
    };
    let mut replaying = Replaying::new(Duration::from_millis(50));
    assert_eq!(replaying.place(&missing(0), &landed), Place::Log, "the log is asked first");
    assert!(replaying.moves(&missing(0), &out_of_range(0, range(12, 40)), &landed));
    let piece = |from| Place::MasterDataset(landed.piece(Partition(0), Offset(from)).expect("it has landed"));
    assert_eq!(replaying.place(&missing(0), &landed), piece(0));
    assert_eq!(replaying.place(&missing(11), &landed), piece(11));
    assert_eq!(replaying.place(&missing(12), &landed), Place::Log, "here the log begins");
    let other = Missing { partition: Partition(1), range: range(0, 40) };
    assert_eq!(replaying.place(&other, &landed), Place::Log);
    // What neither holds stays missing, and the log's own reason is told.
    assert!(!replaying.moves(&missing(25), &out_of_range(25, range(30, 40)), &landed));
    assert_eq!(replaying.place(&missing(25), &landed), Place::Log);
    assert!(!replaying.moves(&missing(0), &out_of_range(50, range(0, 40)), &landed), "it ends too early");
}
