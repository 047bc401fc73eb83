//! Values kept as they came, by physical class: for minima, maxima, first and last.

use std::cmp::Ordering;
use std::fmt::Debug;

use crate::columns::Part;
use crate::measure::allocation;
use crate::measure::operand::{Operand, each, each_text};
use crate::value::order_doubles;

/// A class of values that a state can keep one of.
pub trait Physical: Debug + Clone + Send + Sync + 'static {
    type Owned: Debug + Clone + Send + Sync;
    type Borrowed<'a>: Copy;

    /// Visits every value that is not NULL.
    fn visit(values: &Operand, visit: impl for<'a> FnMut(usize, Self::Borrowed<'a>));
    fn borrow(owned: &Self::Owned) -> Self::Borrowed<'_>;
    fn own(borrowed: Self::Borrowed<'_>) -> Self::Owned;
    fn order(left: Self::Borrowed<'_>, right: Self::Borrowed<'_>) -> Ordering;
    fn part(owned: &Self::Owned) -> Part<'_>;
    fn read(part: Part<'_>) -> Option<Self::Owned>;
    /// Memory behind a value.
    fn heap(owned: &Self::Owned) -> usize;
}

#[derive(Clone, Debug)]
pub struct WholeValues;

#[derive(Clone, Debug)]
pub struct WideValues;

/// `-0.0` is kept as `0.0`; NaN lies above every other number.
#[derive(Clone, Debug)]
pub struct FloatValues;

#[derive(Clone, Debug)]
pub struct TextValues;

impl Physical for WholeValues {
    type Owned = i64;
    type Borrowed<'a> = i64;

    fn visit(values: &Operand, visit: impl for<'a> FnMut(usize, i64)) {
        each(values.wholes(), visit);
    }

    fn borrow(owned: &i64) -> i64 {
        *owned
    }

    fn own(borrowed: i64) -> i64 {
        borrowed
    }

    fn order(left: i64, right: i64) -> Ordering {
        left.cmp(&right)
    }

    fn part(owned: &i64) -> Part<'_> {
        Part::Whole(*owned)
    }

    fn read(part: Part<'_>) -> Option<i64> {
        if let Part::Whole(value) = part { Some(value) } else { None }
    }

    fn heap(_: &i64) -> usize {
        0
    }
}

impl Physical for WideValues {
    type Owned = i128;
    type Borrowed<'a> = i128;

    fn visit(values: &Operand, visit: impl for<'a> FnMut(usize, i128)) {
        each(values.wides(), visit);
    }

    fn borrow(owned: &i128) -> i128 {
        *owned
    }

    fn own(borrowed: i128) -> i128 {
        borrowed
    }

    fn order(left: i128, right: i128) -> Ordering {
        left.cmp(&right)
    }

    fn part(owned: &i128) -> Part<'_> {
        Part::Wide(*owned)
    }

    fn read(part: Part<'_>) -> Option<i128> {
        if let Part::Wide(value) = part { Some(value) } else { None }
    }

    fn heap(_: &i128) -> usize {
        0
    }
}

impl Physical for FloatValues {
    type Owned = f64;
    type Borrowed<'a> = f64;

    fn visit(values: &Operand, mut visit: impl for<'a> FnMut(usize, f64)) {
        each(values.floats(), |index, value| {
            visit(index, if value.is_nan() { f64::NAN } else { value + 0.0 })
        });
    }

    fn borrow(owned: &f64) -> f64 {
        *owned
    }

    fn own(borrowed: f64) -> f64 {
        borrowed
    }

    fn order(left: f64, right: f64) -> Ordering {
        order_doubles(left, right)
    }

    fn part(owned: &f64) -> Part<'_> {
        Part::Float(*owned)
    }

    fn read(part: Part<'_>) -> Option<f64> {
        if let Part::Float(value) = part { Some(value) } else { None }
    }

    fn heap(_: &f64) -> usize {
        0
    }
}

impl Physical for TextValues {
    type Owned = Box<str>;
    type Borrowed<'a> = &'a str;

    fn visit(values: &Operand, visit: impl for<'a> FnMut(usize, &'a str)) {
        each_text(values.texts(), visit);
    }

    fn borrow(owned: &Box<str>) -> &str {
        owned
    }

    fn own(borrowed: &str) -> Box<str> {
        borrowed.into()
    }

    fn order(left: &str, right: &str) -> Ordering {
        left.cmp(right)
    }

    fn part(owned: &Box<str>) -> Part<'_> {
        Part::Text(owned)
    }

    fn read(part: Part<'_>) -> Option<Box<str>> {
        if let Part::Text(text) = part { Some(text.into()) } else { None }
    }

    fn heap(owned: &Box<str>) -> usize {
        allocation(owned.len())
    }
}
