//! Amounts on the command line: KAI with up to six decimals, exactly. They are written as the API writes them.

use anyhow::Context;
use engine::number::{Scale, parse_decimal};
use ledger::Micros;

const DECIMALS: u8 = 6;

/// Reads an amount such as `10` or `0.25`.
///
/// # Errors
/// How to write it.
pub fn parse(text: &str) -> anyhow::Result<Micros> {
    let scale = Scale::new(DECIMALS).unwrap_or(Scale::ZERO);
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let micros = Some(text).filter(|_| is_plain).and_then(|text| parse_decimal(text.as_bytes(), scale).ok());
    let micros = micros.and_then(|micros| u64::try_from(micros).ok());
    let micros = micros.and_then(Micros::new);
    micros.with_context(|| format!("{text:?} is no amount; use KAI with up to six decimals, such as 10 or 0.25"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_or_refused() {
        for (given, micros) in [("10", 10_000_000), ("0.25", 250_000), ("0.000001", 1)] {
            assert_eq!(parse(given).unwrap().get(), micros);
        }
        for given in ["", "-1", "1e3", "0.0000001", "ten", "9999999999999999999"] {
            assert!(parse(given).is_err(), "{given}");
        }
    }
}
