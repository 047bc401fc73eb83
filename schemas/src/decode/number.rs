//! Numbers from their text, exactly: no integer or decimal takes a detour through a float.

use super::scan::Short;

/// Why a number does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfit {
    /// A fraction or exponent where an integer is expected, or no number at all.
    WrongType,
    OutOfRange,
}

/// An integer written as one: `3.0` and `3e0` are not. `short` is the same number, if it is.
#[inline]
pub(super) fn integer(text: &[u8], short: Option<Short>) -> Result<i64, Misfit> {
    match short {
        Some(Short { places: 0, digits, negative }) => {
            Ok(if negative { -(digits as i64) } else { digits as i64 })
        }
        Some(_) => Err(Misfit::WrongType),
        None => long_integer(text),
    }
}

/// Numbers of more than eighteen digits are rare enough to be checked digit by digit.
fn long_integer(text: &[u8]) -> Result<i64, Misfit> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.iter().any(|byte| !byte.is_ascii_digit()) {
        return Err(Misfit::WrongType);
    }
    digits.iter().try_fold(0i64, |value, byte| {
        let (value, digit) = (value.checked_mul(10), i64::from(byte - b'0'));
        value
            .and_then(|value| if negative { value.checked_sub(digit) } else { value.checked_add(digit) })
            .ok_or(Misfit::OutOfRange)
    })
}

/// The nearest double of a JSON number; one beyond the largest double is out of range. `short` is the same number.
#[inline]
pub(super) fn double(text: &[u8], short: Option<Short>) -> Result<f64, Misfit> {
    // Both are doubles themselves, so that their quotient is the double that is nearest to what is written (William
    // Clinger, "How to read floating point numbers accurately", 1990).
    const WHOLE_DOUBLES: u64 = 1 << 53;
    if let Some(Short { negative, digits, places }) = short
        && digits < WHOLE_DOUBLES
        && let Some(power) = DOUBLE_POWERS_OF_TEN.get(places as usize)
    {
        let value = digits as f64 / power;
        return Ok(if negative { -value } else { value });
    }
    long_double(text)
}

#[cold]
fn long_double(text: &[u8]) -> Result<f64, Misfit> {
    let value = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    let value: f64 = value.ok_or(Misfit::WrongType)?;
    if value.is_finite() { Ok(value) } else { Err(Misfit::OutOfRange) }
}

/// Those of them that are doubles.
static DOUBLE_POWERS_OF_TEN: [f64; 19] =
    [1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18];

/// What becomes of digits behind the last decimal place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Excess {
    /// Zeros are dropped, anything else is out of range.
    Refuse,
    /// Rounded towards negative infinity.
    Floor,
}

static POWERS_OF_TEN: [i128; 39] = {
    let mut powers = [1; 39];
    let mut exponent = 1;
    while exponent < powers.len() {
        powers[exponent] = powers[exponent - 1] * 10;
        exponent += 1;
    }
    powers
};

/// A decimal as its unscaled integer with `scale` places and at most `precision` digits. `short` is the same number, if
/// that was read already.
#[inline]
pub(super) fn decimal(
    text: &[u8],
    short: Option<Short>,
    precision: u8,
    scale: u8,
    excess: Excess,
) -> Result<i128, Misfit> {
    match short.or_else(|| short_of(text)).and_then(|short| scaled(short, precision, scale)) {
        Some(unscaled) => Ok(unscaled),
        None => any_decimal(text, precision, scale, excess),
    }
}

/// A number with no more places than `scale` and no more digits than `precision`.
#[inline]
fn scaled(Short { negative, digits, places }: Short, precision: u8, scale: u8) -> Option<i128> {
    let missing = u32::from(scale).checked_sub(places)?;
    let unscaled = i128::from(digits).checked_mul(POWERS_OF_TEN[missing as usize])?;
    (unscaled < POWERS_OF_TEN[usize::from(precision)]).then_some(if negative { -unscaled } else { unscaled })
}

