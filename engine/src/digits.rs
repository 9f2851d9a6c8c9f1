//! Integers as decimal digits: eight at a time in one register, with no table and no loop over single digits.

/// Eight digits, one a byte, the first one lowest: shifts move them, and zero bits at either end are zero digits.
#[derive(Clone, Copy)]
pub(crate) struct Digits(u64);

impl Digits {
    /// How many there are.
    pub(crate) const COUNT: usize = 8;
    /// The first value that has more.
    pub(crate) const LIMIT: u64 = 100_000_000;

    /// The digits of a value below [`Digits::LIMIT`], with zeros before them.
    ///
    /// It is halved into lanes of four, two and one digit. A quotient is a product and a shift, exact for the numbers
    /// that a lane can hold, and no lane reaches into the next.
    #[inline]
    pub(crate) fn of(value: u64) -> Self {
        let fours = (value / 10_000) | ((value % 10_000) << 32);
        let hundreds = (fours.wrapping_mul(10_486) >> 20) & 0x0000_007f_0000_007f;
        let twos = hundreds | (fours.wrapping_sub(hundreds.wrapping_mul(100)) << 16);
        let tens = (twos.wrapping_mul(103) >> 10) & 0x000f_000f_000f_000f;
        Self(tens | (twos.wrapping_sub(tens.wrapping_mul(10)) << 8))
    }

    /// Appends them without the zeros before the first other digit; one zero is left.
    #[inline]
    pub(crate) fn append_integer(self, out: &mut Vec<u8>) {
        let zeros = (self.0.trailing_zeros() / 8).min(Self::COUNT as u32 - 1);
        append(out, (self.text() >> (zeros * 8)).to_le_bytes(), Self::COUNT - zeros as usize);
    }

    /// Appends all of them.
    #[inline]
    pub(crate) fn append_all(self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.text().to_le_bytes());
    }

    /// Appends them without the zeros behind the last other digit.
    #[inline]
    pub(crate) fn append_fraction(self, out: &mut Vec<u8>) {
        let zeros = self.0.leading_zeros() / 8;
        append(out, self.text().to_le_bytes(), Self::COUNT - zeros as usize);
    }

    #[inline]
    fn text(self) -> u64 {
        self.0 | u64::from_ne_bytes([b'0'; Self::COUNT])
    }
}

/// Appends the first `length` bytes: all are stored, which needs no call and no branch, and those too many taken back.
#[inline]
fn append(out: &mut Vec<u8>, bytes: [u8; Digits::COUNT], length: usize) {
    let end = out.len().wrapping_add(length);
    out.extend_from_slice(&bytes);
    out.truncate(end);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(append: impl Fn(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        append(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn every_lane_of_four_digits_is_exact() {
        for lane in 0..10_000 {
            let digits = Digits::of(lane * 10_000 + 9999 - lane);
            assert_eq!(text(|out| digits.append_all(out)), format!("{lane:04}{:04}", 9999 - lane));
        }
        assert_eq!(text(|out| Digits::of(Digits::LIMIT - 1).append_all(out)), "99999999");
    }

    #[test]
    fn zeros_go_from_one_end() {
        for (value, integer, fraction) in [(0, "0", ""), (7, "7", "00000007"), (120_300, "120300", "001203")] {
            assert_eq!(text(|out| Digits::of(value).append_integer(out)), integer);
            assert_eq!(text(|out| Digits::of(value).append_fraction(out)), fraction);
        }
    }
}
