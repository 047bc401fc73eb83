//! Paths: what is built is what is parsed, for every object and nothing else.

use proptest::prelude::*;
use watershed_schemas::layout::{self, Object};
use watershed_schemas::manifest::Version;
use watershed_schemas::offsets::{Offset, OffsetRange, Partition};

/// Names as SQL identifiers and run ids have them.
fn name() -> impl Strategy<Value = String> {
    "[a-z_][a-z0-9_]{0,12}"
}

fn run() -> impl Strategy<Value = String> {
    prop_oneof!["[0-9a-f]{32}", "[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}", "run[0-9]{1,3}"]
}

fn id() -> impl Strategy<Value = String> {
    "[0-9a-f]{32}"
}

fn range() -> impl Strategy<Value = OffsetRange> {
    (0..=i64::MAX, 0..=i64::MAX).prop_map(|(from, until)| OffsetRange::new(Offset(from), Offset(until)))
}

/// Days from the year -9999 to 9999 and a little further.
fn date() -> impl Strategy<Value = i32> {
    -4_371_222..2_932_900
}

fn object() -> impl Strategy<Value = Object> {
    let partition = (0..i32::MAX).prop_map(Partition);
    let version = any::<u64>().prop_map(Version);
    let offset = (0..=i64::MAX).prop_map(Offset);
    prop_oneof![
        (name(), date(), partition.clone(), range(), run()).prop_map(
            |(stream, date, partition, range, run)| {
                Object::Events { stream, date, partition, range, run }
            }
        ),
        (name(), partition.clone(), range(), run()).prop_map(|(stream, partition, range, run)| {
            Object::DeadLetters { stream, partition, range, run }
        }),
        (name(), version.clone(), date(), run()).prop_map(|(view, version, date, run)| Object::View {
            view,
            version,
            date,
            run
        }),
        (name(), version.clone()).prop_map(|(stream, version)| Object::Manifest { stream, version }),
        (name(), version, run()).prop_map(|(stream, version, run)| Object::Intent { stream, version, run }),
        (name(), partition, offset, id(), id()).prop_map(|(stream, partition, offset, base, id)| {
            Object::Checkpoint { stream, partition, offset, base, id }
        }),
        Just(Object::Catalog),
    ]
}

proptest! {
    #[test]
    fn every_object_is_parsed_from_its_own_path(object in object()) {
        prop_assert_eq!(Object::parse(&object.path()), Some(object));
    }

    #[test]
    fn what_parses_is_built_again(path in "(events|dead_letters|views|versions|intents|checkpoints)(/[a-z0-9=._-]{1,30}){0,4}") {
        if let Some(object) = Object::parse(&path) {
            prop_assert_eq!(object.path(), path);
        }
    }

    #[test]
    fn manifests_sort_as_their_versions_do(left in any::<u64>(), right in any::<u64>()) {
        let path = |version| Object::Manifest { stream: "s".to_string(), version: Version(version) }.path();
        prop_assert_eq!(path(left).cmp(&path(right)), left.cmp(&right));
    }
}

#[test]
fn another_spelling_of_a_path_is_no_path() {
    let (p, zeros) = ("p1-00000000000000000002-00000000000000000003-run", "00000000000000000007");
    for (path, respelled) in [
        ("views/v/version=1/date=1970-01-01/r.parquet".to_string(), vec![("=1/", "=+1/"), ("=1/", "=007/")]),
        (
            "views/v/version=1/date=1970-01-01/r.parquet".to_string(),
            vec![("01-01", "1-1"), ("=1970", "=+1970")],
        ),
        (
            format!("events/s/date=1970-01-01/{p}.parquet"),
            vec![("/p1", "/p+1"), ("/p1", "/p01"), ("-0", "-+")],
        ),
        (format!("dead_letters/s/{p}.parquet"), vec![("/p1", "/p+1"), ("-0", "-"), ("-0", "-00")]),
        (format!("versions/s/{zeros}.json"), vec![("/0", "/+"), ("/0", "/"), ("/0", "/00")]),
        (format!("intents/s/{zeros}-run.json"), vec![("/0", "/+"), ("/0", "/")]),
        (
            format!("checkpoints/s/p1/{zeros}-base-id.ckpt"),
            vec![("p1", "p+1"), ("p1", "p01"), ("/0", "/+"), ("-base", "")],
        ),
    ] {
        assert!(Object::parse(&path).is_some(), "{path}");
        for (part, other) in respelled {
            let other = path.replacen(part, other, 1);
            assert!(other != path && Object::parse(&other).is_none(), "{other}");
        }
    }
}

#[test]
fn an_object_lies_in_its_folder() {
    let manifest = Object::Manifest { stream: "flights".to_string(), version: Version(7) }.path();
    assert_eq!(manifest, "versions/flights/00000000000000000007.json");
    assert!(manifest.starts_with(layout::VERSIONS) && manifest.starts_with(&layout::versions("flights")));
    let view =
        Object::View { view: "v".to_string(), version: Version(3), date: 0, run: "r".to_string() }.path();
    assert_eq!(view, "views/v/version=3/date=1970-01-01/r.parquet");
    assert!(view.starts_with(layout::VIEWS) && layout::intents("flights").starts_with(layout::INTENTS));
}
