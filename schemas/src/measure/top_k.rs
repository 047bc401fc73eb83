//! `approx_top_k` as a frequent-items sketch of strings in Apache DataSketches' form.
//!
//! Up to [`EXACT_ITEMS`] different values every count is exact and equal states give equal bytes. Beyond, the
//! sketch subtracts the median of its counters and drops those that fall to zero: an item's estimate
//! then errs by at most [`BOUND`] of all occurrences. The median is taken of all counters but the last in memory, so
//! before it may be taken a sketch is laid out anew from its normal form: purging depends on what is held, never on
//! the order in which it came (invariant `REPLAY`). Items are text as it is, numbers and decimals as written in SQL,
//! booleans as `true` and `false`, dates as days and timestamps as microseconds since 1970-01-01.

use std::any::Any;
use std::borrow::Cow;
use std::fmt::Write;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray};
use arrow::datatypes::DataType as ArrowType;
use datasketches::frequencies::{ErrorType, FrequentItemsSketch};

use crate::coding::{Codes, Pair};
use crate::columns::Part as Scalar;
use crate::measure::operand::{Operand, each, each_text};
use crate::measure::{self, ErrorBound, Input, Part, States, operand, same};
use crate::types::DataType;
use crate::value::{DecimalText, Value};

const MAP_SIZE: usize = 1024;

/// Different values that are counted exactly: three quarters of the map.
pub const EXACT_ITEMS: usize = MAP_SIZE / 4 * 3;

/// DataSketches' own bound for this size of map, `3.5 / 1024`.
pub const BOUND: ErrorBound = ErrorBound { kind: "count", bound: 3.5 / MAP_SIZE as f64, confidence: 1.0 };

/// The bytes before the counts of a sketch that is not empty.
const PREAMBLE: usize = 32;

type Sketch = FrequentItemsSketch<String>;

#[derive(Clone, Debug)]
pub struct TopKStates {
    argument: DataType,
    k: usize,
    /// `None` until a value came.
    sketches: Vec<Option<Held>>,
    /// How many items were added, and their bytes: a sketch does not tell how long its items are.
    added: (u64, u64),
}

/// One row's state.
#[derive(Clone, Debug)]
enum Held {
    Sketch(Box<Sketch>),
    /// The normal form of a sketch that counts exactly and that nothing was added to since it was made or read.
    Counted(Box<[u8]>),
}

impl Held {
    fn sketch(&self) -> Cow<'_, Sketch> {
        match self {
            Held::Sketch(sketch) => Cow::Borrowed(sketch),
            Held::Counted(image) => Cow::Owned(read(image)),
        }
    }

    /// How many values it counts.
    fn items(&self) -> usize {
        match self {
            Held::Sketch(sketch) => sketch.num_active_items(),
            Held::Counted(image) => entries(image).count(),
        }
    }

    fn sketch_mut(&mut self) -> &mut Sketch {
        if let Held::Counted(image) = self {
            *self = Held::Sketch(Box::new(read(image)));
        }
        let Held::Sketch(sketch) = self else { unreachable!("it has just been made a sketch") };
        sketch
    }
}

fn read(image: &[u8]) -> Sketch {
    Sketch::deserialize(image).expect("what was just written can be read")
}

impl TopKStates {
    pub fn new(argument: DataType, k: usize) -> Self {
        TopKStates { argument, k, sketches: Vec::new(), added: (0, 0) }
    }

    fn add(&mut self, row: u32, item: &str, count: u64) {
        self.added = (self.added.0 + 1, self.added.1 + item.len() as u64);
        let held = &mut self.sketches[row as usize];
        let held = held.get_or_insert_with(|| Held::Sketch(Box::new(sketch()))).sketch_mut();
        let purges = held.num_active_items() == EXACT_ITEMS && held.lower_bound(item) == 0;
        if purges {
            *held = laid_out(held);
        }
        held.update_with_count_ref(item, count);
    }

    /// Gives an empty row all its items at once, and how often each of them came. They are different, and in order.
    pub(crate) fn set(&mut self, row: u32, counted: &[(&str, u64)]) {
        if counted.len() > EXACT_ITEMS {
            counted.iter().for_each(|(item, count)| self.add(row, item, *count));
        } else if !counted.is_empty() {
            let bytes = counted.iter().map(|(item, _)| item.len() as u64).sum::<u64>();
            self.added = (self.added.0 + counted.len() as u64, self.added.1 + bytes);
            self.sketches[row as usize] = Some(Held::Counted(image(counted).into()));
        }
    }

