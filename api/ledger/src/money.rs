//! Money and time as integers with an upper bound.

/// The largest value of [`Micros`] and [`Timestamp`]: what a signed 64-bit column of a database holds.
const MAX: u64 = i64::MAX as u64;

/// An amount in millionths of its unit, from 0 to [`Micros::MAX`] (9.2 × 10¹² units).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Micros(u64);

impl Micros {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The largest amount, and the largest sum that an account can hold on one side.
    pub const MAX: Self = Self(MAX);

    /// An amount, or nothing above [`Micros::MAX`].
    #[must_use]
    pub const fn new(micros: u64) -> Option<Self> {
        if micros <= MAX { Some(Self(micros)) } else { None }
    }

    /// The number of millionths.
    #[must_use]
    pub const fn get(self) -> u64 {
        self.0
    }

    /// The sum, unless it is above [`Micros::MAX`].
    #[must_use]
    pub fn checked_add(self, other: Self) -> Option<Self> {
        // Two values below 2^63 cannot overflow 64 bits.
        Self::new(self.0 + other.0)
    }

    /// The difference, unless it is below zero.
    #[must_use]
    pub fn checked_sub(self, other: Self) -> Option<Self> {
        self.0.checked_sub(other.0).map(Self)
    }

    /// The difference, or zero.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

/// A moment: nanoseconds since the Unix epoch in UTC, as whoever calls says; the ledger reads no clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

impl Timestamp {
    /// The first moment.
    pub const ZERO: Self = Self(0);
    /// The last moment that can be said: in the year 2262.
    pub const MAX: Self = Self(MAX);

    /// A moment, or nothing behind [`Timestamp::MAX`].
    #[must_use]
    pub const fn new(nanos: u64) -> Option<Self> {
        if nanos <= MAX { Some(Self(nanos)) } else { None }
    }

    /// Nanoseconds since the epoch.
    #[must_use]
    pub const fn nanos(self) -> u64 {
        self.0
    }

    /// The moment `seconds` later, unless it is behind [`Timestamp::MAX`].
    #[must_use]
    pub fn after(self, seconds: u32) -> Option<Self> {
        u64::from(seconds).checked_mul(1_000_000_000)?.checked_add(self.0).and_then(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_end_at_what_a_database_column_holds() {
        let one = Micros::new(1).unwrap();
        assert_eq!(Micros::new(u64::MAX), None);
        assert_eq!(Micros::MAX.checked_add(Micros::ZERO), Some(Micros::MAX));
        assert_eq!(Micros::MAX.checked_add(one), None);
        assert_eq!(Micros::ZERO.checked_sub(one), None);
        assert_eq!(Timestamp::MAX.after(0), Some(Timestamp::MAX));
        assert_eq!(Timestamp::MAX.after(1), None);
        assert_eq!(Timestamp::ZERO.after(u32::MAX).map(Timestamp::nanos), Some(4_294_967_295_000_000_000));
    }
}
