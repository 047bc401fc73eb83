//! The laws of states (invariants `FOLD` and `REPLAY`), for every measure over every type, with and without a filter.

use std::sync::Arc;

use arrow::datatypes::DataType as ArrowType;
use arrow::record_batch::RecordBatch;
use proptest::prelude::*;
use watershed_schemas::invariants;
use watershed_schemas::measure;
use watershed_schemas::states::StateTable;
use watershed_schemas::value::Value;
use watershed_schemas::view::{Aggregate, View};

use crate::support::measures;
use crate::support::specimens::{HOUR, Specimen, fold, specimens, view};

/// Every measure, over two dimensions.
fn everything() -> Arc<View> {
    view(&["label", "flag"], &measures::select(), None)
}

fn merged(view: &Arc<View>, parts: impl IntoIterator<Item = StateTable>) -> StateTable {
    let mut whole = StateTable::new(view.clone());
    parts.into_iter().for_each(|part| whole.merge(&part));
    whole
}

/// True where the law promises bytes: not for sums of doubles, which are compensated.
fn is_bitwise(view: &View, measure: usize) -> bool {
    let measure = &view.measures[measure];
    let double = measure
        .argument
        .as_ref()
        .is_some_and(|scalar| scalar.data_type == watershed_schemas::types::DataType::Double);
    match measure.aggregate {
        Aggregate::Sum | Aggregate::Avg => !double,
        Aggregate::VarSamp | Aggregate::StddevSamp => false,
        _ => true,
    }
}

/// The same cells, the same bytes where they are promised, and values within 1e-12 elsewhere.
pub fn assert_same(left: &StateTable, right: &StateTable) {
    let (ours, theirs) = (left.to_record_batch(), right.to_record_batch());
    assert_eq!(ours.num_rows(), theirs.num_rows(), "{}: cells", invariants::FOLD);
    let keys = left.keys.sorted_rows().into_iter().zip(right.keys.sorted_rows()).collect::<Vec<_>>();
    for column in 0..=left.view.dimensions.len() {
        assert_eq!(ours.column(column), theirs.column(column), "{}: keys", invariants::FOLD);
    }
    for (index, measure) in left.view.measures.iter().enumerate() {
        if is_bitwise(&left.view, index) {
            for field in measure::fields(measure) {
                let column = |batch: &RecordBatch| batch.column_by_name(field.name()).cloned();
                assert_eq!(column(&ours), column(&theirs), "{}: {}", invariants::FOLD, field.name());
            }
        }
        for (ours, theirs) in &keys {
            let (ours, theirs) = (left.measures[index].finish(*ours), right.measures[index].finish(*theirs));
            if let (Value::Double(ours), Value::Double(theirs)) = (&ours, &theirs) {
                // Up to fifty values of at most a million, squared for variances.
                let magnitude = if matches!(measure.aggregate, Aggregate::VarSamp | Aggregate::StddevSamp) {
                    5e13
                } else {
                    5e7
                };
                let apart = (ours - theirs).abs();
                assert!(apart <= 1e-12 * magnitude, "{}: {ours} and {theirs}", measure.name);
            } else {
                assert_eq!(ours, theirs, "{}", measure.name);
            }
        }
    }
}

/// Events over twenty hours, with so many labels, each padded to a length.
fn long_run(labels: usize, length: usize) -> Vec<Specimen> {
    let event = |index: usize| Specimen {
        at: (index * 7_919 % 20) as i64 * HOUR + index as i64,
        flag: (!index.is_multiple_of(3)).then_some(index.is_multiple_of(2)),
        small: Some((index % 11) as i32 - 5),
        real: (!index.is_multiple_of(5)).then(|| (index % 400) as f64 / 8.0 - 25.0),
        label: (!index.is_multiple_of(7)).then(|| format!("{:0length$}", index * 31 % labels)),
        ..Specimen::blank(index)
    };
    (0..2_500).map(event).collect()
}