    /// Values as the items of a sketch.
    pub(crate) fn items(&self, values: &[Value]) -> Vec<String> {
        let item = |value: &Value| {
            let mut item = String::new();
            write_item(&mut item, Scalar::of(value), &self.argument);
            item
        };
        values.iter().map(item).collect()
    }

    /// Adds values as often as each came in its row, if none of them can make a sketch purge: until then counts add up the
    /// same in any order.
    fn add_pairs(&mut self, codes: &Codes, pairs: &[Pair]) -> bool {
        let fits = |of_row: &[Pair]| {
            let held = self.sketches[of_row[0].row as usize].as_ref().map_or(0, Held::items);
            held + of_row.len() <= EXACT_ITEMS
        };
        if !pairs.chunk_by(|a, b| a.row == b.row).all(fits) {
            return false;
        }
        for Pair { row, code, count } in pairs {
            if let Some(text) = codes.text(*code) {
                self.add(*row, text, u64::from(*count));
            }
        }
        true
    }

    /// The occurrences that were counted, of all values together.
    pub fn occurrences(&self, row: u32) -> u64 {
        match &self.sketches[row as usize] {
            None => 0,
            Some(Held::Sketch(sketch)) => sketch.total_weight(),
            Some(Held::Counted(image)) => entries(image).map(|(_, count)| count).sum(),
        }
    }

    /// The estimated occurrences of a value; 0 when it is not among those held.
    pub fn estimate(&self, row: u32, value: &Value) -> u64 {
        let mut item = String::new();
        write_item(&mut item, Scalar::of(value), &self.argument);
        match &self.sketches[row as usize] {
            None => 0,
            Some(Held::Sketch(sketch)) => sketch.estimate(item.as_str()),
            Some(Held::Counted(image)) => {
                entries(image).find(|(held, _)| *held == item.as_bytes()).map_or(0, |(_, count)| count)
            }
        }
    }
}

impl States for TopKStates {
    fn len(&self) -> usize {
        self.sketches.len()
    }

    fn resize(&mut self, rows: usize) {
        self.sketches.resize(rows, None);
    }

