//! A part of states says of what lies in it what all of them say, in this process and over the wire.

use std::sync::Arc;

use proptest::prelude::*;
use watershed_schemas::budget::{Budget, Limits};
use watershed_schemas::invariants;
use watershed_schemas::live::PartitionStates;
use watershed_schemas::scope::{Condition, Scope};
use watershed_schemas::states::StateTable;
use watershed_schemas::value::Value;

use crate::support::measures;
use crate::support::specimens::{HOUR, frame, specimens, view};

fn scopes() -> impl Strategy<Value = Scope> {
    let flag =
        prop::sample::subsequence(vec![Value::Null, Value::Boolean(true), Value::Boolean(false)], 0..3);
    let real = prop::sample::subsequence(
        vec![Value::Null, Value::Double(f64::NAN), Value::Double(f64::INFINITY), Value::Double(0.0)],
        0..4,
    );
    let condition = |dimension| move |(values, negated)| Condition { dimension, negated, values };
    let flag = prop::option::of((flag, any::<bool>()).prop_map(condition(0)));
    let real = prop::option::of((real, any::<bool>()).prop_map(condition(1)));
    let all: Vec<usize> = (0..measures::select().len()).collect();
    let measures = prop::option::of(prop::sample::subsequence(all, 0..4));
    let from = prop_oneof![Just(i64::MIN), (-3..3i64).prop_map(|hour| hour * HOUR)];
    let to = prop_oneof![Just(i64::MAX), (-3..5i64).prop_map(|hour| hour * HOUR)];
    (from, to, flag, real, measures).prop_map(|(from, to, flag, real, measures)| {
        let conditions = flag.into_iter().chain(real).collect();
        Scope { from, to, conditions, measures }
    })
}

/// All that a table says of each of these rows, as far as the scope's measures go.
fn said(table: &StateTable, rows: &[u32], scope: &Scope) -> Vec<String> {
    let measures = || table.measures.iter().enumerate().filter(|(index, _)| scope.has_measure(*index));
    let said = |row: &u32| {
        let key: Vec<&Value> =
            (0..table.keys.dimensions()).map(|index| table.keys.value(*row, index)).collect();
        let values: Vec<Value> = measures().map(|(_, states)| states.finish(*row)).collect();
        let overflow = table.overflow().find(|(of, _)| of == row);
        format!(
            "{} {key:?} {:?} {values:?}",
            table.keys.windows()[*row as usize],
            overflow.map(|(_, records)| records)
        )
    };
    let mut said: Vec<String> = rows.iter().map(said).collect();
    said.sort();
    said
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn a_part_of_states_says_what_all_of_them_say_of_what_lies_in_it(
        events in specimens(60),
        most in prop::option::of(2u64..20),
        scope in scopes(),
    ) {
        let view = view(&["flag", "real"], &measures::select(), None);
        let mut table = StateTable::new(view.clone());
        if let Some(most) = most {
            table.limit(&Budget::new(Limits { groups: Some(most), bytes: None }));
        }
        table.fold(&frame(&events)).expect("events fold");
        let within = |row: &u32| {
            let passes = |condition: &Condition| {
                let value = table.keys.value(*row, condition.dimension);
                let same = |other: &Value| value.is_null() == other.is_null() && value.order(other).is_eq();
                condition.values.iter().any(same) != condition.negated
            };
            let window = table.keys.windows()[*row as usize];
            let decided = scope.from <= window && window < scope.to && scope.conditions.iter().all(passes);
            // Whose records an overflow group holds nobody can say.
            decided || table.keys.is_overflow(*row)
        };
        let rows: Vec<u32> = (0..table.cells() as u32).filter(within).collect();
        let expected = said(&table, &rows, &scope);

        let asked: Scope = serde_json::from_str(&serde_json::to_string(&scope).expect("it is written")).expect("it is read");
        let part = PartitionStates::Held(Arc::new(table.part(&asked)));
        let sent = PartitionStates::Encoded(part.to_batch());
        for states in [part, sent] {
            let part = states.to_table(&view, &scope).expect("what was written is read");
            let all: Vec<u32> = (0..part.cells() as u32).collect();
            prop_assert_eq!(said(&part, &all, &scope), expected.clone(), "invariant {}", invariants::REPLAY);
            for (index, states) in part.measures.iter().enumerate() {
                prop_assert_eq!(states.len(), if scope.has_measure(index) { part.cells() } else { 0 });
            }
        }
    }
}

#[test]
fn a_request_that_names_no_scope_is_one_for_all_states() {
    let scope: Scope = serde_json::from_str("{}").expect("every part of it may be left out");
    assert!(scope.is_whole());
}
