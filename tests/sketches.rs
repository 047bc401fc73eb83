//! Sketches keep their bounds, and other tools read and merge their states.

use std::collections::HashMap;
use std::fs::File;
use std::sync::Arc;

use arrow::array::AsArray;
use parquet::arrow::ArrowWriter;
use proptest::prelude::*;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use watershed_schemas::measure::top_k::TopKStates;
use watershed_schemas::measure::{self, top_k};
use watershed_schemas::states::StateTable;
use watershed_schemas::value::Value;
use watershed_schemas::view::View;

use crate::support::python::python;
use crate::support::specimens::{Specimen, fold, frame, view};

fn measuring(select: &[&str]) -> Arc<View> {
    view(&[], &select.iter().map(|call| call.to_string()).collect::<Vec<_>>(), None)
}

fn labelled(labels: impl IntoIterator<Item = String>) -> Vec<Specimen> {
    let event = |(index, label)| Specimen { label: Some(label), ..Specimen::blank(index) };
    labels.into_iter().enumerate().map(event).collect()
}

fn numbered(numbers: impl IntoIterator<Item = f64>) -> Vec<Specimen> {
    let event = |(index, real)| Specimen { real: Some(real), ..Specimen::blank(index) };
    numbers.into_iter().enumerate().map(event).collect()
}

fn merged(view: &Arc<View>, parts: &[&[Specimen]]) -> StateTable {
    let mut whole = StateTable::new(view.clone());
    parts.iter().for_each(|part| whole.merge(&fold(view, part)));
    whole
}

fn integer(value: Value) -> f64 {
    if let Value::Integer(value) = value { value as f64 } else { panic!("{value:?} is no count") }
}

#[test]
fn distinct_counts_keep_their_bound_and_their_bytes_from_sparse_to_dense() {
    let view = measuring(&["count(DISTINCT label) AS labels"]);
    let bound = measure::error_bound(&view.measures[0]).expect("it is sketched").bound;
    for count in [1usize, 7, 8, 9, 100, 384, 385, 386, 5_000, 40_000] {
        let events = labelled((0..count).map(|index| format!("visitor {index}")));
        let whole = fold(&view, &events);
        let estimate = integer(whole.measures[0].finish(0));
        assert!((estimate - count as f64).abs() <= bound * count as f64, "{count}: {estimate}");
        assert!(count > 384 || estimate == count as f64, "{count} few values: {estimate}");

        // Overlapping parts, in either order, with a stored one among them.
        let (left, right) = (&events[..count * 2 / 3], &events[count / 3..]);
        let stored = StateTable::from_record_batch(view.clone(), &fold(&view, left).to_record_batch());
        let mut backwards = fold(&view, right);
        backwards.merge(&stored.expect("what was written is read"));
        for other in [merged(&view, &[left, right]), merged(&view, &[right, left, &events]), backwards] {
            assert_eq!(other.to_record_batch(), whole.to_record_batch(), "{count}");
        }
    }
}

#[test]
fn quantiles_keep_their_bound_over_heavy_tails_and_both_signs() {
    let calls: Vec<String> = [0.0, 0.01, 0.5, 0.95, 0.999, 1.0]
        .iter()
        .map(|q| format!("quantile_cont(real, {q}) AS q{}", q * 1000.0))
        .collect();
    let view = view(&[], &calls, None);
    let mut random = ChaCha8Rng::seed_from_u64(7);
    let mut tail = |sign: f64| sign * (-(random.random::<f64>().max(1e-12)).ln() * 3.0).exp();
    let all_signs: Vec<f64> =
        (0..20_000).map(|index| tail(if index % 3 == 0 { -1.0 } else { 1.0 })).collect();
    let small: Vec<f64> = (1..=1000).map(|index| f64::from(index) * 1e-8).collect();
    for numbers in [all_signs, small, vec![42.0], vec![0.0, 0.0, 1.0]] {
        let table = fold(&view, &numbered(numbers.iter().copied()));
        let mut sorted = numbers.clone();
        sorted.sort_by(f64::total_cmp);
        for (states, q) in table.measures.iter().zip([0.0, 0.01, 0.5, 0.95, 0.999, 1.0]) {
            let rank = q * (sorted.len() - 1) as f64;
            let (low, high) = (sorted[rank.floor() as usize], sorted[rank.ceil() as usize]);
            let expected = low + (high - low) * rank.fract();
            let Value::Double(found) = states.finish(0) else { panic!("a quantile is a double") };
            let within = 0.01 * (1.0 + 1e-9) * low.abs().max(high.abs());
            assert!((found - expected).abs() <= within, "q {q}: {found} instead of {expected}");
        }
    }
}

