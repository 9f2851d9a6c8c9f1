//! Amounts as Stripe writes them: whole minor units of a currency.

use std::fmt;

/// More than any currency's largest charge (12 digits), so that sums and products stay far from overflow.
const MINOR_MAX: u64 = 999_999_999_999;
const MICROS_PER_CENT: u64 = 10_000;

/// A currency by its ISO 4217 code, in lower case as Stripe writes it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Currency([u8; 3]);

impl Currency {
    /// The US dollar.
    pub const USD: Self = Self(*b"usd");

    /// Reads three lower-case letters.
    pub fn parse(text: &str) -> Option<Self> {
        let letters: [u8; 3] = text.as_bytes().try_into().ok()?;
        letters.iter().all(u8::is_ascii_lowercase).then_some(Self(letters))
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|letter| write!(f, "{}", char::from(*letter)))
    }
}

impl fmt::Debug for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An amount in a currency's minor units: cents of a dollar, but whole yen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amount {
    minor: u64,
    currency: Currency,
}

impl Amount {
    /// An amount of at most 12 digits.
    pub fn new(minor: u64, currency: Currency) -> Option<Self> {
        (minor <= MINOR_MAX).then_some(Self { minor, currency })
    }

    /// How many minor units.
    pub fn minor(self) -> u64 {
        self.minor
    }

    /// Of which currency.
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// Millionths of a dollar; `None` in any other currency, for there is no rate here.
    pub fn usd_micros(self) -> Option<u64> {
        if self.currency == Currency::USD { self.minor.checked_mul(MICROS_PER_CENT) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dollar_is_a_million_micros_and_other_money_is_no_dollars() {
        let cents = |minor| Amount::new(minor, Currency::USD).unwrap().usd_micros();
        assert_eq!((cents(0), cents(1), cents(2_500)), (Some(0), Some(10_000), Some(25_000_000)));
        assert_eq!(cents(MINOR_MAX), Some(9_999_999_999_990_000));
        let yen = Amount::new(2_500, Currency::parse("jpy").unwrap()).unwrap();
        assert_eq!((yen.usd_micros(), yen.currency().to_string()), (None, "jpy".to_owned()));
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        assert_eq!(Amount::new(MINOR_MAX + 1, Currency::USD), None);
        for text in ["", "us", "usdc", "USD", "u1d", "üd"] {
            assert_eq!(Currency::parse(text), None, "{text}");
        }
    }
}