/// What comes again in a run is looked at once, which must not be seen in any state.
#[test]
fn a_long_run_is_folded_as_its_events_one_by_one() {
    for (labels, length) in [(1, 0), (5, 3), (5, 12), (40, 17), (2_500, 8)] {
        let events = long_run(labels, length);
        for view in [everything(), view(&["label"], &measures::select(), Some("small > -4"))] {
            let mut one_by_one = StateTable::new(view.clone());
            for event in events.chunks(1) {
                one_by_one.fold(&crate::support::specimens::frame(event)).expect("an event folds");
            }
            let whole = fold(&view, &events);
            assert_same(&whole, &one_by_one);
            assert_eq!(whole.events, one_by_one.events);
            assert!(whole.cells() > labels.min(100), "{labels} labels in {} cells", whole.cells());
        }
    }
}

fn parts_of(events: &[Specimen], parts: &[usize], count: usize) -> Vec<Vec<Specimen>> {
    let mut split = vec![Vec::new(); count];
    for (event, part) in events.iter().zip(parts) {
        split[*part].push(event.clone());
    }
    split
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn any_split_and_any_order_of_events_give_the_same_states(
        (events, shuffled, parts) in specimens(50).prop_flat_map(|events| {
            let parts = prop::collection::vec(0usize..4, events.len());
            (Just(events.clone()), Just(events).prop_shuffle(), parts)
        }),
    ) {
        let view = everything();
        let split = parts_of(&shuffled, &parts, 4);
        assert_same(&fold(&view, &events), &merged(&view, split.iter().map(|part| fold(&view, part))));
    }

    #[test]
    fn merge_is_associative_and_commutative_and_the_empty_state_is_its_identity(
        (events, parts) in specimens(50).prop_flat_map(|events| {
            let parts = prop::collection::vec(0usize..3, events.len());
            (Just(events), parts)
        }),
    ) {
        let view = everything();
        let tables: Vec<StateTable> = parts_of(&events, &parts, 3).iter().map(|part| fold(&view, part)).collect();
        let (a, b, c) = (&tables[0], &tables[1], &tables[2]);
        let join = |left: &StateTable, right: &StateTable| merged(&view, [left.clone(), right.clone()]);
        assert_same(&join(&join(a, b), c), &join(a, &join(b, c)));
        assert_same(&join(a, b), &join(b, a));
        let nothing = StateTable::new(view.clone());
        prop_assert_eq!(join(a, &nothing).to_record_batch(), a.to_record_batch());
        prop_assert_eq!(join(&nothing, a).to_record_batch(), a.to_record_batch());
    }

    #[test]
    fn folding_on_from_stored_states_gives_the_same_bytes_as_never_having_stopped(
        events in specimens(60), at in 0usize..60,
    ) {
        let view = everything();
        let (before, after) = events.split_at(at.min(events.len()));
        let mut unbroken = fold(&view, before);
        let stored = unbroken.to_record_batch();
        let mut resumed = StateTable::from_record_batch(view.clone(), &stored).expect("what was written is read");
        prop_assert_eq!(resumed.to_record_batch(), stored, "a round trip");
        for table in [&mut unbroken, &mut resumed] {
            table.fold(&crate::support::specimens::frame(after)).expect("events fold");
        }
        prop_assert_eq!(resumed.to_record_batch(), unbroken.to_record_batch(), "{}", invariants::REPLAY);
    }

    #[test]
    fn a_view_s_filter_leaves_out_what_it_does_not_pass(events in specimens(50)) {
        let filtered = view(&["label"], &measures::select(), Some("small > 0"));
        let all = view(&["label"], &measures::select(), None);
        let passing: Vec<Specimen> = events.iter().filter(|event| event.small > Some(0)).cloned().collect();
        let (left, right) = (fold(&filtered, &events), fold(&all, &passing));
        prop_assert_eq!(left.events, passing.len() as u64);
        prop_assert_eq!(left.to_record_batch(), right.to_record_batch());
    }
}

