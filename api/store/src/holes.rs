//! Which candles are missing: the same for both stores.

use std::ops::Range;

use engine::{interval::Interval, market::Timestamp};

/// Missing candles, as ranges of open times.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Holes {
    /// Each from the first missing open time up to, not including, the next one that exists or the end. Ascending.
    pub ranges: Vec<Range<Timestamp>>,
    /// Where to ask on, if the range was not looked at up to its end.
    pub next: Option<Timestamp>,
}

/// The holes that `times`, ascending and within `[from, to)`, leave. Unless it is `whole`, nothing is said beyond the last.
pub(crate) fn between(interval: Interval, from: Timestamp, to: Timestamp, times: &[Timestamp], whole: bool) -> Holes {
    let first = interval.open_time(from);
    let mut expected = if first < from { interval.close_time(first) } else { first };
    let mut ranges = Vec::new();
    for &time in times {
        if expected < time {
            ranges.push(expected..time);
        }
        expected = interval.close_time(time);
    }
    if !whole {
        return Holes { ranges, next: Some(expected) };
    }
    if expected < to {
        let last = interval.open_time(to);
        let end = if last < to { interval.close_time(last) } else { last };
        ranges.push(expected..end);
    }
    Holes { ranges, next: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(interval: &str, from: i64, to: i64, times: &[i64], want: &[(i64, i64)]) {
        let seconds = |s: i64| Timestamp(s * 1_000_000_000);
        let times: Vec<_> = times.iter().copied().map(seconds).collect();
        let holes = between(Interval::parse(interval).unwrap(), seconds(from), seconds(to), &times, true);
        let want: Vec<_> = want.iter().map(|&(a, b)| seconds(a)..seconds(b)).collect();
        assert_eq!(holes, Holes { ranges: want, next: None });
    }

    #[test]
    fn every_missing_open_time_lies_in_one_range() {
        check("1m", 0, 300, &[0, 60, 120, 180, 240], &[]);
        check("1m", 0, 300, &[60, 180], &[(0, 60), (120, 180), (240, 300)]);
        check("1m", 0, 300, &[], &[(0, 300)]);
        check("1m", 30, 270, &[120], &[(60, 120), (180, 300)]);
        check("1m", 60, 60, &[], &[]);
        // January and April 1970 are there, February and March are not.
        check("1M", 0, 120 * 86_400, &[0, 90 * 86_400], &[(31 * 86_400, 90 * 86_400)]);
    }

    #[test]
    fn an_unfinished_scan_says_where_to_ask_on() {
        let minute = 60_000_000_000;
        let times = [Timestamp(0), Timestamp(2 * minute)];
        let holes = between(Interval::M1, Timestamp(0), Timestamp(9 * minute), &times, false);
        assert_eq!(holes.ranges, [Timestamp(minute)..Timestamp(2 * minute)]);
        assert_eq!(holes.next, Some(Timestamp(3 * minute)));
    }
}
