//! Exact decimal text ↔ scaled integer, both ways. Nothing here passes through a float.

/// How many decimals one unit of an integer stands for: `Scale(2)` means that 1 is 0.01. From 0 to 18.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scale(u8);

impl Scale {
    /// The finest scale: 18 decimals.
    pub const MAX: u8 = 18;

    /// Whole numbers.
    pub const ZERO: Self = Self(0);

    /// A scale of `decimals` decimals, or `None` above 18.
    pub const fn new(decimals: u8) -> Option<Self> {
        if decimals <= Self::MAX { Some(Self(decimals)) } else { None }
    }

    /// The number of decimals.
    pub const fn decimals(self) -> u8 {
        self.0
    }
}

/// Why a decimal text is not a value at a given scale.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NumberError {
    /// Not `digits[.digits][e[±]digits]` with an optional leading minus.
    #[error("not a decimal number")]
    Malformed,
    /// A digit other than zero stands behind the last decimal of the scale.
    #[error("has more decimals than its scale")]
    TooPrecise,
    /// The value does not fit into 64 bits at this scale.
    #[error("is too large for its scale")]
    TooLarge,
}

/// The longest decimal text that is read: longer ones are [`NumberError::Malformed`].
pub const DECIMAL_BYTES_MAX: usize = 64;

/// Reads decimal text as an integer in units of `scale`: `parse_decimal(b"1.50", 2)` is 150.
///
/// Trailing zeros beyond the scale carry no information and are allowed; any other digit there is an error, never a
/// rounding. Exponents (`1.5e-7`) are understood, since JSON number literals may have them.
///
/// # Errors
/// [`NumberError`] says whether the text is malformed, too precise or too large.
#[inline]
pub fn parse_decimal(text: &[u8], scale: Scale) -> Result<i64, NumberError> {
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let magnitude = match plain(digits, scale.0) {
        Some(value) => value,
        None => general(digits, scale.0)?,
    };
    Ok(if negative { -magnitude } else { magnitude })
}

/// The common case: up to 18 digits in all, no exponent, no more decimals than the scale. `None` asks for [`general`].
#[inline]
fn plain(digits: &[u8], scale: u8) -> Option<i64> {
    if digits.len() > 18 {
        return None;
    }
    let mut value = 0_i64;
    let mut point = None;
    for (index, &byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit <= 9 {
            value = value * 10 + i64::from(digit);
        } else if byte == b'.' && point.is_none() {
            point = Some(index);
        } else {
            return None;
        }
    }
    let decimals = match point {
        None if digits.is_empty() => return None,
        None => 0,
        Some(index) if index == 0 || index + 1 == digits.len() => return None,
        Some(index) => digits.len() - index - 1,
    };
    let missing = usize::from(scale).checked_sub(decimals)?;
    value.checked_mul(*POWERS_I64.get(missing)?)
}

const POWERS_I64: [i64; 19] = {
    let mut table = [1_i64; 19];
    let mut index = 1;
    while index < 19 {
        table[index] = table[index - 1] * 10;
        index += 1;
    }
    table
};

/// Any decimal: checks the grammar, gathers the significant digits and moves the point by the exponent.
fn general(text: &[u8], scale: u8) -> Result<i64, NumberError> {
    if text.is_empty() || text.len() > DECIMAL_BYTES_MAX {
        return Err(NumberError::Malformed);
    }
    let at = text.iter().position(|byte| matches!(byte, b'e' | b'E'));
    let (mantissa, exponent) = match at {
        None => (text, 0),
        Some(at) => (text.get(..at).unwrap_or_default(), exponent(text.get(at + 1..).unwrap_or_default())?),
    };
    let mut value = 0_i128;
    let mut decimals = None::<i32>;
    let mut digits = 0;
    for &byte in mantissa {
        match byte {
            b'0'..=b'9' => {
                digits += 1;
                value = value.checked_mul(10).ok_or(NumberError::TooLarge)? + i128::from(byte - b'0');
                decimals = decimals.map(|count| count + 1);
            }
            b'.' if decimals.is_none() && digits > 0 => decimals = Some(0),
            _ => return Err(NumberError::Malformed),
        }
    }
    if digits == 0 || decimals == Some(0) {
        return Err(NumberError::Malformed);
    }
    if value == 0 {
        return Ok(0);
    }
    let mut shift = i32::from(scale) - decimals.unwrap_or(0) + exponent;
    while shift < 0 {
        if value % 10 != 0 {
            return Err(NumberError::TooPrecise);
        }
        value /= 10;
        shift += 1;
    }
    while shift > 0 {
        value = value.checked_mul(10).ok_or(NumberError::TooLarge)?;
        shift -= 1;
    }
    i64::try_from(value).map_err(|_| NumberError::TooLarge)
}