    fn update(&mut self, rows: &[u32], input: &Input<'_>) {
        if let Some((codes, pairs)) = input.codes.and_then(|codes| Some((codes, codes.pairs(rows)?)))
            && self.add_pairs(codes, &pairs)
        {
            return;
        }
        let data_type = self.argument.clone();
        let mut item = String::new();
        let mut add = |index: usize, scalar: Scalar<'_>| {
            item.clear();
            write_item(&mut item, scalar, &data_type);
            self.add(rows[index], &item, 1);
        };
        match operand(input) {
            Operand::Whole(values) => each(values, |index, value| add(index, Scalar::Whole(value))),
            Operand::Wide(values) => each(values, |index, value| add(index, Scalar::Wide(value))),
            Operand::Float(values) => each(values, |index, value| add(index, Scalar::Float(value))),
            Operand::Text(values) => each_text(values, |index, text| self.add(rows[index], text, 1)),
        }
    }

    fn merge(&mut self, into: &[u32], other: &dyn States, from: &[u32]) {
        let other: &Self = same(other);
        for (into, from) in into.iter().zip(from) {
            if let Some(theirs) = &other.sketches[*from as usize] {
                match (&mut self.sketches[*into as usize], theirs) {
                    (Some(held), Held::Counted(image)) if held.items() + theirs.items() <= EXACT_ITEMS => {
                        let held = held.sketch_mut();
                        entries(image)
                            .for_each(|(item, count)| held.update_with_count_ref(text(item), count));
                    }
                    (Some(held), theirs) => merge(held.sketch_mut(), &theirs.sketch()),
                    (empty, _) => *empty = Some(theirs.clone()),
                }
            }
        }
    }

    fn parts(&self) -> Vec<Part> {
        vec![Part::required("items", ArrowType::Binary)]
    }

    fn columns(&self, rows: &[u32]) -> Vec<ArrayRef> {
        let images = rows.iter().map(|row| match &self.sketches[*row as usize] {
            Some(Held::Sketch(sketch)) => Cow::Owned(normal_form(sketch)),
            Some(Held::Counted(image)) => Cow::Borrowed(&**image),
            None => Cow::Owned(sketch().serialize()),
        });
        vec![Arc::new(BinaryArray::from_iter_values(images))]
    }

    fn load(&mut self, columns: &[ArrayRef]) -> Result<(), String> {
        let images = columns[0].as_binary::<i32>();
        self.sketches = Vec::with_capacity(images.len());
        for image in images.iter().flatten() {
            if is_counted(image) {
                self.sketches.push(Some(Held::Counted(image.into())));
                continue;
            }
            let sketch = Sketch::deserialize(image).map_err(|error| error.to_string())?;
            if sketch.max_map_size() != MAP_SIZE {
                return Err(format!("a sketch of {} counters", sketch.max_map_size()));
            }
            self.sketches.push((!sketch.is_empty()).then(|| Held::Sketch(Box::new(sketch))));
        }
        Ok(())
    }

    fn finish(&self, row: u32) -> Value {
        let Some(held) = &self.sketches[row as usize] else { return Value::Null };
        let value = |item: &str, count: u64| (read_item(item, &self.argument), count);
        let mut values: Vec<(Value, u64)> = match held {
            Held::Sketch(sketch) => {
                let items = sketch.frequent_items(ErrorType::NoFalseNegatives);
                items.iter().map(|row| value(row.item(), row.estimate())).collect()
            }
            Held::Counted(image) => entries(image).map(|(item, count)| value(text(item), count)).collect(),
        };
        values.sort_by(|(a, m), (b, n)| n.cmp(m).then_with(|| a.order(b)));
        values.truncate(self.k);
        Value::TopK(values)
    }

    fn keep(&mut self, rows: &[u32]) {
        measure::keep(&mut self.sketches, rows);
    }

    fn bytes(&self) -> usize {
        let item = measure::allocation(self.added.1.checked_div(self.added.0).unwrap_or(16) as usize);
        let held = |held: &Held| match held {
            Held::Sketch(sketch) => {
                let map = measure::allocation(sketch.estimated_size());
                measure::allocation(size_of::<Sketch>()) + map + sketch.num_active_items() * item
            }
            Held::Counted(image) => measure::allocation(image.len()),
        };
        let heap = self.sketches.iter().flatten().map(held).sum::<usize>();
        self.sketches.len() * size_of::<Option<Held>>() + heap
    }

    fn as_any(&self) -> &dyn Any {
        self
    }

    fn boxed_clone(&self) -> Box<dyn States> {
        Box::new(self.clone())
    }
}

fn sketch() -> Sketch {
    Sketch::new(MAP_SIZE).expect("1024 is a power of two within the sketch's limits")
}

/// Merges; where a purge may come, both are laid out anew first.
fn merge(held: &mut Sketch, theirs: &Sketch) {
    if held.num_active_items() + theirs.num_active_items() <= EXACT_ITEMS {
        held.merge(theirs);
    } else {
        *held = laid_out(held);
        held.merge(&laid_out(theirs));
    }
}

/// The same sketch, in memory as it is when read from its normal form.
fn laid_out(sketch: &Sketch) -> Sketch {
    Sketch::deserialize(&normal_form(sketch)).expect("what was just serialized can be read")
}

/// The sketch's bytes with its items in order. The layout is DataSketches' serial version 1: behind 32 bytes of
/// preamble, whose bytes 8 to 12 are the number of items, lie the counts of 8 bytes each, then the items, each
/// as a length of 4 bytes and its text.
fn normal_form(sketch: &Sketch) -> Vec<u8> {
    let image = sketch.serialize();
    if sketch.num_active_items() == 0 {
        return image;
    }
    let mut entries: Vec<(&[u8], u64)> = entries(&image).collect();
    entries.sort_unstable_by_key(|(item, _)| *item);
    laid_behind(&image[..PREAMBLE], &entries)
}

/// The bytes of the sketch that these items make, of which there are at most [`EXACT_ITEMS`], in order.
fn image(counted: &[(&str, u64)]) -> Vec<u8> {
    const EMPTY_MAP: u8 = 3;
    const FREQUENT_ITEMS: u8 = 10;
    let grown = (EMPTY_MAP..).find(|lg_size| counted.len() <= (1 << lg_size) / 4 * 3);
    let mut preamble =
        vec![4, 1, FREQUENT_ITEMS, MAP_SIZE.trailing_zeros() as u8, grown.unwrap_or(EMPTY_MAP), 0, 0, 0];
    preamble.extend((counted.len() as u64).to_le_bytes());
    preamble.extend(counted.iter().map(|(_, count)| count).sum::<u64>().to_le_bytes());
    preamble.extend(0_u64.to_le_bytes());
    let entries: Vec<(&[u8], u64)> = counted.iter().map(|(item, count)| (item.as_bytes(), *count)).collect();
    laid_behind(&preamble, &entries)
}

