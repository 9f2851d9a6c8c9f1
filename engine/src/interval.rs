//! The 19 candle intervals and their boundaries in UTC.

use crate::market::Timestamp;

const SECOND: i64 = 1_000_000_000;
const DAY: i64 = 86_400 * SECOND;
/// 1970-01-01 was a Thursday: Mondays lie four days after a multiple of seven days.
const MONDAY: i64 = 4 * DAY;

/// How long a candle is. Weeks start on Monday, months are calendar months, all else counts from the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Interval {
    /// One second.
    S1,
    /// Five seconds.
    S5,
    /// Fifteen seconds.
    S15,
    /// Thirty seconds.
    S30,
    /// One minute.
    M1,
    /// Three minutes.
    M3,
    /// Five minutes.
    M5,
    /// Fifteen minutes.
    M15,
    /// Thirty minutes.
    M30,
    /// One hour.
    H1,
    /// Two hours.
    H2,
    /// Four hours.
    H4,
    /// Six hours.
    H6,
    /// Eight hours.
    H8,
    /// Twelve hours.
    H12,
    /// One day.
    D1,
    /// Three days.
    D3,
    /// One week, from Monday.
    W1,
    /// One calendar month.
    Month1,
}

impl Interval {
    /// How many intervals there are.
    pub const COUNT: usize = 19;

    /// All of them, shortest first; an interval's place is `interval as usize`.
    pub const ALL: [Self; Self::COUNT] = [
        Self::S1,
        Self::S5,
        Self::S15,
        Self::S30,
        Self::M1,
        Self::M3,
        Self::M5,
        Self::M15,
        Self::M30,
        Self::H1,
        Self::H2,
        Self::H4,
        Self::H6,
        Self::H8,
        Self::H12,
        Self::D1,
        Self::D3,
        Self::W1,
        Self::Month1,
    ];

    /// The name on the wire: `1s`, `1m`, `1M`.
    pub const fn name(self) -> &'static str {
        const NAMES: [&str; Interval::COUNT] = [
            "1s", "5s", "15s", "30s", "1m", "3m", "5m", "15m", "30m", "1h", "2h", "4h", "6h", "8h", "12h", "1d", "3d",
            "1w", "1M",
        ];
        NAMES[self as usize]
    }

    /// The interval of that name. Case matters: `1m` is a minute, `1M` a month.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|interval| interval.name() == name)
    }

    /// Length in nanoseconds; `None` for a month, whose length varies.
    pub const fn nanos(self) -> Option<i64> {
        const SECONDS: [i64; Interval::COUNT] = [
            1, 5, 15, 30, 60, 180, 300, 900, 1800, 3600, 7200, 14_400, 21_600, 28_800, 43_200, 86_400, 259_200,
            604_800, 0,
        ];
        match SECONDS[self as usize] {
            0 => None,
            seconds => Some(seconds * SECOND),
        }
    }

    /// The start of the candle that holds `ts`.
    pub fn open_time(self, ts: Timestamp) -> Timestamp {
        match self.nanos() {
            Some(nanos) if self == Self::W1 => Timestamp((ts.0 - MONDAY).div_euclid(nanos) * nanos + MONDAY),
            Some(nanos) => Timestamp(ts.0.div_euclid(nanos) * nanos),
            None => {
                let (year, month) = year_and_month(ts.0.div_euclid(DAY));
                Timestamp(days_before(year, month) * DAY)
            }
        }
    }

    /// The end of the candle that starts at `open`, which is the start of the next one: candles are `[open, close)`.
    pub fn close_time(self, open: Timestamp) -> Timestamp {
        match self.nanos() {
            Some(nanos) => open.plus(nanos),
            None => {
                let (year, month) = year_and_month(open.0.div_euclid(DAY));
                let (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
                Timestamp(days_before(year, month) * DAY)
            }
        }
    }
}

/// Year and month of a day counted from 1970-01-01 (the era method: 400 years are 146,097 days, years start in March).
fn year_and_month(day: i64) -> (i64, i64) {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month)
}

/// Days from 1970-01-01 to the first of a month; the inverse of [`year_and_month`].
fn days_before(year: i64, month: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let day_of_year = (153 * march_month + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn check(interval: &str, ms: i64, open_ms: i64, close_ms: i64) {
        let interval = Interval::parse(interval).unwrap();
        let open = interval.open_time(Timestamp::from_millis(ms));
        assert_eq!((open.millis(), interval.close_time(open).millis()), (open_ms, close_ms), "{interval:?}");
    }

    #[test]
    fn boundaries_follow_the_calendar() {
        // 2024-08-08T23:59:59.999Z, a Thursday.
        let ms = 1_723_161_599_999;
        check("1s", ms, 1_723_161_599_000, 1_723_161_600_000);
        check("1d", ms, 1_723_075_200_000, 1_723_161_600_000);
        check("1w", ms, 1_722_816_000_000, 1_723_420_800_000); // Monday 2024-08-05
        check("1M", ms, 1_722_470_400_000, 1_725_148_800_000); // August
        check("1M", 1_709_164_800_000, 1_706_745_600_000, 1_709_251_200_000); // 2024-02-29
        check("1M", 1_703_980_800_000, 1_701_388_800_000, 1_704_067_200_000); // 2023-12-31
        check("1m", -1, -60_000, 0);
    }

    #[test]
    fn names_are_those_of_the_wire_and_case_matters() {
        for interval in Interval::ALL {
            assert_eq!(Interval::parse(interval.name()), Some(interval));
        }
        assert_ne!(Interval::parse("1m"), Interval::parse("1M"));
        assert_eq!(Interval::parse("7m"), None);
    }

    proptest! {
        #[test]
        fn prop_every_moment_lies_in_exactly_one_candle(ns in 0_i64..4_102_444_800_000_000_000) {
            for interval in Interval::ALL {
                let open = interval.open_time(Timestamp(ns));
                let close = interval.close_time(open);
                prop_assert!(open.0 <= ns && ns < close.0);
                prop_assert_eq!(interval.open_time(close), close);
                prop_assert_eq!(interval.open_time(Timestamp(close.0 - 1)), open);
            }
        }
    }
}