/// A number that stands in a string; `None` for a long one, and for what is no number.
#[inline]
fn short_of(text: &[u8]) -> Option<Short> {
    let (negative, written) = match text {
        [b'-', written @ ..] => (true, written),
        written => (false, written),
    };
    // Eighteen digits cannot overflow.
    if written.len() > 18 || matches!(written, [] | [b'.', ..] | [.., b'.'] | [b'0', b'0'..=b'9', ..]) {
        return None;
    }
    let (mut digits, mut point) = (0, None);
    for (at, byte) in written.iter().enumerate() {
        match byte {
            b'0'..=b'9' => digits = digits * 10 + u64::from(byte - b'0'),
            b'.' if point.is_none() => point = Some(at),
            _ => return None,
        }
    }
    let places = point.map_or(0, |at| written.len() - at - 1) as u32;
    Some(Short { negative, digits, places })
}

fn any_decimal(text: &[u8], precision: u8, scale: u8, excess: Excess) -> Result<i128, Misfit> {
    let Parts { negative, digits, point, exponent } = parts(text)?;
    // The value is 0.d1d2d3… × 10^magnitude.
    let magnitude = (point as i64).saturating_add(exponent);
    let leading = digits.clone().take_while(|digit| *digit == 0).count();
    let places = magnitude.saturating_sub(leading as i64).saturating_add(i64::from(scale));
    let mut significant = digits.skip(leading).peekable();
    if significant.peek().is_none() {
        return Ok(0);
    }
    if places > i64::from(precision) {
        return Err(Misfit::OutOfRange);
    }
    let mut value = 0i128;
    for _ in 0..places.max(0) {
        // At most 38 digits, which an i128 holds.
        value = value * 10 + i128::from(significant.next().unwrap_or(0));
    }
    let lost = if places < 0 { true } else { significant.any(|digit| digit != 0) };
    match (lost, excess) {
        (false, _) => {}
        (true, Excess::Refuse) => return Err(Misfit::OutOfRange),
        (true, Excess::Floor) => value += i128::from(negative),
    }
    Ok(if negative { -value } else { value })
}

struct Parts<D> {
    negative: bool,
    /// All digits, the point left out.
    digits: D,
    /// How many of the digits stand before the point.
    point: usize,
    exponent: i64,
}

/// Takes `-12.50e3` apart; anything that is not a number in JSON's grammar is refused.
fn parts(text: &[u8]) -> Result<Parts<impl Iterator<Item = u8> + Clone + '_>, Misfit> {
    let (negative, rest) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let (mantissa, exponent) = match rest.iter().position(|byte| matches!(byte, b'e' | b'E')) {
        Some(at) => (&rest[..at], exponent(&rest[at + 1..])?),
        None => (rest, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|byte| *byte == b'.') {
        Some(at) => (&mantissa[..at], Some(&mantissa[at + 1..])),
        None => (mantissa, None),
    };
    let is_digits = |digits: &[u8]| !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
    let well_formed =
        is_digits(whole) && (whole.len() == 1 || whole[0] != b'0') && fraction.is_none_or(is_digits);
    if !well_formed {
        return Err(Misfit::WrongType);
    }
    let digits = whole.iter().chain(fraction.unwrap_or_default()).map(|byte| byte - b'0');
    Ok(Parts { negative, digits, point: whole.len(), exponent })
}

/// An exponent; one too large for any decimal is as good as the largest number here.
fn exponent(text: &[u8]) -> Result<i64, Misfit> {
    let (negative, digits) = match text {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.iter().any(|byte| !byte.is_ascii_digit()) {
        return Err(Misfit::WrongType);
    }
    let size =
        digits.iter().fold(0i64, |size, byte| size.saturating_mul(10).saturating_add(i64::from(byte - b'0')));
    Ok(if negative { -size } else { size })
}
