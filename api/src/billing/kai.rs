//! How money is written: exact, from integers, never by way of a float. 1 KAI is 1 USD and 1,000,000 micros.

use std::fmt;

use ledger::Micros;
use serde::{Serialize, Serializer, ser::Error};
use serde_json::value::RawValue;
use utoipa::ToSchema;

const MICROS_PER_KAI: u64 = 1_000_000;

/// An amount as a decimal of at least two and at most six places, such as `10.00` or `0.000005`; in JSON it is text.
#[derive(ToSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[schema(value_type = String, example = "10.00", pattern = r"^-?[0-9]+\.[0-9]{2,6}$")]
pub struct Kai(i64);

/// The same as a number of JSON, for clients that expect one.
#[derive(ToSchema, Clone, Copy, Debug, PartialEq, Eq)]
#[schema(value_type = f64, example = 42.18)]
pub(crate) struct Usd(pub(crate) Micros);

impl Kai {
    /// An amount that may be owed, and is below zero then.
    pub(crate) fn signed(micros: i64) -> Self {
        Self(micros)
    }
}

impl From<Micros> for Kai {
    fn from(micros: Micros) -> Self {
        // Micros end where this does.
        Self(i64::try_from(micros.get()).unwrap_or(i64::MAX))
    }
}

impl fmt::Display for Kai {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, micros) = (if self.0 < 0 { "-" } else { "" }, self.0.unsigned_abs());
        let places = format!("{:06}", micros % MICROS_PER_KAI);
        write!(f, "{sign}{}.{:0<2}", micros / MICROS_PER_KAI, places.trim_end_matches('0'))
    }
}

impl Serialize for Kai {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl Serialize for Usd {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        RawValue::from_string(Kai::from(self.0).to_string()).map_err(S::Error::custom)?.serialize(serializer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact_decimals() {
        let check = |micros, want: &str| {
            assert_eq!(Kai::signed(micros).to_string(), want);
            if let Some(micros) = u64::try_from(micros).ok().and_then(Micros::new) {
                assert_eq!(serde_json::to_string(&Usd(micros)).unwrap(), want);
                assert_eq!(serde_json::to_string(&Kai::from(micros)).unwrap(), format!("\"{want}\""));
            }
        };
        check(0, "0.00");
        check(5, "0.000005");
        check(10_000, "0.01");
        check(42_180_000, "42.18");
        check(500_000_000, "500.00");
        check(-1_230_000, "-1.23");
        check(i64::MAX, "9223372036854.775807");
        check(i64::MIN, "-9223372036854.775808");
    }
}
