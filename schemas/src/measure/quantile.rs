//! `quantile_cont`, `median`, `percentile_cont` as a DDSketch of 1 % relative accuracy.
//!
//! A value falls into a logarithmic bucket by its magnitude (Masson, Rim, Lee, "DDSketch", 2019). Bucket
//! numbers keep the order of the values: `n > 0` holds magnitudes from `γ^(n + K - 1)` up to `γ^(n + K)`,
//! where `γ = 1.01 / 0.99` and `K` is the bucket of the smallest magnitude told from zero, 1e-9; `-n` holds
//! their negatives, 0 the rest. Buckets never collapse, and merging adds counts: any split and order of the
//! events gives the same state.
//!
//! The answer interpolates linearly between the values of the two buckets that hold the ranks around
//! `q · (count − 1)`: each is within 1 % of the true value of its rank, so what lies between them is within 1 % of
//! the larger of the two magnitudes, which is what the bound is relative to. Infinities and NaN (which orders above all numbers) are counted
//! in the outermost buckets, so that they keep their rank.

use std::any::Any;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, Int32Array, Int64Array, ListArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType as ArrowType, Field, Int32Type, Int64Type};
use sketches_ddsketch::Config;

use crate::coding::{self, Pair};
use crate::measure::operand::scale_of;
use crate::measure::{self, ErrorBound, Input, Part, States, operand, same};
use crate::types::DataType;
use crate::value::Value;

pub const BOUND: ErrorBound = ErrorBound { kind: "relative", bound: 0.01, confidence: 1.0 };

/// Magnitudes below are counted as zero.
const LEAST_MAGNITUDE: f64 = 1e-9;

/// How values map to buckets; the number of bins is only a limit of the crate's own store.
static MAPPING: LazyLock<Config> = LazyLock::new(|| Config::new(BOUND.bound, 0, LEAST_MAGNITUDE));
static LEAST_KEY: LazyLock<i32> = LazyLock::new(|| MAPPING.key(LEAST_MAGNITUDE));

/// Bucket numbers in order, each with its count.
type Buckets = Vec<(i32, u64)>;

#[derive(Clone, Debug)]
pub struct QuantileStates {
    argument: DataType,
    q: f64,
    rows: Vec<Buckets>,
}

impl QuantileStates {
    pub fn new(argument: DataType, q: f64) -> Self {
        QuantileStates { argument, q, rows: Vec::new() }
    }
}

impl States for QuantileStates {
    fn len(&self) -> usize {
        self.rows.len()
    }

    fn resize(&mut self, rows: usize) {
        self.rows.resize(rows, Buckets::new());
    }

