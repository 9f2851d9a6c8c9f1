//! Which candles of a series have to be asked for, and in which requests.

use std::{collections::HashMap, ops::Range};

use engine::{candle::State, interval::Interval, market::Timestamp};
use store::StoredCandle;

/// How many more intervals than it needs a request covers on either side, where rows on both sides prove a silence.
const MARGIN: i64 = 50;

/// What is missing from a part of a series, or stored without proof.
#[derive(Clone, Debug, Default)]
pub struct Wanted {
    /// Open times, ascending.
    pub ranges: Vec<Range<Timestamp>>,
    /// What is stored there now: open candles, and closed ones that may lack a trade.
    pub unproven: HashMap<Timestamp, StoredCandle>,
}

impl Wanted {
    /// Of the open times in `[from, to)`, which both lie on the grid, given all candles that are stored there. Where trades
    /// were lost, `is_doubtful`, a candle without trades may have been called flat before anybody knew.
    pub fn of(interval: Interval, from: Timestamp, to: Timestamp, stored: &[StoredCandle], is_doubtful: bool) -> Self {
        let mut wanted = Self::default();
        let mut expected = from;
        for row in stored {
            let candle = &row.candle;
            wanted.add(expected..candle.open_time);
            expected = candle.close_time;
            if !candle.is_closed || candle.state == State::Partial || is_doubtful && candle.state == State::Flat {
                wanted.unproven.insert(candle.open_time, *row);
                wanted.add(candle.open_time..expected.min(to));
            }
        }
        wanted.add(expected..to);
        wanted.ranges.retain(|range| interval.close_time(range.start) <= range.end);
        wanted
    }

    fn add(&mut self, range: Range<Timestamp>) {
        match self.ranges.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start => last.end = range.end,
            _ => self.ranges.push(range),
        }
    }

    /// Leaves out what opens before `reach`, and returns how many that were.
    pub fn cut(&mut self, interval: Interval, reach: Timestamp) -> u64 {
        let lost = self.count(interval, &(Timestamp(0)..reach));
        self.ranges.retain_mut(|range| {
            range.start = range.start.max(reach);
            range.start < range.end
        });
        lost
    }

    /// Whether this open time is wanted.
    pub fn contains(&self, open_time: Timestamp) -> bool {
        let behind = self.ranges.partition_point(|range| range.end <= open_time);
        self.ranges.get(behind).is_some_and(|range| range.contains(&open_time))
    }

    /// How many wanted candles open in `within`.
    pub fn count(&self, interval: Interval, within: &Range<Timestamp>) -> u64 {
        let part = |range: &Range<Timestamp>| steps(interval, range.start.max(within.start), range.end.min(within.end));
        self.ranges.iter().map(part).sum()
    }

    /// The requests that cover all that is wanted: each of at most `rows` intervals, in order, without overlap. What one
    /// request can cover is asked for at once, even if some of it is stored.
    pub fn requests(&self, interval: Interval, rows: u32, has_margin: bool) -> Vec<Range<Timestamp>> {
        let rows = i64::from(rows.max(1));
        let margin = if has_margin { MARGIN.min(rows / 4) } else { 0 };
        let mut requests: Vec<Range<Timestamp>> = Vec::new();
        for range in &self.ranges {
            let mut from = shifted(interval, range.start, -margin).max(Timestamp(0));
            let end = shifted(interval, range.end, margin);
            if let Some(last) = requests.last_mut() {
                let reach = shifted(interval, last.start, rows);
                if range.start < reach {
                    last.end = last.end.max(end.min(reach));
                }
                from = from.max(last.end);
            }
            while from < end {
                let to = shifted(interval, from, rows).min(end);
                requests.push(from..to);
                from = to;
            }
        }
        requests
    }
}

/// The open time so many intervals later, not before 1970; months are counted by their longest, and then set on the grid.
pub fn shifted(interval: Interval, open_time: Timestamp, count: i64) -> Timestamp {
    const MONTH: i64 = 31 * 86_400_000_000_000;
    let moved = open_time.plus(interval.nanos().unwrap_or(MONTH).saturating_mul(count));
    interval.open_time(moved.max(Timestamp(0)))
}