#[test]
fn infinities_and_nan_keep_their_rank_in_a_quantile() {
    let view = measuring(&["quantile_cont(real, 0.5) AS p50", "quantile_cont(real, 0) AS p0"]);
    let table = fold(&view, &numbered([f64::NAN, f64::INFINITY, 5.0, f64::NEG_INFINITY, 1.0]));
    let Value::Double(median) = table.measures[0].finish(0) else { panic!("a quantile is a double") };
    assert!((median - 5.0).abs() <= 0.05, "{median}");
    let Value::Double(least) = table.measures[1].finish(0) else { panic!("a quantile is a double") };
    assert!(least < -1e307, "{least}");
}

/// Item `i` occurs about `1 / (i + 1)` as often as item 0.
fn zipf(count: usize, items: usize, seed: u64) -> Vec<String> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let draw = |random: &mut ChaCha8Rng| ((items as f64).powf(random.random::<f64>()) - 1.0) as usize;
    (0..count).map(|_| format!("item {:05}", draw(&mut random))).collect()
}

fn counted(labels: &[String]) -> HashMap<&str, u64> {
    let mut counts = HashMap::new();
    labels.iter().for_each(|label| *counts.entry(label.as_str()).or_default() += 1);
    counts
}

fn frequent(value: Value) -> Vec<(String, u64)> {
    let Value::TopK(items) = value else { panic!("{value:?} is no list of frequent values") };
    let text =
        |value: Value| if let Value::Text(text) = value { text.to_string() } else { panic!("{value:?}") };
    items.into_iter().map(|(value, count)| (text(value), count)).collect()
}

#[test]
fn the_most_frequent_values_keep_their_bound_far_beyond_what_is_counted_exactly() {
    let view = measuring(&["approx_top_k(label, 20) AS top"]);
    let bound = measure::error_bound(&view.measures[0]).expect("it is sketched").bound;
    let labels = zipf(60_000, 20_000, 11);
    assert!(counted(&labels).len() > 5 * top_k::EXACT_ITEMS);
    let events = labelled(labels.iter().cloned());
    let (left, right) = events.split_at(25_000);
    let truth = counted(&labels);
    for table in [fold(&view, &events), merged(&view, &[left, right]), merged(&view, &[right, left])] {
        let found = frequent(table.measures[0].finish(0));
        assert_eq!(found.len(), 20);
        for (label, estimate) in found {
            let apart = estimate.abs_diff(truth[label.as_str()]) as f64;
            assert!(apart <= bound * labels.len() as f64, "{label}: {estimate}");
        }
        let states = table.measures[0].as_any().downcast_ref::<TopKStates>().expect("it is a top-k");
        for (label, count) in &truth {
            let apart = states.estimate(0, &Value::Text((*label).into())).abs_diff(*count) as f64;
            assert!(apart <= bound * labels.len() as f64, "{label}: off by {apart}");
        }
    }
}

#[test]
fn up_to_its_exact_items_the_most_frequent_values_are_exact_with_ties_in_order() {
    let view = measuring(&["approx_top_k(label, 3) AS top"]);
    let mut labels: Vec<String> = (0..top_k::EXACT_ITEMS).rev().map(|index| format!("{index:04}")).collect();
    labels.extend(["0500", "0500", "0007"].map(str::to_string));
    let table = fold(&view, &labelled(labels));
    let expected = [("0500", 3), ("0007", 2), ("0000", 1)];
    assert_eq!(
        frequent(table.measures[0].finish(0)),
        expected.map(|(label, count)| (label.to_string(), count))
    );
}

