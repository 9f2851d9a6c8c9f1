//! Amounts on the command line: KAI with up to six decimals, exactly.

use anyhow::Context;
use engine::number::{Scale, parse_decimal, write_decimal};
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

/// Writes an amount, in its shortest exact form.
#[must_use]
pub fn text(micros: Micros) -> String {
    let mut out = Vec::new();
    write_decimal(&mut out, micros.get().into(), DECIMALS);
    String::from_utf8(out).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_or_refused() {
        for (given, micros, shown) in [("10", 10_000_000, "10"), ("0.25", 250_000, "0.25"), ("0.000001", 1, "0.000001")]
        {
            let parsed = parse(given).unwrap();
            assert_eq!((parsed.get(), text(parsed).as_str()), (micros, shown));
        }
        for given in ["", "-1", "1e3", "0.0000001", "ten", "9999999999999999999"] {
            assert!(parse(given).is_err(), "{given}");
        }
    }
}
