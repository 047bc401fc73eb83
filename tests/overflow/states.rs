//! The fold law under a budget: whatever overflows, the states merged over dimensions are those of a fold without one.

use std::sync::Arc;

use proptest::prelude::*;
use watershed_schemas::budget::{Account, Budget, Excess, Holding, Limits, Room};
use watershed_schemas::invariants;
use watershed_schemas::keys::ANY_WINDOW;
use watershed_schemas::states::{OVERFLOW, StateTable};
use watershed_schemas::value::Value;
use watershed_schemas::view::View;

use crate::laws::assert_same;
use crate::support::measures;
use crate::support::specimens::{HOUR, Specimen, fold, frame, specimens, view};

fn groups(groups: u64) -> Arc<Budget> {
    Budget::new(Limits { groups: Some(groups), bytes: None })
}

fn bytes(bytes: u64) -> Arc<Budget> {
    Budget::new(Limits { groups: None, bytes: Some(bytes) })
}

fn under(view: &Arc<View>, budget: &Arc<Budget>) -> StateTable {
    StateTable::new(view.clone()).within(budget)
}

/// Tables merged over all dimensions, and over windows too where `all_time`.
fn totals(measures: &[String], tables: &[&StateTable], all_time: bool) -> StateTable {
    let mut total = StateTable::new(view(&[], measures, None));
    for table in tables {
        let rows: Vec<u32> = (0..table.cells() as u32).collect();
        let window = |start| if all_time { 0 } else { start };
        let into = total.keys.regroup(&table.keys, &rows, &[], window);
        total.absorb(table, &rows, &into);
    }
    total
}

fn has_lost_windows(table: &StateTable) -> bool {
    table.keys.windows().contains(&ANY_WINDOW)
}

/// No value is held that no group has.
fn assert_nothing_is_kept_in_vain(table: &StateTable) {
    for dimension in 0..table.keys.dimensions() {
        let mut used: Vec<u32> = table.keys.codes(dimension).collect();
        used.sort_unstable();
        used.dedup();
        let known = used.iter().filter(|code| **code != watershed_schemas::keys::UNKNOWN).count();
        assert_eq!(known, table.keys.dictionary(dimension).len(), "dimension {dimension}");
    }
}

fn assert_within(table: &StateTable, most: u64) {
    let held = table.holding();
    assert!(held.groups <= most, "{} groups, {most} are allowed", held.groups);
    assert!(held.overflow_windows <= most, "{} overflow groups", held.overflow_windows);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_split_under_any_budget_has_the_totals_of_a_fold_without_one(
        (events, parts) in specimens(60).prop_flat_map(|events| {
            let parts = prop::collection::vec(0usize..3, events.len());
            (Just(events), parts)
        }),
        most in 1u64..6,
        batch in 1usize..20,
    ) {
        let select = measures::select();
        let view = view(&["label", "flag"], &select, None);
        let mut tables = Vec::new();
        for part in 0..3 {
            let chosen = events.iter().zip(&parts).filter(|(_, of)| **of == part);
            let chosen: Vec<Specimen> = chosen.map(|(event, _)| event.clone()).collect();
            let mut table = under(&view, &groups(most));
            for events in chosen.chunks(batch) {
                table.fold(&frame(events)).expect("events fold");
                assert_within(&table, most);
            }
            assert_nothing_is_kept_in_vain(&table);
            tables.push(table);
        }
        let tables: Vec<&StateTable> = tables.iter().collect();
        let unlimited = fold(&view, &events);
        assert_same(&totals(&select, &tables, true), &totals(&select, &[&unlimited], true));
        if !tables.iter().any(|table| has_lost_windows(table)) {
            assert_same(&totals(&select, &tables, false), &totals(&select, &[&unlimited], false));
        }
        prop_assert_eq!(tables.iter().map(|table| table.events).sum::<u64>(), events.len() as u64);
    }

    #[test]
    fn groups_that_are_given_up_later_take_their_records_along(events in specimens(60), most in 1u64..6) {
        let select = measures::select();
        let view = view(&["label", "flag"], &select, None);
        let unlimited = fold(&view, &events);
        let shed = unlimited.clone().within(&groups(most));
        assert_within(&shed, most);
        assert_nothing_is_kept_in_vain(&shed);
        assert_same(&totals(&select, &[&shed], true), &totals(&select, &[&unlimited], true));
        // Those that remain are what they were.
        for row in (0..shed.cells() as u32).filter(|row| !shed.keys.is_overflow(*row)) {
            let codes: Option<Vec<u32>> = (0..2)
                .map(|dimension| unlimited.keys.find_code(dimension, shed.keys.value(row, dimension)))
                .collect();
            let was = unlimited.keys.find(shed.keys.windows()[row as usize], &codes.expect("it was there"));
            for (ours, theirs) in shed.measures.iter().zip(&unlimited.measures) {
                let (ours, theirs) = (ours.finish(row), theirs.finish(was.expect("it was there")));
                prop_assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
            }
        }
    }

    #[test]
    fn overflow_groups_are_sent_and_saved_and_folding_goes_on_from_there(events in specimens(60), most in 1u64..5) {
        let select = measures::select();
        let view = view(&["label", "flag"], &select, None);
        let (before, after) = events.split_at(events.len() / 2);
        let mut table = under(&view, &groups(most));
        table.fold(&frame(before)).expect("events fold");
        let sent = table.to_live_batch();
        let mut read = StateTable::from_record_batch(view.clone(), &sent).expect("what was written is read");
        prop_assert_eq!(read.to_live_batch(), sent, "invariant {}", invariants::REPLAY);
        prop_assert_eq!(read.overflow().map(|(_, records)| records).collect::<Vec<_>>().len(), table.overflow().count());
        read = read.within(&groups(most));
        read.fold(&frame(after)).expect("events fold");
        assert_within(&read, most);
        assert_same(&totals(&select, &[&read], true), &totals(&select, &[&fold(&view, &events)], true));
    }
}

