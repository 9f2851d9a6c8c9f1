//! A forward-only reader of JSON text: literals in the order a venue sends them, or any order as the fallback.
//!
//! Nothing is allocated and nothing is copied: strings and numbers are slices of the frame.

/// How deep a value may nest before the frame is given up.
const DEPTH_MAX: u32 = 64;

/// A place in a frame.
#[derive(Clone, Copy, Debug)]
pub struct Scan<'a> {
    rest: &'a [u8],
}

impl<'a> Scan<'a> {
    /// At the start of `frame`.
    pub const fn new(frame: &'a [u8]) -> Self {
        Self { rest: frame }
    }

    /// Passes exactly these bytes.
    #[inline]
    pub fn literal(&mut self, text: &[u8]) -> Option<()> {
        self.rest = self.rest.strip_prefix(text)?;
        Some(())
    }

    /// Whether these bytes come next; passes them if so.
    #[inline]
    pub fn accept(&mut self, text: &[u8]) -> bool {
        self.literal(text).is_some()
    }

    /// The bytes up to the next quote, which is passed: the rest of a string whose opening quote was passed.
    /// `None` if there is an escape in it, or no end.
    #[inline]
    pub fn until_quote(&mut self) -> Option<&'a [u8]> {
        let end = memchr::memchr2(b'"', b'\\', self.rest)?;
        let (text, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.strip_prefix(b"\"")?;
        Some(text)
    }

    /// An unsigned integer of at most 19 digits.
    #[inline]
    pub fn integer(&mut self) -> Option<u64> {
        let end = self.rest.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        integer(digits)
    }

    /// The literal of a number: whatever stands before the next comma, bracket or blank.
    #[inline]
    pub fn number(&mut self) -> Option<&'a [u8]> {
        let ends = |byte: &u8| matches!(byte, b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t');
        let end = self.rest.iter().position(ends).unwrap_or(self.rest.len());
        let (text, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest;
        text.first().is_some_and(|byte| byte.is_ascii_digit() || *byte == b'-').then_some(text)
    }

    /// Passes blanks.
    pub fn blank(&mut self) {
        let start = self.rest.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or(self.rest.len());
        self.rest = self.rest.get(start..).unwrap_or_default();
    }

    /// Whether nothing but blanks is left.
    pub fn is_done(&self) -> bool {
        self.rest.iter().all(u8::is_ascii_whitespace)
    }

    fn byte(&mut self, byte: u8) -> Option<()> {
        self.blank();
        self.literal(&[byte])
    }

    /// The next byte that is not blank, without passing it.
    pub fn peek(&mut self) -> Option<u8> {
        self.blank();
        self.rest.first().copied()
    }

    /// A string with its quotes, as it stands between them: escapes are not resolved.
    pub fn string(&mut self) -> Option<&'a [u8]> {
        self.byte(b'"')?;
        let mut escaped = false;
        let end = self.rest.iter().position(|&byte| {
            let ends = byte == b'"' && !escaped;
            escaped = byte == b'\\' && !escaped;
            ends
        })?;
        let (text, rest) = self.rest.split_at_checked(end)?;
        self.rest = rest.get(1..)?;
        Some(text)
    }

    /// A string or a number, as it stands.
    pub fn scalar(&mut self) -> Option<&'a [u8]> {
        if self.peek()? == b'"' { self.string() } else { self.number() }
    }

    /// `true` or `false`.
    pub fn boolean(&mut self) -> Option<bool> {
        self.blank();
        if self.accept(b"true") {
            return Some(true);
        }
        self.literal(b"false").map(|()| false)
    }

    /// An object, its fields in any order: `field` gets each key and must pass its value.
    pub fn object(&mut self, mut field: impl FnMut(&'a [u8], &mut Self) -> Option<()>) -> Option<()> {
        self.byte(b'{')?;
        if self.peek()? == b'}' {
            return self.byte(b'}');
        }
        loop {
            let key = self.string()?;
            self.byte(b':')?;
            field(key, self)?;
            match self.peek()? {
                b',' => self.byte(b',')?,
                _ => return self.byte(b'}'),
            }
        }
    }

    /// An array: `item` must pass each value.
    pub fn array(&mut self, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        self.byte(b'[')?;
        if self.peek()? == b']' {
            return self.byte(b']');
        }
        loop {
            item(self)?;
            match self.peek()? {
                b',' => self.byte(b',')?,
                _ => return self.byte(b']'),
            }
        }
    }

    /// Passes any value.
    pub fn skip(&mut self) -> Option<()> {
        self.skip_nested(DEPTH_MAX)
    }

    fn skip_nested(&mut self, depth: u32) -> Option<()> {
        let deeper = depth.checked_sub(1)?;
        match self.peek()? {
            b'"' => self.string().map(|_| ()),
            // Pushed through a reference, or each level would be a type of its own.
            b'{' => self.object(&mut |_: &'a [u8], scan: &mut Self| scan.skip_nested(deeper)),
            b'[' => self.array(&mut |scan: &mut Self| scan.skip_nested(deeper)),
            b't' => self.literal(b"true"),
            b'f' => self.literal(b"false"),
            b'n' => self.literal(b"null"),
            _ => self.number().map(|_| ()),
        }
    }

    /// Passes any value and returns its text.
    pub fn value(&mut self) -> Option<&'a [u8]> {
        self.blank();
        let start = self.rest;
        self.skip()?;
        start.get(..start.len() - self.rest.len())
    }
}

