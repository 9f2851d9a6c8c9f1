//! Integers and their scales ↔ the exact decimal text of the server.

use engine::number::write_decimal;

/// The decimal text of `value` units of `10^-decimals`.
pub(super) fn text(buffer: &mut Vec<u8>, value: u128, decimals: u8) -> &str {
    buffer.clear();
    write_decimal(buffer, value, decimals);
    std::str::from_utf8(buffer).unwrap_or_default()
}

/// The units of `10^-decimals` in a decimal text; `None` if it has more decimals, or more digits than fit.
pub(super) fn units(text: &str, decimals: u8) -> Option<u128> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let decimals = usize::from(decimals);
    let (kept, rest) = fraction.split_at_checked(decimals).unwrap_or((fraction, ""));
    if whole.is_empty() || rest.bytes().any(|byte| byte != b'0') {
        return None;
    }
    let mut value = 0_u128;
    for byte in whole.bytes().chain(kept.bytes()).chain(std::iter::repeat_n(b'0', decimals - kept.len())) {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u128::from(digit))?;
    }
    Some(value)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_decimal_is_read_exactly_or_not_at_all() {
        assert_eq!(units("68123.450000000000000000", 2), Some(6_812_345));
        assert_eq!(units("0.10", 0), None);
        assert_eq!(units("7", 3), Some(7000));
        assert_eq!(units("340282366920938463463374607431768211456", 0), None);
        for text in ["", ".5", "-1", "1e3", "1.2.3", "NaN", "1 "] {
            assert_eq!(units(text, 4), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn prop_units_come_back_whatever_the_scale(value in any::<u128>(), decimals in 0_u8..=36) {
            let mut buffer = Vec::new();
            prop_assert_eq!(units(text(&mut buffer, value, decimals), decimals), Some(value));
            let padded = format!("{}{}", text(&mut buffer, value, 36), "");
            prop_assert_eq!(units(&padded, 36), Some(value));
        }
    }
}
