//! The rows of a page: which candles are shown, and what stands in the holes.

use engine::{
    candle::{Candle, State},
    interval::Interval,
    market::Timestamp,
};
use store::StoredCandle;

use super::query::Fill;

/// Takes the candles of a range in the order of time.
pub(crate) struct Rows {
    fill: Fill,
    open: bool,
    limit: usize,
    interval: Interval,
    /// Open time of the next candle, if nothing is missing.
    at: Timestamp,
    /// The candle whose close a hole is filled with.
    before: Option<StoredCandle>,
    shown: Vec<StoredCandle>,
    /// Open time of the first candle that is open and not shown.
    hidden: Option<Timestamp>,
    is_sealed: bool,
}

impl Rows {
    /// Up to `limit` rows from the boundary `from` on; the open candle is shown if `open`.
    pub(crate) fn new(interval: Interval, from: Timestamp, limit: usize, fill: Fill, open: bool) -> Self {
        let shown = Vec::with_capacity(limit.min(1024));
        Self { fill, open, limit, interval, at: from, before: None, shown, hidden: None, is_sealed: true }
    }

    /// Whether the candle before the range is needed, since a hole lies at its begin, up to `until`.
    pub(crate) fn wants_before(&self, until: Timestamp) -> bool {
        self.fill == Fill::Flat && self.before.is_none() && self.at < until && self.shown.is_empty()
    }

    /// The last candle before the range.
    pub(crate) fn set_before(&mut self, before: Option<StoredCandle>) {
        self.before = before;
    }

    /// Takes the next candle and returns whether there was room.
    pub(crate) fn take(&mut self, row: StoredCandle) -> bool {
        self.fill_up_to(row.candle.open_time);
        if self.is_full() {
            return false;
        }
        if !row.candle.is_closed && !self.open {
            self.hidden = self.hidden.or(Some(row.candle.open_time));
            self.is_sealed = false;
            return true;
        }
        self.is_sealed &= row.candle.is_closed && row.candle.state != State::Partial;
        self.at = row.candle.close_time;
        if self.fill == Fill::Flat {
            self.before = Some(row);
        }
        self.shown.push(row);
        true
    }

    /// There are no more candles: fills up to `until`, but for a candle that is not over.
    pub(crate) fn end(&mut self, until: Timestamp) {
        self.fill_up_to(self.hidden.map_or(until, |hidden| hidden.min(until)));
    }

    /// Fills a hole, if it is one and there is something to fill it with.
    fn fill_up_to(&mut self, until: Timestamp) {
        if self.at >= until {
            return;
        }
        // What is missing may come later.
        self.is_sealed = false;
        let (Fill::Flat, Some(before)) = (self.fill, self.before) else { return };
        while self.at < until && !self.is_full() {
            let mut flat = Candle::flat(self.interval, self.at, before.candle.close);
            flat.is_closed = true;
            self.at = flat.close_time;
            self.shown.push(StoredCandle { scales: before.scales, candle: flat });
        }
    }

    /// Whether the page has its rows.
    pub(crate) fn is_full(&self) -> bool {
        self.shown.len() >= self.limit
    }

    /// Where the next page begins.
    pub(crate) fn at(&self) -> Timestamp {
        self.at
    }

    /// Whether holes are filled, which they are once there is a candle before them.
    pub(crate) fn fills(&self) -> bool {
        self.fill == Fill::Flat && self.before.is_some()
    }

    /// The rows, and whether every candle up to `until` is among them, closed and not partial.
    pub(crate) fn into_rows(self, until: Timestamp) -> (Vec<StoredCandle>, bool) {
        (self.shown, self.is_sealed && self.at >= until)
    }
}

#[cfg(test)]
mod tests {
    use engine::{market::Price, number::Scale};
    use store::Scales;

    use super::*;

    fn minute(number: i64, is_closed: bool) -> StoredCandle {
        let scale = Scale::new(2).unwrap();
        let mut candle = Candle::flat(Interval::M1, Timestamp(number * 60_000_000_000), Price(number));
        (candle.is_closed, candle.state) = (is_closed, State::Complete);
        StoredCandle { scales: Scales { price: scale, quantity: scale }, candle }
    }

    /// Each row as its minute and price, and whether the page is sealed.
    fn check(
        fill: Fill,
        limit: usize,
        before: Option<i64>,
        given: &[i64],
        until: i64,
        want: &[(i64, i64)],
        sealed: bool,
    ) {
        let mut rows = Rows::new(Interval::M1, Timestamp(600_000_000_000), limit, fill, false);
        rows.set_before(before.map(|number| minute(number, true)));
        for number in given {
            // A negative number is a candle that is still open.
            if !rows.take(minute(number.abs(), *number > 0)) {
                break;
            }
        }
        rows.end(Timestamp(until * 60_000_000_000));
        let (shown, is_sealed) = rows.into_rows(Timestamp(until * 60_000_000_000));
        let shown: Vec<_> =
            shown.iter().map(|row| (row.candle.open_time.0 / 60_000_000_000, row.candle.close.0)).collect();
        assert_eq!((shown.as_slice(), is_sealed), (want, sealed), "{given:?}");
    }

    #[test]
    fn holes_stay_or_are_filled_with_the_previous_close_but_never_before_the_first_candle() {
        check(Fill::None, 9, Some(5), &[10, 12], 14, &[(10, 10), (12, 12)], false);
        check(Fill::Flat, 9, Some(5), &[10, 12], 14, &[(10, 10), (11, 10), (12, 12), (13, 12)], false);
        check(Fill::Flat, 9, Some(5), &[12], 13, &[(10, 5), (11, 5), (12, 12)], false);
        check(Fill::Flat, 9, None, &[12], 14, &[(12, 12), (13, 12)], false);
        check(Fill::Flat, 9, None, &[], 14, &[], false);
        check(Fill::Flat, 3, Some(5), &[14], 15, &[(10, 5), (11, 5), (12, 5)], false);
        check(Fill::Flat, 9, Some(5), &[10, -12], 14, &[(10, 10), (11, 10)], false);
        check(Fill::None, 9, None, &[10, 11], 12, &[(10, 10), (11, 11)], true);
        check(Fill::None, 9, None, &[10, -11], 12, &[(10, 10)], false);
    }
}