/// Digits as an unsigned integer: 1 to 19 of them.
#[inline]
pub fn integer(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 19 {
        return None;
    }
    let add = |value: u64, byte: &u8| byte.is_ascii_digit().then(|| value * 10 + u64::from(byte - b'0'));
    digits.iter().try_fold(0, add)
}

/// Milliseconds as digits to nanoseconds.
#[inline]
pub fn millis(digits: &[u8]) -> Option<i64> {
    i64::try_from(integer(digits)?).ok()?.checked_mul(1_000_000)
}

/// Seconds with decimals (`1762795433.9717445`) to nanoseconds, exactly; more than nine decimals are cut off.
pub fn seconds(text: &[u8]) -> Option<i64> {
    let (whole, fraction) = match text.iter().position(|&byte| byte == b'.') {
        Some(at) => (text.get(..at)?, text.get(at + 1..)?),
        None => (text, &b""[..]),
    };
    let whole = i64::try_from(integer(whole)?).ok()?.checked_mul(1_000_000_000)?;
    whole.checked_add(nanos(fraction)?)
}

/// The digits behind a decimal point as nanoseconds.
fn nanos(fraction: &[u8]) -> Option<i64> {
    let digit = |index: usize| match fraction.get(index) {
        Some(byte) if byte.is_ascii_digit() => Some(i64::from(byte - b'0')),
        Some(_) => None,
        None => Some(0),
    };
    fraction.iter().all(u8::is_ascii_digit).then_some(())?;
    (0..9).try_fold(0, |value, index| Some(value * 10 + digit(index)?))
}

/// An RFC 3339 time in UTC (`2021-04-17T16:43:30.244075Z`) to nanoseconds since the epoch.
pub fn rfc3339(text: &[u8]) -> Option<i64> {
    let (clock, fraction) = (text.get(..19)?, text.get(19..)?);
    let number = |range: std::ops::Range<usize>| integer(clock.get(range)?).and_then(|value| i64::try_from(value).ok());
    for (at, byte) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        if clock.get(at) != Some(&byte) {
            return None;
        }
    }
    let (year, month, day) = (number(0..4)?, number(5..7)?, number(8..10)?);
    let (hour, minute, second) = (number(11..13)?, number(14..16)?, number(17..19)?);
    let next_month = if month == 12 { days(year + 1, 1, 1) } else { days(year, month + 1, 1) };
    let is_day = (1..=12).contains(&month) && (1..=next_month - days(year, month, 1)).contains(&day);
    let valid = is_day && hour < 24 && minute < 60 && second < 61;
    let fraction = match fraction {
        b"Z" => 0,
        [b'.', digits @ .., b'Z'] if !digits.is_empty() => nanos(digits)?,
        _ => return None,
    };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    valid.then(|| seconds.checked_mul(1_000_000_000)?.checked_add(fraction)).flatten()
}

/// Days since 1970-01-01 of a Gregorian date (years counted from March, in eras of 400).
const fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5 + day - 1;
    let year_of_era = year - era * 400;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_to_the_nanosecond() {
        assert_eq!(rfc3339(b"2021-04-17T16:43:30.244075Z"), Some(1_618_677_810_244_075_000));
        assert_eq!(rfc3339(b"2025-12-31T00:00:00Z"), Some(1_767_139_200_000_000_000));
        assert_eq!(rfc3339(b"2025-12-31T00:00:00.123456789Z"), Some(1_767_139_200_123_456_789));
        assert_eq!(seconds(b"1762795433.9717445"), Some(1_762_795_433_971_744_500));
        for text in [
            "",
            "2021-04-17",
            "2021-13-17T16:43:30Z",
            "2021-02-29T16:43:30Z",
            "2021-04-17T16:43:30.Z",
            "2021-04-17T16:43:30.x1Z",
        ] {
            assert_eq!(rfc3339(text.as_bytes()), None, "{text}");
        }
        assert!(rfc3339(b"0001-01-01T00:00:00.000000Z").is_none_or(|ts| ts < 0));
    }

    #[test]
    fn a_deeply_nested_value_is_given_up_and_not_followed() {
        let deep = "[".repeat(10_000);
        assert_eq!(Scan::new(deep.as_bytes()).skip(), None);
        assert_eq!(Scan::new(br#"{"a":[1,{"b":"x\"y"}],"c":null}"#).skip(), Some(()));
    }
}