/// How many candles open in `[from, to)`, both on the grid.
pub fn steps(interval: Interval, from: Timestamp, to: Timestamp) -> u64 {
    let count = match interval.nanos() {
        Some(nanos) => (to.0 - from.0) / nanos,
        None => {
            let mut count = 0;
            let mut open_time = from;
            while open_time < to {
                open_time = interval.close_time(open_time);
                count += 1;
            }
            count
        }
    };
    u64::try_from(count).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use engine::{candle::Candle, market::Price, number::Scale};
    use proptest::prelude::*;
    use store::Scales;

    use super::*;

    const MINUTE: i64 = 60_000_000_000;

    fn minute(count: i64) -> Timestamp {
        Timestamp(count * MINUTE)
    }

    fn stored(at: i64, state: State) -> StoredCandle {
        let mut candle = Candle::flat(Interval::M1, minute(at), Price(7));
        (candle.is_closed, candle.state) = (true, state);
        StoredCandle { scales: Scales { price: Scale::ZERO, quantity: Scale::ZERO }, candle }
    }

    fn minutes(ranges: &[Range<Timestamp>]) -> Vec<(i64, i64)> {
        ranges.iter().map(|range| (range.start.0 / MINUTE, range.end.0 / MINUTE)).collect()
    }

    #[test]
    fn holes_and_candles_without_proof_are_wanted_and_nothing_else() {
        let rows = [
            stored(1, State::Complete),
            stored(2, State::Partial),
            stored(5, State::Repaired),
            stored(6, State::Flat),
            StoredCandle { candle: Candle::flat(Interval::M1, minute(7), Price(7)), ..stored(7, State::Flat) },
        ];
        let wanted = Wanted::of(Interval::M1, minute(0), minute(9), &rows, false);
        assert_eq!(minutes(&wanted.ranges), [(0, 1), (2, 5), (7, 9)]);
        assert_eq!(wanted.unproven.len(), 2);
        assert_eq!(wanted.count(Interval::M1, &(minute(3)..minute(8))), 3);
        let doubtful = Wanted::of(Interval::M1, minute(0), minute(9), &rows, true);
        assert_eq!(minutes(&doubtful.ranges), [(0, 1), (2, 5), (6, 9)]);
        let whole = Wanted::of(Interval::M1, minute(5), minute(6), &rows[2..3], true);
        assert!(whole.ranges.is_empty() && whole.requests(Interval::M1, 10, true).is_empty());
    }

    #[test]
    fn near_holes_share_a_request_and_far_ones_do_not() {
        let of = |holes: &[(i64, i64)], rows, margin| {
            let ranges = holes.iter().map(|(from, to)| minute(*from)..minute(*to)).collect();
            minutes(&Wanted { ranges, ..Wanted::default() }.requests(Interval::M1, rows, margin))
        };
        assert_eq!(of(&[(100, 101), (105, 106)], 10, false), [(100, 106)]);
        assert_eq!(of(&[(100, 101), (150, 151)], 10, false), [(100, 101), (150, 151)]);
        assert_eq!(of(&[(100, 125)], 10, false), [(100, 110), (110, 120), (120, 125)]);
        assert_eq!(of(&[(100, 101), (108, 113)], 10, false), [(100, 110), (110, 113)]);
        assert_eq!(of(&[(100, 101)], 40, true), [(90, 111)]);
    }

    proptest! {
        #[test]
        fn prop_every_wanted_candle_is_asked_for_once_and_no_request_is_too_long(
            missing in proptest::collection::vec(any::<bool>(), 1..300), rows in 1_u32..60, margin: bool,
        ) {
            let end = i64::try_from(missing.len()).unwrap();
            let rows_there: Vec<_> =
                (0..end).zip(&missing).filter(|(_, gone)| !**gone).map(|(at, _)| stored(at, State::Complete)).collect();
            let wanted = Wanted::of(Interval::M1, minute(0), minute(end), &rows_there, false);
            let requests = wanted.requests(Interval::M1, rows, margin);
            prop_assert!(requests.windows(2).all(|pair| pair[0].end <= pair[1].start));
            for request in &requests {
                let length = steps(Interval::M1, request.start, request.end);
                prop_assert!(0 < length && length <= u64::from(rows), "{request:?}");
            }
            for (at, gone) in (0..end).zip(missing) {
                prop_assert_eq!(wanted.contains(minute(at)), gone);
                prop_assert!(!gone || requests.iter().any(|request| request.contains(&minute(at))));
            }
            let asked: u64 = requests.iter().map(|request| wanted.count(Interval::M1, request)).sum();
            prop_assert_eq!(asked, wanted.count(Interval::M1, &(minute(0)..minute(end))));
        }
    }
}
