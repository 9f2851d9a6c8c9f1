//! Recorded trades in a loop, on several symbols at once: their real spacing, and symbols that peak together.

use engine::market::{Symbol, Timestamp, Trade};

const SECOND: i64 = 1_000_000_000;
/// Between the last trade of a round and the first of the next.
const PAUSE: i64 = 250_000_000;
/// Trades of one step at the most, so that its caller can listen in between.
const STEP_TRADES_MAX: usize = 4096;

/// See the module.
#[derive(Clone, Debug)]
pub struct Rounds {
    symbols: Vec<Symbol>,
    trades: Vec<Trade>,
    /// Time of the first trade in this round.
    start: Option<Timestamp>,
    /// The next trade, and the next symbol that it is due on.
    next: (usize, usize),
}

impl Rounds {
    /// Plays `trades`, which are in the order of time, on each of `symbols`.
    pub fn new(symbols: &[Symbol], trades: Vec<Trade>) -> Self {
        Self { symbols: symbols.to_vec(), trades, start: None, next: (0, 0) }
    }

    /// Begins anew with the next step.
    pub fn restart(&mut self) {
        (self.start, self.next) = (None, (0, 0));
    }

    /// When the next trade is due; never without trades or symbols.
    pub fn next_due(&self) -> Option<Timestamp> {
        let (first, next) = (self.trades.first()?, self.trades.get(self.next.0)?);
        (!self.symbols.is_empty()).then_some(self.start?.plus(next.ts_event.0 - first.ts_event.0))
    }

    /// Appends what is due by `now`; the first step only sets the start. True if there is more.
    pub fn step(&mut self, now: Timestamp, out: &mut Vec<Trade>) -> bool {
        self.start.get_or_insert(now);
        for _ in 0..STEP_TRADES_MAX {
            let Some(due) = self.next_due().filter(|due| *due <= now) else { return false };
            let (Some(trade), Some(symbol)) = (self.trades.get(self.next.0), self.symbols.get(self.next.1)) else {
                return false;
            };
            out.push(Trade { symbol: *symbol, ts_event: due, ts_recv: now, ..*trade });
            self.next.1 += 1;
            if self.next.1 == self.symbols.len() {
                self.next = (self.next.0 + 1, 0);
            }
            if self.next.0 == self.trades.len() {
                (self.next.0, self.start) = (0, Some(due.plus(PAUSE)));
            }
        }
        true
    }
}

/// The stretch of `seconds` with the most trades among those that begin a second before a busy one.
pub fn busiest(trades: &[Trade], seconds: i64) -> &[Trade] {
    let from = |time: i64| trades.partition_point(|trade| trade.ts_event.0 < time);
    let Some(first) = trades.first() else { return trades };
    let of_second = |trade: &Trade| trade.ts_event.0.div_euclid(SECOND) * SECOND;
    let peak = trades.chunk_by(|a, b| of_second(a) == of_second(b)).max_by_key(|second| second.len());
    let start = peak.and_then(|second| second.first()).map_or(first.ts_event.0, |trade| of_second(trade) - SECOND);
    trades.get(from(start)..from(start + seconds * SECOND)).unwrap_or(trades)
}

#[cfg(test)]
mod tests {
    use engine::market::{Origin, Price, Quantity, Side};

    use super::*;

    fn trade(ms: i64) -> Trade {
        Trade {
            symbol: Symbol(9),
            first_id: 1,
            id: 1,
            trades: 1,
            ts_event: Timestamp::from_millis(ms),
            ts_recv: Timestamp(0),
            price: Price(100),
            quantity: Quantity(5),
            side: Side::Buy,
            origin: Origin::Live,
        }
    }

    #[test]
    fn symbols_peak_together_and_rounds_follow_with_the_recorded_spacing() {
        let mut rounds = Rounds::new(&[Symbol(0), Symbol(1)], vec![trade(5_000), trade(5_040)]);
        let mut out = Vec::new();
        for ms in [0, 39, 40, 290, 330] {
            rounds.step(Timestamp::from_millis(1_000_000 + ms), &mut out);
        }
        let got: Vec<_> = out.iter().map(|trade| (trade.ts_event.millis() - 1_000_000, trade.symbol.0)).collect();
        assert_eq!(got, [(0, 0), (0, 1), (40, 0), (40, 1), (290, 0), (290, 1), (330, 0), (330, 1)]);
    }

    #[test]
    fn the_busiest_stretch_begins_a_second_before_its_peak() {
        let times = [0, 4_500, 9_000, 9_001, 9_002, 9_900, 20_000];
        let trades: Vec<_> = times.into_iter().map(trade).collect();
        let stretch = busiest(&trades, 3);
        assert_eq!(
            stretch.iter().map(|trade| trade.ts_event.millis()).collect::<Vec<_>>(),
            [9_000, 9_001, 9_002, 9_900]
        );
        assert!(busiest(&[], 3).is_empty());
    }
}
