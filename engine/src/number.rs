//! Exact decimal text ↔ scaled integer, both ways. Nothing here passes through a float.

use crate::digits::Digits;

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
        None => i64::try_from(general(digits, scale.0)?).map_err(|_| NumberError::TooLarge)?,
    };
    Ok(if negative { -magnitude } else { magnitude })
}

/// Reads decimal text that is not below zero as an amount in units of `decimals` decimals, exactly as [`parse_decimal`].
///
/// Sums need more than 64 bits, and `decimals` may reach 36: a product of a price and a quantity has the decimals of both.
///
/// # Errors
/// [`NumberError`]; a minus is malformed.
pub fn parse_amount(text: &[u8], decimals: u8) -> Result<u128, NumberError> {
    let value = plain(text, decimals).map_or_else(|| general(text, decimals), |value| Ok(i128::from(value)))?;
    u128::try_from(value).map_err(|_| NumberError::Malformed)
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

/// The powers of ten up to sixteen decimals, which one division takes off.
const UNITS: [u64; 17] = {
    let mut table = [1_u64; 17];
    let mut index = 1;
    while index < table.len() {
        table[index] = table[index - 1] * 10;
        index += 1;
    }
    table
};

/// The powers of ten that fit into 128 bits.
const POWERS: [u128; 39] = {
    let mut table = [1_u128; 39];
    let mut index = 1;
    while index < table.len() {
        table[index] = table[index - 1] * 10;
        index += 1;
    }
    table
};

/// Any decimal: checks the grammar, gathers the significant digits and moves the point by the exponent.
fn general(text: &[u8], scale: u8) -> Result<i128, NumberError> {
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
    Ok(value)
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
    if value < Digits::LIMIT {
        Digits::of(value).append_integer(out);
    } else {
        write_long(out, value);
    }
}

#[inline(never)]
fn write_long(out: &mut Vec<u8>, value: u64) {
    write_integer(out, value / Digits::LIMIT);
    Digits::of(value % Digits::LIMIT).append_all(out);
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
pub fn write_decimal(out: &mut Vec<u8>, value: u128, decimals: u8) {
    let decimals = usize::from(decimals);
    let (Ok(value), Some(unit)) = (u64::try_from(value), UNITS.get(decimals)) else {
        return write_wide(out, value, decimals.min(POWERS.len() - 1));
    };
    write_integer(out, value / unit);
    let rest = value % unit;
    if rest > 0 {
        out.push(b'.');
        write_fraction(out, rest.wrapping_mul(UNITS[UNITS.len() - 1 - decimals]));
    }
}

/// Appends the sixteen decimals `value` without the zeros at their end.
fn write_fraction(out: &mut Vec<u8>, value: u64) {
    let (high, low) = (Digits::of(value / Digits::LIMIT), value % Digits::LIMIT);
    if low == 0 {
        high.append_fraction(out);
    } else {
        high.append_all(out);
        Digits::of(low).append_fraction(out);
    }
}

/// Any amount: the whole part, then the decimals, sixteen at a time until the rest is zero.
#[inline(never)]
fn write_wide(out: &mut Vec<u8>, value: u128, mut decimals: usize) {
    const SIXTEEN: usize = UNITS.len() - 1;
    let whole = value / POWERS[decimals];
    let mut rest = value.wrapping_sub(whole.wrapping_mul(POWERS[decimals]));
    write_whole(out, whole);
    if rest > 0 {
        out.push(b'.');
    }
    while decimals > SIXTEEN && rest > 0 {
        decimals -= SIXTEEN;
        let next = rest / POWERS[decimals];
        rest = rest.wrapping_sub(next.wrapping_mul(POWERS[decimals]));
        let next = next as u64;
        if rest == 0 {
            return write_fraction(out, next);
        }
        Digits::of(next / Digits::LIMIT).append_all(out);
        Digits::of(next % Digits::LIMIT).append_all(out);
    }
    if rest > 0 {
        write_fraction(out, rest as u64 * UNITS[SIXTEEN - decimals]);
    }
}

fn write_whole(out: &mut Vec<u8>, value: u128) {
    const LIMIT: u128 = Digits::LIMIT as u128;
    match u64::try_from(value) {
        Ok(value) => write_integer(out, value),
        Err(_) => {
            write_whole(out, value / LIMIT);
            Digits::of((value % LIMIT) as u64).append_all(out);
        }
    }
}

/// [`write_decimal`] as one would write it without a thought for speed.
#[cfg(test)]
pub(crate) fn plain_decimal(value: u128, decimals: u8) -> String {
    let digits = format!("{value:0>width$}", width = usize::from(decimals) + 1);
    let (whole, fraction) = digits.split_at(digits.len() - usize::from(decimals));
    let fraction = fraction.trim_end_matches('0');
    if fraction.is_empty() { whole.to_owned() } else { format!("{whole}.{fraction}") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Every count of digits, with any count of zeros at the end and values one off a power of ten.
    fn amounts() -> impl Strategy<Value = u128> {
        let long = (any::<u128>(), 0_u32..128, 0_u32..39).prop_map(|(value, shift, zeros)| {
            let power = 10_u128.pow(zeros);
            (value >> shift) / power * power
        });
        let near = (0_u32..39, 0_u128..3).prop_map(|(power, offset)| 10_u128.pow(power) - 1 + offset);
        prop_oneof![long, near, Just(u128::MAX), Just(u128::from(u64::MAX))]
    }

    #[test]
    fn every_power_of_ten_and_its_neighbours_are_exact_at_every_scale() {
        for power in (0..39).map(|exponent| 10_u128.pow(exponent)).chain([u128::MAX, 1 << 64]) {
            for (value, decimals) in [power - 1, power, power.saturating_add(1)]
                .into_iter()
                .flat_map(|value| (0..=36).map(move |decimals| (value, decimals)))
            {
                let mut out = Vec::new();
                write_decimal(&mut out, value, decimals);
                assert_eq!(String::from_utf8(out).unwrap(), plain_decimal(value, decimals), "{value} at {decimals}");
            }
        }
    }

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
    fn amounts_are_read_where_64_bits_end() {
        let read = |text: &str, decimals| parse_amount(text.as_bytes(), decimals);
        assert_eq!(read("1000000000000.5", 8), Ok(100_000_000_000_050_000_000));
        assert_eq!(read("0.1", 36), Ok(10_u128.pow(35)));
        assert_eq!(read("0", 36), Ok(0));
        assert_eq!(read("1.25", 1), Err(NumberError::TooPrecise));
        assert_eq!(read("-1", 1), Err(NumberError::Malformed));
        assert_eq!(read(&"9".repeat(40), 0), Err(NumberError::TooLarge));
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
        fn prop_amounts_equal_a_plain_reference(value in amounts(), decimals in 0_u8..=36) {
            let mut out = Vec::new();
            write_decimal(&mut out, value, decimals);
            prop_assert_eq!(String::from_utf8(out).unwrap(), plain_decimal(value, decimals));
        }

        #[test]
        fn prop_integers_equal_a_plain_reference(value in amounts()) {
            let mut out = Vec::new();
            write_integer(&mut out, value as u64);
            write_signed(&mut out, value as i64);
            prop_assert_eq!(String::from_utf8(out).unwrap(), format!("{}{}", value as u64, value as i64));
        }

        #[test]
        fn prop_no_text_panics(text in proptest::collection::vec(any::<u8>(), 0..80), scale in 0_u8..=18) {
            let _ = parse_decimal(&text, Scale::new(scale).unwrap());
        }
    }
}
