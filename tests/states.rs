//! Exact values by Polars and finished states by the fold, both against an oracle in plain Rust.

use std::collections::BTreeMap;
use std::sync::Arc;

use polars::prelude::{DataFrame, Engine, IntoLazy};
use proptest::prelude::*;
use watershed_schemas::columns;
use watershed_schemas::exact::{Grouping, exact};
use watershed_schemas::states::{StateTable, Whole};
use watershed_schemas::types::DataType;
use watershed_schemas::value::Value;
use watershed_schemas::view::View;

use crate::support::measures::{Case, cases, oracle, select, value};
use crate::support::specimens::{HOUR, Specimen, fold, frame, specimens, view};

const DIMENSIONS: [&str; 3] = ["label", "flag", "real"];

/// Cells by hand: window and dimension values, written out so that they can be a map's key.
fn cells<'a>(
    events: &'a [Specimen],
    window: bool,
    dimensions: &[usize],
) -> BTreeMap<String, Vec<&'a Specimen>> {
    let mut cells: BTreeMap<String, Vec<&Specimen>> = BTreeMap::new();
    for event in events {
        let start = window.then(|| event.at - event.at.rem_euclid(HOUR));
        let values = dimensions.iter().map(|index| canonical(value(event, DIMENSIONS[*index]))).collect();
        cells.entry(key(start, values)).or_default().push(event);
    }
    cells
}

fn key(window: Option<i64>, values: Vec<Value>) -> String {
    format!("{window:?} {values:?}")
}

fn canonical(value: Value) -> Value {
    if let Value::Double(number) = value { Value::Double(number + 0.0) } else { value }
}

/// The measures of every cell as a data frame of exact values has them.
fn exact_cells(view: &View, frame: &DataFrame, grouping: &Grouping) -> BTreeMap<String, Vec<Value>> {
    let column = |name: &str, data_type: &DataType| {
        let series = frame.column(name).expect("the column is there").as_materialized_series();
        assert_eq!(*series.dtype(), data_type.polars(), "type of {name}");
        columns::values(series, data_type).expect("values")
    };
    let windows = grouping.bucket.as_ref().map(|_| column("window_start", &DataType::Timestamp));
    let dimensions = grouping.dimensions.iter().map(|index| &view.dimensions[*index]);
    let dimensions: Vec<Vec<Value>> =
        dimensions.map(|dimension| column(&dimension.name, &dimension.scalar.data_type)).collect();
    let measures: Vec<Vec<Value>> =
        view.measures.iter().map(|measure| column(&measure.name, &measure.result_type)).collect();
    let rows = column("_rows", &DataType::BigInt);
    let cell = |row: usize| {
        let window = windows.as_ref().map(|windows| match windows[row] {
            Value::Timestamp(start) => start,
            ref other => panic!("a window starts at {other:?}"),
        });
        let values = dimensions.iter().map(|column| column[row].clone()).collect();
        let measured = measures.iter().map(|column| column[row].clone());
        (key(window, values), measured.chain([rows[row].clone()]).collect())
    };
    let cells: BTreeMap<String, Vec<Value>> = (0..frame.height()).map(cell).collect();
    assert_eq!(cells.len(), frame.height(), "no key comes twice");
    cells
}

fn finished_cells(table: &StateTable) -> BTreeMap<String, Vec<Value>> {
    let cell = |row: u32| {
        let values = (0..table.keys.dimensions()).map(|index| table.keys.value(row, index).clone()).collect();
        let finished = table.measures.iter().map(|states| states.finish(row)).collect();
        (key(Some(table.keys.windows()[row as usize]), values), finished)
    };
    (0..table.cells() as u32).map(cell).collect()
}

/// Equal, doubles within `tolerance` times the magnitudes that went in.
fn assert_close(case: &Case, found: &Value, expected: &Value, events: &[&Specimen], tolerance: f64) {
    let (Value::Double(found_number), Value::Double(expected_number)) = (found, expected) else {
        assert_eq!(found, expected, "{}", case.name);
        return;
    };
    let column = case.column.expect("a double has an argument");
    let magnitude = |event: &&Specimen| match value(event, column) {
        Value::Integer(value) => (value as f64).abs(),
        Value::Double(value) => value.abs(),
        Value::Decimal(value, _) => (value as f64 / 100.0).abs(),
        _ => 0.0,
    };
    let most = events.iter().map(magnitude).fold(0.0, f64::max);
    let apart = match case.aggregate {
        // A variance's rounding grows with the square of what went in, a deviation is its root.
        "variance" => (found_number - expected_number).abs() / most.max(1e-300),
        "deviation" => (found_number.powi(2) - expected_number.powi(2)).abs() / most.max(1e-300),
        "least" | "median" | "p90" => (found_number - expected_number).abs(),
        _ => (found_number - expected_number).abs() / events.len() as f64,
    };
    assert!(apart <= tolerance * most, "{}: {found_number} instead of {expected_number}", case.name);
}