    fn update(&mut self, rows: &[u32], input: &Input<'_>) {
        let (mapping, least) = (&*MAPPING, *LEAST_KEY);
        let (mut counted, mut numbers) = (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
        operand(input).each_double(scale_of(&self.argument), |index, value| {
            counted.push(rows[index]);
            numbers.push(bucket(mapping, least, value));
        });
        let Some((first, pairs)) = pairs(&counted, &numbers) else {
            // What follows one another in one row is added at once.
            let mut rest = numbers.as_mut_slice();
            for of_row in counted.chunk_by(|left, right| left == right) {
                let (numbers, behind) = rest.split_at_mut(of_row.len());
                add_all(&mut self.rows[of_row[0] as usize], numbers);
                rest = behind;
            }
            return;
        };
        for of_row in pairs.chunk_by(|a, b| a.row == b.row) {
            let counts = of_row.iter().map(|pair| (first + pair.code as i32, u64::from(pair.count)));
            add_counts(&mut self.rows[of_row[0].row as usize], counts);
        }
    }

    fn merge(&mut self, into: &[u32], other: &dyn States, from: &[u32]) {
        let other: &Self = same(other);
        for (into, from) in into.iter().zip(from) {
            merge(&mut self.rows[*into as usize], &other.rows[*from as usize]);
        }
    }

    fn parts(&self) -> Vec<Part> {
        vec![
            Part::required("bucket", ArrowType::List(item(ArrowType::Int32))),
            Part::required("count", ArrowType::List(item(ArrowType::Int64))),
        ]
    }

    fn columns(&self, rows: &[u32]) -> Vec<ArrayRef> {
        let buckets = || rows.iter().flat_map(|row| &self.rows[*row as usize]);
        let offsets =
            OffsetBuffer::<i32>::from_lengths(rows.iter().map(|row| self.rows[*row as usize].len()));
        let numbers: Int32Array = buckets().map(|(number, _)| Some(*number)).collect();
        let counts: Int64Array = buckets().map(|(_, count)| Some(*count as i64)).collect();
        vec![
            Arc::new(ListArray::new(item(ArrowType::Int32), offsets.clone(), Arc::new(numbers), None)),
            Arc::new(ListArray::new(item(ArrowType::Int64), offsets, Arc::new(counts), None)),
        ]
    }

    fn load(&mut self, columns: &[ArrayRef]) -> Result<(), String> {
        let (numbers, counts) = (columns[0].as_list::<i32>(), columns[1].as_list::<i32>());
        let all_numbers = numbers.values().as_primitive::<Int32Type>().values();
        let all_counts = counts.values().as_primitive::<Int64Type>().values();
        let bounds = numbers.offsets().windows(2).zip(counts.offsets().windows(2));
        let mut rows = Vec::with_capacity(numbers.len());
        for (row, (of_numbers, of_counts)) in bounds.enumerate() {
            let numbers = &all_numbers[of_numbers[0] as usize..of_numbers[1] as usize];
            let counts = &all_counts[of_counts[0] as usize..of_counts[1] as usize];
            if numbers.len() != counts.len() {
                return Err(format!("{} buckets with {} counts in row {row}", numbers.len(), counts.len()));
            }
            if !numbers.is_sorted_by(|left, right| left < right) {
                return Err(format!("buckets out of order in row {row}"));
            }
            if counts.iter().any(|count| *count < 1) {
                return Err(format!("a bucket without a count in row {row}"));
            }
            rows.push(numbers.iter().zip(counts).map(|(number, count)| (*number, *count as u64)).collect());
        }
        self.rows = rows;
        Ok(())
    }

    fn finish(&self, row: u32) -> Value {
        quantile(&self.rows[row as usize], self.q).map_or(Value::Null, Value::Double)
    }

    fn error_scale(&self, row: u32) -> Option<f64> {
        let (lower, upper, _) = neighbours(&self.rows[row as usize], self.q)?;
        // A representative is within 1 % of the true value; magnitudes that count as zero are off by less than the least.
        let largest = lower.abs().max(upper.abs()) / (1.0 - BOUND.bound);
        Some(largest.max(LEAST_MAGNITUDE / BOUND.bound))
    }

    fn keep(&mut self, rows: &[u32]) {
        measure::keep(&mut self.rows, rows);
    }

    fn bytes(&self) -> usize {
        let held = |row: &Buckets| measure::allocation(row.capacity() * size_of::<(i32, u64)>());
        let heap = self.rows.iter().map(held).sum::<usize>();
        self.rows.len() * size_of::<Buckets>() + heap
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn boxed_clone(&self) -> Box<dyn States> {
        Box::new(self.clone())
    }
}

fn item(data_type: ArrowType) -> Arc<Field> {
    Arc::new(Field::new("item", data_type, true))
}

fn bucket(mapping: &Config, least: i32, value: f64) -> i32 {
    let magnitude = if value.is_finite() { value.abs() } else { f64::MAX };
    if magnitude < LEAST_MAGNITUDE {
        return 0;
    }
    let number = mapping.key(magnitude) - least + 1;
    if value < 0.0 { -number } else { number }
}

/// The value that stands for all of a bucket.
fn representative(number: i32) -> f64 {
    match number {
        0 => 0.0,
        number => MAPPING.value(number.abs() - 1 + *LEAST_KEY).copysign(f64::from(number)),
    }
}

fn add(buckets: &mut Buckets, number: i32, count: u64) {
    match buckets.binary_search_by_key(&number, |(number, _)| *number) {
        Ok(at) => buckets[at].1 += count,
        Err(at) => buckets.insert(at, (number, count)),
    }
}

/// The first bucket, and how often each came in which row, counted from that one.
fn pairs(rows: &[u32], numbers: &[i32]) -> Option<(i32, Vec<Pair>)> {
    let (first, last) = (*numbers.iter().min()?, *numbers.iter().max()?);
    let codes: Vec<u32> = numbers.iter().map(|number| (number - first) as u32).collect();
    Some((first, coding::pairs(rows, &codes, (last - first) as usize + 1)?))
}

/// Adds values by their buckets' numbers, which it brings in order.
fn add_all(buckets: &mut Buckets, numbers: &mut [i32]) {
    /// So few are faster looked up one by one than sorted.
    const FEW: usize = 8;
    if numbers.len() <= FEW {
        numbers.iter().for_each(|number| add(buckets, *number, 1));
        return;
    }
    numbers.sort_unstable();
    let counted = numbers.chunk_by(|left, right| left == right);
    add_counts(buckets, counted.map(|same| (same[0], same.len() as u64)));
}

/// Adds buckets that come in order.
fn add_counts(buckets: &mut Buckets, counts: impl Iterator<Item = (i32, u64)>) {
    let (mut at, mut new) = (0, Buckets::new());
    for (number, count) in counts {
        while buckets.get(at).is_some_and(|(held, _)| *held < number) {
            at += 1;
        }
        match buckets.get_mut(at) {
            Some((held, counted)) if *held == number => *counted += count,
            _ => new.push((number, count)),
        }
    }
    if !new.is_empty() {
        merge(buckets, &new);
    }
}

fn merge(into: &mut Buckets, from: &Buckets) {
    if into.is_empty() {
        into.clone_from(from);
        return;
    }
    let mut merged = Buckets::with_capacity(into.len().max(from.len()));
    let (mut left, mut right) = (into.iter().peekable(), from.iter().peekable());
    while let (Some((ours, our_count)), Some((theirs, their_count))) = (left.peek(), right.peek()) {
        if ours == theirs {
            merged.push((*ours, our_count + their_count));
            left.next();
            right.next();
        } else {
            merged.extend(if ours < theirs { left.next() } else { right.next() });
        }
    }
    merged.extend(left.chain(right));
    *into = merged;
}

fn quantile(buckets: &Buckets, q: f64) -> Option<f64> {
    let (lower, upper, fraction) = neighbours(buckets, q)?;
    Some(if lower == upper { lower } else { lower + (upper - lower) * fraction })
}

/// The values of the two ranks around a quantile, and how far it lies between them.
fn neighbours(buckets: &Buckets, q: f64) -> Option<(f64, f64, f64)> {
    let count: u64 = buckets.iter().map(|(_, count)| count).sum();
    let rank = q * count.checked_sub(1)? as f64;
    let lower = value_of_rank(buckets, rank.floor() as u64);
    let upper = value_of_rank(buckets, rank.ceil() as u64);
    Some((lower, upper, rank.fract()))
}

fn value_of_rank(buckets: &Buckets, rank: u64) -> f64 {
    let mut seen = 0;
    let holder = buckets.iter().find(|(_, count)| {
        seen += count;
        seen > rank
    });
    representative(holder.or(buckets.last()).map_or(0, |(number, _)| *number))
}