fn exponent(text: &[u8]) -> Result<i32, NumberError> {
    let (sign, digits) = match text {
        [b'-', rest @ ..] => (-1, rest),
        [b'+', rest @ ..] => (1, rest),
        rest => (1, rest),
    };
    if digits.is_empty() || digits.len() > 3 || !digits.iter().all(u8::is_ascii_digit) {
        return Err(NumberError::Malformed);
    }
    Ok(sign * digits.iter().fold(0, |value, byte| value * 10 + i32::from(byte - b'0')))
}

/// Appends `value` in decimal digits.
#[inline]
pub fn write_integer(out: &mut Vec<u8>, value: u64) {
    let mut buffer = [0_u8; 20];
    let start = digits_u64(&mut buffer, value);
    out.extend_from_slice(buffer.get(start..).unwrap_or_default());
}

/// Appends `value` in decimal digits with a leading minus where it is negative.
#[inline]
pub fn write_signed(out: &mut Vec<u8>, value: i64) {
    if value < 0 {
        out.push(b'-');
    }
    write_integer(out, value.unsigned_abs());
}

/// Appends a signed amount in units of `decimals` decimals as the shortest exact decimal: 150 at 2 is `1.5`.
#[inline]
pub fn write_decimal_signed(out: &mut Vec<u8>, value: i128, decimals: u8) {
    if value < 0 {
        out.push(b'-');
    }
    write_decimal(out, value.unsigned_abs(), decimals);
}

/// Appends an amount in units of `decimals` decimals as the shortest exact decimal: 150 at 2 is `1.5`, 100 is `1`.
///
/// `decimals` may reach 36: a product of a price and a quantity has the decimals of both.
#[inline]
pub fn write_decimal(out: &mut Vec<u8>, value: u128, decimals: u8) {
    if let Ok(small) = u64::try_from(value) {
        return write_small(out, small, decimals);
    }
    // A sum of products has the zeros of both scales at its end: without eight of them it mostly fits into 64 bits.
    const EIGHT: u128 = 100_000_000;
    let shorter = value / EIGHT;
    if decimals >= 8
        && shorter * EIGHT == value
        && let Ok(small) = u64::try_from(shorter)
    {
        return write_small(out, small, decimals - 8);
    }
    let mut buffer = [b'0'; 40];
    let start = digits_u128(&mut buffer, value);
    write_point(out, &buffer, start, usize::from(decimals).min(39));
}

/// The common case of [`write_decimal`]: takes zeros off the end by division, which costs less than writing them.
#[inline]
fn write_small(out: &mut Vec<u8>, mut value: u64, mut decimals: u8) {
    for (zeros, power) in [(8, 100_000_000), (4, 10_000), (2, 100), (1, 10)] {
        if decimals >= zeros && value.is_multiple_of(power) {
            value /= power;
            decimals -= zeros;
        }
    }
    if decimals == 0 {
        return write_integer(out, value);
    }
    let mut digits = [b'0'; 20];
    let from = digits_u64(&mut digits, value);
    let decimals = usize::from(decimals);
    if decimals >= 20 {
        let mut buffer = [b'0'; 40];
        buffer[20..].copy_from_slice(&digits);
        return write_point(out, &buffer, 20 + from, decimals.min(39));
    }
    // Fewer decimals than the buffer has room: the zeros before the digits are in it already.
    let point = 20 - decimals;
    let (whole, fraction) = digits.split_at(point);
    match whole.get(from..) {
        Some(whole) if !whole.is_empty() => out.extend_from_slice(whole),
        _ => out.push(b'0'),
    }
    let kept = fraction.iter().rposition(|&byte| byte != b'0').map_or(0, |last| last + 1);
    if kept > 0 {
        out.push(b'.');
        out.extend_from_slice(fraction.get(..kept).unwrap_or_default());
    }
}

/// Writes the digits `buffer[start..]`, padded with the zeros before them, with a point before the last `decimals`.
#[inline]
fn write_point(out: &mut Vec<u8>, buffer: &[u8; 40], start: usize, decimals: usize) {
    let point = 40 - decimals;
    if start < point {
        out.extend_from_slice(buffer.get(start..point).unwrap_or_default());
    } else {
        out.push(b'0');
    }
    let fraction = buffer.get(point..).unwrap_or_default();
    let kept = fraction.iter().rposition(|&byte| byte != b'0').map_or(0, |last| last + 1);
    if kept > 0 {
        out.push(b'.');
        out.extend_from_slice(fraction.get(..kept).unwrap_or_default());
    }
}

const PAIRS: [u8; 200] = {
    let mut table = [0_u8; 200];
    let mut index = 0;
    while index < 100 {
        table[index * 2] = b'0' + (index / 10) as u8;
        table[index * 2 + 1] = b'0' + (index % 10) as u8;
        index += 1;
    }
    table
};