/// `count` events in `windows` hours, each with a label of its own.
fn distinct(count: usize, windows: usize) -> Vec<Specimen> {
    let event = |index: usize| Specimen {
        at: (index % windows) as i64 * HOUR,
        label: Some(format!("label {index}")),
        big: Some(index as i64),
        ..Specimen::blank(index)
    };
    (0..count).map(event).collect()
}

fn counted() -> Vec<String> {
    vec!["count(*) AS n".to_string(), "sum(big) AS total".to_string()]
}

#[test]
fn each_window_has_one_overflow_group_and_it_says_how_many_records_it_holds() {
    let view = view(&["label"], &counted(), None);
    let mut table = under(&view, &groups(10));
    for events in distinct(100, 4).chunks(30) {
        table.fold(&frame(events)).expect("events fold");
    }
    assert_eq!(table.holding().groups, 10);
    let overflow: Vec<(i64, Option<u64>)> =
        table.overflow().map(|(row, records)| (table.keys.windows()[row as usize], records)).collect();
    assert_eq!(overflow.len(), 4);
    assert_eq!(overflow.iter().map(|(_, records)| records.expect("counted")).sum::<u64>(), 90);
    for (row, records) in table.overflow() {
        assert_eq!(*table.keys.value(row, 0), Value::Null);
        let counted = table.measures[0].finish(row);
        assert_eq!(counted, Value::Integer(records.expect("counted") as i64));
    }
}

#[test]
fn with_more_windows_than_groups_are_allowed_one_group_holds_the_rest_of_all_windows() {
    let view = view(&["label"], &counted(), None);
    let mut table = under(&view, &groups(3));
    for events in distinct(200, 100).chunks(50) {
        table.fold(&frame(events)).expect("events fold");
    }
    let held = table.holding();
    assert_eq!((held.groups, held.overflow_groups()), (3, 4), "three windows', and that of all");
    assert!(has_lost_windows(&table));
    assert_eq!(held.overflow_records, 197);
}

#[test]
fn a_view_without_dimensions_overflows_by_windows() {
    let view = view(&[], &counted(), None);
    let mut table = under(&view, &groups(5));
    for events in distinct(300, 100).chunks(70) {
        table.fold(&frame(events)).expect("events fold");
    }
    let held = table.holding();
    assert_eq!((held.groups, held.overflow_groups(), held.overflow_records), (5, 1, 285));
}

#[test]
fn groups_that_are_there_go_on_being_folded_when_the_budget_is_full() {
    let view = view(&["label"], &counted(), None);
    let mut table = under(&view, &groups(2));
    let events = distinct(4, 1);
    for _ in 0..3 {
        table.fold(&frame(&events)).expect("events fold");
    }
    let named = |row: &u32| !table.keys.is_overflow(*row);
    let rows: Vec<u32> = (0..table.cells() as u32).filter(named).collect();
    assert_eq!(rows.len(), 2);
    for row in rows {
        assert_eq!(table.measures[0].finish(row), Value::Integer(3));
    }
    assert_eq!(table.holding().overflow_records, 6);
}

#[test]
fn all_tables_of_a_view_share_its_budget_and_give_it_back() {
    let view = view(&["label"], &counted(), None);
    let budget = groups(10);
    let (mut first, mut second) = (under(&view, &budget), under(&view, &budget));
    assert_eq!(budget.turned(), None);
    first.fold(&frame(&distinct(8, 1))).expect("events fold");
    second.fold(&frame(&distinct(8, 1))).expect("events fold");
    assert_eq!((first.holding().groups, second.holding().groups), (8, 2));
    let held = budget.held();
    assert_eq!((held.groups, held.overflow_groups(), held.overflow_records), (10, 1, 6));
    assert_eq!(held.bytes, first.holding().bytes + second.holding().bytes);
    assert_eq!((budget.turned(), budget.turned()), (Some(true), None), "told once");
    drop(first);
    second.fold(&frame(&distinct(20, 1))).expect("events fold");
    assert_eq!(second.holding().groups, 10);
    drop(second);
    assert_eq!(budget.held(), Default::default());
    assert_eq!(budget.turned(), Some(false));
}