/// Equal states are purged alike (invariant `REPLAY`), in whatever order their items lie in memory.
#[test]
fn a_purge_depends_on_what_is_held_and_not_on_the_order_in_which_it_came() {
    let view = measuring(&["approx_top_k(label, 5) AS top"]);
    let mut random = ChaCha8Rng::seed_from_u64(23);
    for set in 0..12 {
        // With the new item 385 occur once and 384 twice: a median of all but one of them is either.
        let mut labels: Vec<String> = (0..top_k::EXACT_ITEMS).map(|index| format!("{set} {index}")).collect();
        labels.extend_from_within(top_k::EXACT_ITEMS / 2..);
        let states: Vec<_> = (0..8)
            .map(|_| {
                labels.shuffle(&mut random);
                let arrived = labels.iter().cloned().chain([format!("{set} new")]);
                fold(&view, &labelled(arrived)).to_record_batch()
            })
            .collect();
        assert!(states.iter().all(|state| *state == states[0]), "set {set}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    /// Purging depends on what a sketch holds, not on how it lies in memory (invariant `REPLAY`).
    #[test]
    fn a_purged_top_k_goes_on_the_same_from_memory_and_from_its_bytes(seed: u64, cut in 1_000usize..5_000) {
        let view = measuring(&["approx_top_k(label, 5) AS top"]);
        let events = labelled(zipf(6_000, 50_000, seed));
        let (before, after) = events.split_at(cut);
        let mut unbroken = fold(&view, before);
        let mut resumed = StateTable::from_record_batch(view.clone(), &unbroken.to_record_batch()).unwrap();
        for table in [&mut unbroken, &mut resumed] {
            table.fold(&frame(after)).unwrap();
        }
        prop_assert_eq!(unbroken.to_record_batch(), resumed.to_record_batch());

        let other = fold(&view, &labelled(zipf(6_000, 50_000, seed ^ 1)));
        let reread = StateTable::from_record_batch(view.clone(), &other.to_record_batch()).unwrap();
        unbroken.merge(&other);
        resumed.merge(&reread);
        prop_assert_eq!(unbroken.to_record_batch(), resumed.to_record_batch());
    }
}

fn compared(said: Option<String>) {
    if let Some(said) = said {
        eprintln!("compared: {said}");
    }
}

fn state_bytes(table: &StateTable, measure: usize) -> Vec<u8> {
    table.measures[measure].columns(&[0])[0].as_binary::<i32>().value(0).to_vec()
}

#[test]
fn datasketches_for_python_reads_our_states_to_the_same_estimates() {
    let view = measuring(&[
        "count(DISTINCT label) AS labels",
        "count(DISTINCT big) AS bigs",
        "count(DISTINCT real) AS reals",
        "count(DISTINCT price) AS prices",
        "approx_top_k(label, 10) AS top",
    ]);
    let folder = tempfile::tempdir().expect("a folder");
    for count in [0usize, 5, 300, 20_000] {
        let specimen = |index: usize| Specimen {
            label: Some(format!("visitor {}", index * index % (count + 1))),
            big: Some(index as i64 - 7),
            real: Some(index as f64 / 8.0 - 1.0),
            price: Some(index as i128 - 150),
            ..Specimen::blank(index)
        };
        let mut events: Vec<Specimen> = (0..count).map(specimen).collect();
        if count == 0 {
            events.push(Specimen::blank(0));
        }
        let table = fold(&view, &events);
        let mut labels: Vec<(String, u64)> = Vec::new();
        if let Value::TopK(_) = table.measures[4].finish(0) {
            labels = frequent(table.measures[4].finish(0));
        }
        let estimates: Vec<f64> = (0..4).map(|index| integer(table.measures[index].finish(0))).collect();
        let case = serde_json::json!({ "count": count, "estimates": estimates, "top": labels });
        std::fs::write(folder.path().join(format!("{count}.json")), case.to_string()).expect("written");
        for index in 0..5 {
            std::fs::write(folder.path().join(format!("{count}-{index}")), state_bytes(&table, index))
                .expect("written");
        }
    }
    compared(python("datasketches", include_str!("sketches/read_states.py"), folder.path()));
}

#[test]
fn a_quantile_s_states_are_merged_and_asked_in_plain_sql() {
    let view = view(&["label"], &["quantile_cont(real, 0.9) AS p90".to_string()], None);
    let mut random = ChaCha8Rng::seed_from_u64(3);
    let events: Vec<Specimen> = (0..5_000)
        .map(|index| Specimen {
            label: Some(["north", "south", "west"][index % 3].to_string()),
            real: Some((random.random::<f64>() * 12.0).exp() * if index % 4 == 0 { -1.0 } else { 1.0 }),
            ..Specimen::blank(index)
        })
        .collect();
    let folder = tempfile::tempdir().expect("a folder");
    // Two files, as two versions' dates or two nodes would write them: SQL merges them.
    for (index, part) in [&events[..2_000], &events[2_000..]].into_iter().enumerate() {
        let batch = fold(&view, part).to_record_batch();
        let file = File::create(folder.path().join(format!("{index}.parquet"))).expect("a file");
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).expect("a writer");
        writer.write(&batch).expect("rows are written");
        writer.close().expect("a footer is written");
    }
    let whole = fold(&view, &events);
    let answers = (0..whole.cells() as u32).map(|row| {
        let (Value::Text(label), Value::Double(p90)) =
            (whole.keys.value(row, 0), whole.measures[0].finish(row))
        else {
            panic!("labels are texts and quantiles doubles")
        };
        (label.to_string(), p90.into())
    });
    let answers: serde_json::Map<String, serde_json::Value> = answers.collect();
    std::fs::write(folder.path().join("answers.json"), serde_json::json!(answers).to_string())
        .expect("written");
    std::fs::write(folder.path().join("quantile.sql"), include_str!("sketches/quantile.sql"))
        .expect("written");
    compared(python("duckdb", include_str!("sketches/ask_quantiles.py"), folder.path()));
}
