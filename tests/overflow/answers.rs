//! What merging makes of overflow groups: what it calls exact is exact, and what may be missing is told.

use std::collections::BTreeMap;

use proptest::prelude::*;
use watershed_schemas::budget::Limits;
use watershed_schemas::invariants;
use watershed_schemas::scope::Scope;
use watershed_schemas::value::Value;
use watershed_serving::merge::{Selection, Source, merge};

use crate::merge::{Asked, asked, trips};
use crate::support::serving::{HOUR, Trip, exact_columns, fold, fold_within, hourly};

/// Events below the watershed, and above it in two partitions under budgets of their own.
fn check(below: &[Trip], above: &[Trip], most: u64, asked: &Asked) -> Result<(), TestCaseError> {
    let view = hourly();
    let batch = fold(&view, below);
    let exact = exact_columns(&batch, below);
    let limits = Limits { groups: Some(most), bytes: None };
    let halves = above.split_at(above.len() / 2);
    let live = [halves.0, halves.1].map(|trips| fold_within(&view, trips, limits));
    let sources = [
        Source { table: &batch, exact: Some(&exact), sorted: false },
        Source { table: &live[0], exact: None, sorted: false },
        Source { table: &live[1], exact: None, sorted: false },
    ];
    let measures: Vec<usize> = (0..view.measures.len()).collect();
    let scope = asked.scope();
    let selection = Selection {
        view: &view,
        scope: &scope,
        masks: None,
        buckets: asked.buckets,
        dimensions: &asked.dimensions,
        measures: &measures,
    };
    let groups = merge(&sources, &selection);

    let mut expected: BTreeMap<String, (i64, i64)> = BTreeMap::new();
    let all = below.iter().chain(above).filter(|trip| asked.takes(trip));
    for trip in all.clone() {
        let (bucket, values) = asked.group(trip);
        expected.entry(format!("{:?}", (bucket, values))).or_insert((bucket, 0)).1 += 1;
    }
    let told = groups.overflow.told();
    let undecided = told.as_ref().map_or(0, |told| told.undecided_records.expect("trips are counted")) as i64;
    let count = |group: u32| match groups.finish(group, 0).expect("a group with events has values").value {
        Value::Integer(trips) => trips,
        other => panic!("a count is a number: {other:?}"),
    };
    let mut found = 0;
    for group in 0..groups.len() as u32 {
        found += count(group);
        if groups.is_overflow(group) {
            continue;
        }
        let values: Vec<Value> =
            (0..asked.dimensions.len()).map(|index| groups.keys.value(group, index).clone()).collect();
        let (_, expected) =
            expected.remove(&format!("{:?}", (groups.bucket(group), values))).unwrap_or_default();
        match groups.finish(group, 0).is_some_and(|trips| trips.exact) {
            true => prop_assert_eq!(count(group), expected),
            false => prop_assert!(groups.lacks(group) && count(group) <= expected),
        }
    }
    for (group, (bucket, _)) in expected {
        prop_assert!(groups.overflow.lacks(bucket), "{} is missing and nobody says so", group);
    }
    let all = all.count() as i64;
    prop_assert!(found <= all && all <= found + undecided, "{} of {} and {}", found, all, undecided);
    if undecided == 0 {
        prop_assert_eq!(found, all, "invariant {}", invariants::NOTHING_VANISHES);
    }
    let whole = asked.dimensions.is_empty() && undecided == 0;
    if whole {
        prop_assert!((0..groups.len() as u32).all(|group| !groups.lacks(group)), "totals are exact");
    }
    prop_assert_eq!(told.is_some(), live.iter().any(|table| overflows(table, asked)));
    Ok(())
}

/// True where a table holds overflow groups that the question may be about.
fn overflows(table: &watershed_schemas::states::StateTable, asked: &Asked) -> bool {
    table.overflow().any(|(row, _)| {
        let window = table.keys.windows()[row as usize];
        window == watershed_schemas::keys::ANY_WINDOW || (asked.from <= window && window < asked.to)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_is_called_exact_is_exact_and_what_may_be_missing_is_told(
        (below, above, asked) in (trips(), trips(), asked()), most in 1u64..40,
    ) {
        check(&below, &above, most, &asked)?;
    }
}

#[test]
fn records_of_no_known_window_belong_to_answers_over_all_time_and_are_undecided_in_others() {
    let view = hourly();
    let above: Vec<Trip> =
        (0..40).map(|hour| crate::support::serving::trip(hour * HOUR, "Oslo", 1, 10, "ada")).collect();
    let live = fold_within(&view, &above, Limits { groups: Some(4), bytes: None });
    let sources = [Source { table: &live, exact: None, sorted: false }];
    let ask = |buckets, from| {
        let scope = Scope { from, ..Scope::default() };
        let selection =
            Selection { view: &view, scope: &scope, masks: None, buckets, dimensions: &[], measures: &[0] };
        let groups = merge(&sources, &selection);
        let told = groups.overflow.told().expect("most records overflow");
        let counted: i64 = (0..groups.len() as u32)
            .map(|group| match groups.finish(group, 0).expect("it has values").value {
                Value::Integer(trips) => trips,
                other => panic!("a count is a number: {other:?}"),
            })
            .sum();
        (counted, told.undecided_records, told.windows)
    };
    use watershed_serving::grain::Buckets;
    assert_eq!(ask(Buckets::All, i64::MIN), (40, Some(0), None));
    assert_eq!(ask(Buckets::Stored(view.window.window), i64::MIN), (8, Some(32), None));
    assert_eq!(ask(Buckets::All, 0), (8, Some(32), None));
}
