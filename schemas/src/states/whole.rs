//! Whole cells: the fold, and beside it the exact values of what no small state holds.
//!
//! Distinct counts, quantiles and the most frequent values are exact only where all values of a cell are seen at once. So
//! values are brought into the order of their cells, one counting sort per measure, and each cell is looked at while it
//! lies in the cache. No exact value is taken from a sketch. They are what [`exact`](crate::exact::exact) gives: NULL is
//! ignored, `-0.0` is `0.0`, NaN is one value above all others, quantiles are interpolated linearly, and of values that
//! are equally frequent the lesser comes first.

use std::cmp::Reverse;
use std::rc::Rc;
use std::sync::Arc;

use datasketches::hll::Coupon;
use polars::prelude::{DataFrame, Float64Chunked, NewChunkedArray, PolarsResult, Series};

use super::{Counted, StateTable};
use crate::coding::{Codes, Run};
use crate::columns::{self, Class, Part};
use crate::dictionary::Dictionary;
use crate::measure::distinct::{self, DistinctStates};
use crate::measure::operand::{Operand, each};
use crate::measure::top_k::TopKStates;
use crate::measure::{Input, Places, States};
use crate::types::DataType;
use crate::value::Value;
use crate::view::{Aggregate, View};

/// A table of whole cells.
#[derive(Debug)]
pub struct Whole {
    pub states: StateTable,
    /// By measure: of one that is sketched, the exact value in each row of the table.
    pub exact: Vec<Option<Vec<Value>>>,
}

impl Whole {
    /// Folds all events of the cells that they fall into, as [`StateTable::fold`] takes them.
    pub fn of(view: &Arc<View>, events: &DataFrame) -> PolarsResult<Whole> {
        let mut states = StateTable::new(view.clone());
        let mut exact = Vec::with_capacity(view.measures.len());
        states.fold_by(&Run::new(events.clone()), |measure, states, counted, places| {
            exact.push(match &measure.aggregate {
                Aggregate::CountDistinct => Some(distinct(states, counted)?),
                Aggregate::Quantile(q) => Some(quantiles(&mut **states, counted, places, *q)?),
                Aggregate::TopK(k) => Some(most_frequent(states, counted, *k)?),
                _ => {
                    counted.update(&mut **states, places)?;
                    None
                }
            });
            Ok(())
        })?;
        // Without an event nothing was asked for.
        for measure in &view.measures[exact.len()..] {
            exact.push(measure.aggregate.is_sketched().then(Vec::new));
        }
        Ok(Whole { states, exact })
    }
}

/// How many different values there are in each row. The states are made of these: cells are whole, so there was nothing
/// in them.
fn distinct(states: &mut Box<dyn States>, counted: &Counted<'_>) -> PolarsResult<Vec<Value>> {
    let (_, data_type) = argument(counted);
    let (codes, dictionary) = Gathered::codes(counted, states.len())?;
    let coupons: Vec<Coupon> =
        dictionary.values().iter().map(|value| distinct::coupon(value, data_type)).collect();
    let mut sketches = DistinctStates::new(data_type.clone());
    sketches.resize(states.len());
    let mut seen_in = vec![u32::MAX; coupons.len()];
    let mut seen: Vec<Coupon> = Vec::new();
    let mut counts = Vec::with_capacity(states.len());
    codes.each(|row, codes| {
        seen.clear();
        for code in codes.iter().map(|code| *code as usize) {
            if std::mem::replace(&mut seen_in[code], row) != row {
                seen.push(coupons[code]);
            }
        }
        counts.push(Value::Integer(seen.len() as i64));
        sketches.set(row, &seen);
    });
    *states = Box::new(sketches);
    Ok(counts)
}

fn quantiles(
    states: &mut dyn States,
    counted: &Counted<'_>,
    places: &Places,
    q: f64,
) -> PolarsResult<Vec<Value>> {
    let (series, data_type) = argument(counted);
    let numbers = Gathered::numbers(counted, states.len(), series)?;
    if Class::of(data_type) == Class::Wide {
        // The fold divides decimals itself.
        counted.update(states, places)?;
    } else {
        let in_order = Operand::Float(Float64Chunked::from_slice("".into(), &numbers.values));
        states.update(&numbers.rows(), &Input { values: Some(&in_order), codes: None, picked: None, places });
    }
    let mut found = Vec::with_capacity(states.len());
    numbers.each(|_, values| found.push(quantile(values, q).map_or(Value::Null, Value::Double)));
    Ok(found)
}

/// Linear interpolation between the values at the two ranks around `q · (n − 1)`.
fn quantile(values: &mut [f64], q: f64) -> Option<f64> {
    let rank = q * values.len().checked_sub(1)? as f64;
    let (below, above) = (rank as usize, rank.ceil() as usize);
    let (_, lower, higher) = values.select_nth_unstable_by(below, f64::total_cmp);
    let lower = *lower;
    let upper = match above > below {
        true => higher.iter().copied().min_by(f64::total_cmp).unwrap_or(lower),
        false => lower,
    };
    Some(if lower == upper { lower } else { (rank - below as f64) * (upper - lower) + lower })
}

