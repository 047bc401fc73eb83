//! Merging at the watershed, against an oracle that counts by hand (invariants `COVER` and `FOLD`).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use arrow::array::ArrayRef;
use proptest::prelude::*;
use watershed_schemas::offsets::{Offset, Partition};
use watershed_schemas::scope::{Condition, Scope};
use watershed_schemas::states::StateTable;
use watershed_schemas::value::Value;
use watershed_schemas::view::View;
use watershed_schemas::window::Length;
use watershed_serving::grain::Buckets;
use watershed_serving::live::Chosen;
use watershed_serving::merge::{Groups, Selection, Source, merge};

use crate::support::serving::{
    Counted, DAY, HOUR, NEW_YEAR, Trip, count, exact_columns, fold, hourly, offsets, trip,
};

/// A question, as far as merging is concerned.
#[derive(Clone, Debug)]
pub struct Asked {
    pub dimensions: Vec<usize>,
    pub buckets: Buckets,
    pub from: i64,
    pub to: i64,
    pub conditions: Vec<Condition>,
}

impl Asked {
    fn everything(view: &View) -> Asked {
        let dimensions = vec![0, 1];
        let buckets = Buckets::Stored(view.window.window);
        Asked { dimensions, buckets, from: i64::MIN, to: i64::MAX, conditions: Vec::new() }
    }

    pub fn scope(&self) -> Scope {
        Scope { from: self.from, to: self.to, conditions: self.conditions.clone(), measures: None }
    }

    pub fn takes(&self, trip: &Trip) -> bool {
        let window = trip.at - trip.at.rem_euclid(HOUR);
        let values = [text(&trip.city), Value::Integer(trip.line.into())];
        self.from <= window
            && window < self.to
            && self
                .conditions
                .iter()
                .all(|condition| condition.values.contains(&values[condition.dimension]) != condition.negated)
    }

    /// The group of an event, by hand: local midnights in New York in this winter are five hours after those of UTC.
    pub fn group(&self, trip: &Trip) -> (i64, Vec<Value>) {
        let values = [text(&trip.city), Value::Integer(trip.line.into())];
        let bucket = match self.buckets {
            Buckets::Stored(_) => trip.at - trip.at.rem_euclid(HOUR),
            Buckets::All => 0,
            Buckets::Every { zone: chrono_tz::Tz::UTC, .. } => trip.at - trip.at.rem_euclid(DAY),
            Buckets::Every { .. } => trip.at - (trip.at - 5 * HOUR).rem_euclid(DAY),
        };
        (bucket, self.dimensions.iter().map(|dimension| values[*dimension].clone()).collect())
    }
}

fn text(value: &Option<String>) -> Value {
    value.as_deref().map_or(Value::Null, |text| Value::Text(text.into()))
}

/// Events on their side of the watershed: batch files by date, live tables by partition.
struct Sides {
    batch: Vec<(StateTable, Vec<Option<ArrayRef>>)>,
    live: Vec<StateTable>,
}

impl Sides {
    fn new(view: &Arc<View>, below: &[Trip], above: &[Trip]) -> Sides {
        let mut dates: BTreeMap<i64, Vec<Trip>> = BTreeMap::new();
        for trip in below {
            dates.entry(trip.at.div_euclid(DAY)).or_default().push(trip.clone());
        }
        let file = |trips: &Vec<Trip>| {
            let table = fold(view, trips);
            let exact = exact_columns(&table, trips);
            (table, exact)
        };
        let halves = above.split_at(above.len() / 2);
        let live = [halves.0, halves.1].map(|trips| fold(view, trips));
        Sides { batch: dates.values().map(file).collect(), live: live.into() }
    }

    /// Of the live side no more than what lies in a scope.
    fn part(self, scope: &Scope) -> Sides {
        Sides { live: self.live.iter().map(|table| table.part(scope)).collect(), ..self }
    }

    fn sources(&self) -> Vec<Source<'_>> {
        let batch = self.batch.iter().map(|(table, exact)| Source {
            table,
            exact: Some(exact),
            sorted: table.keys.windows().is_sorted(),
        });
        batch
            .chain(self.live.iter().map(|table| Source {
                table,
                exact: None,
                sorted: table.keys.windows().is_sorted(),
            }))
            .collect()
    }
}