#[test]
fn other_writers_forms_of_the_same_columns_are_read() {
    let view = everything();
    let mut events: Vec<Specimen> = (0..40).map(Specimen::blank).collect();
    for (index, event) in events.iter_mut().enumerate() {
        event.label = Some(format!("label {}", index % 3));
        event.real = Some(index as f64);
        event.price = Some(index as i128);
    }
    let batch = fold(&view, &events).to_record_batch();
    let widened = |data_type: &ArrowType| match data_type {
        ArrowType::Utf8 => ArrowType::Utf8View,
        ArrowType::Binary => ArrowType::BinaryView,
        ArrowType::List(item) => ArrowType::LargeList(item.clone()),
        other => other.clone(),
    };
    let dictionary = |data_type: &ArrowType| match data_type {
        ArrowType::Utf8 => ArrowType::Dictionary(Box::new(ArrowType::Int32), Box::new(ArrowType::Utf8)),
        ArrowType::Binary => ArrowType::LargeBinary,
        other => other.clone(),
    };
    for form in [&widened as &dyn Fn(&ArrowType) -> ArrowType, &dictionary] {
        let schema = batch.schema();
        let columns = schema.fields().iter().zip(batch.columns()).map(|(field, column)| {
            let cast = arrow::compute::cast(column, &form(field.data_type())).expect("the form exists");
            (field.name().clone(), cast, true)
        });
        let other = RecordBatch::try_from_iter_with_nullable(columns.collect::<Vec<_>>()).expect("a batch");
        let read = StateTable::from_record_batch(view.clone(), &other).expect("it is read");
        assert_eq!(read.to_record_batch(), batch);
    }
}

#[test]
fn no_events_make_no_cells_and_a_missing_state_column_is_named() {
    let view = everything();
    let nothing = fold(&view, &[]);
    assert_eq!((nothing.cells(), nothing.events), (0, 0));
    let batch = nothing.to_record_batch();
    assert_eq!(batch.schema(), StateTable::schema(&view));
    let kept: Vec<usize> = (0..batch.num_columns() - 1).collect();
    let torn = batch.project(&kept).expect("fewer columns");
    let error =
        StateTable::from_record_batch(view.clone(), &torn).expect_err("a column is missing").to_string();
    assert!(error.contains("no such column") && error.contains("__"), "{error}");
}

#[test]
fn zero_has_no_sign_and_nan_is_one_key_above_all_numbers() {
    let view = view(
        &["real"],
        &["count(*) AS n".to_string(), "max(real) AS top".to_string(), "min(real) AS bottom".to_string()],
        None,
    );
    let reals = [0.0, -0.0, f64::NAN, -f64::NAN, 1.0, f64::INFINITY];
    let events: Vec<Specimen> = (reals.iter().enumerate())
        .map(|(index, real)| Specimen { real: Some(*real), ..Specimen::blank(index) })
        .collect();
    let table = fold(&view, &events);
    let rows = table.keys.sorted_rows();
    let shown: Vec<(String, Value)> = (rows.iter())
        .map(|row| (format!("{:?}", table.keys.value(*row, 0)), table.measures[0].finish(*row)))
        .collect();
    let expected = [("Double(0.0)", 2), ("Double(1.0)", 1), ("Double(inf)", 1), ("Double(NaN)", 2)];
    assert_eq!(shown, expected.map(|(key, count)| (key.to_string(), Value::Integer(count))));

    let together = crate::support::specimens::view(
        &[],
        &["max(real) AS top".to_string(), "min(real) AS bottom".to_string()],
        None,
    );
    let table = fold(&together, &events);
    assert!(matches!(table.measures[0].finish(0), Value::Double(top) if top.is_nan()));
    assert_eq!(table.measures[1].finish(0), Value::Double(0.0));
}
