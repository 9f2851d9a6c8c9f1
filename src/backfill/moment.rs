//! A moment on the command line.

use engine::market::Timestamp;

use crate::{cli::TimeForm, import::time::parse};

/// `now`, or a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// When the command runs.
    Now,
    /// This one.
    At(Timestamp),
}

impl Moment {
    /// Reads `now`, a date, an RFC 3339 time or milliseconds since 1970.
    ///
    /// # Errors
    /// How to write it.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "now" {
            return Ok(Self::Now);
        }
        let form = match text.len() {
            _ if text.bytes().all(|byte| byte.is_ascii_digit()) => TimeForm::Ms,
            10 => TimeForm::Date,
            _ => TimeForm::Rfc3339,
        };
        let ts = parse(text.as_bytes(), form).ok().filter(|ts| ts.0 >= 0);
        let help = "use a date (2024-01-01), a time (2024-01-01T09:30:00Z), milliseconds since 1970, or now";
        ts.map(Self::At).ok_or_else(|| help.to_owned())
    }

    /// The moment, if it is `now`.
    pub const fn at(self, now: Timestamp) -> Timestamp {
        match self {
            Self::Now => now,
            Self::At(ts) => ts,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_in_every_form_or_refused_with_a_remedy() {
        let at = |ms| Ok(Moment::At(Timestamp::from_millis(ms)));
        assert_eq!(Moment::parse("now"), Ok(Moment::Now));
        for text in ["2024-01-01", "2024-01-01T00:00:00Z", "2024-01-01 00:00:00", "1704067200000"] {
            assert_eq!(Moment::parse(text), at(1_704_067_200_000), "{text}");
        }
        for text in ["", "yesterday", "2024-13-01", "1969-12-31", "2024-01-01T00:00:00+02:00"] {
            assert!(Moment::parse(text).is_err(), "{text}");
        }
    }
}