/// True for bytes that [`image`] writes, and no others.
fn is_counted(bytes: &[u8]) -> bool {
    let read = || {
        let (items, _) = bytes.get(8..)?.split_first_chunk::<8>()?;
        let items = usize::try_from(u64::from_le_bytes(*items)).ok().filter(|items| *items <= EXACT_ITEMS)?;
        let (counts, mut rest) = bytes.get(PREAMBLE..)?.split_at_checked(8 * items)?;
        let mut counted = Vec::with_capacity(items);
        for count in counts.as_chunks::<8>().0 {
            let (length, behind) = rest.split_first_chunk::<4>()?;
            let (item, others) = behind.split_at_checked(u32::from_le_bytes(*length) as usize)?;
            counted.push((std::str::from_utf8(item).ok()?, u64::from_le_bytes(*count)));
            rest = others;
        }
        let in_order = counted.is_sorted_by(|(one, _), (next, _)| one < next);
        (in_order && items > 0 && counted.iter().all(|(_, count)| *count > 0)).then(|| image(&counted))
    };
    read().is_some_and(|image| image == bytes)
}

fn laid_behind(preamble: &[u8], entries: &[(&[u8], u64)]) -> Vec<u8> {
    let bytes = entries.iter().map(|(item, _)| 12 + item.len()).sum::<usize>();
    let mut image = Vec::with_capacity(preamble.len() + bytes);
    image.extend_from_slice(preamble);
    entries.iter().for_each(|(_, count)| image.extend_from_slice(&count.to_le_bytes()));
    for (item, _) in entries {
        image.extend_from_slice(&(item.len() as u32).to_le_bytes());
        image.extend_from_slice(item);
    }
    image
}

fn text(item: &[u8]) -> &str {
    std::str::from_utf8(item).expect("items are text")
}

/// The items of a sketch's bytes, with their counts. The sketch is not empty.
fn entries(image: &[u8]) -> impl Iterator<Item = (&[u8], u64)> {
    let (items, _) = image[8..].split_first_chunk::<4>().expect("a preamble has 32 bytes");
    let (counts, mut rest) = image[PREAMBLE..].split_at(8 * u32::from_le_bytes(*items) as usize);
    counts.as_chunks::<8>().0.iter().map(move |count| {
        let (length, behind) = rest.split_first_chunk::<4>().expect("every count has an item");
        let (item, others) = behind.split_at(u32::from_le_bytes(*length) as usize);
        rest = others;
        (item, u64::from_le_bytes(*count))
    })
}

fn write_item(out: &mut String, scalar: Scalar<'_>, data_type: &DataType) {
    let written = match (scalar, data_type) {
        (Scalar::Null, _) => Ok(()),
        (Scalar::Whole(value), DataType::Boolean) => write!(out, "{}", value != 0),
        (Scalar::Whole(value), _) => out.write_str(itoa::Buffer::new().format(value)),
        (Scalar::Wide(value), DataType::Decimal { scale, .. }) => {
            write!(out, "{}", DecimalText(value, *scale))
        }
        (Scalar::Wide(value), _) => write!(out, "{value}"),
        (Scalar::Float(value), _) => write!(out, "{}", value + 0.0),
        (Scalar::Text(text), _) => out.write_str(text),
    };
    written.expect("writing to a string cannot fail");
}

/// The value of an item that [`write_item`] wrote; NULL for what it cannot have written.
fn read_item(item: &str, data_type: &DataType) -> Value {
    match data_type {
        DataType::Boolean => item.parse().map_or(Value::Null, Value::Boolean),
        DataType::Double => item.parse().map_or(Value::Null, Value::Double),
        DataType::Date => item.parse().map_or(Value::Null, Value::Date),
        DataType::Timestamp => item.parse().map_or(Value::Null, Value::Timestamp),
        DataType::Decimal { scale, .. } => {
            item.replace('.', "").parse().map_or(Value::Null, |unscaled| Value::Decimal(unscaled, *scale))
        }
        DataType::Text | DataType::TopK(_) => Value::Text(item.into()),
        DataType::Integer | DataType::BigInt => item.parse().map_or(Value::Null, Value::Integer),
    }
}