/// The `k` most frequent values of each row; the states are made of these counts too.
fn most_frequent(states: &mut Box<dyn States>, counted: &Counted<'_>, k: usize) -> PolarsResult<Vec<Value>> {
    let (_, data_type) = argument(counted);
    let (codes, dictionary) = Gathered::codes(counted, states.len())?;
    let (values, ranks) = (dictionary.values(), dictionary.ranks());
    let mut sketches = TopKStates::new(data_type.clone(), k);
    sketches.resize(states.len());
    let items = sketches.items(values);
    let mut in_order: Vec<u32> = (0..items.len() as u32).collect();
    in_order.sort_unstable_by_key(|code| &items[*code as usize]);
    let item_ranks = inverse(&in_order);
    let mut occurrences = vec![0_u64; values.len()];
    let mut seen: Vec<u32> = Vec::new();
    let mut counts: Vec<(&str, u64)> = Vec::new();
    let mut most = Vec::with_capacity(states.len());
    codes.each(|row, codes| {
        for code in codes.iter() {
            let occurrences = &mut occurrences[*code as usize];
            if *occurrences == 0 {
                seen.push(*code);
            }
            *occurrences += 1;
        }
        let times = |code: u32| occurrences[code as usize];
        seen.sort_unstable_by_key(|code| item_ranks[*code as usize]);
        counts.clear();
        counts.extend(seen.iter().map(|code| (items[*code as usize].as_str(), times(*code))));
        sketches.set(row, &counts);
        let place = |code: &u32| (Reverse(times(*code)), ranks[*code as usize]);
        if seen.len() > k && k > 0 {
            seen.select_nth_unstable_by_key(k - 1, place);
        }
        let first = seen.len().min(k);
        seen[..first].sort_unstable_by_key(place);
        let top = seen[..first].iter().map(|code| (values[*code as usize].clone(), times(*code)));
        let top: Vec<(Value, u64)> = top.collect();
        most.push(if top.is_empty() { Value::Null } else { Value::TopK(top) });
        seen.drain(..).for_each(|code| occurrences[code as usize] = 0);
    });
    *states = Box::new(sketches);
    Ok(most)
}

/// Where each number stands in a list that has all of them.
fn inverse(order: &[u32]) -> Vec<u32> {
    let mut places = vec![0; order.len()];
    for (place, number) in (0..).zip(order) {
        places[*number as usize] = place;
    }
    places
}

fn argument<'a>(counted: &'a Counted<'_>) -> (&'a Series, &'a DataType) {
    let (series, data_type) = counted.argument.as_ref().expect("only count(*) has no argument");
    (series, *data_type)
}

/// Values that are not NULL, in the order of their rows.
struct Gathered<T> {
    values: Vec<T>,
    /// Where each row's values end.
    ends: Vec<u32>,
}

impl<T: Copy + Default> Gathered<T> {
    /// Value `i` is of row `rows[i]`; within a row their order stays.
    fn new(values: &[T], rows: &[u32], cells: usize) -> Self {
        let mut places = vec![0_u32; cells + 1];
        rows.iter().for_each(|row| places[*row as usize + 1] += 1);
        for row in 1..places.len() {
            places[row] += places[row - 1];
        }
        let mut gathered = vec![T::default(); values.len()];
        for (value, row) in values.iter().zip(rows) {
            let place = &mut places[*row as usize];
            gathered[*place as usize] = *value;
            *place += 1;
        }
        places.truncate(cells);
        Gathered { values: gathered, ends: places }
    }

    /// The row of each value.
    fn rows(&self) -> Vec<u32> {
        let mut rows = Vec::with_capacity(self.values.len());
        for (row, end) in (0..).zip(&self.ends) {
            rows.resize(*end as usize, row);
        }
        rows
    }

    /// Looks at the rows one after another.
    fn each(mut self, mut look: impl FnMut(u32, &mut [T])) {
        let (mut rest, mut start) = (self.values.as_mut_slice(), 0);
        for (row, end) in (0..).zip(&self.ends) {
            let (values, others) = std::mem::take(&mut rest).split_at_mut((*end - start) as usize);
            look(row, values);
            (rest, start) = (others, *end);
        }
    }
}

impl Gathered<f64> {
    /// The numbers of a series of any numeric type.
    fn numbers(counted: &Counted<'_>, cells: usize, series: &Series) -> PolarsResult<Self> {
        let (mut values, mut rows) = (Vec::with_capacity(series.len()), Vec::with_capacity(series.len()));
        each(&columns::floats(series)?, |index, value: f64| {
            // Adding zero turns -0.0 into 0.0.
            values.push(if value.is_nan() { f64::NAN } else { value + 0.0 });
            rows.push(counted.rows[index]);
        });
        Ok(Gathered::new(&values, &rows, cells))
    }
}

impl Gathered<u32> {
    /// The argument's values as codes of a dictionary.
    fn codes(counted: &Counted<'_>, cells: usize) -> PolarsResult<(Self, Dictionary)> {
        let (series, data_type) = argument(counted);
        let mut dictionary = Dictionary::new(data_type.clone());
        let (mut codes, mut rows) = (Vec::with_capacity(series.len()), Vec::with_capacity(series.len()));
        let coded = match (&counted.codes, Class::of(data_type)) {
            (Some(coded), _) => Some(coded.clone()),
            (None, Class::Text) => Some(Rc::new(Codes::of_all(columns::texts(series)?))),
            (None, _) => None,
        };
        if let Some(coded) = coded {
            // Texts are compared by a word or two, and each of them is looked up once.
            let known = |part| (part != Part::Null).then(|| dictionary.encode(part));
            let known: Vec<Option<u32>> = coded.parts().map(known).collect();
            for (code, row) in coded.by_event().iter().zip(counted.rows.iter()) {
                if let Some(code) = known[*code as usize] {
                    codes.push(code);
                    rows.push(*row);
                }
            }
            return Ok((Gathered::new(&codes, &rows, cells), dictionary));
        }
        let mut all = counted.rows.iter();
        columns::visit(series, data_type, |part| {
            let row = all.next();
            if part != Part::Null {
                codes.push(dictionary.encode(part));
                rows.extend(row);
            }
        })?;
        Ok((Gathered::new(&codes, &rows, cells), dictionary))
    }
}
