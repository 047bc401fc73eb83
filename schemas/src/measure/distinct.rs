//! `count(DISTINCT x)` as a HyperLogLog sketch in Apache DataSketches' form.
//!
//! The estimate is made of the registers alone, so it is the same for any split and order of the
//! events, and so are the bytes: coupons are written in order, and dense sketches in the form of a
//! merged sketch, without the accumulator that remembers the order of arrival. Values are hashed as
//! DataSketches does for text, 64-bit integers (booleans, dates as days, timestamps as microseconds)
//! and doubles; decimals as their text. The empty text is a value like any other.

use std::any::Any;
use std::borrow::Cow;
use std::fmt::Write;
use std::sync::{Arc, LazyLock};

use arrow::array::{Array, ArrayRef, AsArray, BinaryArray};
use arrow::datatypes::DataType as ArrowType;
use datasketches::hash::value::{canonical_float, raw_bytes};
use datasketches::hll::{Coupon, HllSketch, HllType, HllUnion};

use crate::coding::Pair;
use crate::columns::Part as Scalar;
use crate::measure::operand::{Operand, each, each_text, scale_of};
use crate::measure::{self, ErrorBound, Input, Part, States, operand, same};
use crate::types::DataType;
use crate::value::{DecimalText, Value};

/// 2^12 registers.
const LG_REGISTERS: u8 = 12;

/// Three standard errors of `1.04 / √4096`.
pub const BOUND: ErrorBound = ErrorBound { kind: "relative", bound: 0.048_75, confidence: 0.997 };

#[derive(Clone, Debug)]
pub struct DistinctStates {
    argument: DataType,
    /// `None` until a value came.
    sketches: Vec<Option<Held>>,
}

/// One row's state.
#[derive(Clone, Debug)]
enum Held {
    Sketch(HllUnion),
    /// The normal form of a sketch of so few values that it lists them, to which nothing was added since it was read.
    Listed(Box<[u8]>),
}

impl Held {
    fn sketch(&self) -> HllSketch {
        match self {
            Held::Sketch(sketch) => sketch.to_sketch(HllType::Hll8),
            Held::Listed(image) => read(image),
        }
    }

    fn sketch_mut(&mut self) -> &mut HllUnion {
        if let Held::Listed(image) = self {
            *self = Held::Sketch(united(&read(image)));
        }
        let Held::Sketch(sketch) = self else { unreachable!("it has just been made a sketch") };
        sketch
    }

    fn image(&self) -> Cow<'_, [u8]> {
        match self {
            Held::Sketch(sketch) => Cow::Owned(normal_form(sketch)),
            Held::Listed(image) => Cow::Borrowed(image),
        }
    }

    fn estimate(&self) -> f64 {
        match self {
            Held::Sketch(sketch) => sketch.composite_estimate(),
            Held::Listed(image) => united(&read(image)).composite_estimate(),
        }
    }
}

impl DistinctStates {
    pub fn new(argument: DataType) -> Self {
        DistinctStates { argument, sketches: Vec::new() }
    }

    /// Gives an empty row all its values at once, as [`coupon`] has them.
    pub(crate) fn set(&mut self, row: u32, coupons: &[Coupon]) {
        if coupons.is_empty() {
            return;
        }
        let mut sketch = HllSketch::new(LG_REGISTERS, HllType::Hll8).expect(WITHIN);
        coupons.iter().for_each(|coupon| sketch.update_with_coupon(*coupon));
        self.sketch(row).update(&sketch);
    }

    fn sketch(&mut self, row: u32) -> &mut HllUnion {
        self.sketches[row as usize].get_or_insert_with(|| Held::Sketch(union())).sketch_mut()
    }
}

impl States for DistinctStates {
    fn len(&self) -> usize {
        self.sketches.len()
    }

    fn resize(&mut self, rows: usize) {
        self.sketches.resize(rows, None);
    }

    fn update(&mut self, rows: &[u32], input: &Input<'_>) {
        // A value changes nothing when it comes again.
        if let Some((codes, pairs)) = input.codes.and_then(|codes| Some((codes, codes.pairs(rows)?))) {
            for Pair { row, code, .. } in pairs {
                if let Some(text) = codes.text(code) {
                    self.sketch(row).update_value(raw_bytes::from_str(text));
                }
            }
            return;
        }
        match operand(input) {
            Operand::Whole(values) => {
                each(values, |index, value| self.sketch(rows[index]).update_value(value))
            }
            Operand::Float(values) => each(values, |index, value| {
                self.sketch(rows[index]).update_value(canonical_float::from_f64(value));
            }),
            Operand::Text(values) => each_text(values, |index, text| {
                self.sketch(rows[index]).update_value(raw_bytes::from_str(text));
            }),
            Operand::Wide(values) => {
                let scale = scale_of(&self.argument);
                let mut text = String::new();
                each(values, |index, value| {
                    text.clear();
                    write!(text, "{}", DecimalText(value, scale)).expect("writing to a string cannot fail");
                    self.sketch(rows[index]).update_value(raw_bytes::from_str(&text));
                });
            }
        }
    }