#[test]
fn room_that_a_table_has_taken_is_no_other_tables_and_is_held_by_nobody_until_it_settles() {
    let budget = groups(10);
    let (mut one, mut other) = (Account::open(budget.clone()), Account::open(budget.clone()));
    assert_eq!(one.take(8, 100), Room { groups: 8, overflow_windows: 8 });
    assert_eq!(other.take(8, 100), Room { groups: 2, overflow_windows: 2 });
    assert_eq!((budget.held(), budget.turned()), (Holding::default(), None));
    let now = Holding { groups: 3, bytes: 300, ..Holding::default() };
    assert_eq!(one.settle(now), Excess::default());
    assert_eq!((budget.held(), budget.turned()), (now, None));
    drop(other);
    assert_eq!(Account::open(budget.clone()).take(8, 100).groups, 7);
    drop(one);
    assert_eq!(budget.held(), Holding::default());
}

#[test]
fn sketches_that_grow_beyond_the_budget_are_merged_until_they_fit() {
    let select = ["count(*) AS n", "count(DISTINCT big) AS bigs", "quantile_cont(big, 0.5) AS middle"];
    let select = select.map(str::to_string).to_vec();
    let view = view(&["label"], &select, None);
    let most = 400_000;
    let budget = bytes(most);
    let mut table = under(&view, &budget);
    let mut unlimited = StateTable::new(view.clone());
    for round in 0..120 {
        // The same two hundred groups, whose sketches see ever new values.
        let mut events = distinct(200, 2);
        for (index, event) in events.iter_mut().enumerate() {
            event.big = Some(((round * 200 + index) as i64 + 1).pow(2) * if index % 2 == 0 { 1 } else { -1 });
        }
        for events in [&events[..100], &events[100..]] {
            table.fold(&frame(events)).expect("events fold");
            unlimited.fold(&frame(events)).expect("events fold");
            assert!(budget.held().bytes <= most, "{} bytes, {most} are allowed", budget.held().bytes);
        }
    }
    assert!(unlimited.holding().bytes > 2 * most, "the test grows too little: {:?}", unlimited.holding());
    let held = table.holding();
    assert!(held.groups > 0 && held.overflow_groups() == 2, "{held:?}");
    assert!(table.numbering() > 0, "rows have moved");
    assert_same(&totals(&select, &[&table], false), &totals(&select, &[&unlimited], false));
}

#[test]
fn new_groups_stop_at_the_bytes_that_are_allowed_and_long_values_count() {
    let view = view(&["label"], &counted(), None);
    let budget = bytes(1 << 20);
    let mut table = under(&view, &budget);
    let mut events = distinct(30_000, 3);
    events.iter_mut().for_each(|event| event.label = event.label.take().map(|label| label.repeat(10)));
    for events in events.chunks(500) {
        table.fold(&frame(events)).expect("events fold");
        assert!(budget.held().bytes <= 1 << 20);
    }
    let held = table.holding();
    assert!(held.bytes > 1 << 19, "room is left unused: {held:?}");
    assert!(held.groups > 1_000 && held.overflow_groups() == 3, "{held:?}");
    assert_eq!(held.groups + held.overflow_records, 30_000);
}

#[test]
fn groups_given_up_by_a_view_that_does_not_count_records_are_told_as_uncounted() {
    let view = view(&["label"], &["sum(big) AS total".to_string()], None);
    let table = fold(&view, &distinct(10, 1)).within(&groups(4));
    let overflow: Vec<Option<u64>> = table.overflow().map(|(_, records)| records).collect();
    assert_eq!(overflow, [None]);
    let sent = table.to_live_batch();
    assert!(sent.column_by_name(OVERFLOW).is_some());
    let read = StateTable::from_record_batch(view, &sent).expect("what was written is read");
    assert_eq!(read.overflow().map(|(_, records)| records).collect::<Vec<_>>(), [None]);
}

#[test]
fn states_without_the_column_of_overflow_are_read_as_those_of_groups_that_fit() {
    let view = view(&["label"], &counted(), None);
    let table = fold(&view, &distinct(10, 1));
    let read = StateTable::from_record_batch(view, &table.to_record_batch()).expect("they are read");
    assert_eq!(read.overflow().count(), 0);
    assert_eq!(read.to_live_batch(), table.to_live_batch());
}