fn assert_exact(view: &Arc<View>, events: &[Specimen], grouping: &Grouping) {
    let cases = cases();
    let expected = cells(events, grouping.bucket.is_some(), &grouping.dimensions);
    for engine in [Engine::InMemory, Engine::Streaming] {
        let plan = exact(view, frame(events).lazy(), grouping);
        let frame = plan.collect_with_engine(engine).expect("the plan runs").unwrap_single();
        let found = exact_cells(view, &frame, grouping);
        assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>(), "{engine:?}");
        for (key, events) in &expected {
            for (case, value) in cases.iter().zip(&found[key]) {
                assert_close(case, value, &oracle(case, events), events, 1e-12);
            }
            assert_eq!(found[key].last(), Some(&Value::Integer(events.len() as i64)), "_rows");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn exact_values_are_those_of_the_oracle_in_either_engine(events in specimens(60)) {
        let view = view(&DIMENSIONS, &select(), None);
        assert_exact(&view, &events, &Grouping::of(&view));
    }

    #[test]
    fn exact_values_can_be_had_at_any_other_grain(events in specimens(60), bucketed: bool, dimension in 0usize..4) {
        let view = view(&DIMENSIONS, &select(), None);
        let own = Grouping::of(&view);
        let grouping = Grouping {
            bucket: own.bucket.filter(|_| bucketed),
            dimensions: (0..DIMENSIONS.len()).filter(|index| *index == dimension).collect(),
            measures: own.measures,
        };
        assert_exact(&view, &events, &grouping);
    }

    #[test]
    fn whole_cells_have_the_folds_states_and_the_oracles_values(events in specimens(120)) {
        let view = view(&DIMENSIONS, &select(), Some("flag OR small IS NULL"));
        let passed: Vec<Specimen> = events.iter().filter(|it| it.flag == Some(true) || it.small.is_none()).cloned().collect();
        let whole = Whole::of(&view, &frame(&events)).expect("events fold");
        prop_assert_eq!(whole.states.to_record_batch(), fold(&view, &events).to_record_batch());
        let expected = cells(&passed, true, &[0, 1, 2]);
        let keys = finished_cells(&whole.states);
        prop_assert_eq!(keys.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for ((case, measure), exact) in cases().iter().zip(&view.measures).zip(&whole.exact) {
            prop_assert_eq!(exact.is_some(), measure.aggregate.is_sketched(), "{}", case.name);
            let Some(exact) = exact else { continue };
            for (row, value) in exact.iter().enumerate() {
                let keys = &whole.states.keys;
                let values = (0..keys.dimensions()).map(|index| keys.value(row as u32, index).clone()).collect();
                let events = &expected[&key(Some(keys.windows()[row]), values)];
                assert_close(case, value, &oracle(case, events), events, 1e-12);
            }
        }
    }

    #[test]
    fn finished_states_are_those_of_the_oracle_or_within_their_bound(events in specimens(60)) {
        let view = view(&DIMENSIONS, &select(), None);
        let cases = cases();
        let expected = cells(&events, true, &[0, 1, 2]);
        let found = finished_cells(&fold(&view, &events));
        prop_assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        for (key, events) in &expected {
            for (case, value) in cases.iter().zip(&found[key]) {
                // Few values: distinct counts and top-k are still exact, quantiles within 1 % of the largest neighbour.
                let tolerance = if ["least", "median", "p90"].contains(&case.aggregate) { 0.0101 } else { 1e-12 };
                assert_close(case, value, &oracle(case, events), events, tolerance);
            }
        }
    }
}

#[test]
fn no_events_have_no_exact_groups() {
    let view = view(&DIMENSIONS, &select(), None);
    for bucket in [Grouping::of(&view).bucket, None] {
        let grouping = Grouping { bucket, dimensions: Vec::new(), ..Grouping::of(&view) };
        let plan = exact(&view, frame(&[]).lazy(), &grouping);
        assert_eq!(plan.collect().expect("the plan runs").height(), 0);
    }
}

#[test]
fn whole_cells_of_many_values_have_the_folds_states() {
    let sql = ["count(DISTINCT big) AS n", "median(small) AS middle", "approx_top_k(label, 2) AS top"];
    let view = view(&["flag"], &sql.map(str::to_string), None);
    let event = |index: usize| Specimen {
        flag: Some(index.is_multiple_of(7)),
        big: Some((index * 7_919 % 5_000) as i64),
        small: Some((index * 104_729 % 20_011) as i32 - 9_000),
        label: Some(format!("label {}", index * index % 701)),
        ..Specimen::blank(index)
    };
    let events: Vec<Specimen> = (0..20_000).map(event).collect();
    let whole = Whole::of(&view, &frame(&events)).expect("events fold");
    assert_eq!(whole.states.to_record_batch(), fold(&view, &events).to_record_batch());
    // What was set at once merges, and goes on being folded, like any other state.
    let (first, last) = events.split_at(11_111);
    let mut merged = Whole::of(&view, &frame(first)).expect("events fold").states;
    merged.fold(&frame(&last[..3_000])).expect("events fold");
    merged.merge(&Whole::of(&view, &frame(&last[3_000..])).expect("events fold").states);
    assert_eq!(merged.to_record_batch(), whole.states.to_record_batch());
}

#[test]
fn whole_cells_have_polars_values_of_infinities_and_nan() {
    let sql = ["count(DISTINCT real) AS n", "approx_top_k(real, 2) AS top", "median(real) AS middle"];
    let view = view(&[], &sql.map(str::to_string), None);
    let event = |(index, real): (usize, &f64)| Specimen { real: Some(*real), ..Specimen::blank(index) };
    for reals in [
        [0.0, -0.0, f64::NAN, -f64::NAN, 1.0].as_slice(),
        &[f64::INFINITY, 1.0, f64::NEG_INFINITY, f64::INFINITY],
        &[f64::NAN, f64::INFINITY, 1.0, f64::NAN],
        &[f64::NEG_INFINITY, f64::NEG_INFINITY, 0.0, 7.0],
        &[],
    ] {
        let events: Vec<Specimen> = reals.iter().enumerate().map(event).collect();
        let plan = exact(&view, frame(&events).lazy(), &Grouping::of(&view));
        let plan = plan.collect().expect("the plan runs");
        let expected = exact_cells(&view, &plan, &Grouping::of(&view)).into_values().next();
        let whole = Whole::of(&view, &frame(&events)).expect("events fold").exact;
        let found: Vec<Value> = whole.iter().flatten().filter_map(|cells| cells.first().cloned()).collect();
        let expected = expected.map_or(Vec::new(), |cell| cell[..3].to_vec());
        assert_eq!(format!("{found:?}"), format!("{expected:?}"), "{reals:?}");
    }
}

#[test]
fn a_sum_beyond_a_bigint_is_null_in_both_layers_and_comes_back_when_it_fits() {
    let view = view(&[], &["sum(big) AS total".to_string(), "avg(big) AS mean".to_string()], None);
    let events = |bigs: &[i64]| -> Vec<Specimen> {
        let event = |(index, big): (usize, &i64)| Specimen { big: Some(*big), ..Specimen::blank(index) };
        bigs.iter().enumerate().map(event).collect()
    };
    for (bigs, total) in [
        (vec![i64::MAX, i64::MAX], Value::Null),
        (vec![i64::MAX, i64::MAX, i64::MIN, i64::MIN], Value::Integer(-2)),
        (vec![i64::MIN, -1, 1], Value::Integer(i64::MIN)),
    ] {
        let events = events(&bigs);
        let mean = bigs.iter().map(|big| i128::from(*big)).sum::<i128>() as f64 / bigs.len() as f64;
        assert_eq!(
            finished_cells(&fold(&view, &events)).into_values().next(),
            Some(vec![total.clone(), Value::Double(mean),])
        );
        let plan = exact(&view, frame(&events).lazy(), &Grouping::of(&view));
        let frame = plan.collect().expect("the plan runs");
        let exact = exact_cells(&view, &frame, &Grouping::of(&view)).into_values().next().expect("one cell");
        assert_eq!(exact[..2], [total, Value::Double(mean)]);
    }
}

#[test]
fn a_small_deviation_around_a_large_mean_is_not_lost() {
    let view = view(&[], &["var_samp(real) AS spread".to_string()], None);
    let events: Vec<Specimen> = (0..1000)
        .map(|index| Specimen { real: Some(1e9 + (index % 2) as f64), ..Specimen::blank(index) })
        .collect();
    let Value::Double(spread) = fold(&view, &events).measures[0].finish(0) else {
        panic!("a variance is a double")
    };
    let expected = 0.25 * 1000.0 / 999.0;
    assert!((spread - expected).abs() < 1e-12, "{spread} instead of {expected}");
}

#[test]
fn window_starts_of_any_length_are_the_same_in_the_plan_and_in_the_fold() {
    for interval in ["1 second", "7 minutes", "5 hours", "1 week", "1 month", "5 months", "1 year"] {
        let sql = vec!["count(*) AS n".to_string()];
        let hourly = view(&[], &sql, None);
        let mut other = (*hourly).clone();
        let text = hourly.sql.replace("1 hour", interval);
        let files = [crate::support::specimens::STREAM, text.as_str()].map(|text| {
            watershed_schemas::project::SourceFile { path: "a.sql".to_string(), text: text.to_string() }
        });
        let project =
            watershed_schemas::project::Project::parse(&files[..1], &files[1..]).expect("it parses");
        other.window = project.views[0].window.clone();
        let other = Arc::new(other);
        let events: Vec<Specimen> = (0..200)
            .map(|index| Specimen { at: (index as i64 - 100) * 1_234_567_890_123, ..Specimen::blank(index) })
            .collect();
        let plan =
            exact(&other, frame(&events).lazy(), &Grouping::of(&other)).collect().expect("the plan runs");
        let exact = exact_cells(&other, &plan, &Grouping::of(&other));
        let folded = finished_cells(&fold(&other, &events));
        assert_eq!(exact.keys().collect::<Vec<_>>(), folded.keys().collect::<Vec<_>>(), "{interval}");
    }
}