    fn merge(&mut self, into: &[u32], other: &dyn States, from: &[u32]) {
        let other: &Self = same(other);
        for (into, from) in into.iter().zip(from) {
            if let Some(theirs) = &other.sketches[*from as usize] {
                match &mut self.sketches[*into as usize] {
                    Some(held) => held.sketch_mut().update(&theirs.sketch()),
                    empty => *empty = Some(theirs.clone()),
                }
            }
        }
    }

    fn parts(&self) -> Vec<Part> {
        vec![Part::required("hll", ArrowType::Binary)]
    }

    fn columns(&self, rows: &[u32]) -> Vec<ArrayRef> {
        let empty = union().to_sketch(HllType::Hll8).serialize();
        let images = rows.iter().map(|row| match &self.sketches[*row as usize] {
            Some(held) => held.image(),
            None => Cow::Borrowed(empty.as_slice()),
        });
        vec![Arc::new(BinaryArray::from_iter_values(images))]
    }

    fn load(&mut self, columns: &[ArrayRef]) -> Result<(), String> {
        let images = columns[0].as_binary::<i32>();
        self.sketches = Vec::with_capacity(images.len());
        for image in images.iter().flatten() {
            if is_listed(image) {
                self.sketches.push(Some(Held::Listed(image.into())));
                continue;
            }
            let sketch = HllSketch::deserialize(image).map_err(|error| error.to_string())?;
            if sketch.lg_config_k() != LG_REGISTERS {
                return Err(format!("a sketch of 2^{} registers", sketch.lg_config_k()));
            }
            self.sketches.push((!sketch.is_empty()).then(|| Held::Sketch(united(&sketch))));
        }
        Ok(())
    }

    fn finish(&self, row: u32) -> Value {
        let estimate = self.sketches[row as usize].as_ref().map_or(0.0, Held::estimate);
        Value::Integer(estimate.round() as i64)
    }

    fn keep(&mut self, rows: &[u32]) {
        measure::keep(&mut self.sketches, rows);
    }

    fn bytes(&self) -> usize {
        let held = |held: &Held| match held {
            Held::Sketch(sketch) => measure::allocation(sketch.estimated_size()),
            Held::Listed(image) => measure::allocation(image.len()),
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

const WITHIN: &str = "2^12 registers are within the sketch's limits";

fn union() -> HllUnion {
    HllUnion::new(LG_REGISTERS).expect(WITHIN)
}

fn united(sketch: &HllSketch) -> HllUnion {
    let mut held = union();
    held.update(sketch);
    held
}

fn read(image: &[u8]) -> HllSketch {
    HllSketch::deserialize(image).expect("what was written can be read")
}

/// A value's hash; NULL, which no sketch takes, has that of 0.
pub(crate) fn coupon(value: &Value, data_type: &DataType) -> Coupon {
    match Scalar::of(value) {
        Scalar::Null => Coupon::from_value(0_i64),
        Scalar::Whole(value) => Coupon::from_value(value),
        Scalar::Float(value) => Coupon::from_value(canonical_float::from_f64(value)),
        Scalar::Text(text) => Coupon::from_value(raw_bytes::from_str(text)),
        Scalar::Wide(value) => {
            Coupon::from_value(raw_bytes::from_str(&DecimalText(value, scale_of(data_type)).to_string()))
        }
    }
}

/// Equal registers give equal bytes. The layout is DataSketches' serial version 1: byte 7 says in its two
/// low bits whether the image is a list or a set of 4-byte coupons (behind 8 or 12 bytes) or an array of
/// registers, whose flags are byte 5 and whose order-dependent accumulator is bytes 8 to 16.
fn normal_form(sketch: &HllUnion) -> Vec<u8> {
    const OUT_OF_ORDER: u8 = 16;
    let mut image = sketch.to_sketch(HllType::Hll8).serialize();
    match image[7] & 3 {
        0 => sort_coupons(&mut image[8..]),
        1 => sort_coupons(&mut image[12..]),
        _ => {
            image[5] |= OUT_OF_ORDER;
            image[8..16].fill(0);
        }
    }
    image
}

fn sort_coupons(bytes: &mut [u8]) {
    let (coupons, _) = bytes.as_chunks_mut::<4>();
    coupons.sort_unstable_by_key(|coupon| u32::from_le_bytes(*coupon));
}

/// What a list of values begins with.
static LISTED: LazyLock<[u8; 8]> = LazyLock::new(|| {
    let mut one = union();
    one.update_value(0_i64);
    *normal_form(&one).first_chunk().expect("a preamble has 8 bytes")
});

/// True for the normal form of a sketch that lists its values: byte 6 says how many there are.
fn is_listed(image: &[u8]) -> bool {
    const COUNT: usize = 6;
    const MOST: usize = 8;
    let Some((preamble, coupons)) = image.split_first_chunk::<8>() else { return false };
    let mut expected = *LISTED;
    expected[COUNT] = preamble[COUNT];
    let (coupons, rest) = coupons.as_chunks::<4>();
    // No coupon is zero.
    let mut before = 0;
    let in_order = coupons.iter().all(|coupon| {
        let coupon = u32::from_le_bytes(*coupon);
        std::mem::replace(&mut before, coupon) < coupon
    });
    let count = usize::from(preamble[COUNT]);
    *preamble == expected
        && rest.is_empty()
        && in_order
        && coupons.len() == count
        && (1..=MOST).contains(&count)
}