/// Fills `buffer` from its end with the digits of `value` and returns where they start; zero is one digit.
#[inline]
fn digits_u64(buffer: &mut [u8; 20], mut value: u64) -> usize {
    let mut at = 20;
    while value >= 100 {
        let pair = (value % 100) as usize * 2;
        value /= 100;
        at -= 2;
        buffer[at] = PAIRS[pair];
        buffer[at + 1] = PAIRS[pair + 1];
    }
    if value >= 10 {
        at -= 2;
        buffer[at] = PAIRS[value as usize * 2];
        buffer[at + 1] = PAIRS[value as usize * 2 + 1];
    } else {
        at -= 1;
        buffer[at] = b'0' + value as u8;
    }
    at
}

/// As [`digits_u64`] for values beyond 64 bits: 19 digits at a time, so that only one wide division is needed for each.
fn digits_u128(buffer: &mut [u8; 40], mut value: u128) -> usize {
    const CHUNK: u128 = 10_000_000_000_000_000_000;
    let mut end = 40;
    let mut start = 40;
    while value > 0 {
        let mut digits = [0_u8; 20];
        // One wide division: the remainder comes from the quotient.
        let rest = value / CHUNK;
        let from = digits_u64(&mut digits, (value - rest * CHUNK) as u64);
        value = rest;
        let count = 20 - from;
        start = end - count;
        buffer[start..end].copy_from_slice(&digits[from..]);
        end = end.saturating_sub(19);
    }
    start
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(text: &str, scale: u8, want: Result<i64, NumberError>) {
        assert_eq!(parse_decimal(text.as_bytes(), Scale::new(scale).unwrap()), want, "{text} at {scale}");
    }

    #[test]
    fn decimals_are_read_exactly_or_refused() {
        check("68123.45", 2, Ok(6_812_345));
        check("0.00123440", 7, Ok(12_344));
        check("105433.60000", 1, Ok(1_054_336));
        check("-1", 0, Ok(-1));
        check("1e-8", 8, Ok(1));
        check("1.5E+3", 0, Ok(1500));
        check("0.000000000000000000000", 2, Ok(0));
        check("9223372036854775807", 0, Ok(i64::MAX));
        check("9223372036854775808", 0, Err(NumberError::TooLarge));
        check("92233720369", 9, Err(NumberError::TooLarge));
        check("1.005", 2, Err(NumberError::TooPrecise));
        for text in ["", "-", ".", "1.", ".5", "1.2.3", "1e", "1e1234", "+1", "0x10", "NaN", " 1", "1,5", "--1"] {
            check(text, 8, Err(NumberError::Malformed));
        }
        check(&"9".repeat(65), 0, Err(NumberError::Malformed));
    }

    #[test]
    fn amounts_are_written_in_their_shortest_exact_form() {
        let written = |value, decimals| {
            let mut out = Vec::new();
            write_decimal(&mut out, value, decimals);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(written(150, 2), "1.5");
        assert_eq!(written(100, 2), "1");
        assert_eq!(written(0, 8), "0");
        assert_eq!(written(1, 18), "0.000000000000000001");
        assert_eq!(written(u128::MAX, 0), u128::MAX.to_string());
        assert_eq!(written(10_u128.pow(38), 36), "100");
        assert_eq!(written(10_000_000_000_000_000_000, 0), "10000000000000000000");
        assert_eq!(written(20_000_000_000_000_000_001, 1), "2000000000000000000.1");
    }

    proptest! {
        #[test]
        fn prop_text_and_integer_round_trip(value in any::<i64>(), scale in 0_u8..=18) {
            let mut out = Vec::new();
            write_decimal_signed(&mut out, i128::from(value), scale);
            prop_assume!(value != i64::MIN);
            prop_assert_eq!(parse_decimal(&out, Scale::new(scale).unwrap()), Ok(value));
        }

        #[test]
        fn prop_wide_amounts_keep_every_digit(value in any::<u128>()) {
            let mut out = Vec::new();
            write_decimal(&mut out, value, 0);
            prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
        }

        #[test]
        fn prop_amounts_equal_a_plain_reference(value in any::<u64>(), zeros in 0_u32..12, decimals in 0_u8..=36) {
            let value = u128::from(value) * 10_u128.pow(zeros);
            let digits = format!("{value:0>width$}", width = usize::from(decimals) + 1);
            let (whole, fraction) = digits.split_at(digits.len() - usize::from(decimals));
            let fraction = fraction.trim_end_matches('0');
            let want = if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") };
            let mut out = Vec::new();
            write_decimal(&mut out, value, decimals);
            prop_assert_eq!(String::from_utf8(out).unwrap(), want);
        }

        #[test]
        fn prop_no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..80), scale in 0_u8..=18) {
            let _ = parse_decimal(&text, Scale::new(scale).unwrap());
        }
    }
}
