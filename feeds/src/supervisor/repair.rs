//! Fills one hole of ids from the venue's REST pages.

use engine::{
    market::{Timestamp, Trade},
    message::Missing,
};

use crate::venue::TradeRange;

/// Some venues take no longer span than an hour in one request.
const SPAN: i64 = 3_600_000_000_000;
/// The hole's last trade may lie a little behind the time that the shard knows.
const MARGIN: i64 = 2_000_000_000;

/// How far a hole is filled: what to ask for next, and what a page gave.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filling {
    hole: Missing,
    next_id: u64,
    from: Timestamp,
    end: Timestamp,
    /// Ids that a page skipped, or that came only within a join of fills that reaches beyond the hole.
    pub(super) is_torn: bool,
}

/// What a page did for the hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Ask for the next page.
    More,
    /// All ids are passed.
    Done,
    /// The venue has no more to give now.
    Dry,
}

impl Filling {
    pub(super) fn new(hole: Missing) -> Self {
        let end = hole.to.max(hole.from).plus(MARGIN);
        Self { hole, next_id: hole.first_id, from: hole.from, end, is_torn: false }
    }

    /// The next page to ask for.
    pub(super) fn range(&self) -> TradeRange {
        let to = self.end.min(self.from.plus(SPAN));
        TradeRange { first_id: self.next_id, last_id: self.hole.last_id, from: self.from, to }
    }

    /// Takes a page in, sorted by id, and appends the trades that belong into the hole.
    ///
    /// A join of fills that reaches over the border of the hole is among them: the shard takes it apart if it still has the fills
    /// outside. Whether it could is not known here, so the hole counts as torn.
    pub(super) fn on_page(&mut self, page: &[Trade], out: &mut Vec<Trade>) -> Step {
        let before = (self.next_id, self.from);
        let mut newest = self.from;
        for trade in page {
            newest = newest.max(trade.ts_event);
            if trade.id < self.next_id || trade.first_id > self.hole.last_id {
                continue;
            }
            self.is_torn |= trade.first_id != self.next_id || trade.id > self.hole.last_id;
            out.push(*trade);
            self.next_id = trade.id.saturating_add(1);
        }
        if self.next_id > self.hole.last_id {
            return Step::Done;
        }
        if page.iter().any(|trade| trade.id > self.hole.last_id) {
            self.is_torn = true;
            return Step::Done;
        }
        // A page within one millisecond must not ask for itself again.
        self.from = match (newest > self.from, page.is_empty()) {
            (true, _) => newest,
            (false, false) if self.next_id == before.0 => self.from.plus(1_000_000),
            (false, true) if self.end.0.saturating_sub(self.from.0) > SPAN => self.from.plus(SPAN),
            (false, _) => self.from,
        };
        if (self.next_id, self.from) == before || self.from > self.end { Step::Dry } else { Step::More }
    }

    /// Whether every id came.
    pub(super) const fn is_complete(&self) -> bool {
        self.next_id > self.hole.last_id && !self.is_torn
    }
}

#[cfg(test)]
mod tests {
    use engine::market::{Origin, Price, Quantity, Side, Symbol};

    use super::*;

    fn trade(first_id: u64, id: u64, ms: i64) -> Trade {
        Trade {
            symbol: Symbol(0),
            first_id,
            id,
            trades: 1,
            ts_event: Timestamp::from_millis(ms),
            ts_recv: Timestamp(1),
            price: Price(1),
            quantity: Quantity(1),
            side: Side::Buy,
            origin: Origin::Repair,
        }
    }

    fn filling(first_id: u64, last_id: u64) -> Filling {
        let (from, to) = (Timestamp::from_millis(1_000), Timestamp::from_millis(9_000));
        Filling::new(Missing { symbol: Symbol(0), first_id, last_id, from, to })
    }

    #[test]
    fn pages_fill_a_hole_in_order_and_leave_the_neighbours_out() {
        let (mut filling, mut out) = (filling(10, 14), Vec::new());
        assert_eq!(
            filling.on_page(&[trade(9, 9, 1_000), trade(10, 10, 1_100), trade(11, 12, 1_200)], &mut out),
            Step::More
        );
        assert_eq!(filling.range().first_id, 13);
        assert_eq!(
            filling.on_page(&[trade(13, 13, 1_300), trade(14, 14, 1_400), trade(15, 15, 1_500)], &mut out),
            Step::Done
        );
        assert!(filling.is_complete());
        assert_eq!(out.iter().map(|trade| trade.id).collect::<Vec<_>>(), [10, 12, 13, 14]);
    }

    #[test]
    fn joins_over_both_borders_are_left_to_the_shard_to_take_apart() {
        let (mut filling, mut out) = (filling(10, 11), Vec::new());
        let page = [trade(6, 7, 900), trade(8, 10, 1_000), trade(11, 12, 1_100), trade(13, 13, 1_200)];
        assert_eq!(filling.on_page(&page, &mut out), Step::Done);
        assert!(out == page[1..3] && !filling.is_complete());
    }

    #[test]
    fn a_venue_without_the_trades_ends_the_search() {
        let mut out = Vec::new();
        assert_eq!(filling(10, 11).on_page(&[], &mut out), Step::Dry);
        let mut skipped = filling(10, 12);
        assert_eq!(skipped.on_page(&[trade(10, 10, 1_000), trade(13, 13, 1_100)], &mut out), Step::Done);
        assert!(!skipped.is_complete());
        let mut same = filling(10, 11);
        let mut steps = 0;
        while same.on_page(&[trade(5, 5, 1_000)], &mut out) == Step::More {
            steps += 1;
            assert!(steps < 20_000);
        }
    }
}