fn ask<T>(view: &View, sides: &Sides, asked: &Asked, look: impl FnOnce(&Groups<'_>) -> T) -> T {
    let measures: Vec<usize> = (0..view.measures.len()).collect();
    let sources = sides.sources();
    let scope = asked.scope();
    let selection = Selection {
        view,
        scope: &scope,
        masks: None,
        buckets: asked.buckets,
        dimensions: &asked.dimensions,
        measures: &measures,
    };
    look(&merge(&sources, &selection))
}

/// Compares every group with a count by hand, and every claim of exactness with what took part.
fn check(below: &[Trip], above: &[Trip], asked: &Asked) -> Result<(), TestCaseError> {
    let view = hourly();
    let sides = Sides::new(&view, below, above);
    let mut expected: BTreeMap<String, (Vec<Trip>, BTreeSet<String>, bool)> = BTreeMap::new();
    let sided = below.iter().map(|trip| (trip, false)).chain(above.iter().map(|trip| (trip, true)));
    for (trip, live) in sided.filter(|(trip, _)| asked.takes(trip)) {
        let group = expected.entry(format!("{:?}", asked.group(trip))).or_default();
        group.0.push(trip.clone());
        group.1.insert(format!("{:?}", (trip.at.div_euclid(HOUR), &trip.city, trip.line)));
        group.2 |= live;
    }
    check_groups(&view, &sides, asked, &expected)?;
    check_groups(&view, &sides.part(&asked.scope()), asked, &expected)
}

fn check_groups(
    view: &View,
    sides: &Sides,
    asked: &Asked,
    expected: &BTreeMap<String, (Vec<Trip>, BTreeSet<String>, bool)>,
) -> Result<(), TestCaseError> {
    ask(view, sides, asked, |groups| {
        prop_assert_eq!(groups.len(), expected.len());
        for group in 0..groups.len() as u32 {
            let values: Vec<Value> =
                (0..asked.dimensions.len()).map(|index| groups.keys.value(group, index).clone()).collect();
            let key = format!("{:?}", (groups.bucket(group), values));
            let found = expected.get(&key);
            prop_assert!(found.is_some(), "no event is in group {}", key);
            let (trips, cells, live) = found.expect("was just checked");
            let Counted { trips, fares, cheapest, dearest, riders, middle } = count(trips);
            let finish = |measure| groups.finish(group, measure).expect("a group with events has values");
            let whole = |value: Option<i64>| value.map_or(Value::Null, Value::Integer);
            let algebraic = [Some(trips), fares, cheapest, dearest];
            for (measure, expected) in algebraic.into_iter().enumerate() {
                prop_assert_eq!(finish(measure).value, whole(expected));
                prop_assert!(finish(measure).exact);
            }
            // A sketch had no part exactly where one batch cell stands alone.
            let alone = cells.len() == 1 && !live;
            prop_assert_eq!(groups.is_live(group), *live);
            prop_assert_eq!(finish(4).exact, alone);
            prop_assert_eq!(finish(5).exact, alone);
            let estimate = finish(4).value;
            let Value::Integer(estimate) = estimate else {
                panic!("a distinct count is a number: {estimate:?}")
            };
            if alone {
                prop_assert_eq!(estimate, riders);
                prop_assert_eq!(finish(5).value, middle.map_or(Value::Null, Value::Double));
            } else {
                prop_assert!((estimate - riders).abs() <= 1 + riders / 10, "{} for {}", estimate, riders);
            }
        }
        Ok(())
    })
}

pub fn trips() -> impl Strategy<Value = Vec<Trip>> {
    let city = prop::option::weighted(0.8, prop::sample::select(vec!["Oslo", "Lima", "Pune"]));
    let rider = prop::option::weighted(0.9, 0..40u32);
    let fare = prop::option::weighted(0.9, -50..500i64);
    let at = (0..3 * 24i64, 0..HOUR).prop_map(|(hour, within)| NEW_YEAR + hour * HOUR + within);
    let trip = (at, city, 0..3i32, fare, rider).prop_map(|(at, city, line, fare, rider)| Trip {
        at,
        city: city.map(str::to_string),
        line,
        fare,
        rider: rider.map(|rider| format!("rider {rider}")),
    });
    prop::collection::vec(trip, 0..120)
}

pub fn asked() -> impl Strategy<Value = Asked> {
    let day = |zone| Buckets::Every { length: Length::Micros(DAY), zone };
    let buckets = prop::sample::select(vec![
        Buckets::Stored(hourly().window.window),
        Buckets::All,
        day(chrono_tz::Tz::UTC),
        day(chrono_tz::America::New_York),
    ]);
    let dimensions = prop::sample::select(vec![vec![], vec![0], vec![1], vec![0, 1], vec![1, 0]]);
    let city = prop::sample::subsequence(
        vec![Value::Null, Value::Text("Oslo".into()), Value::Text("Rome".into())],
        0..3,
    );
    let line = prop::sample::subsequence(vec![Value::Integer(0), Value::Integer(2)], 0..2);
    let condition = |dimension, values, negated| Condition { dimension, negated, values };
    let conditions = (prop::option::of((city, any::<bool>())), prop::option::of((line, any::<bool>())))
        .prop_map(move |(city, line)| {
            let city = city.map(|(values, negated)| condition(0, values, negated));
            city.into_iter().chain(line.map(|(values, negated)| condition(1, values, negated))).collect()
        });
    let bound =
        |open: i64| prop_oneof![2 => Just(open), 1 => (0..80i64).prop_map(|hour| NEW_YEAR + hour * HOUR)];
    (dimensions, buckets, bound(i64::MIN), bound(i64::MAX), conditions).prop_map(
        |(dimensions, buckets, from, to, conditions)| Asked { dimensions, buckets, from, to, conditions },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// Wherever the watershed lies, an answer is the fold of all records on both sides of it.
    #[test]
    fn merging_both_sides_equals_counting_all_events_by_hand(
        trips in trips(),
        split in 0.0..=1.0f64,
        asked in asked(),
    ) {
        let (below, above) = trips.split_at((trips.len() as f64 * split) as usize);
        check(below, above, &asked)?;
    }
}

#[test]
fn a_batch_cell_without_live_records_keeps_the_exact_values_that_batch_computed() {
    let view = hourly();
    // Two fares: DDSketch has no value between them, the exact median is their mean.
    let below = [trip(NEW_YEAR, "Oslo", 1, 100, "ada"), trip(NEW_YEAR, "Oslo", 1, 200, "bob")];
    let sides = Sides::new(&view, &below, &[]);
    ask(&view, &sides, &Asked::everything(&view), |groups| {
        let middle = groups.finish(0, 5).expect("the cell has events");
        assert_eq!((middle.value, middle.exact), (Value::Double(150.0), true));
    });
}

#[test]
fn one_live_record_makes_a_cells_sketched_measures_estimates_and_leaves_the_others_exact() {
    let view = hourly();
    let below = [trip(NEW_YEAR, "Oslo", 1, 100, "ada"), trip(NEW_YEAR + DAY, "Lima", 1, 100, "ada")];
    let above = [trip(NEW_YEAR + 1, "Oslo", 1, 300, "ada")];
    let sides = Sides::new(&view, &below, &above);
    ask(&view, &sides, &Asked::everything(&view), |groups| {
        let oslo = (0..2).find(|group| groups.is_live(*group)).expect("one group is live");
        assert_eq!(groups.finish(oslo, 0).map(|n| (n.value, n.exact)), Some((Value::Integer(2), true)));
        assert_eq!(groups.finish(oslo, 4).map(|n| (n.value, n.exact)), Some((Value::Integer(1), false)));
        assert_eq!(groups.finish(1 - oslo, 4).map(|n| (n.value, n.exact)), Some((Value::Integer(1), true)));
        assert_eq!((groups.batch_cells, groups.live_cells), (2, 1));
    });
}

#[test]
fn a_value_that_only_live_records_have_is_grouped_and_filtered_like_any_other() {
    let view = hourly();
    let below = [trip(NEW_YEAR, "Oslo", 1, 100, "ada")];
    let above = [trip(NEW_YEAR, "Rome", 1, 300, "bob")];
    let sides = Sides::new(&view, &below, &above);
    let rome = Condition { dimension: 0, negated: false, values: vec![Value::Text("Rome".into())] };
    let asked = Asked { conditions: vec![rome], ..Asked::everything(&view) };
    ask(&view, &sides, &asked, |groups| {
        assert_eq!(groups.len(), 1);
        assert_eq!(groups.finish(0, 1).map(|fares| fares.value), Some(Value::Integer(300)));
    });
}

#[test]
fn states_that_begin_elsewhere_than_the_log_did_are_told() {
    let chosen = Chosen { watershed: offsets(&[(0, 0), (1, 3)]), ..Chosen::default() };
    assert_eq!(chosen.begins_elsewhere(&offsets(&[])), Some((Partition(1), Offset(3))));
    assert_eq!(chosen.begins_elsewhere(&offsets(&[(0, 0), (1, 3), (2, 8)])), None);
}
