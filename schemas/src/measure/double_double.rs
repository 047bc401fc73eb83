//! Sums in twice the precision of a double: a value is the unevaluated sum of two doubles.
//!
//! Algorithms: Joldes, Muller, Popescu, "Tight and rigorous error bounds for basic building blocks of
//! double-word arithmetic" (2017): an addition is wrong by at most 3·2⁻¹⁰⁶ of the sum. Products are
//! split after Veltkamp and Dekker, because a fused multiply-add is slow where the processor lacks one.

/// `high` is the nearest double of the value, `low` what it lacks.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct DoubleDouble {
    pub(super) high: f64,
    pub(super) low: f64,
}

impl DoubleDouble {
    pub(super) fn new(value: f64) -> Self {
        DoubleDouble { high: value, low: 0.0 }
    }

    /// The exact square of a double.
    pub(super) fn square(value: f64) -> Self {
        product(value, value)
    }

    /// The sum; infinite and NaN sums are those of plain doubles.
    pub(super) fn plus(self, other: Self) -> Self {
        let (sum, error) = two_sum(self.high, other.high);
        if !sum.is_finite() {
            return Self::new(sum);
        }
        let (low, low_error) = two_sum(self.low, other.low);
        let (high, rest) = quick_two_sum(sum, error + low);
        let (high, low) = quick_two_sum(high, low_error + rest);
        DoubleDouble { high, low }
    }

    pub(super) fn minus(self, other: Self) -> Self {
        self.plus(DoubleDouble { high: -other.high, low: -other.low })
    }

    pub(super) fn times(self, other: Self) -> Self {
        let exact = product(self.high, other.high);
        if !exact.high.is_finite() {
            return exact;
        }
        let cross = self.high * other.low + self.low * other.high;
        let (high, low) = quick_two_sum(exact.high, exact.low + cross);
        DoubleDouble { high, low }
    }

    pub(super) fn divided_by(self, divisor: f64) -> Self {
        let quotient = self.high / divisor;
        if !quotient.is_finite() {
            return Self::new(quotient);
        }
        let rest = self.minus(product(quotient, divisor));
        let (high, low) = quick_two_sum(quotient, rest.high / divisor);
        DoubleDouble { high, low }
    }

    pub(super) fn value(self) -> f64 {
        self.high + self.low
    }
}

fn two_sum(left: f64, right: f64) -> (f64, f64) {
    let sum = left + right;
    let part = sum - left;
    (sum, (left - (sum - part)) + (right - part))
}

/// For `left` not smaller in magnitude than `right`.
fn quick_two_sum(left: f64, right: f64) -> (f64, f64) {
    let sum = left + right;
    (sum, right - (sum - left))
}

fn product(left: f64, right: f64) -> DoubleDouble {
    let high = left * right;
    let ((a, b), (c, d)) = (split(left), split(right));
    let low = ((a * c - high) + a * d + b * c) + b * d;
    // Beyond 2^996 splitting itself overflows: the product of such a number is kept as a plain double.
    DoubleDouble { high, low: if high.is_finite() && low.is_finite() { low } else { 0.0 } }
}

fn split(value: f64) -> (f64, f64) {
    let shifted = 134_217_729.0 * value;
    let high = shifted - (shifted - value);
    (high, value - high)
}
